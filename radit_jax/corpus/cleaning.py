"""Which chunks of the draft shards are dropped, and why.

The hashes that the blocks' workers left are gathered in slices: all equal hashes are
in one slice, which fits in memory whatever the size of the corpus. The answer is
`dropped.npy`, a byte a draft chunk. Of equal or similar chunks the earliest stays, so
the answer doesn't depend on the number of workers.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np
from absl import logging
from etils import epath
from jaxtyping import Int, UInt

from radit_jax.config import CorpusConfig
from radit_jax.corpus import blocks, duplicates, runner, store
from radit_jax.corpus.words import normalised_words

DROPPED_FILE = "dropped.npy"
KEPT, REPEATED_ID, CONTAMINATED, EXACT, NEAR = range(5)  # what its bytes mean
_SLICE_HASHES = 1 << 17  # in memory together: 7 MB with what sorts them
_MOST_SLICES = 256  # each reads every block; so above 33M hashes they get longer
_SLICE_PAIRS = 1 << 20
_FEW_HASHES = 1 << 24  # some 10 s of work
_FEW_PAIRS = 100_000  # some 10 s of work
_PAIRS_TOGETHER = 1024  # whose texts are in memory together


@dataclasses.dataclass(frozen=True)
class Drafts:
    """The finished blocks of a corpus, in reading order."""

    folder: str
    names: tuple[str, ...]
    num_chunks: tuple[int, ...]  # of each block
    num_documents: tuple[int, ...]  # likewise

    @property
    def path(self) -> epath.Path:
        """The folder."""
        return epath.Path(self.folder)

    @functools.cached_property
    def first_chunks(self) -> Int[np.ndarray, " blocks_and_end"]:
        """Of each block, counted from the corpus' beginning; then their number."""
        return np.cumsum([0, *self.num_chunks])

    @functools.cached_property
    def first_documents(self) -> Int[np.ndarray, " blocks_and_end"]:
        """Likewise."""
        return np.cumsum([0, *self.num_documents])

    def of_block(
        self, block: int, documents: Int[np.ndarray, " all"]
    ) -> Int[np.ndarray, " here"]:
        """Those that are the block's, counted from its beginning; they are in order."""
        first, last = self.first_documents[block : block + 2]
        begin, end = np.searchsorted(documents, [first, last])
        return documents[begin:end] - first

    def dropped(self) -> UInt[np.ndarray, " n"]:
        """The finished answer: a reason for each draft chunk, read where it's asked."""
        return np.load(self.path / DROPPED_FILE, mmap_mode="r")


@dataclasses.dataclass(frozen=True, slots=True)
class Slice:
    """The hashes of one key that leave `number` when divided by `of`."""

    key: str
    number: int
    of: int

    @property
    def file(self) -> str:
        """Of what was found in it."""
        return f"{self.key}-{self.number:04}-of-{self.of:04}.npy"


def find_dropped(
    drafts: Drafts,
    corpus: CorpusConfig,
    repeated: Int[np.ndarray, " documents"],
) -> None:
    """Writes `dropped.npy`.

    A chunk that goes for its document's id, or for contamination, makes no other one
    a duplicate.

    Args:
      drafts: every block of the corpus.
      corpus: says what to drop.
      repeated: documents whose id an earlier one has: see `repeated_documents`.
    """
    aside = drafts.path / f"{DROPPED_FILE}.tmp"
    shape = (int(drafts.first_chunks[-1]),)
    dropped = np.lib.format.open_memmap(aside, "w+", np.uint8, shape)
    for first, last in _chunks_of_documents(drafts, repeated):
        dropped[first:last] = REPEATED_ID
    if corpus.decontaminate == "drop":
        _drop_contaminated(drafts, dropped)
    dropped.flush()  # workers read it
    if corpus.drop_duplicates:
        _drop(dropped, _repeats(drafts, corpus, "texts", aside), EXACT)
    if corpus.drop_duplicates == "near":
        _drop(dropped, _near_duplicates(drafts, corpus, aside), NEAR)
    aside.replace(drafts.path / DROPPED_FILE)


def repeated_documents(
    drafts: Drafts, corpus: CorpusConfig
) -> Int[np.ndarray, " documents"]:
    """Documents, counted from the corpus' beginning, whose id an earlier one has."""
    return np.sort(np.concatenate(list(_repeats(drafts, corpus, "document_ids", None))))


def _drop(dropped: np.memmap, found: Iterator[np.ndarray], reason: int) -> None:
    for ids in found:
        dropped[ids] = reason
    dropped.flush()


def _chunks_of_documents(
    drafts: Drafts, documents: Int[np.ndarray, " documents"]
) -> Iterator[tuple[np.integer, np.integer]]:
    """The range of each document's chunks; documents are in order."""
    for block, name in enumerate(drafts.names):
        here = drafts.of_block(block, documents)
        if len(here):
            firsts = blocks.read_array(drafts.path, name, "first_chunks")
            ends = np.append(firsts, drafts.num_chunks[block])
            ends = ends.astype(int) + drafts.first_chunks[block]
            yield from zip(ends[here], ends[here + 1], strict=True)


def _drop_contaminated(drafts: Drafts, dropped: np.ndarray) -> None:
    for name, first in zip(drafts.names, drafts.first_chunks, strict=False):
        for one in blocks.read_counts(drafts.path, name)["contaminated"]:
            if dropped[first + one["row"]] == KEPT:
                dropped[first + one["row"]] = CONTAMINATED


