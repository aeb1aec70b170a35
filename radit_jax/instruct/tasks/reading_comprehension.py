"""Reading comprehension: eight sets, each with its gold passage (paper §2)."""

import re
from collections.abc import Iterator, Sequence

from radit_jax.instruct.tasks import conversion, passage_files
from radit_jax.instruct.tasks.task import Drop, Published, Record, Task, Tfds
from radit_jax.types import Instruction

_CATEGORY = "reading_comprehension"
UNANSWERABLE = "I don't know"  # paper §2, of SQuAD v2

_BLANK_LINES = re.compile(r"\n\s*\n")
_OPTIONS = re.compile(r"\s*\(([A-Z])\)\s*")  # "Which is smoother? (A) ice (B) snow"
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!Mr\.)(?<!Mrs\.)(?<!Ms\.)(?<!Dr\.)\s+(?=\S)")


def squad_v2(record: Record) -> Iterator[Instruction | Drop]:
    """An unanswerable question's answer is "I don't know".

    Its "plausible" answers are wrong ones, and left out. Else all annotators' answers
    are accepted, the first is learned. The context is the paragraph, without the
    article's title.
    """
    answers = record["answers"]["text"]
    if record["is_impossible"]:
        answers = [UNANSWERABLE]
    yield conversion.instruction(
        "squad_v2",
        _CATEGORY,
        record["id"],
        record["question"],
        answers,
        context=record["context"].strip(),
    )


def coqa(record: Record) -> Iterator[Instruction | Drop]:
    """One instruction a turn, with the turns before it as `history`.

    The history holds the answers of the person who led the conversation, as the
    publisher's baselines do; they are also the ones that are learned. An unanswerable
    turn keeps the publisher's "unknown", which is what the set is scored on. Turns
    after one without a question or an answer are Drops, as that one is.
    """
    if not record["turns"]:
        yield Drop("no turns")
    history: tuple[str, ...] = ()
    for number, turn in enumerate(record["turns"], start=1):
        if "" in history:
            yield Drop("follows a turn that isn't whole")
            continue
        yield conversion.instruction(
            "coqa",
            _CATEGORY,
            f"{record['id']}_{number}",
            turn["question"],
            turn["answers"],
            context=record["story"].strip(),
            history=history,
        )
        answer = turn["answers"][0] if turn["answers"] else ""
        history += (turn["question"].strip(), answer.strip())


def drop(record: Record) -> Iterator[Instruction | Drop]:
    """An answer is its number, its spans with commas between, or its date.

    In that order, as the publisher's evaluation reads it. A date is what there is of
    day, month and year: `8 March 1901`, `March 1901`. All annotators' answers are
    accepted, the first is learned.
    """
    yield conversion.instruction(
        "drop",
        _CATEGORY,
        record["id"],
        record["question"],
        [_rendered(answer) for answer in record["answers"]],
        context=record["passage"].strip(),
    )


def _rendered(answer: Record) -> str:
    spans = ", ".join(span.strip() for span in answer["spans"] if span.strip())
    date = " ".join(part.strip() for part in answer["date"] if part.strip())
    return answer["number"].strip() or spans or date


def narrativeqa(record: Record) -> Iterator[Instruction | Drop]:
    """The context is the summary of the story's plot, not the story.

    Questions were written from the summary, and a book or a film script doesn't fit a
    row of 2,048 tokens. Both answers are accepted, the first is learned.
    """
    yield conversion.instruction(
        "narrativeqa",
        _CATEGORY,
        record["id"],
        record["question"],
        record["answers"],
        context=record["summary"].strip(),
    )


def newsqa(record: Record) -> Iterator[Instruction | Drop]:
    """The answer is the span that the reviewers agreed on, less the marks at its ends.

    Other spans are left out: a reviewer chose each, but none was agreed on. Questions
    that are judged bad, that have no answer in the story or no agreed span are Drops,
    which leaves about the paper's 74,160. Blank lines in the story become one.
    """
    story = record["story"]
    if record["bad_question"]:
        yield Drop("judged a bad question")
    elif record["no_answer"]:
        yield Drop("no answer in the story")
    elif not 0 <= record["start"] < record["end"] <= len(story):
        yield Drop("no agreed span")
    else:
        yield conversion.instruction(
            "newsqa",
            _CATEGORY,
            record["id"],
            record["question"],
            (story[record["start"] : record["end"]].strip(" \n\t.,;:"),),
            context=_BLANK_LINES.sub("\n", story).strip(),
        )


