"""Artifacts: the folders that stages write, each whole or not there at all.

An artifact is a folder with a `manifest.json`, written last: without it the folder
is unfinished. `started.json`, written first, says what is being made, so that a
killed run finds its own shards again and another run's shards are refused. Every
file is written aside under `.tmp` and renamed. A manifest names the config and the
hashes of the input manifests; a stage whose manifest matches is skipped.
"""

import contextlib
import dataclasses
import datetime
import errno
import json
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath
from jax.experimental import multihost_utils

import radit_jax
from radit_jax import failures, fingerprint, lock, manifests
from radit_jax.manifests import MANIFEST, STARTED, ArtifactError

# Of what an artifact is made: config sections, and name → hash of each input.
Identity = tuple[dict[str, Any], dict[str, str]]


@dataclasses.dataclass(frozen=True, slots=True)
class Artifact:
    """A finished artifact."""

    path: epath.Path
    manifest: dict[str, Any]

    @property
    def sha256(self) -> str:
        """Of the manifest file: what a later stage records as its input."""
        return manifests.sha256(self.path)

    @property
    def counts(self) -> dict[str, Any]:
        """What the stage counted."""
        return self.manifest["counts"]


def find(path: epath.PathLike) -> Artifact | None:
    """The finished artifact at `path`, or None.

    Raises:
      ArtifactError: its manifest is none.
    """
    path = epath.Path(path)
    manifest = manifests.read(path / MANIFEST)
    return None if manifest is None else Artifact(path, manifest)


def load(path: epath.PathLike, stage: str, variant: str = "") -> Artifact:
    """The finished artifact at `path`, which `stage` writes.

    Args:
      path: the artifact's folder.
      stage: that writes it.
      variant: the flag that makes the stage write this one of its artifacts.

    Raises:
      ArtifactError: where there is none, or another stage's.
    """
    artifact = find(path)
    if artifact is None:
        state = "is unfinished" if epath.Path(path).exists() else "does not exist"
        command = f"python -m launch.{stage} {variant}".rstrip()
        raise ArtifactError(
            f"{path} {state}; run `{command}` with this config and workdir first, or "
            "`python -m launch.run_pipeline` for all stages."
        )
    if artifact.manifest["stage"] != stage:
        raise ArtifactError(
            f"{path} was written by stage {artifact.manifest['stage']!r}, not by "
            f"{stage!r}; name another --workdir."
        )
    return artifact


class Draft:
    """An artifact in the making: `file` writes its files, `counts` goes with it."""

    def __init__(self, path: epath.Path):
        """Args: path: the artifact's folder."""
        self.path = path
        self.counts: dict[str, Any] = {}
        self.temporary: tuple[str, ...] = ()  # folders that are deleted once it is done

    def has(self, name: str) -> bool:
        """Whether a file of this artifact was finished, now or by a killed run."""
        return (self.path / name).exists()

    @contextlib.contextmanager
    def file(self, name: str, together: bool = False) -> Iterator[epath.Path]:
        """Gives a path to write to; renames it to `name` when the block ends well.

        Args:
          name: within the artifact.
          together: all processes of the job run the block, and process 0 alone
            touches the path.
        """
        final, aside = self.path / name, self.path / f"{name}.tmp"
        if together and not is_main_process():
            yield aside
            return
        aside.parent.mkdir(parents=True, exist_ok=True)
        if aside.is_dir():
            aside.rmtree()
        yield aside
        if final.is_dir():
            final.rmtree()
        aside.replace(final)

    def write_json(self, name: str, value: Any) -> None:
        """Writes one JSON file, once in a multi-process job."""
        if not is_main_process():
            return
        with self.file(name) as path:
            path.write_text(json.dumps(value, indent=1, ensure_ascii=False))

    def write_lines(self, name: str, records: list[dict[str, Any]]) -> None:
        """Writes JSON lines, once in a multi-process job."""
        if not is_main_process():
            return
        text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
        with self.file(name) as path:
            path.write_text(text)


@contextlib.contextmanager
def writing(
    path: epath.PathLike,
    stage: str,
    config: dict[str, Any],
    inputs: dict[str, str],
    overwrite: bool = False,
) -> Iterator[Draft | None]:
    """Opens an artifact for writing; yields None where it is already finished.

    In a multi-process job every process enters and leaves the block together;
    process 0 writes the manifest once all have left it.

    Args:
      path: the artifact's folder.
      stage: the stage that writes it.
      config: the config sections that its content depends on.
      inputs: name → hash of each input.
      overwrite: whether to delete what another config or input left there.

    Yields:
      A `Draft` to fill, or None: there is nothing to do.

    Raises:
      ArtifactError: the folder holds the work of another config or input, or another
        process is writing it (see `lock.hold`).
      OSError: the disk is full; what is finished stays, and a new run resumes.
    """
    path = epath.Path(path)
    identity = manifests.identity(stage, config, inputs)
    if _is_up_to_date(path, identity):
        logging.info("%s is up to date: skipped.", path)
        yield None
        return
    with _alone(path):
        if _is_finished(path, identity, overwrite):  # by another run, just now
            yield None
            return
        yield from _filled(path, identity)


