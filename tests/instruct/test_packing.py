"""Packing on a worked example, and its invariants."""

import numpy as np
import pytest

from radit_jax.instruct import packing
from radit_jax.instruct.packing import Example, Row


def random_examples(num, longest, seed=0):
    rng = np.random.default_rng(seed)
    examples = []
    for i in range(num):
        length = int(rng.integers(2, longest + 1))
        tokens = rng.integers(3, 900, length).tolist()
        examples.append(Example(f"e{i}", tokens, int(rng.integers(1, length))))
    return examples


def share(rows, row_tokens):
    return sum(len(row.tokens) for row in rows) / (len(rows) * row_tokens)


def test_worked_example():
    examples = [
        Example("a", [1, 5, 6, 2], 2),
        Example("b", [1, 8, 9, 9, 9, 2], 1),  # no room in row 0
        Example("c", [1, 7, 2], 2),  # back into row 0
    ]
    rows = list(packing.pack(examples, row_tokens=8))
    slots = packing.target_slots(max(row.num_targets for row in rows))
    arrays = [row.arrays(8, slots) for row in rows]
    expected = {
        "tokens": [[1, 5, 6, 2, 1, 7, 2, 0], [1, 8, 9, 9, 9, 2, 0, 0]],
        "segment_ids": [[1, 1, 1, 1, 2, 2, 2, 0], [1, 1, 1, 1, 1, 1, 0, 0]],
        "positions": [[0, 1, 2, 3, 0, 1, 2, 0], [0, 1, 2, 3, 4, 5, 0, 0]],
        "target_positions": [[1, 2, 5, 0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 0, 0, 0]],
        "target_tokens": [[6, 2, 2, 0, 0, 0, 0, 0], [8, 9, 9, 9, 2, 0, 0, 0]],
        "target_mask": [[True] * n + [False] * (8 - n) for n in (3, 5)],
    }
    assert arrays[0].keys() == expected.keys()
    for name, values in expected.items():
        dtype = bool if name == "target_mask" else np.int32
        found = np.stack([row[name] for row in arrays])
        np.testing.assert_array_equal(found, np.asarray(values, dtype), strict=True)


def unpack(arrays):
    """The (tokens, targets) of every segment, read back from the arrays alone."""
    for segment in range(1, arrays["segment_ids"].max() + 1):
        places = np.flatnonzero(arrays["segment_ids"] == segment)
        mask = arrays["target_mask"] & np.isin(arrays["target_positions"], places)
        targets = arrays["target_tokens"][mask]
        assert (np.diff(places) == 1).all()
        np.testing.assert_array_equal(arrays["positions"][places], range(len(places)))
        predicted = arrays["tokens"][arrays["target_positions"][mask] + 1]
        np.testing.assert_array_equal(targets, predicted)
        yield arrays["tokens"][places].tolist(), targets.tolist()


@pytest.mark.parametrize("lookahead", [1, 4, 64])
def test_every_example_is_packed_whole_and_once(lookahead):
    examples = random_examples(200, longest=37)
    rows = list(packing.pack(examples, row_tokens=64, lookahead=lookahead))
    slots = packing.target_slots(max(row.num_targets for row in rows))
    found = [one for row in rows for one in unpack(row.arrays(64, slots))]
    expected = [(e.tokens, e.tokens[e.num_prompt_tokens :]) for e in examples]
    assert sorted(found) == sorted(expected)
    assert slots % 8 == 0


def test_looking_ahead_wastes_less():
    examples = random_examples(2000, longest=200)
    near, far = (
        share(list(packing.pack(examples, 256, lookahead=n)), 256) for n in (1, 64)
    )
    assert near < 0.8
    assert far > 0.95


def test_lookahead_bounds_the_open_rows():
    examples = [Example(str(i), [1] * n, 1) for i, n in enumerate([5, 6, 6, 3])]
    rows = list(packing.pack(examples, 8, lookahead=2))
    assert [len(row.tokens) for row in rows] == [5, 6, 6, 3]  # row 0 has closed
    rows = list(packing.pack(examples, 8, lookahead=3))
    assert [len(row.tokens) for row in rows] == [8, 6, 6]


def test_rows_come_as_they_close():
    """No more than the open rows, and one example, are ever held."""
    taken = []

    def examples():
        for i in range(50):
            taken.append(i)
            yield Example(str(i), [1] * 6, 1)

    rows = packing.pack(examples(), 8, lookahead=3)
    for i in range(1, 40):
        next(rows)
        assert len(taken) == i + 3


def test_a_record_holds_the_row():
    for row in packing.pack(random_examples(30, 20), 32):
        read = Row.from_bytes(row.to_bytes())
        for name, array in row.arrays(32, 32).items():
            np.testing.assert_array_equal(read.arrays(32, 32)[name], array, strict=True)


def test_a_row_without_examples_has_no_target():
    arrays = packing.empty_arrays(8, 16)
    assert arrays["tokens"].shape == (8,)
    assert arrays["target_mask"].shape == (16,)
    assert not any(array.any() for array in arrays.values())


def test_an_example_longer_than_a_row_is_refused():
    match = "'long' has 9 tokens, more than a row of 8. Raise --config.examples.row_to"
    with pytest.raises(packing.PackingError, match=match):
        list(packing.pack([Example("long", [1] * 9, 2)], 8))


@pytest.mark.parametrize("num_prompt_tokens", [0, 4])
def test_an_example_without_prompt_or_target_is_refused(num_prompt_tokens):
    match = f"'x' has {num_prompt_tokens} prompt tokens out of 4; give one at least"
    with pytest.raises(packing.PackingError, match=match):
        list(packing.pack([Example("x", [1, 2, 3, 4], num_prompt_tokens)], 8))