def pubmed_qa(record: Record) -> Iterator[Instruction | Drop]:
    """The answer is the experts' decision: yes, no or maybe.

    It is what the set is scored on. The long answer, the abstract's own conclusion, is
    left out: it isn't in the context, and an LM that learns to write it learns to
    invent. The context is the rest of the abstract, a line a section. All 1,000
    labelled questions are taken, as by the paper: don't score on the 500 of its test.
    """
    yield conversion.instruction(
        "pubmed_qa",
        _CATEGORY,
        record["id"],
        record["question"],
        (record["decision"],),
        context="\n".join(part.strip() for part in record["contexts"]),
    )


def quail(record: Record) -> Iterator[Instruction | Drop]:
    """The options stand under the question, one a line: `A. not enough information`.

    The answer is the text of the right one, without its letter.
    """
    yield _multiple_choice(
        "quail", record, record["context"], record["question"], record["options"]
    )


def quarel(record: Record) -> Iterator[Instruction | Drop]:
    """The context is the situation: what stands before the last sentence.

    The set has no passages; a question of one sentence has no context. The options,
    `(A) ice (B) snow` at the end of it, are put under the question, one a line:
    `A. ice`. The answer is the text of the right one, without its letter.
    """
    asked, *found = _OPTIONS.split(record["question"])
    letters, options = found[::2], found[1::2]
    if letters != ["A", "B"]:
        yield Drop("options can't be told apart")
        return
    *situation, question = _SENTENCE_END.split(asked.strip())
    yield _multiple_choice("quarel", record, " ".join(situation), question, options)


def _multiple_choice(
    task: str, record: Record, context: str, question: str, options: Sequence[str]
) -> Instruction | Drop:
    right = record["answer_index"]
    if not 0 <= right < len(options):
        return Drop("the right option isn't there")
    return conversion.instruction(
        task,
        _CATEGORY,
        record["id"],
        conversion.with_options(question, options),
        (options[right],),
        context=context.strip(),
    )


_COQA_URL = "https://nlp.stanford.edu/data/coqa/"
_COQA = ("coqa-train-v1.0.json", "coqa-dev-v1.0.json")
_DROP_URL = "https://s3-us-west-2.amazonaws.com/allennlp/datasets/drop/"
_NARRATIVEQA_URL = "https://raw.githubusercontent.com/deepmind/narrativeqa/master/"
_NEWSQA = "combined-newsqa-data-v1.json"
_PUBMED_URL = "https://raw.githubusercontent.com/pubmedqa/pubmedqa/master/data/"
_QUAIL_URL = (
    "https://raw.githubusercontent.com/text-machine-lab/quail/master/quail_v1.3/json/"
)
_QUAREL = "quarel-dataset-v1-nov2018.zip"
_QUAREL_URL = "https://s3-us-west-2.amazonaws.com/ai2-website/data/"

SQUAD_V2 = Task(
    name="squad_v2",
    category=_CATEGORY,
    source=Tfds("squad/v2.0"),
    licence="CC-BY-SA-4.0",
    instructions=squad_v2,
)

# tensorflow-datasets has CoQA, but builds it with TensorFlow only, and without the
# development set's further answers.
COQA = Task(
    name="coqa",
    category=_CATEGORY,
    source=Published(
        version="1.0.0",
        homepage="https://stanfordnlp.github.io/coqa/",
        files={"train": _COQA[:1], "validation": _COQA[1:]},
        urls={name: _COQA_URL + name for name in _COQA},
        fields={
            "id": str,
            "story": str,
            "turns": [{"question": str, "answers": [str]}],
        },
        read=passage_files.coqa,
    ),
    licence="by source: CC-BY-SA-4.0, MSR-LA, Apache-2.0, RACE's and CNN's own",
    instructions=coqa,
)

