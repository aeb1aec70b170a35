import contextlib
import errno
import logging
import resource
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import PartitionSpec

from radit_jax.training import checkpoint, layout
from radit_jax.training import mesh as mesh_lib
from radit_jax.training import state as state_lib
from radit_jax.training.checkpoint import Checkpointer, RestoreError, SaveError

from . import toy


@pytest.fixture
def state():
    return toy.problem()[1]


def _save(path, step, state, data_state):
    """By a checkpointer of its own; whole when this returns."""
    checkpointer = Checkpointer(path)
    checkpointer.save(step, state, data_state)
    checkpointer.wait()
    return checkpointer


def _files(folder):
    """The array data, the biggest file of a checkpoint; and its JSON."""
    arrays = max(folder.glob("state/**/d/*"), key=lambda file: file.stat().st_size)
    return {"arrays": arrays, "json": folder / "data" / "metadata"}


def test_nothing_saved(tmp_path, state):
    checkpointer = Checkpointer(tmp_path / "new")
    assert checkpointer.restore_latest(state) is None
    assert checkpointer.latest_step() is None


def test_what_is_saved_comes_back_bit_for_bit_on_any_mesh(tmp_path, state):
    data_state = {"batches": {"position": 3, "scores": [0.1, 1e-45]}, "best": None}
    _save(tmp_path, 3, state, data_state)
    other = toy.problem(mesh_lib.make_mesh(fsdp=8))[1]
    assert jax.tree.leaves(other.params)[1].sharding.spec == PartitionSpec(
        "fsdp", "tensor"
    )
    restored, data = Checkpointer(tmp_path).restore_latest(state_lib.abstract(other))
    assert data == data_state
    assert toy.equal(restored, state)
    for leaf, wanted in zip(
        jax.tree.leaves(restored), jax.tree.leaves(other), strict=True
    ):
        assert leaf.sharding == wanted.sharding
    assert jax.tree.structure(restored) == jax.tree.structure(state)


def test_only_the_newest_are_kept(tmp_path, state):
    checkpointer = Checkpointer(tmp_path, keep=2)
    for step in (1, 2, 3):
        checkpointer.save(step, state, {"step": step})
    checkpointer.wait()
    folders = sorted(path.name for path in tmp_path.iterdir())
    assert folders == ["2", "3"]
    assert checkpointer.restore_latest(state)[1] == {"step": 3}


def test_a_run_that_went_back_replaces_its_old_future(tmp_path, state):
    checkpointer = Checkpointer(tmp_path, keep=2)
    for step in (10, 20, 10):
        checkpointer.save(step, state, {"step": step})
    checkpointer.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["10"]
    checkpointer.save(15, state, {"step": 15})
    checkpointer.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "15"]


def _flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("harm", [_flip, _cut, lambda file: file.unlink()])
@pytest.mark.parametrize("part", ["arrays", "json"])
def test_a_broken_checkpoint_falls_back_to_the_last_good(
    tmp_path, harm, part, caplog, monkeypatch
):
    # Large, so that the biggest file holds numbers: of a small state it is the index,
    # which Orbax keeps twice and reads once.
    state = {"w": jax.random.normal(jax.random.key(0), (256, 64))}
    # When one array cannot be read, Orbax abandons the reads of the others, and
    # these complain to no one in particular when they end.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(2, state, {"position": 20})
    checkpointer.save(4, state, {"position": 40})
    checkpointer.close()
    harm(_files(tmp_path / "4")[part])
    checkpointer = Checkpointer(tmp_path)
    with caplog.at_level(logging.WARNING):
        restored, data = checkpointer.restore_latest(state)
    assert data == {"position": 20}
    assert toy.equal(restored, state)
    assert f"{tmp_path}/4 cannot be read, trying an older" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "unreadable_4"]
    checkpointer.save(4, state, {"position": 41})
    checkpointer.close()
    assert Checkpointer(tmp_path).restore_latest(state)[1] == {"position": 41}


def test_a_flipped_bit_that_orbax_does_not_see_is_seen(tmp_path):
    arrays = {"w": jax.random.normal(jax.random.key(0), (256, 64))}
    _save(tmp_path, 1, arrays, {"position": 1})
    _save(tmp_path, 2, arrays, {"position": 2})
    _flip(_files(tmp_path / "2")["arrays"])
    with ocp.StandardCheckpointer() as orbax:
        altered = orbax.restore(tmp_path / "2" / "state", arrays)
    assert not toy.equal(altered, arrays)
    restored, data = Checkpointer(tmp_path).restore_latest(arrays)
    assert toy.equal(restored, arrays)
    assert data == {"position": 1}


def test_no_good_checkpoint_is_an_error_and_not_a_fresh_start(tmp_path, state):
    checkpointer = _save(tmp_path, 2, state, {})
    _cut(_files(tmp_path / "2")["json"])
    message = r"none of the checkpoints \[2\] .* can be read.*from a backup, or remove"
    with pytest.raises(RestoreError, match=message):
        checkpointer.restore_latest(state)
    assert (tmp_path / "2").exists()


