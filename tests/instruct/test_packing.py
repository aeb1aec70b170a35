"""Packing on a worked example, its invariants, and batches with an exact restart."""

import itertools

import numpy as np
import pytest

from radit_jax.instruct import packing
from radit_jax.instruct.packing import Example


def random_examples(num, longest, seed=0):
    rng = np.random.default_rng(seed)
    examples = []
    for i in range(num):
        length = int(rng.integers(2, longest + 1))
        tokens = rng.integers(3, 900, length).tolist()
        examples.append(Example(f"e{i}", tokens, int(rng.integers(1, length))))
    return examples


def numbered_rows(num):
    """Rows that can be told apart: row i holds the token 10 + i."""
    return packing.pack([Example(str(i), [1, 10 + i], 1) for i in range(num)], 2)


def first_tokens(batch):
    return batch["tokens"][:, 1].tolist()


def test_worked_example():
    examples = [
        Example("a", [1, 5, 6, 2], 2),
        Example("b", [1, 8, 9, 9, 9, 2], 1),  # no room in row 0
        Example("c", [1, 7, 2], 2),  # back into row 0
    ]
    rows = packing.pack(examples, row_tokens=8)
    np.testing.assert_array_equal(
        rows.tokens, [[1, 5, 6, 2, 1, 7, 2, 0], [1, 8, 9, 9, 9, 2, 0, 0]]
    )
    np.testing.assert_array_equal(
        rows.segment_ids, [[1, 1, 1, 1, 2, 2, 2, 0], [1, 1, 1, 1, 1, 1, 0, 0]]
    )
    np.testing.assert_array_equal(
        rows.positions, [[0, 1, 2, 3, 0, 1, 2, 0], [0, 1, 2, 3, 4, 5, 0, 0]]
    )
    np.testing.assert_array_equal(
        rows.target_positions, [[1, 2, 5, 0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 0, 0, 0]]
    )
    np.testing.assert_array_equal(
        rows.target_tokens, [[6, 2, 2, 0, 0, 0, 0, 0], [8, 9, 9, 9, 2, 0, 0, 0]]
    )
    np.testing.assert_array_equal(rows.target_mask.sum(axis=1), [3, 5])
    assert packing.real_token_share(rows) == 13 / 16
    kinds = {array.dtype for array in rows.arrays().values()}
    assert kinds == {np.dtype(np.int32), np.dtype(np.bool_)}


def unpack(rows):
    """The (tokens, targets) of every segment, read back from the arrays alone."""
    found = []
    for b in range(len(rows)):
        for segment in range(1, rows.segment_ids[b].max() + 1):
            places = np.flatnonzero(rows.segment_ids[b] == segment)
            mask = rows.target_mask[b] & np.isin(rows.target_positions[b], places)
            targets = rows.target_tokens[b][mask]
            assert (np.diff(places) == 1).all()
            np.testing.assert_array_equal(rows.positions[b][places], range(len(places)))
            predicted = rows.tokens[b][rows.target_positions[b][mask] + 1]
            np.testing.assert_array_equal(targets, predicted)
            found.append((rows.tokens[b][places].tolist(), targets.tolist()))
    return found


@pytest.mark.parametrize("lookahead", [1, 4, 64])
def test_every_example_is_packed_whole_and_once(lookahead):
    examples = random_examples(200, longest=37)
    rows = packing.pack(examples, row_tokens=64, lookahead=lookahead)
    expected = [(e.tokens, e.tokens[e.num_prompt_tokens :]) for e in examples]
    assert sorted(unpack(rows)) == sorted(expected)
    assert rows.target_mask.shape[1] % 8 == 0
    assert rows.target_mask.sum() == sum(len(targets) for _, targets in expected)


def test_looking_ahead_wastes_less():
    examples = random_examples(2000, longest=200)
    near = packing.real_token_share(packing.pack(examples, 256, lookahead=1))
    far = packing.real_token_share(packing.pack(examples, 256, lookahead=64))
    assert near < 0.8
    assert far > 0.95


def test_lookahead_bounds_the_open_rows():
    examples = [Example(str(i), [1] * n, 1) for i, n in enumerate([5, 6, 6, 3])]
    rows = packing.pack(examples, 8, lookahead=2)
    assert len(rows) == 4  # the 3 would fit row 0, which has closed
    assert len(packing.pack(examples, 8, lookahead=3)) == 3


def test_packing_is_deterministic():
    first, second = (packing.pack(random_examples(50, 20), 32) for _ in range(2))
    for name, array in first.arrays().items():
        np.testing.assert_array_equal(array, second.arrays()[name])