# tensorflow-datasets has DROP, but keeps the first span alone of an answer of several,
# and no date without a day.
DROP = Task(
    name="drop",
    category=_CATEGORY,
    source=Published(
        version="1.0.0",
        homepage="https://allenai.org/data/drop",
        files={"train": ("drop_dataset.zip",), "validation": ("drop_dataset.zip",)},
        urls={"drop_dataset.zip": f"{_DROP_URL}drop_dataset.zip"},
        fields={
            "id": str,
            "passage": str,
            "question": str,
            "answers": [{"number": str, "spans": [str], "date": [str]}],
        },
        read=passage_files.drop,
        split_field="split",
    ),
    licence="CC-BY-SA-4.0",
    instructions=drop,
)

NARRATIVEQA = Task(
    name="narrativeqa",
    category=_CATEGORY,
    source=Published(
        version="1.0.0",
        homepage="https://github.com/google-deepmind/narrativeqa",
        files={
            "train": ("qaps.csv", "summaries.csv"),
            "validation": ("qaps.csv", "summaries.csv"),
        },
        urls={
            "qaps.csv": f"{_NARRATIVEQA_URL}qaps.csv",
            "summaries.csv": f"{_NARRATIVEQA_URL}third_party/wikipedia/summaries.csv",
        },
        fields={"id": str, "summary": str, "question": str, "answers": [str]},
        read=passage_files.narrativeqa,
        split_field="split",
    ),
    licence="Apache-2.0; the summaries CC-BY-SA-3.0",
    instructions=narrativeqa,
)

NEWSQA = Task(
    name="newsqa",
    category=_CATEGORY,
    source=Published(
        version="1.0.0",
        homepage="https://github.com/Maluuba/newsqa",
        files={"train": (_NEWSQA,), "validation": (_NEWSQA,)},
        urls={},  # its tool makes the file: CNN's stories may not be handed on
        fields={
            "id": str,
            "story": str,
            "question": str,
            "start": int,
            "end": int,
            "bad_question": bool,
            "no_answer": bool,
        },
        read=passage_files.newsqa,
        split_field="split",
    ),
    licence="Microsoft's own terms (non-commercial research); CNN's stories",
    instructions=newsqa,
)

PUBMED_QA = Task(
    name="pubmed_qa",
    category=_CATEGORY,
    source=Published(
        version="1.0.0",
        homepage="https://github.com/pubmedqa/pubmedqa",
        files={"train": ("ori_pqal.json",)},
        urls={"ori_pqal.json": f"{_PUBMED_URL}ori_pqal.json"},
        fields={"id": str, "question": str, "contexts": [str], "decision": str},
        read=passage_files.pubmed_qa,
    ),
    licence="MIT",
    instructions=pubmed_qa,
)

QUAIL = Task(
    name="quail",
    category=_CATEGORY,
    source=Published(
        version="1.3.0",
        homepage="https://github.com/text-machine-lab/quail",
        files={"train": ("train.jsonl",), "validation": ("dev.jsonl",)},
        urls={name: _QUAIL_URL + name for name in ("train.jsonl", "dev.jsonl")},
        fields={
            "id": str,
            "context": str,
            "question": str,
            "options": [str],
            "answer_index": int,
        },
        read=passage_files.quail,
    ),
    licence="CC-BY-NC-SA-4.0 (non-commercial)",
    instructions=quail,
)

QUAREL = Task(
    name="quarel",
    category=_CATEGORY,
    source=Published(
        version="1.0.0",
        homepage="https://allenai.org/data/quarel",
        files={"train": (_QUAREL,), "validation": (_QUAREL,)},
        urls={_QUAREL: _QUAREL_URL + _QUAREL},
        fields={"id": str, "question": str, "answer_index": int},
        read=passage_files.quarel,
        split_field="split",
    ),
    licence="CC-BY-4.0",
    instructions=quarel,
)
