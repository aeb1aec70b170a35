"""Chain of thought: five sets (paper §2).

What each set says before its question is our own wording: the paper gives none.
"""

import re
from collections.abc import Iterator

from radit_jax.instruct.tasks import conversion, open_qa, question_files
from radit_jax.instruct.tasks.task import Drop, Published, Record, Task, Tfds
from radit_jax.types import Instruction

_CATEGORY = "chain_of_thought"
_AQUA_URL = "https://raw.githubusercontent.com/google-deepmind/AQuA/master/"
_ECQA_URL = "https://raw.githubusercontent.com/dair-iitd/ECQA-Dataset/main/"
_STRATEGY_URL = (
    "https://raw.githubusercontent.com/eladsegal/strategyqa/main/data/strategyqa/"
)

_AQUA_LETTER = re.compile(r"^(?:[A-E]\s*\)\s*)+")
_CALCULATION = re.compile(r"<<[^<>]*>>")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*")


def _thought(
    task: str, guidance: str, record_id: str, question: str, rationale: str, answer: str
) -> Instruction | Drop:
    """The instruction; a Drop where there is no chain of thought."""
    if question.strip() and answer.strip() and not rationale.strip():
        return Drop("no chain of thought")
    return conversion.instruction(
        task,
        _CATEGORY,
        record_id,
        question,
        (answer,),
        guidance=guidance,
        rationale=rationale.strip(),
    )


def aqua_rat(record: Record) -> Iterator[Instruction | Drop]:
    """The options stand under the question, one a line: `A. 21` for `A)21`.

    The answer is the right one's letter and text (`E. 23`), since the rationales end
    by naming the letter; they are kept whole.
    """
    options = [_AQUA_LETTER.sub("", option.strip()) for option in record["options"]]
    right = conversion.chosen(record["correct"], options)
    yield _thought(
        "aqua_rat",
        "Solve the problem step by step, then give the letter and the text of the "
        "right option.",
        record["id"],
        conversion.with_options(record["question"], options),
        record["rationale"],
        "" if right is None else conversion.lettered(options)[right],
    )


def ecqa(record: Record) -> Iterator[Instruction | Drop]:
    """The options stand under CommonsenseQA's question, one a line: `A. bank`.

    The chain of thought is the free-flow explanation (not the lists of properties);
    the answer is the right option's text without its letter, since the explanations
    name options by their text.
    """
    options = record["options"]
    right = conversion.chosen(record["answer_key"], options)
    yield _thought(
        "ecqa",
        "Explain which of the options makes the most sense, then name it.",
        record["id"],
        conversion.with_options(record["question"], options),
        record["explanation"],
        "" if right is None else options[right],
    )


def gsm8k(record: Record) -> Iterator[Instruction | Drop]:
    """The chain of thought is the solution without its `<<48/2=24>>` annotations.

    The answer is what stands after `####`, as published (`1,250` keeps its comma).
    """
    solution, _, answer = record["answer"].partition("####")
    yield _thought(
        "gsm8k",
        "Work out the answer step by step, then give it as a number.",
        conversion.content_id(record["question"]),
        record["question"],
        _CALCULATION.sub("", solution),
        answer,
    )


def competition_math(record: Record) -> Iterator[Instruction | Drop]:
    r"""The chain of thought is the whole solution, its LaTeX untouched.

    The answer is what stands in the solution's last `\boxed{}` (or `\fbox{}`);
    without one the problem is a Drop. Drawings (`[asy]`) stay in the question.
    """
    answer = boxed(record["solution"])
    if record["solution"].strip() and not answer:
        yield Drop("no boxed answer")
        return
    yield _thought(
        "competition_math",
        "Solve this competition problem step by step, then give the final answer.",
        record["id"],
        record["problem"],
        record["solution"],
        answer,
    )