def _repeats(
    drafts: Drafts, corpus: CorpusConfig, key: str, dropped: epath.Path | None
) -> Iterator[np.ndarray]:
    """Places whose hash an earlier place has, slice by slice."""
    slices = _slices(drafts, [key])
    task = _SliceTask(drafts, duplicates.repeats, dropped and str(dropped))
    runner.for_each(corpus, task, slices, is_small=_is_small(drafts))
    return (np.load(drafts.path / one.file) for one in slices)


def _slices(drafts: Drafts, keys: list[str]) -> list[Slice]:
    total = max(drafts.first_chunks[-1], drafts.first_documents[-1])
    of = min(-(-int(total) // _SLICE_HASHES) or 1, _MOST_SLICES)
    return [Slice(key, number, of) for key in keys for number in range(of)]


def _is_small(drafts: Drafts) -> bool:
    return sum(drafts.num_chunks) + sum(drafts.num_documents) < _FEW_HASHES


class _SliceTask:
    """Finds equal hashes in a slice; writes their places, as `find` returns them."""

    def __init__(
        self,
        drafts: Drafts,
        find: Callable[[np.ndarray], np.ndarray],
        dropped: str | None,
    ):
        self._drafts, self._find, self._dropped = drafts, find, dropped

    def __call__(self, one: Slice) -> None:
        path = self._drafts.path / one.file
        if not path.exists():
            hashes, places = self._gather(one)
            blocks.save(path, places[self._find(hashes)])

    def _gather(self, one: Slice) -> tuple[np.ndarray, np.ndarray]:
        drafts = self._drafts
        of_documents = one.key == "document_ids"
        starts = drafts.first_documents if of_documents else drafts.first_chunks
        dropped = np.load(self._dropped, mmap_mode="r") if self._dropped else None
        hashes, places = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for block, name in enumerate(drafts.names):
            values = blocks.read_array(drafts.path, name, one.key)
            is_here = values % np.uint64(one.of) == one.number
            if dropped is not None:
                is_here &= dropped[starts[block] : starts[block + 1]] == KEPT
            hashes.append(values[is_here])
            places.append(np.flatnonzero(is_here) + starts[block])
        return np.concatenate(hashes), np.concatenate(places)


def _near_duplicates(
    drafts: Drafts, corpus: CorpusConfig, dropped: epath.Path
) -> Iterator[np.ndarray]:
    """Chunks that are similar to an earlier one, itself kept or not."""
    count, _ = duplicates.num_bands(corpus.near_duplicate_similarity)
    slices = _slices(drafts, [f"band{i:02}" for i in range(count)])
    task = _SliceTask(drafts, duplicates.pairs, str(dropped))
    runner.for_each(corpus, task, slices, is_small=_is_small(drafts))
    store.write_index(drafts.path, [f"{name}.array_record" for name in drafts.names])
    files = [one.file for one in slices]
    num_pairs = sum(len(np.load(drafts.path / f, mmap_mode="r")) for f in files)
    of = max(runner.num_workers(corpus), -(-num_pairs // _SLICE_PAIRS))
    logging.info("Comparing %d pairs that may be near duplicates.", num_pairs)
    ranges = [Slice("near", number, of) for number in range(of)]
    similarity = corpus.near_duplicate_similarity
    task = _PairTask(drafts, files, similarity)
    runner.for_each(corpus, task, ranges, is_small=num_pairs < _FEW_PAIRS)
    return (np.load(drafts.path / one.file) for one in ranges)


class _PairTask:
    """Compares proposed pairs whose later chunk is in a range of the corpus."""

    def __init__(self, drafts: Drafts, files: list[str], similarity: float):
        self._drafts, self._files, self._similarity = drafts, files, similarity

    def __call__(self, one: Slice) -> None:
        path = self._drafts.path / one.file
        if not path.exists():
            blocks.save(path, np.array(self._similar(self._pairs(one)), np.int64))

    def _pairs(self, one: Slice) -> Int[np.ndarray, "pairs two"]:
        """Proposed by any band, in the order of their later chunks."""
        n = int(self._drafts.first_chunks[-1])
        first, last = n * one.number // one.of, n * (one.number + 1) // one.of
        found = []
        for file in self._files:
            pairs = np.load(self._drafts.path / file, mmap_mode="r")
            found.append(pairs[(pairs[:, 1] >= first) & (pairs[:, 1] < last)])
        unique = np.unique(np.concatenate(found), axis=0)
        return unique[np.lexsort((unique[:, 0], unique[:, 1]))]

    def _similar(self, pairs: Int[np.ndarray, "pairs two"]) -> list[int]:
        """Later chunks that are similar to an earlier one."""
        store_of_drafts = store.ChunkStore(self._drafts.path)
        found = [-1]
        for begin in range(0, len(pairs), _PAIRS_TOGETHER):
            some = pairs[begin : begin + _PAIRS_TOGETHER]
            some = some[some[:, 1] != found[-1]]
            texts = _shingles(store_of_drafts, np.unique(some).tolist())
            for earlier, later in some.tolist():
                if later != found[-1] and (
                    duplicates.jaccard(texts[earlier], texts[later]) >= self._similarity
                ):
                    found.append(later)
        return found[1:]


def _shingles(texts: store.ChunkStore, ids: list[int]) -> dict[int, frozenset[str]]:
    return {
        chunk.id: duplicates.shingles(normalised_words(chunk.text))
        for chunk in texts.get_many(ids)
    }