@contextlib.contextmanager
def _alone(path: epath.Path) -> Iterator[None]:
    """Holds the lock of `path` in process 0; all processes raise if it is taken."""
    with contextlib.ExitStack() as stack:
        refused = None
        if is_main_process():
            try:
                stack.enter_context(lock.hold(path))
            except lock.LockedError as error:
                refused = error
        is_refused = np.int32(refused is not None)
        if multihost_utils.broadcast_one_to_all(is_refused):
            raise ArtifactError(
                str(refused or f"{path} is being written by another run.")
            ) from refused
        yield


def _filled(path: epath.Path, identity: dict) -> Iterator[Draft]:
    is_main = is_main_process()
    recorded = failures.recorded(path) if is_main else contextlib.nullcontext()
    with recorded, _full_disk_explained(path):
        _start(path, identity)
        draft, begin = Draft(path), time.monotonic()
        yield draft
        _finish(draft, identity, time.monotonic() - begin)


@contextlib.contextmanager
def _full_disk_explained(path: epath.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(
                errno.ENOSPC,
                f"the disk of {path} is full; nothing half-written counts. Free some "
                "space and run the same command again: it resumes.",
            ) from error
        raise


def _is_up_to_date(path: epath.Path, identity: dict) -> bool:
    found = manifests.read(path / MANIFEST)
    if found is None or manifests.changes(found, identity):
        return False
    return not manifests.damage(path, found)


def _is_finished(path: epath.Path, identity: dict, overwrite: bool) -> bool:
    """Whether `path` holds just this artifact; clears or refuses anything else."""
    if _is_up_to_date(path, identity):
        return True
    refused = _refusal(path, identity)
    if refused and not overwrite:
        raise ArtifactError(refused)
    if refused:
        multihost_utils.sync_global_devices(f"overwrite {path}")
        if is_main_process():
            # First out of the way: killed while deleting, nothing of it is found.
            aside = path.with_name(f"{path.name}.old")
            if aside.exists():
                aside.rmtree()
            path.rename(aside)
            aside.rmtree()
    return False


def _refusal(path: epath.Path, identity: dict) -> str:
    """Why this run may not go on with what lies in `path`; "": it may."""
    remedy = "--overwrite to make it, and what follows from it, again."
    found = manifests.read(path / MANIFEST)
    started = manifests.read(path / STARTED)
    if found is None and (started is None or not _holds_work(path)):
        return ""  # it failed before it wrote anything: start anew
    if changes := manifests.changes(found or started, identity):
        return (
            f"{path} was made by another config or from other inputs: "
            f"{'; '.join(changes)}. Give another --workdir, or {remedy}"
        )
    return f"{path}: {manifests.damage(path, found)}. Give {remedy}" if found else ""


def _holds_work(path: epath.Path) -> bool:
    """Whether an unfinished folder has any file that a run finished."""
    return any(
        file.name != STARTED and file.suffix != ".tmp" for file in path.iterdir()
    )


def _start(path: epath.Path, identity: dict) -> None:
    multihost_utils.sync_global_devices(f"start {path}")
    if jax.process_index() == 0:
        path.mkdir(parents=True, exist_ok=True)
        aside = path / f"{STARTED}.tmp"
        aside.write_text(json.dumps(identity, indent=1))
        aside.replace(path / STARTED)
    multihost_utils.sync_global_devices(f"started {path}")


def _finish(draft: Draft, identity: dict, seconds: float) -> None:
    multihost_utils.sync_global_devices(f"finish {draft.path}")
    if jax.process_index() == 0:
        draft.write_json(
            MANIFEST,
            identity
            | {
                "counts": draft.counts,
                "files": manifests.sizes(draft.path, draft.temporary),
                "package_version": radit_jax.__version__,
                "git_commit": fingerprint.git_commit(),
                "created": datetime.datetime.now(datetime.UTC).isoformat(),
                "seconds": round(seconds, 3),  # of the run that finished it
            },
        )
    multihost_utils.sync_global_devices(f"finished {draft.path}")


def read_lines(path: epath.PathLike) -> list[dict[str, Any]]:
    """Reads JSON lines that `Draft.write_lines` wrote."""
    # Not `splitlines`: a line separator of Unicode may stand in a JSON string.
    lines = epath.Path(path).read_text().split("\n")
    return [json.loads(line) for line in lines if line]


def is_main_process() -> bool:
    """Whether this process writes what the whole job writes once."""
    return jax.process_index() == 0
