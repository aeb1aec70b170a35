"""Retrieval sets in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/test.tsv.

The conventions are those of BEIR's own code (beir 2.2.0, `datasets/data_loader.py` and
`retrieval/`), so that published numbers come out again: a document is its title, a
space and its text, stripped; only questions with judgements are asked; a document with
the question's own id is left out; documents of equal score go by id, highest first.
"""

import csv
from collections.abc import Iterator

from etils import epath

from radit_jax.corpus import json_lines
from radit_jax.corpus.json_lines import CorpusError, Problems
from radit_jax.retrieval.trec import Ranking
from radit_jax.types import Chunk, Instruction

DEPTH = 1000  # documents a question, as BEIR retrieves
Qrels = dict[str, dict[str, int]]  # question → document → relevance


def read_corpus(folder: epath.PathLike) -> Iterator[Chunk]:
    """Each document as one chunk, whose passage is what BEIR encodes.

    Documents without title and text count as well, as in BEIR.

    Raises:
      CorpusError: after the last one, with the first 20 problems.
    """
    path = _file(folder, "corpus.jsonl")
    problems, seen, num_chunks = Problems(f"the corpus in {path}"), set(), 0
    for number, record in json_lines.read_objects(path, path.name, problems):
        place = f"{path.name}:{number}"
        document_id = _id(record, place, problems, seen)
        title, text = (record.get(field) or "" for field in ("title", "text"))
        if not isinstance(title, str) or not isinstance(text, str):
            problems.add(f"{place}: 'title' and 'text' must be strings; correct them.")
        elif document_id is not None:
            # A chunk is never empty; to the encoder a space is nothing.
            passage = f"{title} {text}".strip() or " "
            yield Chunk(num_chunks, document_id, passage)
            num_chunks += 1
    problems.check()
    if not seen:
        raise CorpusError(f"{path} holds no documents; write one JSON object a line.")


def read_questions(folder: epath.PathLike, qrels: Qrels) -> list[Instruction]:
    """The questions that have judgements, in the order of the file.

    Raises:
      CorpusError: malformed lines, or judgements of questions that are not there.
    """
    path = _file(folder, "queries.jsonl")
    problems, found, seen = Problems(f"the questions in {path}"), [], set()
    for number, record in json_lines.read_objects(path, path.name, problems):
        place = f"{path.name}:{number}"
        question_id = _id(record, place, problems, seen)
        if question_id not in qrels:
            continue
        fault = json_lines.string_problem(record.get("text"))
        if fault:
            problems.add(f"{place}: 'text' {fault}; correct it, or drop its qrels.")
        else:
            found.append(Instruction(question_id, record["text"], ()))
    problems.check()
    missing = [question for question in qrels if question not in seen]
    if missing:
        raise CorpusError(
            f"{len(missing)} of {len(qrels)} questions with judgements are not in "
            f"{path}, the first is {missing[0]!r}; qrels and questions must be of one "
            "set."
        )
    return found


def read_qrels(folder: epath.PathLike, split: str = "test") -> Qrels:
    """The judgements in qrels/{split}.tsv: a header, then question, document, grade.

    Raises:
      CorpusError: no header, malformed lines, or none.
    """
    path = _file(folder, f"qrels/{split}.tsv")
    problems, found = Problems(f"the judgements in {path}"), {}
    with path.open("r") as file:
        for number, row in enumerate(csv.reader(file, delimiter="\t"), start=1):
            is_judgement = len(row) >= 3 and row[2].strip().lstrip("-").isdigit()
            if number == 1 and is_judgement:
                problems.add(
                    f"{path.name}:1 is a judgement, {row}; BEIR skips the first line: "
                    "put the header `query-id\\tcorpus-id\\tscore` before it."
                )
            elif is_judgement:
                found.setdefault(row[0], {})[row[1]] = int(row[2])
            elif number > 1:
                problems.add(
                    f"{path.name}:{number} is {row}, not question, document and a "
                    "whole number between tabs; correct it."
                )
    problems.check()
    if not found:
        raise CorpusError(f"{path} holds no judgements; give one a line.")
    return found


def trec_eval_order(ranking: Ranking) -> list[str]:
    """The documents as trec_eval ranks them: by score, equal ones by id, downwards."""
    by_id = sorted(ranking, key=lambda one: one[0], reverse=True)
    return [document for document, _ in sorted(by_id, key=lambda one: -one[1])]


def _file(folder: epath.PathLike, name: str) -> epath.Path:
    path = epath.Path(folder).expanduser() / name
    if not path.exists():
        raise CorpusError(
            f"{path} does not exist; a set in BEIR's layout has corpus.jsonl, "
            "queries.jsonl and qrels/test.tsv."
        )
    return path


def _id(record: dict, place: str, problems: Problems, seen: set[str]) -> str | None:
    """The record's `_id`, if it is one and new; it is noted in `seen`."""
    value = str(record.get("_id"))  # as it is: the judgements' ids are not stripped
    if json_lines.identifier(record.get("_id")) is None:
        problems.add(f"{place} has no '_id', a string; found {list(record)}: add it.")
        return None
    if value in seen:
        problems.add(f"{place} repeats the _id {value!r}; give it one of its own.")
        return None
    seen.add(value)
    return value
