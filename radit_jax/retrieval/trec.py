"""TREC run and qrels files, as trec_eval, pytrec_eval, ir-measures and ranx read them.

A run's line is `query Q0 document rank score tag`, a qrels' line `query 0 document
relevance`. Space within an id would end it, so it is written as in a URL (`%20`; `%`
itself is `%25`) in both files alike.

These tools read the score, not the rank, and put equal scores in the order of the
ids, highest first: where scores are equal, they may rank otherwise than the run did.
"""

import re
import urllib.parse
from collections.abc import Iterable, Sequence

import numpy as np
from etils import epath

from radit_jax.corpus.json_lines import Problems
from radit_jax.corpus.store import ChunkStore
from radit_jax.types import Retrieved

Ranking = list[tuple[str, float]]  # ids with their scores, best first

_NOT_IN_IDS = re.compile(r"[%\s]")
_FIELDS = {
    "run": "query Q0 document rank score tag",
    "qrels": "query 0 document relevance",
}


def document_rankings(
    found: Sequence[Retrieved], store: ChunkStore
) -> list[tuple[str, Ranking]]:
    """Each question's documents, each once at its best chunk: ids may not repeat.

    Args:
      found: questions with their chunks, best first.
      store: the chunks.
    """
    chunk_ids = sorted({chunk_id for item in found for chunk_id in item.chunk_ids})
    documents = {
        chunk_id: chunk.document_id
        for chunk_id, chunk in zip(chunk_ids, store.get_many(chunk_ids), strict=True)
    }
    rankings = []
    for item in found:
        best: dict[str, float] = {}
        for chunk_id, score in zip(item.chunk_ids, item.scores, strict=True):
            best.setdefault(documents[chunk_id], score)
        rankings.append((item.instruction.id, list(best.items())))
    return rankings


def write_run(
    path: epath.PathLike, rankings: Iterable[tuple[str, Ranking]], tag: str
) -> None:
    """Writes a run.

    Args:
      path: the file.
      rankings: each question's id and documents.
      tag: names the system; no spaces.
    """
    with epath.Path(path).open("w") as file:
        for query, ranking in rankings:
            for rank, (document, score) in enumerate(ranking, start=1):
                # The shortest digits that read back as the same float32.
                digits = np.format_float_positional(np.float32(score), trim="0")
                file.write(f"{_id(query)} Q0 {_id(document)} {rank} {digits} {tag}\n")


def write_qrels(
    path: epath.PathLike, positives: Iterable[tuple[str, Sequence[str]]]
) -> None:
    """Writes each question's relevant documents, with relevance 1."""
    with epath.Path(path).open("w") as file:
        for query, documents in positives:
            for document in dict.fromkeys(documents):
                file.write(f"{_id(query)} 0 {_id(document)} 1\n")


def read_run(path: epath.PathLike) -> dict[str, Ranking]:
    """Reads a run: each question's documents by score, equal ones as they stand.

    Raises:
      CorpusError: lines that are none of a run, with their numbers.
    """
    found: dict[str, Ranking] = {}
    for query, document, score in _read(path, "run", 4, float):
        found.setdefault(query, []).append((document, score))
    return {
        query: sorted(ranking, key=lambda one: -one[1])
        for query, ranking in found.items()
    }


def read_qrels(path: epath.PathLike) -> dict[str, dict[str, int]]:
    """Reads qrels: each question's documents with their relevance.

    Raises:
      CorpusError: lines that are none of qrels, with their numbers.
    """
    found: dict[str, dict[str, int]] = {}
    for query, document, relevance in _read(path, "qrels", 3, int):
        found.setdefault(query, {})[document] = relevance
    return found


def _read(path: epath.PathLike, kind: str, column: int, parse: type):
    """Query, document and the number in a column, of each line."""
    path = epath.Path(path)
    problems = Problems(f"the {kind} in {path}")
    found, seen = [], set()
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            if len(fields) != len(_FIELDS[kind].split()):
                raise ValueError
            query, document = (urllib.parse.unquote(fields[i]) for i in (0, 2))
            found.append((query, document, parse(fields[column])))
        except ValueError:
            problems.add(
                f"{path.name}:{number} is {line.strip()[:60]!r}, not "
                f"`{_FIELDS[kind]}`; correct it."
            )
            continue
        if (query, document) in seen:
            problems.add(
                f"{path.name}:{number} repeats document {document!r} of question "
                f"{query!r}; keep one."
            )
        seen.add((query, document))
    problems.check()
    return found


def _id(text: str) -> str:
    return _NOT_IN_IDS.sub(lambda found: urllib.parse.quote(found.group()), text)
