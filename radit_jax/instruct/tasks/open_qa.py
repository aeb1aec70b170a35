"""Open-domain question answering: seven sets (paper §2)."""

import ast
import html
import re
from collections.abc import Iterator

from radit_jax.instruct.tasks import conversion, question_files
from radit_jax.instruct.tasks.task import Drop, Published, Record, Task, Tfds
from radit_jax.types import Instruction

_CATEGORY = "open_qa"
_CSQA_URL = "https://s3.amazonaws.com/commensenseqa/"  # the publisher's spelling
_FREEBASE_URL = "https://raw.githubusercontent.com/kelvin-jiang/FreebaseQA/master/"
_MS_MARCO_URL = "https://msmarco.blob.core.windows.net/msmsarcov1/"
_NFL6_URL = "https://ciir.cs.umass.edu/downloads/nfL6/"
_WIKI_QA_URL = (
    "https://download.microsoft.com/download/E/5/F/"
    "E5FCFCEE-7005-4814-853D-DAA7C66507E0/WikiQACorpus.zip"
)

_OPTION_MARK = r"[a-eA-E]\s*\)"
_NEXT_OPTION = re.compile(rf"(?:^|,)\s*({_OPTION_MARK})")
_FREEBASE_ID = re.compile(r"/[mg]/\w+")
_LINE_BREAK = re.compile(r"\s*<br\s*/?>\s*", re.IGNORECASE)


def commonsense_qa(record: Record) -> Iterator[Instruction | Drop]:
    """The options stand under the question, one a line: `A. bank`.

    The answer is the text of the right one without its letter: a chunk can hold it.
    """
    options = record["options"]
    right = conversion.chosen(record["answer_key"], options)
    yield conversion.instruction(
        "commonsense_qa",
        _CATEGORY,
        record["id"],
        conversion.with_options(record["question"], options),
        () if right is None else (options[right],),
    )


def math_qa(record: Record) -> Iterator[Instruction | Drop]:
    """The options stand under the question, one a line: `A. 24`.

    The publisher's `a ) 24 , b ) 120` (or a list in brackets) is taken apart at its
    letters; where they don't come in order the record is a Drop. The answer is the
    text of the right option without its letter. The rationale is left out: the paper
    has the set among open-domain QA. The text stays tokenised, as published.
    """
    options = _math_qa_options(record["options"])
    if not options:
        yield Drop("options can't be told apart")
        return
    right = conversion.chosen(record["correct"], options)
    yield conversion.instruction(
        "math_qa",
        _CATEGORY,
        record["id"],
        conversion.with_options(record["question"], options),
        () if right is None else (options[right],),
    )


def _math_qa_options(published: str) -> list[str]:
    """The options without their letters; none where the letters are out of order."""
    published = published.strip()
    if published.startswith("["):
        try:
            published = " , ".join(ast.literal_eval(published))
        except (ValueError, SyntaxError, TypeError):
            return []
    start, *pieces = _NEXT_OPTION.split(published)
    letters = "".join(mark[0].lower() for mark in pieces[::2])
    if start.strip() or not letters or not "abcde".startswith(letters):
        return []
    repeated = re.compile(rf"^(?:{_OPTION_MARK}\s*)+")  # "a ) a ) 2" occurs
    return [repeated.sub("", piece.strip()) for piece in pieces[1::2]]


def web_questions(record: Record) -> Iterator[Instruction | Drop]:
    """All answers are accepted, the first is learned.

    Quotation marks around an answer are taken off; answers that are Freebase ids
    (`/m/0dm9yv1`) are left out.
    """
    found = [_unquoted(answer) for answer in record["answers"]]
    yield conversion.instruction(
        "web_questions",
        _CATEGORY,
        conversion.content_id(record["question"]),
        record["question"],
        [answer for answer in found if not _FREEBASE_ID.fullmatch(answer)],
    )


def _unquoted(answer: str) -> str:
    answer = answer.replace('\\"', '"').strip()
    while len(answer) > 1 and answer[0] == answer[-1] == '"':
        answer = answer[1:-1].strip()
    return answer


def wiki_qa(record: Record) -> Iterator[Instruction | Drop]:
    """The sentences labelled correct are the answers, the first of them is learned.

    A question without one is a Drop. One instruction for a question, where the paper
    counts one for each of the 20,360 candidate sentences. The text stays tokenised
    (`caves , but`), as published.
    """
    pairs = zip(record["sentences"], record["labels"], strict=True)
    right = [sentence for sentence, label in pairs if label.strip() == "1"]
    if not right:
        yield Drop("no correct answer among the candidates")
        return
    yield conversion.instruction(
        "wiki_qa", _CATEGORY, record["id"], record["question"], right
    )


def yahoo_answers_qa(record: Record) -> Iterator[Instruction | Drop]:
    """The question's title (nfL6 has no more of it) and the best answer alone.

    The other answers were not reviewed by the publisher. HTML entities become
    letters, `<br>` a line break.
    """
    yield conversion.instruction(
        "yahoo_answers_qa",
        _CATEGORY,
        record["id"],
        _plain(record["question"]),
        (_plain(record["answer"]),),
    )


