"""The files of the question-answering sets' publishers, as plain records."""

from collections.abc import Iterator, Sequence

from etils import epath

from radit_jax.instruct.tasks import raw_files
from radit_jax.instruct.tasks.raw_files import text
from radit_jax.instruct.tasks.task import Record, SourceError

_MATH_TRAIN = "MATH/train"  # of the archive
_SPLITS = {"train": "train", "validation": "dev"}  # ours → in names of files
_WIKI_QA_COLUMNS = ("QuestionID", "Question", "Sentence", "Label")


def commonsense_qa(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """The questions with their options, as ECQA needs them too."""
    for path in paths:
        for record in raw_files.json_lines(path):
            question = record.get("question") or {}
            choices = question.get("choices") or ()
            yield {
                "id": text(record.get("id")),
                "question": text(question.get("stem")),
                "options": [text(choice.get("text")) for choice in choices],
                "answer_key": text(record.get("answerKey")),
            }


def math_qa(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """The records, numbered, with their splits."""
    for path in paths:
        for split, part in _SPLITS.items():
            content = raw_files.zip_member(path, f"{part}.json")
            found = raw_files.json_array(content, f"{path.name}/{part}.json")
            for number, record in enumerate(found):
                yield {
                    "split": split,
                    "id": f"{part}-{number}",
                    "question": text(record.get("Problem")),
                    "options": text(record.get("options")),
                    "correct": text(record.get("correct")),
                }


def wiki_qa(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """The questions, each with its candidate sentences, which the files have by row.

    Raises:
      SourceError: a column is missing.
    """
    for path in paths:
        for split, part in _SPLITS.items():
            name = f"WikiQA-{part}.tsv"
            content = raw_files.zip_member(path, name).decode().strip()
            header, *lines = content.replace("\r", "").split("\n")
            columns = header.split("\t")
            missing = [one for one in _WIKI_QA_COLUMNS if one not in columns]
            if missing:
                raise SourceError(
                    f"{name} of {path.name} has no {missing}; its columns are "
                    f"{columns}. Fetch the file again from its publisher."
                )
            rows = (dict(zip(columns, row.split("\t"), strict=False)) for row in lines)
            yield from _wiki_qa_questions(split, rows)


def _wiki_qa_questions(split: str, rows: Iterator[dict[str, str]]) -> Iterator[Record]:
    found: dict[str, Record] = {}
    for row in rows:
        name, question = row.get("QuestionID", ""), row.get("Question", "")
        empty = {"id": name, "question": question, "sentences": [], "labels": []}
        record = found.setdefault(name, empty | {"split": split})
        record["sentences"].append(row.get("Sentence", ""))
        record["labels"].append(row.get("Label", ""))
    yield from found.values()


def yahoo_answers_qa(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """nfL6: the questions with the answer that was voted best."""
    for path in paths:
        with raw_files.opened(path) as file:
            found = raw_files.json_array(file.read(), path.name)
        for record in found:
            yield {
                "id": str(record.get("id") or ""),
                "question": text(record.get("question")),
                "answer": text(record.get("answer")),
            }


def freebase_qa(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """The raw questions with the names of the answers of all their parses."""
    for path in paths:
        with raw_files.opened(path) as file:
            found = raw_files.json_array(file.read(), path.name, "Questions")
        for record in found:
            yield {
                "id": text(record.get("Question-ID")),
                "question": text(record.get("RawQuestion")),
                "answers": list(_freebase_names(record.get("Parses") or ())),
            }


def _freebase_names(parses: Sequence[Record]) -> Iterator[str]:
    for parse in parses:
        for answer in parse.get("Answers") or ():
            yield from map(text, answer.get("AnswersName") or ())


def ms_marco(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """The queries with their answers; the passages are left."""
    for path in paths:
        for record in raw_files.json_lines(path):
            yield {
                "id": f"{path.name.split('_')[0]}-{record.get('query_id')}",
                "question": text(record.get("query")),
                "answers": [text(answer) for answer in record.get("answers") or ()],
            }


def aqua_rat(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """The records, named by file and place."""
    for path in paths:
        for number, record in enumerate(raw_files.json_lines(path)):
            yield {
                "id": f"{path.name.split('.')[0]}-{number}",
                "question": text(record.get("question")),
                "options": [text(option) for option in record.get("options") or ()],
                "rationale": text(record.get("rationale")),
                "correct": text(record.get("correct")),
            }


def ecqa(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """The split's ids, each with its explanation and its CommonsenseQA question.

    Args:
      paths: ids of the split, explanations, and CommonsenseQA's files.
    """
    ids, explanations, *questions = paths
    explained = {
        text(record.get("id")): text(record.get("explanation"))
        for record in raw_files.json_lines(explanations)
    }
    asked = {one["id"]: one for one in commonsense_qa(questions)}
    unknown = {"question": "", "options": [], "answer_key": ""}
    with raw_files.opened(ids) as file:
        names = file.read().decode().split()
    for name in names:
        explanation = explained.get(name, "")
        yield asked.get(name, unknown) | {"id": name, "explanation": explanation}


def competition_math(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """The train problems of MATH.tar, each named as its file."""
    for path in paths:
        for name, content in raw_files.tar_members(path, _MATH_TRAIN):
            record = raw_files.parse(content, f"{path.name}/{name}")
            yield {
                "id": name.removeprefix("MATH/").removesuffix(".json"),
                "problem": text(record.get("problem")),
                "solution": text(record.get("solution")),
            }


def strategyqa(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """The questions with the facts that they rest on."""
    for path in paths:
        with raw_files.opened(path) as file:
            found = raw_files.json_array(file.read(), path.name)
        for record in found:
            answers = {True: "Yes", False: "No"}
            yield {
                "id": text(record.get("qid")),
                "question": text(record.get("question")),
                "facts": [text(fact) for fact in record.get("facts") or ()],
                "answer": answers.get(record.get("answer"), ""),
            }
