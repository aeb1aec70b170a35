"""Real records as their publishers' files: one function a fine-tuning set.

Where the real file is not there, the records of another split stand in for it, or
records that another project keeps in its own form are written in the publisher's.
"""

import csv
import gzip
import io
import json
import pathlib
import tarfile
import xml.etree.ElementTree
import zipfile

SHARED = pathlib.Path(__file__).parents[4] / "shared" / "data"
_DUMMY = SHARED / "hf_dummy_raw"


def _unpacked(name):
    return gzip.decompress((SHARED / name).read_bytes())


def _lines(name):
    return [json.loads(line) for line in _unpacked(name).splitlines()]


def _dummy(name):
    return (_DUMMY / name).read_bytes()


def _json(value):
    return json.dumps(value).encode()


def _json_lines(records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def _zip(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def _tar(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def _folder(path):
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def oasst1():
    return {
        "2023-04-12_oasst_ready.trees.jsonl.gz": (
            SHARED / "oasst" / "en_100_tree.jsonl.gz"
        ).read_bytes()
    }


def commonsense_qa():
    names = ("train_rand_split.jsonl", "dev_rand_split.jsonl")
    return {name: _unpacked(f"commonsense_qa/{name}.gz") for name in names}


def math_qa():
    return {"MathQA.zip": _zip(_folder(_DUMMY / "math_qa" / "0.1.0"))}


def web_questions():
    """Kept with a list of answers, where the publisher has a Lisp list."""
    parts = ("trainmodel", "val", "devtest")
    train = [one for part in parts for one in _webquestions(f"{part}.json.gz", "qText")]
    return {
        "webquestions.train": _json(train),
        "webquestions.test": _json(
            list(_webquestions("WebQuestions.ToG.json.gz", "question"))
        ),
    }


def _webquestions(name, question):
    for record in json.loads(_unpacked(f"webquestions/{name}")):
        answers = " ".join(f'(description "{one}")' for one in record["answers"])
        target = f"(list {answers})"
        yield {"url": "", "utterance": record[question], "targetValue": target}


def wiki_qa():
    """The copy numbers its rows and quotes; the publisher, its questions, and not."""
    lines = _unpacked("wikiqa/WikiQA-train.tsv.gz").decode().split("\n")
    header, *copied = csv.reader(filter(None, lines), delimiter="\t")
    numbers = {}
    rows = ["\t".join(header)]
    for _, question, *rest in copied:
        number = numbers.setdefault(question, f"Q{len(numbers)}")
        rows.append("\t".join((number, question, *rest)))
    return {
        "WikiQACorpus.zip": _zip(
            {
                "WikiQACorpus/WikiQA-train.tsv": "\n".join(rows),
                "WikiQACorpus/WikiQA-dev.tsv": _dummy(
                    "wiki_qa/0.1.0/WikiQACorpus/WikiQA-dev.tsv"
                ),
            }
        )
    }


def yahoo_answers_qa():
    content = _dummy("yahoo_answers_qa/yahoo_answers_qa/1.0.0/nfL6.json")
    return {"nfL6.json.gz": gzip.compress(content)}


def freebase_qa():
    """The development questions are kept a row an answer, as in release 1.1."""
    rows = csv.reader(
        io.StringIO(_unpacked("freebaseqa/FreebaseQA-dev.tab.gz").decode()),
        delimiter="\t",
    )
    answers = {}
    for row in rows:
        answers.setdefault(row[-1], []).append({"AnswersName": [row[-2]]})
    questions = [
        {
            "Question-ID": f"FreebaseQA-dev-{number}",
            "RawQuestion": question,
            "Parses": [{"Answers": found}],
        }
        for number, (question, found) in enumerate(answers.items())
    ]
    return {
        "FreebaseQA-train.json": _dummy("freebase_qa/1.0.0/FreebaseQA-train.json"),
        "FreebaseQA-dev.json": _json({"Questions": questions}),
    }


def ms_marco():
    names = ("train_v1.1.json.gz", "dev_v1.1.json.gz")
    return {name: _dummy(f"ms_marco/v1.1/1.1.0/{name}") for name in names}


def coqa():
    """The development turns are kept a line each."""
    stories = {}
    for turn in _lines("coqa/oe_eval.coqa.dev.turns.jsonl.gz"):
        name, _, number = turn["id"].rpartition("_turn")
        story = {"source": turn["source"], "id": name, "story": turn["story"]}
        empty = {"questions": [], "answers": [], "additional_answers": {}}
        story = stories.setdefault(name, story | empty)
        turn_id = int(number) + 1
        question = {"input_text": turn["question"], "turn_id": turn_id}
        story["questions"].append(question)
        first, *more = turn["answers"]
        story["answers"].append({"input_text": first, "turn_id": turn_id})
        for person, answer in enumerate(more):
            given = story["additional_answers"].setdefault(str(person), [])
            given.append({"input_text": answer, "turn_id": turn_id})
    return {
        "coqa-train-v1.0.json": _dummy("coqa/1.0.0/coqa-train-v1.0.json"),
        "coqa-dev-v1.0.json": _json({"version": "1.0", "data": list(stories.values())}),
    }


def drop():
    """The development questions are kept as a Parquet table of the Hugging Face."""
    from pyarrow import parquet

    passages = {}
    for row in parquet.read_table(SHARED / "drop" / "drop-dev.parquet").to_pylist():
        passage = {"passage": row["passage"], "qa_pairs": []}
        kept = passages.setdefault(row["section_id"], passage)
        more = row["validated_answers"]
        parts = ("number", "date", "spans")
        validated = [
            dict(zip(parts, values, strict=True))
            for values in zip(*(more[part] for part in parts), strict=True)
        ]
        pair = {key: row[key] for key in ("question", "answer", "query_id")}
        kept["qa_pairs"].append(pair | {"validated_answers": validated})
    folder = "drop_dataset/drop_dataset"
    train = _dummy(f"drop/0.1.0/{folder}_train.json")
    members = {f"{folder}_train.json": train, f"{folder}_dev.json": _json(passages)}
    return {"drop_dataset.zip": _zip(members)}


def narrativeqa():
    folder = "narrativeqa/0.0.0/master.zip/narrativeqa-master"
    return {
        "qaps.csv": _dummy(f"{folder}/qaps.csv"),
        "summaries.csv": _dummy(f"{folder}/third_party/wikipedia/summaries.csv"),
    }


def newsqa():
    """The three stories are all of train: the last stands in for dev."""
    name = "combined-newsqa-data-v1.json"
    published = json.loads(_dummy(f"newsqa/combined-json/1.0.0/{name}"))
    published["data"][-1]["type"] = "dev"
    return {name: _json(published)}


def pubmed_qa():
    return {"ori_pqal.json": _unpacked("pubmedqa/ori_pqal.json.gz")}


def quail():
    """Challenge questions stand in for train; dev is kept as XML."""
    content = _unpacked("quail/quail_1.3_dev.xml.gz")
    records = [
        {
            "id": f"{passage.get('id')}_{number}",
            "context": passage.findtext("text_body").strip(),
            "question": question.text.strip(),
            "answers": [answer.text.strip() for answer in question.iter("a")],
            "correct_answer_id": str(
                [answer.get("correct") for answer in question.iter("a")].index("True")
            ),
        }
        for passage in xml.etree.ElementTree.fromstring(content).iter("text")
        for number, question in enumerate(passage.iter("q"))
    ]
    return {
        "train.jsonl": _unpacked("quail/challenge.jsonl.gz"),
        "dev.jsonl": _json_lines(records),
    }


def quarel():
    members = _folder(_DUMMY / "quarel" / "0.1.0")
    return {"quarel-dataset-v1-nov2018.zip": _zip(members)}


def squad_v2():
    """Train is a few questions; dev is whole."""
    return {
        "train-v2.0.json": _dummy("squad_v2/squad_v2/2.0.0/train-v2.0.json"),
        "dev-v2.0.json": _unpacked("squad/dev-v2.0.rebuilt.json.gz"),
    }


def cnn_dailymail():
    folder = _DUMMY / "cnn_dailymail" / "3.0.0" / "3.0.0"
    stories = {path.name: path.parent for path in folder.glob("uc_*/*")}
    files = {name: (folder / name).read_bytes() for name in _CNN_LISTS}
    archives = {
        f"{paper}_stories.tgz": gzip.compress(_tar(_folder(stories[paper])))
        for paper in ("cnn", "dailymail")
    }
    return files | archives


_CNN_LISTS = ("all_train.txt", "all_val.txt")


def aqua_rat():
    """The test questions stand in for train."""
    return {
        "train.json": _unpacked("aqua_rat/test.json.gz"),
        "dev.json": _unpacked("aqua_rat/dev.json.gz"),
    }


def gsm8k():
    """The "socratic" files are asked for, but not read: the test questions."""
    train, test = (_unpacked(f"gsm8k/{name}.jsonl.gz") for name in ("train", "test"))
    unread = {f"{name}_socratic.jsonl": test for name in ("train", "test")}
    return {"train.jsonl": train, "test.jsonl": test} | unread


def competition_math():
    """Test problems, kept a line each, stand in for train."""
    problems = enumerate(_lines("math/minerva_math.test.jsonl.gz"))
    return {
        "MATH.tar": _tar(
            {
                f"MATH/train/{problem['type']}/{number}.json": _json(problem)
                for number, problem in problems
            }
        )
    }


def strategyqa():
    names = ("train.json", "dev.json")
    return {name: _unpacked(f"strategyqa/{name}.gz") for name in names}
