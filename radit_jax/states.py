"""In which state an artifact is: done, running, stale, damaged, failed, not begun."""

import dataclasses
from typing import Any

from etils import epath

from radit_jax import failures, lock, manifests
from radit_jax.manifests import ArtifactError

DONE, RUNNING, STALE = "done", "running", "stale"
DAMAGED, FAILED, NOT_BEGUN = "damaged", "failed", "not begun"


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """Of one artifact."""

    name: str  # one of the above
    reason: str = ""  # why it is stale, damaged or failed; who runs it
    num_bytes: int = 0  # on disk, finished or not
    seconds: float | None = None  # of work, where it was finished
    sha256: str = ""  # of the manifest, where there is one: what later stages name


def of(path: epath.PathLike, wanted: dict[str, Any] | None, unknown: str = "") -> State:
    """The state of the artifact at `path`.

    Args:
      path: the artifact's folder.
      wanted: of `manifests.identity`; None: an input is missing.
      unknown: in that case, the error that says which.
    """
    path = epath.Path(path)
    num_bytes = sum(manifests.sizes(path).values()) if path.exists() else 0
    holder = lock.holder(path)
    if holder:
        return State(RUNNING, holder, num_bytes)
    try:
        manifest = manifests.read(path / manifests.MANIFEST)
        started = manifests.read(path / manifests.STARTED)
    except ArtifactError as error:
        return State(DAMAGED, str(error), num_bytes)
    if manifest is None:
        name, reason = _unfinished(path, started, wanted)
        return State(name, reason, num_bytes)
    name, reason = _finished(path, manifest, wanted, unknown)
    sha256 = manifests.sha256(path)
    return State(name, reason, num_bytes, manifest.get("seconds"), sha256)


def _finished(path, manifest, wanted, unknown: str) -> tuple[str, str]:
    if wanted is None:
        return STALE, unknown
    if changes := manifests.changes(manifest, wanted):
        return STALE, "; ".join(changes)
    if damage := manifests.damage(path, manifest):
        return DAMAGED, damage
    return DONE, ""


def _unfinished(path, started, wanted) -> tuple[str, str]:
    reason = failures.read(path)
    if started is None and not reason:
        return NOT_BEGUN, ""
    reason = reason or "it stopped without a word, as a killed process does"
    if started and wanted and (changes := manifests.changes(started, wanted)):
        reason += f"; it was of another config or inputs: {'; '.join(changes)}"
    return FAILED, reason
