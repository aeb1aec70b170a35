import pytest

from radit_jax.evaluation.benchmarks import encoding
from radit_jax.evaluation.benchmarks.item import Item
from radit_jax.evaluation.benchmarks.tasks import BENCHMARKS
from radit_jax.testing import toy
from radit_jax.text import templates

ITEM = Item("i", "nq", "who is Tell ?", ("a hunter", "hunter"))


@pytest.fixture(scope="module")
def tokenizer():
    return toy.lm_tokenizer(["Tell is a hunter of Uri .", "who is Tell ?"])


def test_ids_decode_to_the_text(tokenizer):
    benchmark = BENCHMARKS["nq"]
    shown = encoding.demonstration_ids(tokenizer, benchmark, [ITEM, ITEM])
    prompt = encoding.prompt(tokenizer, benchmark, ITEM, "Uri is old .")
    ids, cut = templates.prompt_ids(prompt, 200, 20)
    assert not cut and ids[0] == tokenizer.bos_id
    (_, scored), _ = encoding.option_ids(tokenizer, benchmark, ITEM)
    whole = [i for one in shown for i in one] + ids[1:] + scored
    expected = encoding.text(benchmark, ITEM, "Uri is old .", [ITEM, ITEM])
    assert tokenizer.decode(whole) == expected


def test_a_benchmark_without_background_gets_none(tokenizer):
    item = Item("i", "obqa", "snow is", options=("hot", "wet"), gold=1)
    prompt = encoding.prompt(tokenizer, BENCHMARKS["obqa"], item, "Uri is old .")
    assert prompt.background_ids == ()


def test_the_chunk_is_cut_before_the_question(tokenizer):
    prompt = encoding.prompt(tokenizer, BENCHMARKS["nq"], ITEM, "Uri " * 90)
    ids, cut = templates.prompt_ids(prompt, 60, 8)
    assert cut and len(ids) <= 52
    assert tokenizer.decode(ids).endswith("\n\nQ: who is Tell ?\nA:")
    with pytest.raises(templates.PromptError, match="'i' needs"):
        templates.prompt_ids(prompt, 10, 8)


def test_options_that_stand_before_what_is_scored(tokenizer):
    benchmark = BENCHMARKS["winogrande"]
    sentence = "Uri beat Zug as _ had snow ."
    item = Item("i", "winogrande", sentence, options=("Uri", "Zug"), gold=0)
    (head, scored), (other, _) = encoding.option_ids(tokenizer, benchmark, item)
    assert tokenizer.decode(head) == " Uri" and tokenizer.decode(other) == " Zug"
    assert tokenizer.decode(scored) == " had snow ."


@pytest.mark.parametrize(
    "question",
    ["e\u0301te\u0301 à Zürich ?", "מי הוא טל?", "👩‍🚀🇨🇭 \u2028 snow", "𝔘ri"],
)
def test_any_script_survives_tokens_and_metrics(tokenizer, question):
    item = Item("i", "nq", question, (question,))
    benchmark = BENCHMARKS["nq"]
    prompt = encoding.prompt(tokenizer, benchmark, item, question)
    ids, _ = templates.prompt_ids(prompt, 400, 20)
    (_, scored), *_ = encoding.option_ids(tokenizer, benchmark, item)
    text = f"Background: {question}\n\nQ: {question}\nA:"
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(scored) == f" {question}"
