import numpy as np
import pytest

from radit_jax.evaluation.benchmarks import encoding
from radit_jax.evaluation.benchmarks.asking import Asker, Found
from radit_jax.evaluation.benchmarks.item import Item
from radit_jax.evaluation.benchmarks.tasks import BENCHMARKS
from radit_jax.inference import choices
from radit_jax.inference.questions import Retrieval
from radit_jax.testing import toy
from radit_jax.text.templates import PromptError

NQ, OBQA, WINOGRANDE = (BENCHMARKS[n] for n in ("nq", "obqa", "winogrande"))
ITEM = Item("i", "nq", "who is Tell ?", ("hunter",))
SHOWN = [Item(f"s{i}", "nq", f"who is {n} ?", ("king",)) for i, n in enumerate("AB")]
FOUND = {
    "base": Found(("Uri is old .", "Tell hunts ."), (-0.25, -1.5)),
    "tuned": Found(("Tell hunts .",), (0.0,)),
    "none": Found((), ()),
}
CHOICE = Item("i", "obqa", "snow is", options=("hot", "very wet"), gold=1)
SENTENCE = "Uri beat Zug as _ had snow ."
BLANK = Item("i", "winogrande", SENTENCE, options=("Uri", "Zug"), gold=0)


@pytest.fixture(scope="module")
def tokenizer():
    return toy.lm_tokenizer(["Tell is a hunter of Uri .", "who is Tell ?"])


def test_equal_passages_are_one_prompt(tokenizer):
    asked = Asker(tokenizer, NQ, 200).ask(ITEM, FOUND)
    question = asked.question
    assert [tokenizer.decode(prompt) for prompt in question.prompts] == [
        "Background: Uri is old .\n\nQ: who is Tell ?\nA:",
        "Background: Tell hunts .\n\nQ: who is Tell ?\nA:",
        "Q: who is Tell ?\nA:",
    ]
    assert question.retrievals == {
        "base": Retrieval((0, 1), (-0.25, -1.5)),
        "tuned": Retrieval((1,), (0.0,)),
        "none": Retrieval((2,), (0.0,)),
    }
    assert question.prefix == [tokenizer.bos_id] and question.id == "i"
    assert asked.num_cut == {"base": 0, "tuned": 0, "none": 0}


def test_demonstrations_are_the_prefix(tokenizer):
    asked = Asker(tokenizer, NQ, 200, SHOWN).ask(ITEM, FOUND)
    prefix = "Q: who is A ?\nA: king\n\nQ: who is B ?\nA: king\n\n"
    assert tokenizer.decode(asked.question.prefix) == prefix
    whole = [*asked.question.prefix, *asked.question.prompts[1]]
    text = encoding.text(NQ, ITEM, "Tell hunts .", SHOWN)
    assert tokenizer.decode(whole) + " hunter" == text


def test_the_chunk_is_cut_first_then_demonstrations(tokenizer):
    whole = Asker(tokenizer, NQ, 300, SHOWN).ask(ITEM, FOUND)
    num_prefix = len(whole.question.prefix)
    num_question = len(whole.question.prompts[2])
    answer = NQ.max_answer_tokens
    tight = num_prefix + num_question + answer
    asked = Asker(tokenizer, NQ, tight + 4, SHOWN).ask(ITEM, FOUND)
    assert asked.num_cut == {"base": 2, "tuned": 1, "none": 0}
    assert asked.num_dropped == 0
    for prompt in asked.question.prompts:
        assert tokenizer.decode(prompt).endswith("Q: who is Tell ?\nA:")
    asked = Asker(tokenizer, NQ, tight - 1, SHOWN).ask(ITEM, FOUND)
    assert asked.num_dropped == 1
    assert tokenizer.decode(asked.question.prefix) == "Q: who is A ?\nA: king\n\n"
    with pytest.raises(PromptError, match="'i' needs"):
        Asker(tokenizer, NQ, num_question + answer, SHOWN).ask(ITEM, FOUND)


def test_choices_have_options_and_their_characters(tokenizer):
    question = Asker(tokenizer, OBQA, 200).ask(CHOICE, FOUND).question
    assert isinstance(question, choices.ChoiceQuestion)
    assert [tokenizer.decode(o) for o in question.options] == [" hot", " very wet"]
    assert question.option_chars == [3, 8]
    assert tokenizer.decode(question.bare) == "Answer:"
    # Without Background all three retrievers have the one closed-book prompt.
    assert len(question.prompts) == 1
    assert set(question.retrievals.values()) == {Retrieval((0,), (0.0,))}
    question.check("the question")


def test_mmlu_is_chosen_by_letters_with_chunks(tokenizer):
    item = Item("i", "mmlu", "q", options=("a", "b", "c", "d"), gold=2, subject="s")
    question = Asker(tokenizer, BENCHMARKS["mmlu"], 200).ask(item, FOUND).question
    assert [tokenizer.decode(o) for o in question.options] == [" A", " B", " C", " D"]
    assert question.bare == () and len(question.prompts) == 3


def choice(scores):
    table = np.array(scores, np.float32)
    return choices.Choice(table[:, None], {"nll": table, "nll_compl": -table})


def test_best_goes_by_the_benchmarks_score(tokenizer):
    assert Asker(tokenizer, OBQA, 200).best(CHOICE, choice([-2.0, -1.0])) == 0


def test_best_of_winogrande_scores_the_sentences_end(tokenizer):
    asker = Asker(tokenizer, WINOGRANDE, 200)
    options, chars = asker.options(BLANK)
    texts = [tokenizer.decode(ids) for ids in options]
    assert texts == [" Uri had snow .", " Zug had snow .", " Uri", " Zug"]
    assert len(chars) == 4
    # log p(end | option): -9 + 2 = -7 and -8 + 0.5 = -7.5.
    assert asker.best(BLANK, choice([-9.0, -8.0, -2.0, -0.5])) == 0
    with pytest.raises(ValueError, match="has 2 options, but 3 were scored"):
        asker.best(BLANK, choice([-1.0, -2.0, -3.0]))
