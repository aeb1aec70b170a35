"""The unit of work of `chunk_corpus`: a block of records, made into a draft shard.

Files are cut into parts, and small ones gathered into groups; a block is up to
`block_documents` records of a group, in reading order. All this is the same for any
number of workers, so what a block holds, and where its chunks stand in the corpus,
depends on the corpus alone. A block is done once its `.json` exists, written last.
"""

import collections
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from radit_jax.config import CorpusConfig
from radit_jax.corpus import contamination, duplicates, formats, store
from radit_jax.corpus.json_lines import CorpusError
from radit_jax.corpus.records import BadRecord, Fields, Skipped
from radit_jax.corpus.words import normalised_words
from radit_jax.text import chunking
from radit_jax.types import Chunk, Document

_SHOWN_BYTES = 1000  # of a bad record, in the dead-letter file


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """A worker's share of a group: of every `of` blocks the one with this number.

    Every worker reads the whole group, which is cheap, and parses its own blocks only:
    so that one compressed file, which can't be split, keeps many workers busy.
    """

    group: int  # its place in the corpus
    parts: tuple[formats.Part, ...]  # of the group
    number: int = 0
    of: int = 1
    max_documents: int = 0  # of the group; 0: all. Needs a share of 1.


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """A raw record: see `formats.read_raw`."""

    format: str
    place: str
    raw: bytes

    def parse(self, corpus: CorpusConfig) -> Iterator[Document | BadRecord | Skipped]:
        """What it holds, by the fields that the config names."""
        fields = Fields(corpus.id_field, corpus.title_field, corpus.text_field)
        return formats.parse(self.format, self.place, self.raw, fields)


def groups(
    parts: Sequence[formats.Part], group_bytes: int = formats.PART_BYTES
) -> list[tuple[formats.Part, ...]]:
    """Parts that are read one after the other: neighbours, until they reach a size.

    So a folder of a million small files gives no million shards.
    """
    found: list[tuple[formats.Part, ...]] = []
    num_bytes = group_bytes
    for part in parts:
        if num_bytes >= group_bytes:
            found.append(())
            num_bytes = 0
        found[-1] += (part,)
        num_bytes += stored_bytes(part)
    return found


def stored_bytes(part: formats.Part) -> int:
    """A part's size on disk."""
    if part.stop is not None:
        return part.stop - part.start
    return epath.Path(part.file).stat().length


def read_records(parts: Sequence[formats.Part]) -> Iterator[Record]:
    """The records of a group, one after the other.

    Raises:
      CorpusError: a file is damaged.
    """
    for part in parts:
        for place, raw in formats.read_raw(part):
            yield Record(part.format, place, raw)


class ShareWriter:
    """Writes the blocks of shares: called by any worker, for any share, again too."""

    def __init__(self, corpus: CorpusConfig, folder: epath.PathLike):
        """Args: corpus: with `benchmarks` set. folder: of the blocks; it exists."""
        self._corpus, self._folder = corpus, os.fspath(folder)

    def __call__(self, share: Share) -> None:
        """Writes the blocks that are missing. A damaged file is noted, in `.error`."""
        try:
            self._write(share)
        except CorpusError as error:
            with writing(epath.Path(self._folder) / f"{share.group:06}.error") as path:
                path.write_text(str(error))

    def _write(self, share: Share) -> None:
        folder, left = epath.Path(self._folder), share.max_documents
        for number, records in _blocks(share, self._corpus.block_documents):
            name = f"{share.group:06}-{number:06}"  # sorts in reading order
            if not (folder / f"{name}.json").exists():
                _Block(self._corpus, left).write(folder, name, records)
            if share.max_documents:
                left -= read_counts(folder, name)["documents"]
                if not left:
                    return


def _blocks(
    share: Share, block_documents: int
) -> Iterator[tuple[int, Iterator[Record]]]:
    """The share's blocks with their numbers; records are read as they pass."""
    records = read_records(share.parts)
    for number in itertools.count():
        first = next(records, None)
        if first is None:
            return
        rest = itertools.islice(records, block_documents - 1)
        if number % share.of == share.number:
            yield number, itertools.chain([first], rest)
        collections.deque(rest, maxlen=0)  # to the next block


def read_counts(folder: epath.Path, name: str) -> dict[str, Any]:
    """What a finished block counted, its bad records and its contaminated chunks."""
    return json.loads((folder / f"{name}.json").read_text())


def read_documents(folder: epath.Path, name: str) -> list[tuple[str, str, str]]:
    """The format, place and id of a finished block's documents."""
    lines = (folder / f"{name}.documents.jsonl").read_text().splitlines()
    return [tuple(json.loads(line)) for line in lines]


def read_array(folder: epath.Path, name: str, key: str) -> np.ndarray:
    """One of a finished block's arrays.

    `document_ids` and `first_chunks` `[documents]`, `words` `[chunks]`, and with
    duplicates to drop `texts` `[chunks]` and `band00`, … `[chunks]`.
    """
    with np.load(folder / f"{name}.npz") as arrays:
        return arrays[key]


