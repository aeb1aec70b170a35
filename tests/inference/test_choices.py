import dataclasses

import numpy as np
import pytest

from radit_jax.inference.choices import ChoiceQuestion, bare_prompt, choose
from radit_jax.inference.questions import Retrieval

from .reference import random_texts
from .reference import score as reference_score
from .tokenizer import TOKENIZER

PROMPTS = random_texts(25, 5, 3, 60)
PREFIX = tuple(random_texts(9, 1, 20, 30)[0])
BARE = (1, 9, 10)
QUESTIONS = [
    ChoiceQuestion(
        PROMPTS[:3],
        {
            "base": Retrieval((0, 1), tuple(np.log([0.8, 0.2]))),
            "none": Retrieval((2,), (0.0,)),
        },
        options=[[7, 8, 9], [7], [30, 31, 32, 33, 34]],
        option_chars=[5, 1, 9],
        bare=BARE,
    ),
    ChoiceQuestion(
        PROMPTS[3:],
        {"base": Retrieval((1, 0), tuple(np.log([0.6, 0.4])))},
        options=[[50, 51], [52, 53, 54]],
        option_chars=[4, 4],
        prefix=PREFIX,
    ),
]


@pytest.fixture(scope="module")
def found(sampler):
    return choose(sampler, QUESTIONS, batch_size=8)


def test_equals_scores_by_hand(decoder, found):
    for question, by_retriever in zip(QUESTIONS, found, strict=True):
        assert list(by_retriever) == list(question.retrievals)
        for name, choice in by_retriever.items():
            check_by_hand(decoder, question, question.retrievals[name], choice)


def check_by_hand(decoder, question, retrieval, choice):
    prompts = [[*question.prefix, *question.prompts[row]] for row in retrieval.rows]
    table = np.array(
        [
            [reference_score(decoder, prompt, option).sum() for prompt in prompts]
            for option in question.options
        ]
    )
    np.testing.assert_allclose(choice.log_likelihood, table, rtol=1e-5)
    nll = np.log(np.exp(table + np.array(retrieval.log_p_r)).sum(axis=1))
    expected = {
        "nll": nll,
        "nll_char": nll / np.array(question.option_chars),
        "nll_token": nll / np.array([len(option) for option in question.options]),
    }
    if question.bare:
        alone = [
            reference_score(decoder, list(BARE), option).sum()
            for option in question.options
        ]
        expected["nll_compl"] = nll - alone
    assert choice.scores.keys() == expected.keys()
    for name, scores in expected.items():
        np.testing.assert_allclose(choice.scores[name], scores, rtol=1e-5)
        assert choice.best(name) == int(scores.argmax())


def test_heads_are_read_and_not_scored(decoder, sampler):
    heads = [[11, 12], [13]]
    question = dataclasses.replace(QUESTIONS[1], heads=heads)
    (found,) = choose(sampler, [question], batch_size=8)
    expected = [
        [
            reference_score(decoder, [*PREFIX, *PROMPTS[3 + row], *head], option).sum()
            for row in (1, 0)
        ]
        for head, option in zip(heads, question.options, strict=True)
    ]
    np.testing.assert_allclose(found["base"].log_likelihood, expected, rtol=1e-5)


def test_scores_choose_differently(found):
    choice = found[0]["base"]
    assert len({choice.best(name) for name in choice.scores}) > 1


def test_batches_do_not_matter(sampler, found):
    others = choose(sampler, QUESTIONS[::-1], batch_size=2)[::-1]
    for one, other in zip(found, others, strict=True):
        for name, choice in one.items():
            np.testing.assert_allclose(
                other[name].log_likelihood, choice.log_likelihood, rtol=1e-5
            )


def test_bare_prompt():
    assert TOKENIZER.decode(bare_prompt(TOKENIZER)[1:]) == "Answer"  # ":" is unknown
    assert bare_prompt(TOKENIZER)[0] == TOKENIZER.bos_id


def test_no_questions(sampler):
    assert choose(sampler, [], batch_size=8) == []


def test_a_score_that_was_not_made(found):
    with pytest.raises(ValueError, match="'nll_compl' is not one of .* bare prompt"):
        found[1]["base"].best("nll_compl")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": [[7]], "option_chars": [1]}, "question 1 has 1 options; give at"),
        ({"options": [[7], []]}, "option 1 of question 1 has 0 tokens and 4 char"),
        ({"option_chars": [4, 0]}, "option 1 of question 1 has 3 tokens and 0 char"),
        ({"option_chars": [4]}, "has 2 options, but the characters of 1"),
        ({"heads": [[5]]}, "has 2 options, but 1 heads; give one an option"),
        (
            {"retrievals": {"base": Retrieval((0,), (-1.0,))}},
            "weights p_R for retriever 'base' that sum to 0.3679",
        ),
    ],
)
def test_bad_questions(sampler, changes, message):
    bad = dataclasses.replace(QUESTIONS[1], **changes)
    with pytest.raises(ValueError, match=message):
        choose(sampler, [QUESTIONS[0], bad], batch_size=8)


def test_a_prompt_longer_than_the_window(sampler):
    bad = dataclasses.replace(QUESTIONS[0], prompts=[[9] * 170] * 3)
    with pytest.raises(ValueError, match="takes 170 tokens, but the model has 160"):
        choose(sampler, [bad], batch_size=8)
