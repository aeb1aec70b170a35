"""What publishers' files hold: JSON or JSON lines, gzipped or not, in zip or tar."""

import contextlib
import gzip
import json
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

from etils import epath

from radit_jax.instruct.tasks.task import Record, SourceError

_GZIP = b"\x1f\x8b"


@contextlib.contextmanager
def opened(path: epath.Path) -> Iterator[IO[bytes]]:
    """The file's bytes; unpacked where they are gzipped, whatever the name says.

    Raises:
      SourceError: the packed file is cut off or damaged.
    """
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        if not packed:
            yield file
            return
        try:
            with gzip.open(file) as unpacked:
                yield unpacked
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise SourceError(_fault(path.name, f"is damaged ({error})")) from error


def json_lines(path: epath.Path) -> Iterator[Record]:
    """The objects of a file with one a line; blank lines pass.

    Raises:
      SourceError: a line is not a JSON object.
    """
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            place = f"{path.name}:{number}"
            record = parse(line, place)
            if not isinstance(record, dict):
                raise SourceError(_fault(place, f"is {record!r:.40}, not an object"))
            yield record


def json_array(content: bytes, place: str, key: str = "") -> list[Record]:
    """The objects of a JSON array, or of the one that an object has at `key`.

    Raises:
      SourceError: there is no such array.
    """
    found = parse(content, place)
    if key:
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, list):
        where = f"has no array at {key!r}" if key else "is not an array"
        raise SourceError(_fault(place, where))
    return found


def parse(content: bytes, place: str) -> Any:
    """What the JSON holds.

    Raises:
      SourceError: it is not JSON.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SourceError(_fault(place, f"is not JSON ({error})")) from error


def zip_member(path: epath.Path, name: str) -> bytes:
    """The content of the file `name` of a zip archive, in whatever folder it is.

    Raises:
      SourceError: the file is no zip archive, or has no such member.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            for member in archive.namelist():
                if f"/{member}".endswith(f"/{name}") and "__MACOSX" not in member:
                    return archive.read(member)
            found = archive.namelist()[:5]
    except (zipfile.BadZipFile, zlib.error) as error:
        raise SourceError(_fault(path.name, f"is no zip archive ({error})")) from error
    raise SourceError(_fault(path.name, f"has no {name}; its first files are {found}"))


def tar_members(path: epath.Path, folder: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the files under `folder` of a tar archive, in its order.

    Raises:
      SourceError: the file is no tar archive, or has no files there.
    """
    found = False
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|*") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                hidden = name.rsplit("/", 1)[-1].startswith(".")
                if member.isfile() and name.startswith(f"{folder}/") and not hidden:
                    found = True
                    yield name, archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise SourceError(_fault(path.name, f"is no tar archive ({error})")) from error
    if not found:
        raise SourceError(_fault(path.name, f"has no files under {folder}"))


def text(value: Any) -> str:
    """A field as TFDS can write it: "" where it is missing or no string."""
    if not isinstance(value, str):
        return ""
    return value.encode(errors="replace").decode()  # half a surrogate pair: "?"


def _fault(place: str, fact: str) -> str:
    return f"{place} {fact}. Fetch the file again from its publisher."