def test_another_model_is_an_error_that_lists_every_difference(tmp_path):
    small, large = toy.problem(inputs=16)[1], toy.problem(inputs=24)[1]
    _save(tmp_path, 5, small, {})
    larger = state_lib.TrainState(
        large.step, large.params, large.opt_state, {"key": large.rng}
    )
    with pytest.raises(RestoreError, match=r"5 difference\(s\)") as caught:
        Checkpointer(tmp_path).restore_latest(larger)
    for line in (
        "params.weight.value: float32[16, 4] saved, float32[24, 4] here",
        "opt_state.1.0.mu.weight.value: float32[16, 4] saved, float32[24, 4] here",
        "rng: uint32[2] saved, absent here",
        "rng.key: absent saved, uint32[2] here",
        "Run with the config that it was saved with",
    ):
        assert line in str(caught.value)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, state, monkeypatch):
    checkpointer = _save(tmp_path, 2, state, {"position": 2})

    def fails(*args, **kwargs):
        (tmp_path / "4.orbax-checkpoint-tmp").mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", fails)
        message = (
            r"step 4 \(\d.*MB\) could not be written to .*No space left on device.*"
            "the last is step 2.*Free space.*start the same command again"
        )
        with pytest.raises(SaveError, match=message):
            checkpointer.save(4, state, {})
    assert checkpointer.restore_latest(state)[1] == {"position": 2}
    checkpointer.save(4, state, {"position": 4})
    checkpointer.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "4"]
    assert Checkpointer(tmp_path).restore_latest(state)[1] == {"position": 4}


@contextlib.contextmanager
def _files_under_64_kib():
    """No mock: the kernel refuses to let any file grow further."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def _wait(checkpointer):
    checkpointer.wait()


def _check(checkpointer):
    """As a run does after each step; it never waits."""
    begin = time.monotonic()
    while time.monotonic() < begin + 60:
        checkpointer.check()
        time.sleep(0.01)


def _save_again(checkpointer):
    checkpointer.save(3, {"w": jnp.ones((4, 4))}, {})


@pytest.mark.parametrize("tell", [_wait, _check, _save_again])
def test_a_write_that_the_system_refuses_half_way(tmp_path, tell):
    """Inside TensorStore, in the thread that writes."""
    arrays = {"w": jax.random.normal(jax.random.key(0), (256, 1024))}
    checkpointer = Checkpointer(tmp_path, keep=1)
    checkpointer.save(1, {"w": jnp.ones((256, 1024))}, {"position": 1})
    checkpointer.wait()
    with _files_under_64_kib():
        message = "step 2 .* could not be written .*the last is step 1"
        with pytest.raises(SaveError, match=message):
            checkpointer.save(2, arrays, {})
            tell(checkpointer)
    assert checkpointer.latest_step() == 1
    restored, data = checkpointer.restore_latest(arrays)
    assert data == {"position": 1}
    assert float(restored["w"].min()) == 1
    checkpointer.save(2, arrays, {})
    checkpointer.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2"]


def test_closing_tells_of_a_failed_write_in_the_log(tmp_path, caplog):
    arrays = {"w": jax.random.normal(jax.random.key(0), (256, 1024))}
    checkpointer = Checkpointer(tmp_path)
    with _files_under_64_kib(), caplog.at_level(logging.ERROR):
        checkpointer.save(2, arrays, {})
        checkpointer.close()
    assert "step 2 (1.049 MB) could not be written" in caplog.text


def test_what_is_saved_may_be_donated_at_once(tmp_path):
    step_fn, state, mesh = toy.problem()
    checkpointer = Checkpointer(tmp_path)
    before = jax.device_get(state)
    checkpointer.save(0, state, {})
    batch = mesh_lib.put_batch(next(toy.Batches()), mesh)
    for _ in range(3):
        state, _ = step_fn(state, batch)
    restored, _ = checkpointer.restore_latest(state_lib.abstract(state))
    assert toy.equal(restored, before)


@pytest.mark.parametrize("to", [(8, 1), (2, 2)])
def test_a_checkpoint_of_one_device_is_restored_on_eight(tmp_path, to):
    one = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1, 1), mesh_lib.AXES)
    saved = toy.problem(one)[1]
    _save(tmp_path, 3, saved, {})
    wanted = toy.problem(mesh_lib.make_mesh(*to))[1]
    restored, _ = Checkpointer(tmp_path).restore_latest(state_lib.abstract(wanted))
    assert toy.equal(restored, saved)
    weight = restored.params["weight"].get_value()
    assert weight.sharding == wanted.params["weight"].get_value().sharding
    assert len(weight.sharding.device_set) == 8


def test_checksums_are_the_sums_of_the_bits():
    arrays = {
        "f": np.array([[1.5, -2.0, 3.0]], np.float32),
        "i": np.array([-1, 7], np.int32),
        "b": np.array([True, False, True]),
        "h": np.array([1.0, -1.0], np.float16),
    }
    described = layout.describe({k: jnp.asarray(v) for k, v in arrays.items()})
    for name, array in arrays.items():
        bits = array.view(f"uint{8 * array.itemsize}").astype(np.uint64)
        assert described[name]["checksum"] == int(bits.sum()) % 2**32
    assert described["f"] | {"checksum": 0} == {
        "shape": [1, 3],
        "dtype": "float32",
        "checksum": 0,
    }


def test_every_process_must_agree(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for others in (True, False):
        monkeypatch.setattr(
            checkpoint.multihost_utils,
            "process_allgather",
            lambda ok, others=others: np.array([ok, others]),
        )
        assert checkpoint._on_all_processes(True) is others
        assert checkpoint._on_all_processes(False) is False
