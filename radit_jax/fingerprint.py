"""What a run was made from: hashes of files, and the commit of the code."""

import functools
import hashlib
import subprocess
from collections.abc import Iterator

from etils import epath

import radit_jax

_HASHED_WHOLE_BYTES = 64 * 2**20
_WEIGHTS = (".safetensors", ".gguf")


@functools.cache
def git_commit() -> str:
    """The commit of the code that runs, "-dirty" if changed; "" outside a checkout."""
    folder = epath.Path(radit_jax.__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return described.stdout.strip()


def hash_files(path: epath.PathLike) -> str:
    """A hash of a file, or of all files under a folder, by name and content.

    A weights file above 64 MiB counts by its size and its first and last MiB, so that
    a 65B checkpoint is hashed in milliseconds. Texts are hashed whole.
    """
    path = epath.Path(path).expanduser()
    digest = hashlib.sha256()
    for file in _files(path):
        name = str(file.relative_to(path)) if path.is_dir() else file.name
        size = file.stat().length
        digest.update(f"{name}\0{size}\0".encode())
        with file.open("rb") as stream:
            if size <= _HASHED_WHOLE_BYTES or file.suffix not in _WEIGHTS:
                while block := stream.read(_HASHED_WHOLE_BYTES):
                    digest.update(block)
            else:
                digest.update(stream.read(2**20))
                stream.seek(size - 2**20)
                digest.update(stream.read())
    return digest.hexdigest()


def _files(path: epath.Path) -> Iterator[epath.Path]:
    if not path.is_dir():
        yield path
        return
    for child in sorted(path.iterdir()):
        yield from _files(child)
