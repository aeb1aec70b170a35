"""Exact and near duplicates: which of a corpus' texts repeat an earlier one.

Exact: the same words in lower case, without punctuation. Near: a Jaccard similarity of
the sets of 5-word shingles that reaches a threshold. MinHash (Broder 1997) with
locality sensitive hashing proposes the pairs, their true similarity decides.
"""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt

from radit_jax.corpus.words import ngrams

_SHINGLE_WORDS = 5
_NUM_HASHES = 128
_FOUND_SHARE = 0.95  # at least, of pairs that are just similar enough
_SEED = 1
_MOST_COMPARED = 64  # earlier texts of one bucket that a text is compared with


class DuplicatesError(RuntimeError):
    """Near duplicates can't be looked for: the fact and the remedy."""


def shingles(words: Sequence[str]) -> frozenset[str]:
    """The set of runs of 5 words; of a shorter text, the text."""
    return frozenset(ngrams(words, _SHINGLE_WORDS)) or frozenset([" ".join(words)])


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """|a ∩ b| / |a ∪ b|; neither is empty."""
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


@functools.cache
def num_bands(similarity: float) -> tuple[int, int]:
    """How many bands of how many hashes propose pairs of this similarity.

    A pair of similarity s shares one of b bands of r hashes with a chance of
    1 - (1 - s^r)^b. The longest bands are taken, which propose the fewest dissimilar
    pairs, that find 95 % at the threshold.

    Example: (18, 7) for 0.8, which finds 98.6 % of pairs at 0.8 and 99.99 % at 0.9.
    """
    rows = 1
    for longer in range(2, _NUM_HASHES + 1):
        if 1 - (1 - similarity**longer) ** (_NUM_HASHES // longer) >= _FOUND_SHARE:
            rows = longer
    return _NUM_HASHES // rows, rows


def bands(words: Sequence[str], similarity: float) -> UInt[np.ndarray, " bands"]:
    """A text's bands, hashed: similar texts are likely to have an equal one."""
    sketch = _minhash_class()(num_perm=_NUM_HASHES, seed=_SEED)
    sketch.update(list(shingles(words)))
    count, rows = num_bands(similarity)
    digest = np.array(sketch.digest()[: count * rows], np.uint64)
    return digest.reshape(count, rows) @ _factors(rows)


@functools.cache
def _factors(rows: int) -> UInt[np.ndarray, " rows"]:
    """Odd numbers of 64 bits: a multiply-add hash of a band, modulo 2^64."""
    drawn = np.random.Generator(np.random.PCG64(_SEED)).integers(
        0, 1 << 63, rows, np.uint64
    )
    return 2 * drawn + 1


def check_installed() -> None:
    """Raises DuplicatesError where MinHash isn't installed."""
    _minhash_class()


@functools.cache
def _minhash_class() -> type:
    try:
        import rensa
    except ImportError as error:
        raise DuplicatesError(
            "--config.corpus.drop_duplicates=near needs the package rensa; run "
            "`pip install 'radit_jax[data]'`."
        ) from error
    return rensa.RMinHash


def repeats(hashes: UInt[np.ndarray, " m"]) -> Bool[np.ndarray, " m"]:
    """Which of these repeat an earlier one.

    Example: [7, 3, 7, 7] gives [False, False, True, True].
    """
    order = np.argsort(hashes, kind="stable")
    is_repeat = np.zeros(len(hashes), bool)
    is_repeat[order[1:]] = hashes[order[1:]] == hashes[order[:-1]]
    return is_repeat


def pairs(hashes: UInt[np.ndarray, " m"]) -> UInt[np.ndarray, "pairs two"]:
    """Pairs (earlier, later) of places with equal hashes.

    A bucket of g texts has g (g - 1) / 2 pairs: each text is paired with the 64
    earliest of its bucket alone, so that a phrase in a million texts stops nobody.

    Example: [7, 3, 7, 7] gives (0, 2), (0, 3) and (2, 3).
    """
    order = np.argsort(hashes, kind="stable")
    edges = np.flatnonzero(np.diff(hashes[order])) + 1
    buckets = [bucket for bucket in np.split(order, edges) if len(bucket) > 1]
    found = [
        np.stack([np.full(len(bucket) - 1 - i, earlier), bucket[i + 1 :]], axis=1)
        for bucket in buckets
        for i, earlier in enumerate(bucket[: min(_MOST_COMPARED, len(bucket) - 1)])
    ]
    return np.concatenate([np.zeros((0, 2), np.int64), *found]).astype(np.uint64)
