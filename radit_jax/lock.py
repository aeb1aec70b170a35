"""A lock file: one process at a time writes a folder.

The lock is the operating system's (`flock`), so it ends with the process, however that
ends; the file beside the folder only says who holds it. Processes on other hosts are
kept out too where the file system shares locks, as NFS does. Without locks there is
none: object stores such as gs://, some cluster file systems, Windows.
"""

import contextlib
import datetime
import errno
import json
import os
import socket
import time
from collections.abc import Iterator

from absl import logging
from etils import epath

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class LockedError(ValueError):
    """Another process writes this folder: which one, since when, and the remedies."""


@contextlib.contextmanager
def hold(folder: epath.PathLike) -> Iterator[None]:
    """Keeps other processes from writing `folder` while the block runs.

    The file is `.{name}.lock` beside the folder, which may itself be deleted and made
    anew meanwhile. What a killed process left is taken over.

    Raises:
      LockedError: another process, or another thread of this one, holds it.
    """
    folder = epath.Path(folder)
    if fcntl is None or "://" in str(folder):
        yield
        return
    file = folder.with_name(f".{folder.name}.lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _take(file, folder)
    if descriptor is None:
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            file.unlink()  # while it is still held: see `_is_current`
        os.close(descriptor)


def holder(folder: epath.PathLike) -> str:
    """Who holds the folder's lock, and since when; "" where nobody does."""
    folder = epath.Path(folder)
    if fcntl is None or "://" in str(folder):
        return ""
    try:
        descriptor = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDONLY)
    except FileNotFoundError:
        return ""
    try:
        # Shared: two who look do not see each other. `_lock` waits this moment out.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(os.pread(descriptor, 4096, 0))
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)
    return ""


def _lock(descriptor: int) -> None:
    """Takes the lock; a second try, as `holder` may look just now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.05)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _take(file: epath.Path, folder: epath.Path) -> int | None:
    """The open, locked file; None where its file system has no locks."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
            if _is_current(descriptor, file):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, json.dumps(_this_process()).encode())
                return descriptor
        except BlockingIOError:
            found = _holder(os.pread(descriptor, 4096, 0))
            os.close(descriptor)
            raise LockedError(
                f"{folder} is being written by {found}. Wait until that run is done, "
                "or stop it and give the same command again: it resumes. Another "
                "--workdir may be written at the same time."
            ) from None
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _UNSUPPORTED:
                raise
            logging.warning("%s: no locks here; start no second run on it.", folder)
            return None
        os.close(descriptor)


def _is_current(descriptor: int, file: epath.Path) -> bool:
    """Whether the locked file is the one by that name: its last holder deletes it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


def _this_process() -> dict[str, str | int]:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": now}


def _holder(content: bytes) -> str:
    try:
        record = json.loads(content)
    except ValueError:
        return "another process that has just begun"
    return f"process {record['pid']} on {record['host']} since {record['since']}"