class _Block:
    """One block in the making: counts and hashes of the chunks that pass through."""

    def __init__(self, corpus: CorpusConfig, left: int):
        """Args: left: documents that the block may have yet; 0: any number."""
        self._corpus, self._left = corpus, left
        self._counts = {"records": 0, "bytes": 0, "documents": 0, "chunks": 0}
        self._counts |= {"words": 0, "short_documents": 0}
        self._skipped: collections.Counter[str] = collections.Counter()
        self._bad: list[dict[str, str]] = []
        self._contaminated: list[dict[str, Any]] = []
        self._documents: list[tuple[str, str, str]] = []  # format, place, id
        self._first_chunks: list[int] = []
        self._num_words: list[int] = []
        self._texts: list[int] = []
        self._bands: list[np.ndarray] = []
        self._ngrams = None
        if corpus.decontaminate:
            self._ngrams = contamination.read_benchmarks(corpus.benchmarks)

    def write(self, folder: epath.Path, name: str, records: Iterator[Record]) -> None:
        """Writes the shard, the arrays and the counts, each aside first."""
        with writing(folder / f"{name}.array_record") as path:
            store.write_shard(path, map(store.encode, self._chunks(records)))
        save(folder / f"{name}.npz", **self._arrays())
        with writing(folder / f"{name}.documents.jsonl") as path:
            path.write_text("".join(json.dumps(one) + "\n" for one in self._documents))
        counts = self._counts | {"skipped": self._skipped, "bad": self._bad}
        counts["contaminated"] = self._contaminated
        with writing(folder / f"{name}.json") as path:
            path.write_text(json.dumps(counts))

    def _chunks(self, records: Iterator[Record]) -> Iterator[Chunk]:
        for record in records:
            self._counts["records"] += 1
            self._counts["bytes"] += len(record.raw)
            for found in record.parse(self._corpus):
                if isinstance(found, Skipped):
                    self._skipped[found.reason] += 1
                elif isinstance(found, BadRecord):
                    self._bad.append(dead_letter(found, record.raw))
                else:
                    self._documents.append((record.format, record.place, found.id))
                    yield from self._chunks_of(found, record.format)
                    if len(self._documents) == self._left:
                        return

    def _chunks_of(self, document: Document, format: str) -> Iterator[Chunk]:
        corpus = self._corpus
        web = format == "wet"
        max_words = corpus.max_web_chunk_words if web else corpus.max_chunk_words
        chunks = chunking.chunk_document(
            document, max_words, self._counts["chunks"], corpus.min_chunk_words
        )
        self._first_chunks.append(self._counts["chunks"])
        self._counts["documents"] += 1
        self._counts["short_documents"] += not chunks
        self._counts["chunks"] += len(chunks)
        for chunk in chunks:
            self._look_at(chunk)
            yield chunk

    def _look_at(self, chunk: Chunk) -> None:
        self._num_words.append(len(chunk.text.split()))
        self._counts["words"] += self._num_words[-1]
        if not self._ngrams and not self._corpus.drop_duplicates:
            return
        words = normalised_words(chunk.text)
        if self._ngrams:
            for question, ngram in self._ngrams.find(words):
                one = {"row": chunk.id, "document_id": chunk.document_id}
                one |= {"start": chunk.start, "question": question, "ngram": ngram}
                self._contaminated.append(one)
        if self._corpus.drop_duplicates:
            self._texts.append(hash64(" ".join(words) or chunk.text))
        if self._corpus.drop_duplicates == "near":
            similarity = self._corpus.near_duplicate_similarity
            self._bands.append(duplicates.bands(words, similarity))

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {
            "document_ids": np.array(
                [hash64(id) for _, _, id in self._documents], np.uint64
            ),
            "first_chunks": np.array(self._first_chunks, np.uint32),
            "words": np.array(self._num_words, np.uint32),
        }
        if self._corpus.drop_duplicates:
            arrays["texts"] = np.array(self._texts, np.uint64)
        if self._corpus.drop_duplicates == "near":
            count, _ = duplicates.num_bands(self._corpus.near_duplicate_similarity)
            bands = np.array(self._bands, np.uint64).reshape(-1, count)
            arrays |= {f"band{i:02}": bands[:, i] for i in range(count)}
        return arrays


@contextlib.contextmanager
def writing(path: epath.Path) -> Iterator[epath.Path]:
    """A path to write to, renamed at the end; two workers may write the same file."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    yield aside
    aside.replace(path)


def save(path: epath.Path, array: np.ndarray | None = None, **arrays) -> None:
    """Writes one array (.npy), or several by their names (.npz)."""
    with writing(path) as aside, aside.open("wb") as file:
        if array is not None:
            np.save(file, array)
        else:
            np.savez(file, **arrays)


def dead_letter(bad: BadRecord, raw: bytes = b"") -> dict[str, str]:
    """The line of the dead-letter file: where, why, and how the record begins."""
    shown = raw[:_SHOWN_BYTES].decode(errors="replace")
    return {"place": bad.place, "reason": bad.reason, "record": shown}


def hash64(text: str) -> int:
    """Of 399M texts, two that differ share it with a chance of 0.4 %."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
