"""The files of the reading-comprehension sets' publishers, as plain records."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from radit_jax.instruct.tasks import raw_files
from radit_jax.instruct.tasks.raw_files import text
from radit_jax.instruct.tasks.task import Record


def coqa(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """The stories, each with its turns in order; a turn's first answer is its own.

    The development set has three more people's answers to each turn.
    """
    for path in paths:
        for story in _json_array(path, "data"):
            more = list((story.get("additional_answers") or {}).values())
            answers: dict[int, list[str]] = {}
            for given in (story["answers"], *more):
                for answer in given:
                    spoken = answers.setdefault(answer["turn_id"], [])
                    spoken.append(text(answer.get("input_text")))
            yield {
                "id": text(story.get("id")),
                "story": text(story.get("story")),
                "turns": [
                    {
                        "question": text(question.get("input_text")),
                        "answers": answers.get(question["turn_id"], []),
                    }
                    for question in story["questions"]
                ],
            }


def drop(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """The questions with all their answers, the annotator's own first."""
    for path in paths:
        for split, part in (("train", "train"), ("validation", "dev")):
            name = f"drop_dataset_{part}.json"
            passages = raw_files.parse(raw_files.zip_member(path, name), name)
            for passage in passages.values():
                for pair in passage["qa_pairs"]:
                    given = (pair["answer"], *pair.get("validated_answers", ()))
                    yield {
                        "split": split,
                        "id": text(pair.get("query_id")),
                        "passage": text(passage.get("passage")),
                        "question": text(pair.get("question")),
                        "answers": [_drop_answer(answer) for answer in given],
                    }


def _drop_answer(answer: dict[str, Any]) -> Record:
    date = answer.get("date") or {}
    return {
        "number": str(answer.get("number", "")),
        "spans": [text(span) for span in answer.get("spans") or ()],
        "date": [text(date.get(part)) for part in ("day", "month", "year")],
    }


def narrativeqa(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """The questions, each with the summary of its story."""
    questions, summaries = (list(_csv_rows(path)) for path in paths)
    of_document = {row["document_id"]: row["summary"] for row in summaries}
    numbers: dict[str, int] = {}
    for row in questions:
        document = row["document_id"]
        numbers[document] = numbers.get(document, 0) + 1
        yield {
            "split": "validation" if row["set"] == "valid" else row["set"],
            "id": f"{document}-{numbers[document]}",
            "summary": of_document[document],
            "question": row["question"],
            "answers": [row["answer1"], row["answer2"]],
        }


def newsqa(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """The questions with their reviewers' verdict, and the span that they agreed on."""
    for path in paths:
        for story in _json_array(path, "data"):
            for number, question in enumerate(story["questions"], start=1):
                agreed = question.get("consensus") or {}
                yield {
                    "split": "validation" if story["type"] == "dev" else story["type"],
                    "id": f"{epath.Path(story['storyId']).stem}-{number}",
                    "story": text(story.get("text")),
                    "question": text(question.get("q")),
                    "start": int(agreed.get("s", 0)),
                    "end": int(agreed.get("e", 0)),  # of the span, in characters
                    "bad_question": bool(agreed.get("badQuestion")),
                    "no_answer": bool(agreed.get("noAnswer")),
                }


def pubmed_qa(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """The labelled questions, by the number of their article."""
    for path in paths:
        with raw_files.opened(path) as file:
            articles = raw_files.parse(file.read(), path.name)
        for number, article in articles.items():
            yield {
                "id": number,
                "question": text(article.get("QUESTION")),
                "contexts": [text(part) for part in article["CONTEXTS"]],
                "decision": text(article.get("final_decision")),
            }


def quail(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """The questions as published, in their random order of options."""
    for path in paths:
        for record in raw_files.json_lines(path):
            yield {
                "id": text(record.get("id")),
                "context": text(record.get("context")),
                "question": text(record.get("question")),
                "options": [text(option) for option in record["answers"]],
                "answer_index": int(record["correct_answer_id"]),
            }


def quarel(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """The questions, whose text ends in their options."""
    for path in paths:
        for split, part in (("train", "train"), ("validation", "dev")):
            name = f"quarel-v1-{part}.jsonl"
            lines = raw_files.zip_member(path, name).decode().splitlines()
            for number, line in enumerate(lines, start=1):
                record = raw_files.parse(line.encode(), f"{path.name}/{name}:{number}")
                yield {
                    "split": split,
                    "id": text(record.get("id")),
                    "question": text(record.get("question")),
                    "answer_index": int(record["answer_index"]),
                }


def _json_array(path: epath.Path, key: str) -> list[Record]:
    with raw_files.opened(path) as file:
        return raw_files.json_array(file.read(), path.name, key)


def _csv_rows(path: epath.Path) -> Iterator[dict[str, str]]:
    with (
        raw_files.opened(path) as file,
        io.TextIOWrapper(file, "utf-8", newline="") as lines,
    ):
        yield from csv.DictReader(lines)
