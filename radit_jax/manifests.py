"""What stands in an artifact's folder about it: its manifest, and how that is judged.

An artifact counts where its manifest names the same stage, config and inputs as the
run would write, and all its files are there. What skips a stage and what tells a
stage's state (`states`) ask the same functions here.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from etils import epath

MANIFEST = "manifest.json"  # written last
STARTED = "started.json"  # written first
_IDENTITY = ("stage", "config", "inputs")


class ArtifactError(ValueError):
    """An artifact that is missing, unfinished, damaged, or of another config."""


def identity(stage: str, config: dict[str, Any], inputs: dict[str, str]) -> dict:
    """What an artifact is of, as it stands on disk: there, tuples are lists."""
    values = (stage, config, inputs)
    return json.loads(json.dumps(dict(zip(_IDENTITY, values, strict=True))))


def read(file: epath.Path) -> dict[str, Any] | None:
    """The manifest, or what `started.json` says; None where there is no such file.

    Raises:
      ArtifactError: it is no manifest.
    """
    if not file.exists():
        return None
    try:
        found = json.loads(file.read_text())
        missing = [key for key in _IDENTITY if key not in found]
    except (ValueError, TypeError) as error:
        missing = [f"JSON ({error})"]
    if missing:
        raise ArtifactError(
            f"{file} is no manifest: it lacks {', '.join(missing)}. Delete the folder "
            f"{file.parent} and run its stage again."
        )
    return found


def sha256(folder: epath.Path) -> str:
    """Of the manifest file: what a later stage records as its input."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def changes(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """How what was made differs from what is wanted, field by field.

    Args:
      found: of `read`.
      wanted: of `identity`.
    """
    return list(_differences({key: found[key] for key in _IDENTITY}, wanted))


def _differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(
                old.get(key), new.get(key), f"{name}.{key}".lstrip(".")
            )
    elif old != new:
        yield f"{name} was {old!r} and is now {new!r}"


def sizes(folder: epath.Path, temporary: tuple[str, ...] = ()) -> dict[str, int]:
    """Bytes of each file under a folder, less the two above and what is temporary."""
    return {
        name: size
        for name, size in _sizes(folder, "")
        if name not in (MANIFEST, STARTED) and name.split("/")[0] not in temporary
    }


def _sizes(folder: epath.Path, prefix: str) -> Iterator[tuple[str, int]]:
    # Under a run that writes, files come and go.
    with contextlib.suppress(FileNotFoundError):
        for child in sorted(folder.iterdir()):
            if child.is_dir():
                yield from _sizes(child, f"{prefix}{child.name}/")
            elif child.exists():
                yield prefix + child.name, child.stat().length


def damage(folder: epath.Path, manifest: dict[str, Any]) -> str:
    """Which files of a finished artifact are gone or cut; "": none."""
    wanted = manifest.get("files", {})
    found = sizes(folder)
    lost = [name for name, size in wanted.items() if found.get(name) != size]
    if not lost:
        return ""
    shown = ", ".join(lost[:3]) + (", …" if len(lost) > 3 else "")
    return f"{len(lost)} of its {len(wanted)} files are gone or cut: {shown}"
