"""The hand-written fixtures, as a user brings publishers' files."""

import gzip
import pathlib
import tarfile
import zipfile

from radit_jax.instruct.tasks import sources

FIXTURES = pathlib.Path(__file__).parent / "fixtures"


def bring(name, manual_dir):
    """A set's fixtures under the names of its files in `manual_dir`.

    A fixture's folder named `.zip` or `.tar` becomes that archive, and a file named
    `.gz` is packed: what is written by hand can be read by eye.
    """
    folder = manual_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    for fixture in (FIXTURES / name).iterdir():
        path = folder / fixture.name
        if path.suffix == ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                for member in _files(fixture):
                    archive.writestr(
                        str(member.relative_to(fixture)), member.read_bytes()
                    )
        elif path.suffix == ".tar":
            with tarfile.open(path, "w") as archive:
                for member in _files(fixture):
                    archive.add(member, str(member.relative_to(fixture)))
        elif path.suffix == ".gz":
            path.write_bytes(gzip.compress(fixture.read_bytes()))
        else:
            path.write_bytes(fixture.read_bytes())
    return folder


def through_sources(task, split, tmp_path):
    """What a set's fixtures give, prepared and read as a user does."""
    bring(task.name, tmp_path / "manual")
    sources.prepare(task, tmp_path / "sets", tmp_path / "manual")
    return list(sources.read(task, split, tmp_path / "sets"))


def _files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())
