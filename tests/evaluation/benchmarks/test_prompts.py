"""Every prompt of paper §6, letter by letter."""

import pytest

from radit_jax.evaluation.benchmarks import encoding, reading
from radit_jax.evaluation.benchmarks.item import Item
from radit_jax.evaluation.benchmarks.tasks import BENCHMARKS
from tests.evaluation.benchmarks import published

SPLIT = {"mmlu": "test", "nq": "test", "triviaqa": "test"}
QUERIES = {
    "mmlu": "Where, then, does it rise?\nA. Uri\nB. Bern\nC. Bern\nD. None of them",
    "nq": "where does the aar rise",
    "triviaqa": "Which lake is at Zug?",
    "hotpotqa": "Are Aar and Rhine rivers?",
    "eli5": "Why is snow white?",
    "fever": "The Aar is a lake.",
    "aida": "ALTDORF",
    "zsre": "Aar [SEP] mouth",
    "trex": "Tell [SEP] occupation",
    "wow": "I love lakes. Which one? Zug. Is it deep?",
}
AIDA = (
    "SKI - [START_ENT] ALTDORF [END_ENT] WINS .  Zug 1996-08-30  Snow fell .\n"
    "Output the Wikipedia page title of the entity mentioned between [START_ENT] and "
    "[END_ENT] in the given text\n"
    "A: Altdorf, Uri"
)
# The prompt with the first answer, or the first option.
PROMPTS = {
    "mmlu": (
        "Question: Where, then, does it rise?\nA. Uri\nB. Bern\nC. Bern\n"
        "D. None of them\nA: A"
    ),
    "nq": "Q: where does the aar rise\nA: Bern",
    "triviaqa": "Q: Which lake is at Zug?\nA: Zugersee",
    "hotpotqa": "Q: Are Aar and Rhine rivers?\nA: yes",
    "eli5": "Q: Why is snow white?\nA: It scatters light.\n\nAll of it.",
    "fever": "Is this statement true? The Aar is a lake.\nA: Yes",
    "aida": AIDA,
    "zsre": "Aar [SEP] mouth\nA: Rhine",
    "trex": "Tell [SEP] occupation\nA: hunter",
    "wow": (
        "Q: I love lakes.\nA: Which one?\nQ: Zug. Is it deep?\nA: 198 metres, I read."
    ),
    "boolq": "The Aar is a river.\nQuestion: is the aar a lake\nAnswer: yes",
    "piqa": "Question: melt snow\nAnswer: Warm it.",
    "siqa": "Kim fell on the ice. Q: How does Kim feel? A: sore",
    "hellaswag": "Skiing: How to ski. Stand up. The man sits down.",
    "winogrande": "Uri beat Zug because Uri had more snow.",
    "arc_e": "Question: What melts ice?\nAnswer: Salt",
    "arc_c": "Question: What melts ice?\nAnswer: Salt",
    "obqa": "Question: Snow is\nAnswer: hot",
}
# As a demonstration it shows the right option, in one line.
SHOWN = PROMPTS | {
    "mmlu": PROMPTS["mmlu"][:-1] + "D",
    "fever": "Is this statement true? The Aar is a lake.\nA: No",
    "eli5": "Q: Why is snow white?\nA: It scatters light. All of it.",
    "boolq": "The Aar is a river.\nQuestion: is the aar a lake\nAnswer: no",
    "hellaswag": "Skiing: How to ski. Stand up. The man stands.",
    "obqa": "Question: Snow is\nAnswer: wet",
}


@pytest.fixture(params=list(BENCHMARKS))
def asked(request, tmp_path):
    """(benchmark, its first item)."""
    name = request.param
    folder = published.write(tmp_path, name)
    benchmark = BENCHMARKS[name]
    return benchmark, reading.read(benchmark, SPLIT.get(name, "dev"), folder)[0]


def test_all_benchmarks_have_a_golden_prompt():
    assert PROMPTS.keys() == SHOWN.keys() == BENCHMARKS.keys()
    knowledge = {name for name, one in BENCHMARKS.items() if one.with_background}
    assert QUERIES.keys() == knowledge


def test_prompt_without_a_chunk(asked):
    benchmark, item = asked
    assert encoding.text(benchmark, item) == PROMPTS[benchmark.name]


def test_prompt_with_a_chunk(asked):
    benchmark, item = asked
    background = "Background: Alps: High.\n\n" if benchmark.with_background else ""
    text = encoding.text(benchmark, item, "Alps: High.")
    assert text == background + PROMPTS[benchmark.name]


def test_demonstrations_come_first_and_have_no_background(asked):
    benchmark, item = asked
    background = "Background: Alps: High.\n\n" if benchmark.with_background else ""
    text = encoding.text(benchmark, item, "Alps: High.", (item, item))
    shown = SHOWN[benchmark.name]
    asked_for = f"{background}{PROMPTS[benchmark.name]}"
    assert text == f"{shown}\n\n{shown}\n\n{asked_for}"


def test_query_of_the_retriever(asked):
    benchmark, item = asked
    if benchmark.with_background:
        assert benchmark.query(item) == QUERIES[benchmark.name]


def test_a_conversation_that_the_other_side_began():
    item = Item("x", "wow", "Lakes?", ("Zug.",), history=("Hi.",))
    assert encoding.text(BENCHMARKS["wow"], item) == "A: Hi.\nQ: Lakes?\nA: Zug."


def test_winogrande_scores_the_rest_of_the_sentence(tmp_path):
    benchmark = BENCHMARKS["winogrande"]
    first, second = reading.read(
        benchmark, "dev", published.write(tmp_path, "winogrande")
    )
    asked = benchmark.prompt(first)
    assert asked.question == "Uri beat Zug because"
    assert asked.heads == (" Uri", " Zug")
    assert asked.answers == (" had more snow.", " had more snow.")
    assert encoding.text(benchmark, second, option=1) == "Zug was happy."
    assert encoding.option_chars(benchmark, first) == [14, 14]
