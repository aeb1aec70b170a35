"""Why a stage failed: a small JSON file beside the folder that it was writing."""

import contextlib
import datetime
import json
from collections.abc import Iterator

from etils import epath


@contextlib.contextmanager
def recorded(folder: epath.PathLike) -> Iterator[None]:
    """Keeps the error that ends the block; a block that ends well leaves none.

    The file is `.{name}.failed.json` beside the folder, which may itself be deleted.
    """
    file = _file(folder)
    _forget(file)
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        with contextlib.suppress(OSError):  # a full disk; the error itself matters
            _write(file, error)
        raise
    _forget(file)


def read(folder: epath.PathLike) -> str:
    """The recorded error and its time; "" where there is none."""
    try:
        record = json.loads(_file(folder).read_text())
        return f"{record['error']} ({record['when']})"
    except FileNotFoundError:
        return ""
    except (ValueError, LookupError, TypeError):
        return f"{_file(folder)} says why, but is no JSON of this version's"


def _file(folder: epath.PathLike) -> epath.Path:
    folder = epath.Path(folder)
    return folder.with_name(f".{folder.name}.failed.json")


def _write(file: epath.Path, error: BaseException) -> None:
    name = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
    record = {
        "error": name or type(error).__name__,
        "type": type(error).__name__,
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record, indent=1, ensure_ascii=False))


def _forget(file: epath.Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        file.unlink()
