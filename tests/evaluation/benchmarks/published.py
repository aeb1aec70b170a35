"""Hand-written records of every benchmark, in its publisher's form and files."""

import json

EVIDENCE = [{"wikipedia_id": "12", "title": "Aar", "start_paragraph_id": 1}]
AIDA_TEXT = "SKI - [START_ENT] ALTDORF [END_ENT] WINS .  Zug 1996-08-30  Snow fell ."


def lines(*records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def kilt(question, *outputs, **fields):
    return {"id": f"k-{question[:9]}", "input": question, "output": outputs, **fields}


def choice(record_id, stem, options, key):
    found = [{"text": text, "label": label} for label, text in options.items()]
    question = {"stem": stem, "choices": found}
    return {"id": record_id, "question": question, "answerKey": key}


_ARC = choice("M_7", "What melts ice?", {"1": "Salt", "2": "Sand", "3": "Oil"}, "1")
FILES = {
    "mmlu": {
        "data/dev/alpine_studies_dev.csv": 'A lake?,Aar,Rhine,"Zug, old",B,C\n',
        "data/test/alpine_studies_test.csv": (
            '"Where, then, does it rise?",Uri,Bern,Bern,None of them,D\n'
        ),
        "data/test/botany_test.csv": "What is edelweiss?,A herb,A fish,2,0.5,A\n",
    },
    "nq": {
        "NQ-open.dev.jsonl": lines(
            {
                "question": "where does the aar rise",
                "answer": ["Bern", "canton of Bern"],
            }
        ),
        "nq-dev.qa.csv": 'who won in altdorf\t"[\'Tell\', ""Tell\'s son""]"\n',
    },
    "triviaqa": {
        "unfiltered-web-dev.json": json.dumps(
            {
                "Data": [
                    {
                        "Answer": {
                            "Aliases": ["Lake Zug", "Zugersee"],
                            "NormalizedAliases": ["lake zug", "zugersee"],
                            "Value": "Zugersee",
                        },
                        "Question": "Which lake is at Zug?",
                        "QuestionId": "tc_9",
                    }
                ]
            },
            indent=1,
        )
    },
    "hotpotqa": {
        "hotpotqa-dev-kilt.jsonl": lines(
            kilt("Are Aar and Rhine rivers?", {"answer": "yes", "provenance": EVIDENCE})
        )
    },
    "fever": {
        "fever-dev-kilt.jsonl": lines(
            kilt("The Aar is a lake.", {"answer": "REFUTES", "provenance": EVIDENCE})
        )
    },
    "aida": {
        "aidayago2-dev-kilt.jsonl": lines(
            kilt(AIDA_TEXT, {"answer": "Altdorf, Uri", "provenance": EVIDENCE})
        )
    },
    "zsre": {
        "structured_zeroshot-dev-kilt.jsonl": lines(
            kilt(
                "Aar [SEP] mouth",
                {"answer": "Rhine", "provenance": EVIDENCE},
                meta={"template_questions": ["Where does the Aar end?"]},
            )
        )
    },
    "trex": {
        "trex-dev-kilt.jsonl": lines(
            kilt(
                "Tell [SEP] occupation",
                {"answer": "hunter", "provenance": EVIDENCE},
                {"answer": "hunter", "provenance": [{"wikipedia_id": "7"}]},
                {"answer": "Hunter"},
            )
        )
    },
    "wow": {
        "wow-dev-kilt.jsonl": lines(
            kilt(
                "I love lakes.\nWhich one?\nZug. Is it deep?",
                {"answer": "198 metres, I read.", "provenance": EVIDENCE},
            )
        )
    },
    "eli5": {
        "eli5-dev-kilt.jsonl": lines(
            kilt(
                "Why is snow white?",
                {"answer": "It scatters light.\n\nAll of it."},
                {"answer": "Many faces reflect.", "meta": {"score": 3}},
                {"provenance": EVIDENCE},
            )
        )
    },
    "boolq": {
        "dev.jsonl": lines(
            {
                "question": "is the aar a lake",
                "title": "Aar",
                "answer": False,
                "passage": "The Aar is a river.",
            }
        )
    },
    "piqa": {
        "valid.jsonl": lines(
            {"goal": "melt snow", "sol1": "Warm it.", "sol2": "Cool it. "},
            {"goal": "cool tea", "sol1": "Boil it.", "sol2": "Wait."},
        ),
        "valid-labels.lst": "0\n1\n",
    },
    "siqa": {
        "dev.jsonl": lines(
            {
                "context": "Kim fell on the ice.",
                "question": "How does Kim feel?",
                "answerA": "sore",
                "answerB": "glad",
                "answerC": "rich",
            }
        ),
        "dev-labels.lst": "1\n",
    },
    "hellaswag": {
        "hellaswag_val.jsonl": lines(
            {
                "ind": 3,
                "activity_label": "Skiing",
                "ctx_a": "[header] How to ski [title] Stand up.",
                "ctx_b": "the man",
                "label": 1,
                "endings": ["sits [step] down.", "stands.", "sings.", "swims."],
            }
        )
    },
    "winogrande": {
        "dev.jsonl": lines(
            {
                "qID": "Q-1",
                "sentence": "Uri beat Zug because _ had more snow.",
                "option1": "Uri",
                "option2": "Zug",
                "answer": "1",
            },
            {
                "qID": "Q-2",
                "sentence": "_ was happy.",
                "option1": "Uri",
                "option2": "Zug",
                "answer": "2",
            },
        )
    },
    "arc_e": {"ARC-Easy-Dev.jsonl": lines(_ARC)},
    "arc_c": {"ARC-Challenge-Dev.jsonl": lines(_ARC)},
    "obqa": {
        "dev.jsonl": lines(
            choice("8-1", "Snow is", {"A": "hot", "B": "wet"}, "B"),
        )
    },
}


def write(folder, name, files=None):
    """Puts a benchmark's files where they are looked for."""
    for file, content in (FILES[name] if files is None else files).items():
        path = folder / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder
