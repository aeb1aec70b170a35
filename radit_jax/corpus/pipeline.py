"""`chunk_corpus` on any number of workers: documents → blocks → the chunk store.

1. Every worker writes the blocks of its shares of the files, as draft shards.
2. What is to be dropped is found from hashes that lie beside them: see `cleaning`.
3. Draft shards become the store's: those that keep all by a new name, others copied.

Every step skips what a killed run finished. With one worker or many, in this process or
on Beam's, the store is the same to the byte.
"""

import bz2
import itertools
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from radit_jax import room
from radit_jax.config import CorpusConfig
from radit_jax.corpus import (
    blocks,
    cleaning,
    contamination,
    duplicates,
    formats,
    runner,
    store,
    tally,
)
from radit_jax.corpus.blocks import Share
from radit_jax.corpus.cleaning import Drafts
from radit_jax.corpus.json_lines import CorpusError
from radit_jax.corpus.records import BadRecord
from radit_jax.progress import Progress
from radit_jax.types import Document

DEAD_LETTERS_FILE = "dead_letters.jsonl"
CONTAMINATED_FILE = "contaminated.jsonl"
_NUM_PROBED = 100  # records, the first, that are looked at before the work
_SAMPLE_BYTES = 1 << 20  # of a compressed file, to guess its size
_STORED_SHARE = 0.5  # of a text's bytes: English Wikipedia, measured

Group = tuple[formats.Part, ...]


def write_store(
    corpus: CorpusConfig, folder: epath.PathLike, identity: str = "0"
) -> dict[str, Any]:
    """Chunks the documents that the config names, into a store in `folder`.

    Args:
      corpus: with `benchmarks` set, where it decontaminates.
      folder: gets the store's shards and index, `dead_letters.jsonl`, and, where
        contamination is looked for, `contaminated.jsonl`.
      identity: a hash of the documents and of the config. A killed run of the same
        identity is gone on with, any other's work deleted.

    Returns:
      What was counted.

    Raises:
      CorpusError: documents are missing or damaged, too many records can't be read,
        or no chunk is left.
    """
    folder = epath.Path(folder)
    groups = blocks.groups(formats.parts(corpus.documents))
    _probe(groups, corpus)
    if corpus.decontaminate:
        contamination.read_benchmarks(corpus.benchmarks)  # what is wrong, at once
    if corpus.drop_duplicates == "near":
        duplicates.check_installed()
    _check_room(groups, corpus, folder)
    work = _work_folder(folder, identity)
    try:
        _write_blocks(_shares(groups, corpus), corpus, work)
        drafts, counts = _clean(corpus, work)
    except CorpusError:
        # What is done stays for a run with another max_bad_share, which is no other
        # identity; as .tmp, it is in no other run's way.
        work.rename(folder / f"{work.name}.tmp")
        raise
    _write_shards(drafts, corpus, folder)
    if corpus.decontaminate:
        _write_lines(folder / CONTAMINATED_FILE, tally.contaminated(drafts))
    work.rmtree()
    return counts


def _check_room(
    groups: Sequence[Group], corpus: CorpusConfig, folder: epath.Path
) -> None:
    """Not with `max_documents`: how much of the text they are is not known."""
    if corpus.max_documents:
        return
    text_bytes = sum(_guess_bytes(part) for group in groups for part in group)
    # What leaves chunks out writes the blocks again before it deletes them.
    times = 2 if corpus.drop_duplicates or corpus.decontaminate == "drop" else 1
    room.check(folder, "chunk_corpus", text_bytes * _STORED_SHARE * times)


def _work_folder(folder: epath.Path, identity: str) -> epath.Path:
    """Where the blocks go: with those of an earlier run, if it was the same."""
    work = folder / f"blocks-{identity}"
    for other in folder.glob("blocks-*"):
        if other.name == f"{work.name}.tmp":
            other.rename(work)
        elif other != work:
            other.rmtree()
    work.mkdir(parents=True, exist_ok=True)
    return work


def _probe(groups: Sequence[Group], corpus: CorpusConfig) -> None:
    """Ends a run at once whose first records are all bad: e.g. a field misnamed."""
    records = blocks.read_records([part for group in groups for part in group])
    problems: list[str] = []
    for record in itertools.islice(records, _NUM_PROBED):
        found = [one for one in record.parse(corpus) if isinstance(one, BadRecord)]
        problems += map(str, found)
        if not found:
            return
    if len(problems) >= _NUM_PROBED:
        raise CorpusError(
            f"the documents in {corpus.documents}: none of the first {_NUM_PROBED} "
            f"records can be read:\n{tally.listed(problems)}"
        )


