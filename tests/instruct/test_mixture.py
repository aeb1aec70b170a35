import numpy as np
import pytest

from radit_jax.instruct.mixture import MixedBatches


def test_every_batch_has_the_share():
    batches = MixedBatches(10, 6, 0.25, 8, seed=0)
    for _ in range(20):
        rows = next(batches)
        assert len(rows) == 8
        assert np.sum(rows >= 10) == 2
        assert rows.max() < 16


def test_each_source_is_walked_through_whole_before_it_repeats():
    batches = MixedBatches(12, 4, 0.5, 8, seed=3)
    rows = np.concatenate([next(batches) for _ in range(3)])
    assert sorted(rows[rows < 12]) == list(range(12))
    first = np.concatenate([next(MixedBatches(12, 4, 0.5, 8, seed=3))])
    assert sorted(first[first >= 12]) == [12, 13, 14, 15]


def test_restart_is_exact():
    whole = MixedBatches(7, 5, 0.5, 4, seed=1)
    expected = [next(whole) for _ in range(9)]
    begun = MixedBatches(7, 5, 0.5, 4, seed=1)
    for _ in range(4):
        next(begun)
    resumed = MixedBatches(7, 5, 0.5, 4, seed=1)
    resumed.set_state(begun.get_state())
    np.testing.assert_array_equal([next(resumed) for _ in range(5)], expected[4:])


def test_another_seed_gives_another_order():
    first, second = (next(MixedBatches(50, 0, 0.9, 8, seed)) for seed in (0, 1))
    assert list(first) != list(second)


def test_a_lone_source_fills_the_batch():
    assert next(MixedBatches(9, 0, 0.95, 6, 0)).max() < 9
    assert len(next(MixedBatches(0, 9, 0.05, 6, 0))) == 6


def test_nothing_to_draw_from_is_an_error():
    with pytest.raises(ValueError, match="no questions to train the retriever on"):
        MixedBatches(0, 0, 0.5, 4, 0)
