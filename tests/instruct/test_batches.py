"""Batches: shuffled by the seed, restored exactly, the same for any process count."""

import itertools

import numpy as np
import pytest

from radit_jax.instruct import batches, packing, rows
from radit_jax.instruct.batches import MixedBatches, RowBatches
from radit_jax.instruct.packing import Example, PackingError
from radit_jax.training import mesh as mesh_lib


@pytest.fixture
def numbered(tmp_path):
    """Makes rows that can be told apart: row i holds the token 10 + i."""

    def make(num):
        examples = (Example(str(i), [1, 10 + i], 1) for i in range(num))
        path = tmp_path / f"{num}.array_record"
        return rows.RowStore(
            path, rows.write_rows(path, packing.pack(examples, 2, 1), 2)
        )

    return make


def first_tokens(batch):
    return batch["tokens"][:, 1].tolist()


def take(found, num):
    return [first_tokens(batch) for batch in itertools.islice(found, num)]


def test_every_row_comes_once_an_epoch(numbered):
    seen = sum(take(RowBatches(numbered(7), 3, seed=0), 7), [])
    epochs = [seen[0:7], seen[7:14], seen[14:21]]
    assert all(sorted(epoch) == list(range(10, 17)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert epochs[0] != sorted(epochs[0])


def test_batches_depend_on_the_seed_alone(numbered):
    one, same, other = (take(RowBatches(numbered(20), 5, s), 4) for s in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_batch_holds_whole_rows(numbered):
    store = numbered(9)
    batch = next(RowBatches(store, 4, seed=0))
    for b, token in enumerate(first_tokens(batch)):
        for name, array in store[token - 10].items():
            np.testing.assert_array_equal(batch[name][b], array, strict=True)


@pytest.mark.parametrize("num_steps", [0, 2, 4])
def test_two_and_two_make_four(numbered, num_steps):
    store = numbered(7)
    expected = take(RowBatches(store, 3, seed=5), 9)
    first, second = RowBatches(store, 3, seed=5), RowBatches(store, 3, seed=5)
    before = take(first, num_steps)
    next(second)  # its threads have read ahead: all of it is forgotten
    second.set_state(first.get_state())
    assert before + take(second, 9 - num_steps) == expected


@pytest.mark.parametrize("num_hosts", [1, 2, 4])
@pytest.mark.parametrize(("fsdp", "tensor"), [(1, 1), (2, 2)])
def test_any_number_of_hosts_makes_the_same_batches(numbered, num_hosts, fsdp, tensor):
    """Hosts are simulated by the devices that they would have, in their order."""
    store, mesh = numbered(21), mesh_lib.make_mesh(fsdp, tensor)
    expected = take(RowBatches(store, 8, seed=3), 4)
    hosts = np.split(mesh.devices.reshape(-1), num_hosts)
    places = [mesh_lib.local_rows(mesh, 8, set(devices)) for devices in hosts]
    assert sorted({int(p) for part in places for p in part}) == list(range(8))
    found = np.full((4, 8), -1)
    for part in places:
        local = RowBatches(store, 8, seed=3, places=part)
        found[:, part] = take(local, 4)
        assert len(part) == 8 // min(num_hosts, 8 // tensor)
    assert found.tolist() == expected


def test_a_host_reads_its_own_rows_only(numbered, monkeypatch):
    store, read, original = numbered(8), [], rows.RowStore.__getitem__

    def spy(self, place):
        if self is store:  # not what other tests' threads still read ahead
            read.append(int(place))
        return original(self, place)

    monkeypatch.setattr(rows.RowStore, "__getitem__", spy)
    local = RowBatches(store, 8, seed=0, places=[2, 3])
    own = take(local, 1)[0]
    local.close()
    walk = batches.shuffled(8, 0)
    assert own == [10 + walk[2], 10 + walk[3]]
    # What was read ahead are the same places of later batches.
    steps, places = range(10), (2, 3)
    assert set(read) <= {walk[8 * step + place] for step in steps for place in places}
    assert len(read) <= 2 * 10


def test_a_state_fits_another_number_of_hosts(numbered):
    store = numbered(21)
    expected = take(RowBatches(store, 8, seed=3), 6)
    half = RowBatches(store, 8, seed=3, places=range(4))
    take(half, 2)
    whole = RowBatches(store, 8, seed=3)
    whole.set_state(half.get_state())
    assert take(whole, 4) == expected[2:]


def test_an_assembled_batch_is_the_global_one(numbered):
    """Placed on the mesh, each device holds the rows that its place says."""
    mesh = mesh_lib.make_mesh(2, 2)
    local = next(RowBatches(numbered(21), 8, 3, mesh_lib.local_rows(mesh, 8)))
    placed = mesh_lib.put_batch(local, mesh, 8)["tokens"]
    np.testing.assert_array_equal(placed, local["tokens"])
    for shard in placed.addressable_shards:
        rows_here = mesh_lib.local_rows(mesh, 8, {shard.device})
        np.testing.assert_array_equal(shard.data, local["tokens"][rows_here])


def test_fewer_rows_than_a_batch_is_refused(numbered):
    match = "there are 2 packed rows, fewer than a batch of 3. Lower --config.lm_train"
    with pytest.raises(PackingError, match=match):
        RowBatches(numbered(2), 3, seed=0)


def test_the_state_of_other_rows_is_refused(numbered):
    state = RowBatches(numbered(5), 2, seed=0).get_state()
    with pytest.raises(PackingError, match="made with 5 rows, but there are 4. Rest"):
        RowBatches(numbered(4), 2, seed=0).set_state(state)


def test_in_order_fills_the_last_batch_with_empty_rows(numbered):
    store = numbered(5)
    found = list(batches.in_order(store, 3))
    assert [first_tokens(batch) for batch in found] == [[10, 11, 12], [13, 14, 0]]
    assert not found[1]["target_mask"][2].any()
    assert (found[1]["segment_ids"][2] == 0).all()
    assert take(batches.in_order(store, 3, max_rows=4), 9)[1] == [13, 0, 0]
    assert take(batches.in_order(store, 3, places=[2]), 9) == [[12], [0]]
    assert list(batches.in_order(numbered(0), 3)) == []


def test_a_mixture_keeps_its_share_in_every_batch():
    found = MixedBatches((300, 200), (0.75, 0.25), 8, seed=0)
    for _ in range(30):
        rows_drawn = next(found)
        assert len(rows_drawn) == 8
        assert np.sum(rows_drawn >= 300) == 2
        assert rows_drawn.max() < 500


def test_a_share_that_is_no_whole_number_of_rows_is_met_over_time():
    found = MixedBatches((900, 1100), (0.05, 0.95), 32, seed=0)
    drawn = np.concatenate([next(found) for _ in range(625)])  # 20,000
    assert len(drawn) == 20_000
    assert abs(np.mean(drawn >= 900) - 0.95) < 0.001


def test_each_source_is_walked_through_whole_before_it_repeats():
    found = MixedBatches((12, 4), (0.5, 0.5), 8, seed=3)
    drawn = np.concatenate([next(found) for _ in range(3)])
    assert sorted(drawn[drawn < 12]) == list(range(12))
    assert sorted(drawn[drawn >= 12][:4]) == [12, 13, 14, 15]


def test_a_mixture_restarts_exactly():
    whole = MixedBatches((70, 50), (0.5, 0.5), 4, seed=1)
    expected = [next(whole) for _ in range(9)]
    begun, resumed = (MixedBatches((70, 50), (0.5, 0.5), 4, seed=1) for _ in range(2))
    for _ in range(4):
        next(begun)
    resumed.set_state(begun.get_state())
    np.testing.assert_array_equal([next(resumed) for _ in range(5)], expected[4:])


def test_another_seed_gives_another_order():
    first, second = (next(MixedBatches((50,), (1.0,), 8, seed)) for seed in (0, 1))
    assert list(first) != list(second)


def test_a_lone_source_fills_the_batch():
    assert next(MixedBatches((90, 0), (0.05, 0.95), 6, 0)).max() < 90
    assert next(MixedBatches((90, 0), (0.0, 1.0), 6, 0)).max() < 90
    assert next(MixedBatches((0, 90), (0.95, 0.05), 6, 0)).max() < 90
    assert next(MixedBatches((90, 10), (0.0, 1.0), 6, 0)).min() >= 90


def test_nothing_to_draw_from_is_an_error():
    with pytest.raises(ValueError, match="no questions to train the retriever on"):
        MixedBatches((0, 0), (0.5, 0.5), 4, 0)
