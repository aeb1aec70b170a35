"""Text of all kinds, from the tokenizer through answers and back."""

import numpy as np
import pytest

from radit_jax.inference.choosing import Sampling
from radit_jax.inference.decoding import Decoding
from radit_jax.inference.ensemble import Question, Retrieval, answer_ensemble
from radit_jax.inference.generation import generate
from radit_jax.inference.sampler import Sampler
from radit_jax.inference.stops import Stops
from radit_jax.testing import toy

from .reference import make_decoder
from .reference import score as reference_score

TEXTS = {
    "combining marks": "Cafe\u0301 n\u0303andu\u0301 Ǻ̷̢",
    "right to left": "ما هي عاصمة فرنسا؟ שלום",
    "emoji": "👩‍👩‍👧‍👦 🇫🇷 👍🏽 🏴󠁧󠁢󠁳󠁣󠁴󠁿",
    "other scripts": "東京はどこ？ क्षत्रिय ไทย",
}


@pytest.fixture(scope="module")
def tokenizer():
    return toy.lm_tokenizer([*TEXTS.values()])


@pytest.fixture(scope="module")
def decoder(tokenizer):
    return make_decoder(vocab_size=tokenizer.vocab_size)


@pytest.fixture(scope="module")
def sampler(decoder, tokenizer):
    stops = Stops(tokenizer, decoder.config.vocab_size)
    return Sampler(
        decoder, eos_id=tokenizer.eos_id, stop_mask=stops.mask, max_new_tokens=7
    )


@pytest.fixture(scope="module")
def prompts(tokenizer):
    return [
        [tokenizer.bos_id, *tokenizer.encode(f"Q: {text}\nA:")]
        for text in TEXTS.values()
    ]


def test_generated_texts_are_the_decoded_tokens(sampler, tokenizer, prompts):
    said = generate(sampler, tokenizer, prompts, batch_size=4)
    assert said == generate(sampler, tokenizer, prompts[::-1], 4)[::-1]
    tokens, num_tokens = sampler.decode(sampler.prefill(prompts, 4))
    expected = [
        tokenizer.decode(row[:num].tolist()).split("\n")[0]
        for row, num in zip(tokens, num_tokens, strict=True)
    ]
    assert said == expected
    assert any(not text.isascii() for text in said)


def test_gold_answers_are_scored_as_written(decoder, sampler, tokenizer, prompts):
    for text, prompt in zip(TEXTS.values(), prompts, strict=True):
        asked = Question([prompt], {"none": Retrieval((0,), (0.0,))}, gold=text)
        (answer,) = answer_ensemble(sampler, tokenizer, [asked], batch_size=4)
        output = [*tokenizer.encode(f" {text}"), tokenizer.eos_id]
        assert tokenizer.decode(output) == f" {text}"
        expected = reference_score(decoder, prompt, output).mean()
        np.testing.assert_allclose(
            answer["none"].gold_log_likelihood, [expected], rtol=1e-5
        )


def test_a_stop_string_of_several_tokens(decoder, sampler, tokenizer, prompts):
    (free,) = generate(sampler, tokenizer, prompts[:1], 4, Decoding(40, _no(tokenizer)))
    assert len(free) > 8
    end = free[5:8]
    stops = Stops(tokenizer, decoder.config.vocab_size, (end,))
    assert stops.may_span_tokens
    (text,) = generate(sampler, tokenizer, prompts[:1], 4, Decoding(40, stops))
    assert text == free[: free.index(end)]


def _no(tokenizer):
    return Stops(tokenizer, tokenizer.vocab_size, ())


def test_decoding_ends_soon_after_such_a_stop(decoder, sampler, tokenizer, prompts):
    (free,) = generate(sampler, tokenizer, prompts[:1], 4, Decoding(60, _no(tokenizer)))
    stops = Stops(tokenizer, decoder.config.vocab_size, (free[3:6],))
    prefilled = sampler.prefill(prompts[:1])
    _, (num,) = sampler.decode(prefilled, decoding=Decoding(60, stops))
    assert num < 40


def test_drawn_texts(sampler, tokenizer, prompts):
    hot = Decoding(sampling=Sampling(temperature=1.3, top_p=0.9, seed=3))
    one = generate(sampler, tokenizer, prompts, 4, hot, seeds=[1, 2, 3, 4])
    other = generate(sampler, tokenizer, prompts[:2], 2, hot, seeds=[1, 2])
    assert one[:2] == other
    assert one != generate(sampler, tokenizer, prompts, 4, hot, seeds=[5, 6, 7, 8])


def test_stops():
    tokenizer = toy.lm_tokenizer(["a b\n\n c"])
    stops = Stops(tokenizer, tokenizer.vocab_size + 2, ("\n", "c"))
    assert stops.mask.shape == (tokenizer.vocab_size + 2,)
    ends = [tokenizer.decode([i]) for i in np.flatnonzero(stops.mask).tolist()]
    assert "\n" in ends and "c" in ends
    assert stops.cut("ab cd\nef") == "ab "
    assert stops.cut("ab\ncd") == "ab"
    assert stops.cut("xyz") == "xyz"
    assert not stops.may_span_tokens


@pytest.mark.parametrize("strings", ["\n", ("\n", "")])
def test_bad_stop_strings(tokenizer, strings):
    with pytest.raises(ValueError, match="the stop strings are .*; give a sequence"):
        Stops(tokenizer, tokenizer.vocab_size, strings)
