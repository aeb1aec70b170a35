import collections

import numpy as np
import pytest

from radit_jax.inference.ensemble import answer_ensemble
from radit_jax.inference.questions import Question, Retrieval
from radit_jax.inference.stops import Stops
from radit_jax.inference.token_ensemble import token_ensemble
from radit_jax.inference.watching import Watcher
from radit_jax.testing import toy

from .reference import VOCAB, random_texts
from .tokenizer import DECODING, TOKENIZER, decoding

PROMPTS = random_texts(31, 5, 3, 40)
HALVES = tuple(np.log([0.5, 0.5]).tolist())
QUESTIONS = [
    Question(PROMPTS[:1], {"none": Retrieval((0,), (0.0,))}),
    Question(PROMPTS[1:3], {"base": Retrieval((0, 1), HALVES)}),
    Question(PROMPTS[3:], {"base": Retrieval((1, 0), HALVES)}),
]


class Listener:
    """Keeps all that it was told of each answer."""

    def __init__(self):
        self.told = collections.defaultdict(list)

    def __call__(self, question, prompt, text):
        self.told[question, prompt].append(text)

    def last(self, question, prompt):
        """An answer without text is not told of."""
        return self.told.get((question, prompt), [""])[-1]

    def assert_grown(self):
        for texts in self.told.values():
            for shorter, longer in zip(texts, texts[1:], strict=False):
                assert longer.startswith(shorter) and longer != shorter
        assert max(map(len, self.told.values())) > 2


def test_each_prompts_answer_is_told_while_it_grows(sampler):
    listener = Listener()
    args = sampler, TOKENIZER, QUESTIONS, 3, DECODING
    answers = answer_ensemble(*args, watch=listener)
    assert [a.keys() for a in answers] == [q.retrievals.keys() for q in QUESTIONS]
    for i, (question, by_name) in enumerate(zip(QUESTIONS, answers, strict=True)):
        for name, retrieval in question.retrievals.items():
            said = dict(zip(retrieval.rows, by_name[name].chunk_answers, strict=True))
            assert said == {row: listener.last(i, row) for row in retrieval.rows}
    listener.assert_grown()
    unwatched = answer_ensemble(*args)
    assert [{n: x.text for n, x in a.items()} for a in answers] == [
        {n: x.text for n, x in a.items()} for a in unwatched
    ]


def test_the_mixtures_answer_is_told_while_it_grows(sampler):
    listener = Listener()
    answers = token_ensemble(sampler, TOKENIZER, QUESTIONS, 4, DECODING, watch=listener)
    for i, by_name in enumerate(answers):
        (answer,) = by_name.values()
        assert listener.last(i, -1) == answer.text
    assert all(prompt == -1 for _, prompt in listener.told)
    listener.assert_grown()


@pytest.mark.parametrize("run", [answer_ensemble, token_ensemble])
def test_what_a_watch_raises_ends_the_batch(sampler, run):
    class GoneError(Exception):
        pass

    def leave(question, prompt, text):
        raise GoneError(text)

    with pytest.raises(GoneError, match=r"^.$"):  # at the first token
        run(sampler, TOKENIZER, QUESTIONS, 8, DECODING, watch=leave)


@pytest.mark.parametrize(
    ("text", "settled"),
    [("a b", "a b"), ("a\n", "a"), ("a\n\nb", "a\n\nb"), ("aEN", "a"), ("aN", "aN")],
)
def test_a_beginning_of_a_stop_string_is_held_back(text, settled):
    assert Stops(TOKENIZER, VOCAB, ("\n\n", "END")).settled(text) == settled


def test_half_a_character_and_last_spaces_are_held_back():
    tokenizer = toy.lm_tokenizer(["a"])
    watcher = Watcher(print, tokenizer, decoding(), [])
    encoded = tokenizer.encode(" é 你")
    told = [watcher.settled(encoded[:i]) for i in range(len(encoded) + 1)]
    assert told == ["", "", "", "é", "é", "é", "é", "é 你"]