def _shares(groups: Sequence[Group], corpus: CorpusConfig) -> list[Share]:
    if corpus.max_documents:
        return _limited(groups, corpus)
    of = -(-runner.num_workers(corpus) // max(len(groups), 1))
    return [
        Share(place, group, number, of)
        for place, group in enumerate(groups)
        for number in range(of)
    ]


def _limited(groups: Sequence[Group], corpus: CorpusConfig) -> list[Share]:
    """The groups of the first `max_documents`, which are parsed to count them."""
    shares, left = [], corpus.max_documents
    for place, group in enumerate(groups):
        num_documents = 0
        for record in blocks.read_records(group):
            for found in record.parse(corpus):
                num_documents += isinstance(found, Document)
            if num_documents >= left:
                return [*shares, Share(place, group, max_documents=left)]
        shares.append(Share(place, group))
        left -= num_documents
    return shares


def _write_blocks(
    shares: Sequence[Share], corpus: CorpusConfig, work: epath.Path
) -> None:
    for file in work.glob("*.error"):
        file.unlink()
    done = _BytesDone(work)
    parts = dict.fromkeys(part for share in shares for part in share.parts)
    total = max(sum(map(_guess_bytes, parts)) >> 20, 1)
    progress = Progress(total, "MiB", "chunk_corpus", done=done.count())
    with runner.watching(progress, done.count):
        runner.for_each(corpus, blocks.ShareWriter(corpus, work), shares)
    errors = [file.read_text() for file in sorted(work.glob("*.error"))]
    if errors:
        raise CorpusError(
            f"the documents in {corpus.documents}: {len(errors)} file(s) can't be read "
            f"to their end:\n{tally.listed(errors)}"
        )


class _BytesDone:
    """The size of the records in finished blocks; reads a block's counts once."""

    def __init__(self, work: epath.Path):
        self._work, self._bytes = work, {}

    def count(self) -> int:
        """In MiB."""
        for file in self._work.glob("*-*.json"):
            if file.stem not in self._bytes:
                counts = blocks.read_counts(self._work, file.stem)
                self._bytes[file.stem] = counts["bytes"]
        return sum(self._bytes.values()) >> 20


def _guess_bytes(part: formats.Part) -> int:
    """A part's size without compression: a compressed one's from how it begins."""
    num_bytes = blocks.stored_bytes(part)
    suffix = epath.Path(part.file).suffix.lower()
    if suffix not in (".gz", ".bz2"):
        return num_bytes
    gz = suffix == ".gz"
    unpack = zlib.decompressobj(wbits=31) if gz else bz2.BZ2Decompressor()
    with epath.Path(part.file).open("rb") as file:
        sample = file.read(_SAMPLE_BYTES)
    try:
        size = len(unpack.decompress(sample))
    except (OSError, zlib.error):  # the reader will say so
        return num_bytes
    used = len(sample) - len(unpack.unused_data)
    return int(num_bytes * size / max(used, 1))


def _read_drafts(work: epath.Path) -> Drafts:
    names = sorted(file.stem for file in work.glob("*-*.json"))
    counts = [blocks.read_counts(work, name) for name in names]
    return Drafts(
        os.fspath(work),
        tuple(names),
        tuple(one["chunks"] for one in counts),
        tuple(one["documents"] for one in counts),
    )


def _clean(corpus: CorpusConfig, work: epath.Path) -> tuple[Drafts, dict[str, Any]]:
    """Decides what is dropped, once; returns the blocks, and what was counted."""
    drafts = _read_drafts(work)
    repeated = cleaning.repeated_documents(drafts, corpus)
    counts = tally.count(drafts, repeated)
    dead_letters = work / DEAD_LETTERS_FILE
    _write_lines(dead_letters, tally.dead_letters(drafts, repeated))
    tally.check(counts, corpus, tally.dead_letters(drafts, repeated))
    if not (work / cleaning.DROPPED_FILE).exists():
        cleaning.find_dropped(drafts, corpus, repeated)
    counts |= tally.count_dropped(drafts, corpus)
    dead_letters.replace(work.parent / DEAD_LETTERS_FILE)
    return drafts, counts


def _write_shards(drafts: Drafts, corpus: CorpusConfig, folder: epath.Path) -> None:
    dropped = drafts.dropped()
    starts = drafts.first_chunks
    kept = [
        block
        for block in range(len(drafts.names))
        if (dropped[starts[block] : starts[block + 1]] == cleaning.KEPT).any()
    ]
    names = store.shard_names(len(kept))
    moves = list(zip(kept, names, strict=True))
    runner.for_each(corpus, _ShardTask(drafts, os.fspath(folder)), moves)
    store.write_index(folder, names)


class _ShardTask:
    """Makes a block's draft the store's shard, less the chunks that are dropped."""

    def __init__(self, drafts: Drafts, folder: str):
        self._drafts, self._folder = drafts, folder

    def __call__(self, move: tuple[int, str]) -> None:
        block, name = move
        path = epath.Path(self._folder) / name
        if path.exists():
            return
        draft = self._drafts.path / f"{self._drafts.names[block]}.array_record"
        first, last = self._drafts.first_chunks[block : block + 2]
        rows = np.flatnonzero(self._drafts.dropped()[first:last] == cleaning.KEPT)
        if len(rows) == last - first:
            draft.replace(path)
            return
        with blocks.writing(path) as aside:
            store.write_shard(aside, store.read_shard(draft, rows))


def _write_lines(path: epath.Path, records: Iterator[dict[str, Any]]) -> None:
    with blocks.writing(path) as aside, aside.open("w") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
