import dataclasses

import numpy as np
import pytest

from radit_jax.inference import answers as answers_lib
from radit_jax.inference.ensemble import answer_ensemble
from radit_jax.inference.questions import Question, Retrieval
from radit_jax.inference.sampler import Sampler
from radit_jax.inference.stops import Stops
from radit_jax.inference.token_ensemble import token_ensemble

from .reference import EOS, NEWLINE, VOCAB, full_log_probs, random_texts
from .reference import score as reference_score
from .tokenizer import DECODING, TOKENIZER, decoding, make_tokenizer

PROMPTS = random_texts(25, 8, 3, 60)
LOG_P_R = np.log([0.5, 0.3, 0.2]).tolist()
QUESTIONS = [
    Question(
        prompts=PROMPTS[:5],
        retrievals={
            "base": Retrieval((0, 1, 2), tuple(LOG_P_R)),
            "tuned": Retrieval((3, 1), (np.log(0.9), np.log(0.1))),
            "none": Retrieval((4,), (0.0,)),
        },
        gold="ABC",
    ),
    Question(PROMPTS[5:6], {"none": Retrieval((0,), (0.0,))}),
    Question(PROMPTS[6:], {"base": Retrieval((1, 0), tuple(np.log([0.6, 0.4])))}),
]


@pytest.fixture(scope="module")
def answers(sampler):
    return answer_ensemble(sampler, TOKENIZER, QUESTIONS, 8, DECODING)


def greedy(decoder, prompts, log_p_r):
    """Token by token on the mixture, no cache; one prompt: plain greedy decoding."""
    answer = []
    for _ in range(7):
        log_probs = [full_log_probs(decoder, [*p, *answer])[-1] for p in prompts]
        mixed = sum(np.exp(lp) * np.exp(w) for lp, w in zip(log_probs, log_p_r))  # noqa: B905
        answer.append(int(np.argmax(mixed)))
        if answer[-1] in (EOS, NEWLINE):
            break
    return TOKENIZER.decode(answer).split("\n")[0].strip()


def test_equals_a_mixture_by_hand(decoder, answers):
    for question, by_retriever in zip(QUESTIONS, answers, strict=True):
        assert list(by_retriever) == list(question.retrievals)
        for name, answer in by_retriever.items():
            check_by_hand(decoder, question, question.retrievals[name], answer)


def check_by_hand(decoder, question, retrieval, answer):
    prompts = [question.prompts[row] for row in retrieval.rows]
    texts = [greedy(decoder, [prompt], [0.0]) for prompt in prompts]
    assert answer.chunk_answers == tuple(texts)
    unique = [t for i, t in enumerate(texts) if t and t not in texts[:i]] or [""]
    assert answer.candidates == tuple(unique)
    table = np.zeros((len(unique), len(prompts)))
    for i, text in enumerate(unique):
        output = [*TOKENIZER.encode(" " + text), EOS]
        for j, prompt in enumerate(prompts):
            table[i, j] = reference_score(decoder, prompt, output).sum()
    np.testing.assert_allclose(answer.log_likelihood, table, rtol=1e-5)
    mixed = np.log(np.exp(table + np.array(retrieval.log_p_r)).sum(axis=1))
    np.testing.assert_allclose(answer.candidate_log_probability, mixed, rtol=1e-5)
    assert answer.text == unique[int(mixed.argmax())]
    assert answer.log_probability == pytest.approx(mixed.max(), rel=1e-5)


def test_candidates_and_chunks_differ(answers):
    # Guards the test above: one candidate, or equal columns, would prove little.
    answer = answers[0]["base"]
    assert len(answer.candidates) == 3
    assert np.ptp(answer.log_likelihood, axis=1).min() > 0.1


def test_gold_is_scored_and_no_candidate(decoder, answers):
    output = [*TOKENIZER.encode(" ABC"), EOS]
    for name, retrieval in QUESTIONS[0].retrievals.items():
        expected = [
            reference_score(decoder, QUESTIONS[0].prompts[row], output).mean()
            for row in retrieval.rows
        ]
        answer = answers[0][name]
        np.testing.assert_allclose(answer.gold_log_likelihood, expected, rtol=1e-5)
        assert "ABC" not in answer.candidates
    assert answers[1]["none"].gold_log_likelihood is None


def test_gold_that_is_a_candidate_too(answers, sampler):
    text = answers[0]["tuned"].text
    question = dataclasses.replace(QUESTIONS[0], gold=text)
    (again,) = answer_ensemble(sampler, TOKENIZER, [question], 8, DECODING)
    tuned = again["tuned"]
    assert tuned.candidates == answers[0]["tuned"].candidates
    num_tokens = len(TOKENIZER.encode(" " + text)) + 1
    np.testing.assert_allclose(
        tuned.gold_log_likelihood * num_tokens,
        tuned.log_likelihood[tuned.candidates.index(text)],
        rtol=1e-5,
    )


