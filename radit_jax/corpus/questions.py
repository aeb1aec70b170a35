"""Questions with their accepted answers, and their division into splits."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from radit_jax.corpus import json_lines
from radit_jax.corpus.json_lines import CorpusError, Problems
from radit_jax.types import Instruction


def read_questions(path: epath.PathLike) -> list[Instruction]:
    """Reads JSON lines of `question`, `answers`, and maybe `id` and `positives`.

    `answers` is a string or a list of strings; the first is the one that is learned.
    `positives` holds ids of documents with the answer, the main one first. Without an
    id, a question gets `file:line`.

    Raises:
      CorpusError: with the first 20 problems, or for a file without questions.
    """
    path = epath.Path(path).expanduser()
    if not path.exists() or path.is_dir():
        raise CorpusError(
            f"{path} is not a file of questions. Name a .jsonl file by "
            "--config.instructions.train or --config.instructions.dev."
        )
    problems = Problems(f"the questions in {path}")
    found: dict[str, Instruction] = {}
    for number, record in json_lines.read_objects(path, path.name, problems):
        place = f"{path.name}:{number}"
        faults = list(_faults(record))
        if not faults:
            instruction = _instruction(record, place)
            if instruction.id not in found:
                found[instruction.id] = instruction
                continue
            faults = [f"repeats the id {instruction.id!r}; give it one of its own"]
        for fault in faults:
            problems.add(f"{place} {fault}.")
    problems.check()
    if not found:
        raise CorpusError(
            f"{path} holds no questions. Write one JSON object a line, with "
            "'question' and 'answers'."
        )
    return list(found.values())


def split_validation(
    instructions: Sequence[Instruction], fraction: float, seed: int
) -> tuple[list[Instruction], list[Instruction]]:
    """Splits off validation questions so that no main document is on both sides.

    Questions with the same first positive stay together, and without positives those
    of one conversation, in an order drawn from the seed, until validation has its
    share; one group may take it above.

    Args:
      instructions: in any order, which both parts keep.
      fraction: share for validation, of at least one question; 0: none.
      seed: of the draw.

    Returns:
      (train, validation).

    Raises:
      CorpusError: nothing would be left to train on.
    """
    if not fraction:
        return list(instructions), []
    wanted = max(1, round(fraction * len(instructions)))
    groups: dict[str, list[Instruction]] = {}
    for instruction in instructions:
        groups.setdefault(_group(instruction), []).append(instruction)
    chosen, count = set(), 0
    for group in sorted(groups, key=lambda name: _draw(name, seed)):
        if count >= wanted:
            break
        chosen.add(group)
        count += len(groups[group])
    train = [one for one in instructions if _group(one) not in chosen]
    validation = [one for one in instructions if _group(one) in chosen]
    if not train:
        raise CorpusError(
            f"{len(instructions)} questions from {len(groups)} document(s) can't give "
            f"a share of {fraction} to validation and leave some to train on. Give "
            "questions from more documents, or lower "
            "--config.instructions.validation_fraction."
        )
    return train, validation


def subset(
    instructions: Sequence[Instruction], limit: int, seed: int
) -> list[Instruction]:
    """Draws `limit` questions, in their order; all where `limit` is 0 or too high.

    A smaller subset is part of every larger one of the same seed.
    """
    if not limit or limit >= len(instructions):
        return list(instructions)
    ids = sorted((one.id for one in instructions), key=lambda name: _draw(name, seed))
    kept = set(ids[:limit])
    return [one for one in instructions if one.id in kept]


def _group(instruction: Instruction) -> str:
    if instruction.positives:
        return f"document {instruction.positives[0]}"
    opening = (*instruction.history, instruction.question)[0]
    return f"conversation {opening}"  # the turns of one stay together


def _draw(name: str, seed: int) -> bytes:
    """A number without pattern that depends on the name and the seed alone."""
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def _faults(record: dict[str, Any]) -> Iterator[str]:
    """What is wrong with one record, each with its remedy."""
    for field in ("question", "answers"):
        if field not in record:
            yield f"has no {field!r} field; found {list(record)}: add it"
    fault = json_lines.string_problem(record.get("question", "absent"))
    if fault:
        yield f"'question' {fault}; correct it, or leave the line out"
    answers = _listed(record.get("answers", "absent"))
    if not answers:
        yield "has no answers; give one at least, or leave the line out"
    for answer in answers:
        fault = json_lines.string_problem(answer)
        if fault:
            yield f"'answers' has one that {fault}; correct it, or leave it out"
    ids = [] if record.get("id") is None else [("id", record["id"])]
    ids += [("positives", value) for value in _listed(record.get("positives"))]
    for field, value in ids:
        if json_lines.identifier(value) is None:
            yield (
                f"{field!r} has {value!r:.60}, not a string or a whole number; "
                "correct it, or leave the field out"
            )


def _instruction(record: dict[str, Any], place: str) -> Instruction:
    positives = _listed(record.get("positives"))
    return Instruction(
        id=json_lines.identifier(record.get("id")) or place,
        question=record["question"].strip(),
        answers=tuple(answer.strip() for answer in _listed(record["answers"])),
        positives=tuple(json_lines.identifier(value) for value in positives),
    )


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