def test_an_example_longer_than_a_row_is_refused():
    match = "'long' has 9 tokens, more than a row of 8. Raise --config.examples.row_to"
    with pytest.raises(packing.PackingError, match=match):
        packing.pack([Example("long", [1] * 9, 2)], 8)


@pytest.mark.parametrize("num_prompt_tokens", [0, 4])
def test_an_example_without_prompt_or_target_is_refused(num_prompt_tokens):
    match = f"'x' has {num_prompt_tokens} prompt tokens out of 4; give one at least"
    with pytest.raises(packing.PackingError, match=match):
        packing.pack([Example("x", [1, 2, 3, 4], num_prompt_tokens)], 8)


@pytest.mark.parametrize("num", [0, 30])
def test_saved_rows_are_the_rows(tmp_path, num):
    rows = packing.pack(random_examples(num, 20), 32)
    packing.save_rows(tmp_path / "rows.safetensors", rows)
    loaded = packing.load_rows(tmp_path / "rows.safetensors")
    assert len(loaded) == len(rows)
    for name, array in rows.arrays().items():
        np.testing.assert_array_equal(loaded.arrays()[name], array, strict=True)


def test_no_rows_waste_nothing():
    assert packing.real_token_share(packing.pack([], 32)) == 1.0


def test_batches_see_every_row_once_an_epoch():
    batches = packing.RowBatches(numbered_rows(7), batch_rows=3, seed=0)
    seen = [token for _ in range(7) for token in first_tokens(next(batches))]
    epochs = [seen[0:7], seen[7:14], seen[14:21]]
    assert all(sorted(epoch) == list(range(10, 17)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert epochs[0] != sorted(epochs[0])


def test_batches_depend_on_the_seed():
    rows = numbered_rows(20)
    one, same, other = (packing.RowBatches(rows, 20, seed) for seed in (1, 1, 2))
    tokens = first_tokens(next(one))
    assert tokens == first_tokens(next(same))
    assert tokens != first_tokens(next(other))


def test_a_batch_holds_whole_rows():
    rows = packing.pack(random_examples(60, 20), 32)
    batch = next(packing.RowBatches(rows, 4, seed=0))
    assert batch["tokens"].shape == (4, 32)
    assert batch["target_mask"].shape == (4, rows.target_mask.shape[1])
    for b in range(4):
        (row,) = np.flatnonzero((rows.tokens == batch["tokens"][b]).all(axis=1))
        for name, array in rows.arrays().items():
            np.testing.assert_array_equal(batch[name][b], array[row])


@pytest.mark.parametrize("num_steps", range(8))
def test_two_and_two_make_four(num_steps):
    rows = numbered_rows(7)
    unbroken = packing.RowBatches(rows, 3, seed=5)
    expected = [first_tokens(batch) for batch in itertools.islice(unbroken, 12)]
    first = packing.RowBatches(rows, 3, seed=5)
    before = [first_tokens(next(first)) for _ in range(num_steps)]
    second = packing.RowBatches(rows, 3, seed=5)
    second.set_state(first.get_state())
    after = [first_tokens(next(second)) for _ in range(12 - num_steps)]
    assert before + after == expected
    assert set(first.get_state()) == {"epoch", "row"}


def test_fewer_rows_than_a_batch_is_refused():
    match = "there are 2 packed rows, fewer than a batch of 3. Lower --config.lm_train"
    with pytest.raises(packing.PackingError, match=match):
        packing.RowBatches(numbered_rows(2), 3, seed=0)


def test_the_state_of_other_rows_is_refused():
    batches = packing.RowBatches(numbered_rows(4), 2, seed=0)
    with pytest.raises(packing.PackingError, match="at row 4, but there are 4 rows"):
        batches.set_state({"epoch": 0, "row": 4})


def test_in_order_fills_the_last_batch_with_empty_rows():
    batches = list(packing.in_order(numbered_rows(5), 3))
    assert [first_tokens(batch) for batch in batches] == [[10, 11, 12], [13, 14, 0]]
    assert {batch["target_mask"].shape for batch in batches} == {(3, 8)}
    assert not batches[1]["target_mask"][2].any()
    assert (batches[1]["segment_ids"][2] == 0).all()
    assert list(packing.in_order(numbered_rows(0), 3)) == []


def test_head_takes_the_first_rows():
    rows = numbered_rows(6)
    assert len(rows.head(4)) == 4
    assert len(rows.head(9)) == 6
    np.testing.assert_array_equal(rows.head(2).tokens, rows.tokens[:2])
