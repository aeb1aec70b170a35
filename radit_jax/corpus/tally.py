"""What a corpus' blocks counted, and the lists of what was wrong with its records."""

import collections
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Int

from radit_jax.config import CorpusConfig
from radit_jax.corpus import blocks, cleaning, contamination, formats
from radit_jax.corpus.cleaning import Drafts
from radit_jax.corpus.json_lines import CorpusError
from radit_jax.corpus.records import BadRecord

_NUM_SHOWN = 20  # problems in one error
_COUNTED = ("records", "documents", "short_documents", "chunks")
_CRAWLED_BEFORE = "web page crawled before"


def listed(problems: Iterable[str]) -> str:
    """The first 20, a line each."""
    shown = itertools.islice(problems, _NUM_SHOWN)
    return "\n".join(f"  - {problem}" for problem in shown)


def count(drafts: Drafts, repeated: Int[np.ndarray, " documents"]) -> dict[str, Any]:
    """What the blocks counted, before any chunk is dropped.

    Args:
      drafts: every block of the corpus.
      repeated: documents whose id an earlier one has. They count as bad records; but
        web pages are often crawled again, and count as skipped.
    """
    counts = dict.fromkeys((*_COUNTED, "bad_records"), 0)
    skipped: collections.Counter[str] = collections.Counter()
    for block, name in enumerate(drafts.names):
        found = blocks.read_counts(drafts.path, name)
        for key in _COUNTED:
            counts[key] += found[key]
        again = list(_repeated(drafts, block, repeated))
        web = sum(format == "wet" for format, _, _ in again)
        counts["bad_records"] += len(found["bad"]) + len(again) - web
        skipped.update(found["skipped"])
        skipped[_CRAWLED_BEFORE] += web
    counts["documents"] -= len(repeated)
    return counts | {"skipped": {k: v for k, v in sorted(skipped.items()) if v}}


def _repeated(
    drafts: Drafts, block: int, repeated: Int[np.ndarray, " documents"]
) -> Iterator[tuple[str, str, str]]:
    """The (format, place, id) of a block's documents whose id an earlier one has."""
    here = drafts.of_block(block, repeated)
    if len(here):
        documents = blocks.read_documents(drafts.path, drafts.names[block])
        yield from (documents[document] for document in here)


def dead_letters(
    drafts: Drafts, repeated: Int[np.ndarray, " documents"]
) -> Iterator[dict[str, str]]:
    """One line a bad record, in the order of the blocks."""
    for block, name in enumerate(drafts.names):
        yield from blocks.read_counts(drafts.path, name)["bad"]
        for format, place, document_id in _repeated(drafts, block, repeated):
            if format != "wet":
                reason = (
                    f"repeats the id {document_id!r}. Give every document an id of "
                    "its own, or leave the field out."
                )
                yield blocks.dead_letter(BadRecord(place, reason))


def check(
    counts: dict[str, Any], corpus: CorpusConfig, dead: Iterator[dict[str, str]]
) -> None:
    """Ends a run with too many bad records, or with no documents or chunks.

    Raises:
      CorpusError: the numbers, and the first 20 records.
    """
    share = counts["bad_records"] / max(counts["records"], 1)
    if share > corpus.max_bad_share:
        problems = (f"{one['place']} {one['reason']}" for one in dead)
        raise CorpusError(
            f"the documents in {corpus.documents}: {counts['bad_records']} problem(s) "
            f"in {counts['records']} records, a share of {share:.2g} where "
            f"--config.corpus.max_bad_share={corpus.max_bad_share:g} may be. Correct "
            f"them, or raise it to leave them out:\n{listed(problems)}"
        )
    if not counts["documents"]:
        raise CorpusError(
            f"{corpus.documents} holds no documents, of {counts['records']} records; "
            f"left out are {counts['skipped']}. Name a file or folder with "
            f"{formats.SUFFIXES} files by --config.corpus.documents."
        )
    if not counts["chunks"]:
        raise CorpusError(
            f"{corpus.documents} gives no chunk: its {counts['documents']} documents "
            f"have fewer than {corpus.min_chunk_words} words. Lower "
            "--config.corpus.min_chunk_words."
        )


def count_dropped(drafts: Drafts, corpus: CorpusConfig) -> dict[str, int]:
    """Chunks and words that stay, and chunks that go, by the reason.

    Raises:
      CorpusError: none stays.
    """
    dropped, words = drafts.dropped(), 0
    found = np.zeros(cleaning.NEAR + 1, np.int64)
    for name, first in zip(drafts.names, drafts.first_chunks, strict=False):
        num_words = blocks.read_array(drafts.path, name, "words")
        here = dropped[first : first + len(num_words)]
        found += np.bincount(here, minlength=len(found))
        words += int(num_words[here == cleaning.KEPT].sum())
    counts = {"chunks": int(found[cleaning.KEPT]), "words": words}
    if not counts["chunks"]:
        raise CorpusError(
            f"all {len(dropped)} chunks of {corpus.documents} share 13 words with a "
            f"question of {corpus.benchmarks}. Name other documents, or set "
            "--config.corpus.decontaminate=list."
        )
    if corpus.drop_duplicates:
        counts["exact_duplicates"] = int(found[cleaning.EXACT])
    if corpus.drop_duplicates == "near":
        counts["near_duplicates"] = int(found[cleaning.NEAR])
    return counts | _count_contaminated(drafts, corpus)


def _count_contaminated(drafts: Drafts, corpus: CorpusConfig) -> dict[str, int]:
    if not corpus.decontaminate:
        return {}
    rows = (blocks.read_counts(drafts.path, name) for name in drafts.names)
    ngrams = contamination.read_benchmarks(corpus.benchmarks)
    return {
        "contaminated_chunks": sum(
            len({one["row"] for one in block["contaminated"]}) for block in rows
        ),
        "benchmark_questions": ngrams.num_questions,
        "benchmark_questions_too_short": ngrams.num_short,
    }


def contaminated(drafts: Drafts) -> Iterator[dict[str, Any]]:
    """One line a chunk and question: the chunk's id is null where it was dropped."""
    next_id, dropped = 0, drafts.dropped()
    for name, first in zip(drafts.names, drafts.first_chunks, strict=False):
        block = blocks.read_counts(drafts.path, name)
        is_kept = dropped[first : first + block["chunks"]] == cleaning.KEPT
        ids = next_id + np.cumsum(is_kept) - 1
        for one in block["contaminated"]:
            row = one.pop("row")
            yield {"chunk": int(ids[row]) if is_kept[row] else None} | one
        next_id += int(is_kept.sum())
