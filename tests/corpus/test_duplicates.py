"""Which texts repeat others: hashes, bands and the similarity behind them."""

import sys

import numpy as np
import pytest

from radit_jax.corpus import duplicates
from radit_jax.corpus.words import ngrams, normalised_words


def hashes(*values):
    return np.array(values, np.uint64)


def words(first, last):
    return [f"w{i}" for i in range(first, last)]


def test_words_are_compared_without_case_and_punctuation():
    assert normalised_words("He's 5'4\"—«Größe», 東京.") == [
        *("he", "s", "5", "4", "größe", "東京")
    ]
    assert list(ngrams(["a", "b", "c"], 2)) == ["a b", "b c"]
    assert list(ngrams(["a"], 2)) == []


def test_repeats_are_all_but_the_earliest():
    found = duplicates.repeats(hashes(7, 3, 7, 9, 3, 7))
    assert found.tolist() == [False, False, True, False, True, True]
    assert duplicates.repeats(hashes()).tolist() == []


def test_pairs_of_a_bucket():
    found = duplicates.pairs(hashes(7, 3, 7, 9, 3, 7)).tolist()
    assert sorted(found) == [[0, 2], [0, 5], [1, 4], [2, 5]]
    assert duplicates.pairs(hashes(1, 2)).tolist() == []


def test_a_large_bucket_has_few_pairs(monkeypatch):
    monkeypatch.setattr(duplicates, "_MOST_COMPARED", 2)
    found = duplicates.pairs(hashes(*[5] * 6)).tolist()
    assert sorted(found) == [[0, i] for i in range(1, 6)] + [
        [1, i] for i in range(2, 6)
    ]


def test_similarity():
    a, b = duplicates.shingles(words(0, 10)), duplicates.shingles(words(2, 11))
    assert len(a) == 6
    assert duplicates.jaccard(a, b) == pytest.approx(4 / 7)
    assert duplicates.shingles(["one", "two"]) == {"one two"}
    assert duplicates.jaccard(duplicates.shingles([]), duplicates.shingles([])) == 1


@pytest.mark.parametrize(("similarity", "count"), [(0.5, 42), (0.8, 18), (0.95, 7)])
def test_bands_find_what_is_similar_enough(similarity, count):
    found, rows = duplicates.num_bands(similarity)
    assert found == count
    assert found * rows <= 128
    assert 1 - (1 - similarity**rows) ** found >= 0.95
    longer = rows + 1
    assert 1 - (1 - similarity**longer) ** (128 // longer) < 0.95


def test_bands_of_similar_texts_meet():
    """Of 200 pairs at each similarity the share with an equal band, and its chance."""
    count, rows = duplicates.num_bands(0.8)
    for shared, low, high in ((0.6, 0.25, 0.55), (0.8, 0.95, 1), (0.95, 1, 1)):
        num_met = 0
        for i in range(200):
            start = 1000 * i
            # 100 shingles each, of which `shared` of the union are the other's too.
            moved = round(100 * (1 - shared) / (1 + shared))
            a, b = words(start, start + 104), words(start + moved, start + 104 + moved)
            both = duplicates.bands(a, 0.8), duplicates.bands(b, 0.8)
            num_met += (both[0] == both[1]).any()
        assert low <= num_met / 200 <= high, (shared, num_met)
    assert both[0].shape == (count,)


def test_bands_are_the_same_in_every_process():
    """Written down: blocks of a killed run are compared with those of the next."""
    found = duplicates.bands(words(0, 20), 0.8)
    assert found[[0, 17]].tolist() == [11206309715242320916, 12667251443792184229]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rensa", None)
    duplicates._minhash_class.cache_clear()
    with pytest.raises(duplicates.DuplicatesError, match="rensa; .*radit_jax.data"):
        duplicates.check_installed()
