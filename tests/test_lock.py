"""Two runs in one workdir: the second is refused, and a killed one leaves nothing."""

import contextlib
import errno
import os
import subprocess
import sys

import pytest
from etils import epath

from radit_jax import artifacts, lock

HOLD = """
import sys
from radit_jax import lock
with lock.hold(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def other_process(folder):
    """A process that holds the folder's lock until it is killed."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout.readline() == "held\n"
        yield child
    finally:
        child.kill()
        child.communicate()


def write(path):
    with artifacts.writing(path, "s", {}, {}) as draft:
        if draft is not None:
            draft.write_json("0.json", 1)
    return draft is not None


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path):
    folder = tmp_path / "scores" / "base"
    with other_process(folder) as child:
        match = (
            rf"base is being written by process {child.pid} on .* since 20.*Wait until"
        )
        with pytest.raises(artifacts.ArtifactError, match=match):
            write(folder)
        assert write(tmp_path / "scores" / "it")  # another artifact may be written
    assert (tmp_path / "scores" / ".base.lock").exists()  # killed: not tidied away
    assert write(folder)
    assert [f.name for f in (tmp_path / "scores").iterdir() if f.suffix] == []


def test_what_is_finished_may_be_found_while_it_is_locked(tmp_path):
    assert write(tmp_path / "a")
    with other_process(tmp_path / "a"):
        assert not write(tmp_path / "a")


def test_the_lock_ends_with_an_error_too(tmp_path):
    with pytest.raises(RuntimeError, match="failed"), lock.hold(tmp_path / "a"):
        raise RuntimeError("failed")
    with lock.hold(tmp_path / "a"):
        pass


def test_the_same_process_cannot_take_it_twice(tmp_path):
    match = f"written by process {os.getpid()} on"
    with (
        lock.hold(tmp_path / "a"),
        pytest.raises(lock.LockedError, match=match),
        lock.hold(tmp_path / "a"),
    ):
        pass


def test_a_file_that_its_holder_deleted_is_not_the_lock(tmp_path, monkeypatch):
    """Opened before the last holder deleted it, locked after: it must not count."""
    flock, file = lock.fcntl.flock, tmp_path / ".a.lock"

    def deleted_meanwhile(descriptor, flags):
        monkeypatch.setattr(lock.fcntl, "flock", flock)
        file.unlink()
        flock(descriptor, flags)

    monkeypatch.setattr(lock.fcntl, "flock", deleted_meanwhile)
    with lock.hold(tmp_path / "a"):
        assert file.exists()
        with (
            pytest.raises(lock.LockedError, match="is being written"),
            lock.hold(tmp_path / "a"),
        ):
            pass


def test_a_holder_that_has_not_signed_yet(tmp_path):
    with lock.hold(tmp_path / "a"):
        (tmp_path / ".a.lock").write_text("")
        with (
            pytest.raises(lock.LockedError, match="another process that has just b"),
            lock.hold(tmp_path / "a"),
        ):
            pass


def test_file_systems_without_locks(tmp_path, monkeypatch):
    def unsupported(descriptor, flags):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", unsupported)
    with lock.hold(tmp_path / "a"), lock.hold(tmp_path / "a"):
        pass
    monkeypatch.setattr(lock, "fcntl", None)
    with lock.hold(tmp_path / "a"), lock.hold(tmp_path / "a"):
        pass


def test_object_stores_are_not_locked(monkeypatch):
    monkeypatch.setattr(epath.Path("/x").__class__, "mkdir", None)  # would be called
    with lock.hold("gs://bucket/a"), lock.hold("gs://bucket/a"):
        pass


def test_other_processes_of_a_job_are_refused_with_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(artifacts, "is_main_process", lambda: False)
    monkeypatch.setattr(
        artifacts.multihost_utils, "broadcast_one_to_all", lambda refused: refused + 1
    )
    with pytest.raises(artifacts.ArtifactError, match="being written by another run"):
        write(tmp_path / "a")