def _plain(published: str) -> str:
    return html.unescape(_LINE_BREAK.sub("\n", html.unescape(published)))


def freebase_qa(record: Record) -> Iterator[Instruction | Drop]:
    """The raw question; each name of each answer is accepted, the first is learned.

    Names are in small letters, as published.
    """
    yield conversion.instruction(
        "freebase_qa", _CATEGORY, record["id"], record["question"], record["answers"]
    )


def ms_marco(record: Record) -> Iterator[Instruction | Drop]:
    """Version 1.1's query and answers, without the passages.

    Queries without an answer ("No Answer Present.") are Drops. HTML entities become
    letters.
    """
    answers = [html.unescape(answer) for answer in record["answers"]]
    kept = [one for one in answers if one.strip().rstrip(".") != "No Answer Present"]
    if len(kept) < len(answers) and not kept:
        yield Drop("no answer present")
        return
    question = html.unescape(record["question"])
    yield conversion.instruction("ms_marco", _CATEGORY, record["id"], question, kept)


COMMONSENSE_QA = Task(
    name="commonsense_qa",
    category=_CATEGORY,
    source=Published(
        version="1.11.0",
        homepage="https://www.tau-nlp.org/commonsenseqa",
        files={
            "train": ("train_rand_split.jsonl",),
            "validation": ("dev_rand_split.jsonl",),
        },
        urls={
            name: _CSQA_URL + name
            for name in ("train_rand_split.jsonl", "dev_rand_split.jsonl")
        },
        fields={"id": str, "question": str, "options": [str], "answer_key": str},
        read=question_files.commonsense_qa,
    ),
    licence="MIT",
    instructions=commonsense_qa,
)

MATH_QA = Task(
    name="math_qa",
    category=_CATEGORY,
    source=Published(
        version="1.0.0",
        homepage="https://math-qa.github.io",
        files={"train": ("MathQA.zip",), "validation": ("MathQA.zip",)},
        urls={"MathQA.zip": "https://math-qa.github.io/data/MathQA.zip"},
        fields={"id": str, "question": str, "options": str, "correct": str},
        read=question_files.math_qa,
        split_field="split",
    ),
    licence="Apache-2.0",
    instructions=math_qa,
)

WEB_QUESTIONS = Task(
    name="web_questions",
    category=_CATEGORY,
    source=Tfds(
        builder="web_questions",
        module="tensorflow_datasets.question_answering.web_questions",
        splits={"train": "train"},
    ),
    licence="CC-BY-4.0",
    instructions=web_questions,
)

WIKI_QA = Task(
    name="wiki_qa",
    category=_CATEGORY,
    source=Published(
        version="1.0.0",
        homepage="https://www.microsoft.com/en-us/download/details.aspx?id=52419",
        files={"train": ("WikiQACorpus.zip",), "validation": ("WikiQACorpus.zip",)},
        urls={"WikiQACorpus.zip": _WIKI_QA_URL},
        fields={"id": str, "question": str, "sentences": [str], "labels": [str]},
        read=question_files.wiki_qa,
        split_field="split",
    ),
    licence="Microsoft Research Data License Agreement (research use)",
    instructions=wiki_qa,
)

YAHOO_ANSWERS_QA = Task(
    name="yahoo_answers_qa",
    category=_CATEGORY,
    source=Published(
        version="1.0.0",
        homepage=f"{_NFL6_URL}index.html",
        files={"train": ("nfL6.json.gz",)},
        urls={"nfL6.json.gz": f"{_NFL6_URL}nfL6.json.gz"},
        fields={"id": str, "question": str, "answer": str},
        read=question_files.yahoo_answers_qa,
    ),
    licence="Yahoo Webscope L6 (research use)",
    instructions=yahoo_answers_qa,
)

FREEBASE_QA = Task(
    name="freebase_qa",
    category=_CATEGORY,
    source=Published(
        version="1.0.0",
        homepage="https://github.com/kelvin-jiang/FreebaseQA",
        files={
            "train": ("FreebaseQA-train.json",),
            "validation": ("FreebaseQA-dev.json",),
        },
        urls={
            name: _FREEBASE_URL + name
            for name in ("FreebaseQA-train.json", "FreebaseQA-dev.json")
        },
        fields={"id": str, "question": str, "answers": [str]},
        read=question_files.freebase_qa,
    ),
    licence="CC-BY-4.0",
    instructions=freebase_qa,
)

MS_MARCO = Task(
    name="ms_marco",
    category=_CATEGORY,
    source=Published(
        version="1.1.0",
        homepage="https://microsoft.github.io/msmarco/",
        files={
            "train": ("train_v1.1.json.gz",),
            "validation": ("dev_v1.1.json.gz",),
        },
        urls={
            name: _MS_MARCO_URL + name
            for name in ("train_v1.1.json.gz", "dev_v1.1.json.gz")
        },
        fields={"id": str, "question": str, "answers": [str]},
        read=question_files.ms_marco,
    ),
    licence="Microsoft's own terms (non-commercial research)",
    instructions=ms_marco,
)