def test_batches_do_not_matter(answers, sampler):
    # Two rows a batch: a question of five prompts spreads over three caches.
    others = answer_ensemble(sampler, TOKENIZER, QUESTIONS[::-1], 2, DECODING)[::-1]
    for one, other in zip(answers, others, strict=True):
        for name, answer in one.items():
            assert other[name].text == answer.text
            assert other[name].chunk_answers == answer.chunk_answers
            np.testing.assert_allclose(
                other[name].log_likelihood, answer.log_likelihood, rtol=1e-5, atol=1e-5
            )


def test_each_prompt_is_read_once(sampler, monkeypatch):
    read = []
    prefill = sampler.prefill
    monkeypatch.setattr(
        sampler,
        "prefill",
        lambda rows, *rest: read.extend(rows) or prefill(rows, *rest),
    )
    answer_ensemble(sampler, TOKENIZER, QUESTIONS, 8, DECODING)
    assert sorted(read) == sorted(PROMPTS)


def test_saying_nothing_is_no_candidate_among_others():
    texts = ["", "b", "a", "b"]
    assert answers_lib.candidates(texts, (0, 1, 2, 3)) == ("b", "a")
    assert answers_lib.candidates(texts, (2, 0)) == ("a",)
    assert answers_lib.candidates(texts, (0,)) == ("",)


def test_saying_nothing_at_all(decoder):
    log_probs = full_log_probs(decoder, PROMPTS[5])[-1]
    eos_id = int(log_probs.argmax())
    sampler, tokenizer = Sampler(decoder, eos_id=eos_id), make_tokenizer(eos_id)
    (answer,) = answer_ensemble(sampler, tokenizer, QUESTIONS[1:2], 8, decoding())
    assert answer["none"].candidates == ("",)
    assert answer["none"].log_probability == pytest.approx(log_probs.max(), rel=1e-5)


def test_newlines_stop_by_default():
    mask = Stops(TOKENIZER, VOCAB + 3).mask
    assert mask.shape == (VOCAB + 3,)
    assert np.flatnonzero(mask).tolist() == [NEWLINE]


def test_token_ensemble_equals_a_loop_by_hand(decoder, sampler):
    texts = token_ensemble(sampler, TOKENIZER, QUESTIONS, 8, DECODING)
    alone = set()
    for question, by_retriever in zip(QUESTIONS, texts, strict=True):
        assert list(by_retriever) == list(question.retrievals)
        for name, retrieval in question.retrievals.items():
            prompts = [question.prompts[row] for row in retrieval.rows]
            expected = greedy(decoder, prompts, retrieval.log_p_r)
            answer = by_retriever[name]
            assert answer.chunk_answers == (expected,) * len(prompts)
            assert answer.candidates == (answer.text,) == (expected,)
            output = [*TOKENIZER.encode(f" {expected}" if expected else ""), EOS]
            by_chunk = [reference_score(decoder, p, output).sum() for p in prompts]
            np.testing.assert_allclose(answer.log_likelihood, [by_chunk], rtol=1e-5)
            mixed = np.log(np.exp(by_chunk + np.array(retrieval.log_p_r)).sum())
            assert answer.log_probability == pytest.approx(mixed, rel=1e-5)
            assert (answer.gold_log_likelihood is None) == (question.gold is None)
            alone.add(expected == greedy(decoder, prompts[:1], [0.0]))
    assert alone == {True, False}  # the mixture matters, at least once


def test_no_questions(sampler):
    assert answer_ensemble(sampler, TOKENIZER, [], 8, DECODING) == []
    assert token_ensemble(sampler, TOKENIZER, [], 8, DECODING) == []


@pytest.mark.parametrize("run", [answer_ensemble, token_ensemble])
@pytest.mark.parametrize(
    ("retrieval", "message"),
    [
        (Retrieval((), ()), "question 1 has 0 rows and 0 log-prob.* 'base'; give one"),
        (Retrieval((0,), (0.0, 0.0)), "1 rows and 2 log-probabilities"),
        (Retrieval((0, 1), (0.0, 0.0)), r"rows \(0, 1\) .* 'base', but 1 prompts"),
        (Retrieval((0,), (-0.7,)), "p_R for retriever 'base' that sum to 0.4966; give"),
        (
            Retrieval((0, 0), (0.0, 0.0)),
            "that sum to 2; .*closed book has no retr",
        ),
    ],
)
def test_bad_retrieval(sampler, run, retrieval, message):
    questions = [QUESTIONS[1], Question([[7, 8]], {"base": retrieval})]
    with pytest.raises(ValueError, match=message):
        run(sampler, TOKENIZER, questions, 4, DECODING)