def boxed(solution: str) -> str:
    r"""What stands in the last `\boxed{}`: `\boxed{\frac{1}{2}}` gives `\frac{1}{2}`.

    TeX's `\boxed 2` boxes one letter. Without a box, or with one left open: "".
    """
    marks = list(_BOXED.finditer(solution))
    if not marks:
        return ""
    rest = solution[marks[-1].end() :]
    if not rest.startswith("{"):
        return rest[:1]
    depth = 0
    for place, letter in enumerate(rest):
        escaped = rest[place - 1 : place] == "\\"  # \{ is a brace that is printed
        depth += 0 if escaped else (letter == "{") - (letter == "}")
        if depth == 0:
            return rest[1:place].strip()
    return ""


def strategyqa(record: Record) -> Iterator[Instruction | Drop]:
    """The chain of thought is the facts, in order, each closed with a full stop.

    The answer is Yes or No. The steps of the decomposition are questions, and are
    left out.
    """
    facts = [" ".join(fact.split()) for fact in record["facts"]]
    closed = [fact if fact[-1] in '.!?"' else f"{fact}." for fact in facts if fact]
    yield _thought(
        "strategyqa",
        "Recall the facts that the question rests on, then answer Yes or No.",
        record["id"],
        record["question"],
        " ".join(closed),
        record["answer"],
    )


AQUA_RAT = Task(
    name="aqua_rat",
    category=_CATEGORY,
    source=Published(
        version="1.0.0",
        homepage="https://github.com/google-deepmind/AQuA",
        files={"train": ("train.json",), "validation": ("dev.json",)},
        urls={name: _AQUA_URL + name for name in ("train.json", "dev.json")},
        fields={
            "id": str,
            "question": str,
            "options": [str],
            "rationale": str,
            "correct": str,
        },
        read=question_files.aqua_rat,
    ),
    licence="Apache-2.0",
    instructions=aqua_rat,
)

_CSQA = ("train_rand_split.jsonl", "dev_rand_split.jsonl")

ECQA = Task(
    name="ecqa",
    category=_CATEGORY,
    source=Published(
        version="1.0.0",
        homepage="https://github.com/dair-iitd/ECQA-Dataset",
        files={
            "train": ("train_ids.txt", "ecqa.jsonl", *_CSQA),
            "validation": ("val_ids.txt", "ecqa.jsonl", *_CSQA),
        },
        urls={
            "train_ids.txt": f"{_ECQA_URL}author_split/train_ids.txt",
            "val_ids.txt": f"{_ECQA_URL}author_split/val_ids.txt",
            "ecqa.jsonl": f"{_ECQA_URL}ecqa.jsonl",
            **open_qa.COMMONSENSE_QA.source.urls,
        },
        fields={
            "id": str,
            "question": str,
            "options": [str],
            "answer_key": str,
            "explanation": str,
        },
        read=question_files.ecqa,
    ),
    licence="CC-BY-SA-4.0",
    instructions=ecqa,
)

GSM8K = Task(
    name="gsm8k",
    category=_CATEGORY,
    source=Tfds(
        builder="gsm8k",
        module="tensorflow_datasets.text.gsm8k",
        splits={"train": "train"},
    ),
    licence="MIT",
    instructions=gsm8k,
)

COMPETITION_MATH = Task(
    name="competition_math",
    category=_CATEGORY,
    source=Published(
        version="1.0.0",
        homepage="https://github.com/hendrycks/math",
        files={"train": ("MATH.tar",)},
        urls={"MATH.tar": "https://people.eecs.berkeley.edu/~hendrycks/MATH.tar"},
        fields={"id": str, "problem": str, "solution": str},
        read=question_files.competition_math,
    ),
    licence="MIT",
    instructions=competition_math,
)

STRATEGYQA = Task(
    name="strategyqa",
    category=_CATEGORY,
    source=Published(
        version="1.0.0",
        homepage="https://github.com/eladsegal/strategyqa",
        files={"train": ("train.json", "dev.json")},  # the official train, split
        urls={name: _STRATEGY_URL + name for name in ("train.json", "dev.json")},
        fields={"id": str, "question": str, "facts": [str], "answer": str},
        read=question_files.strategyqa,
    ),
    licence="MIT",
    instructions=strategyqa,
)
