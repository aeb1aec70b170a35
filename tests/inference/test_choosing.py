import jax
import jax.numpy as jnp
import numpy as np
import pytest

from radit_jax.inference import choosing
from radit_jax.inference.choosing import Sampling
from radit_jax.inference.decoding import Decoding
from radit_jax.inference.stops import Stops

from .reference import VOCAB, random_texts
from .tokenizer import TOKENIZER

LOGITS = jnp.log(jnp.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]))
PROMPTS = random_texts(3, 5, 1, 60)


def draws(sampling, num=400, logits=LOGITS, log_p_r=None):
    seeds = jnp.array([7, 8], jnp.uint32)

    @jax.jit
    @jax.vmap
    def draw(step):
        return choosing.choose(logits, log_p_r, seeds, step, sampling)

    return np.asarray(draw(jnp.arange(num)))


def shares(tokens):
    return np.bincount(tokens, minlength=3) / len(tokens)


def test_greedy():
    assert draws(Sampling(), 2).tolist() == [[0, 2], [0, 2]]


def test_temperature():
    found = draws(Sampling(temperature=2.0))
    for row, p in enumerate(np.exp(np.asarray(LOGITS))):
        np.testing.assert_allclose(
            shares(found[:, row]), p**0.5 / (p**0.5).sum(), atol=0.08
        )


def test_top_p_keeps_the_token_that_crosses_the_share():
    kept = np.isfinite(choosing.nucleus(LOGITS, 0.6))
    assert kept.tolist() == [[True, True, False], [False, False, True]]
    found = draws(Sampling(temperature=1.0, top_p=0.6))
    np.testing.assert_allclose(shares(found[:, 0]), [0.625, 0.375, 0], atol=0.08)
    assert set(found[:, 1]) == {2}


def test_a_mixture_is_drawn_once_a_question():
    log_p_r = jnp.log(jnp.array([[0.25, 0.75]]))
    found = draws(Sampling(temperature=1.0), log_p_r=log_p_r)
    assert (found[:, 0] == found[:, 1]).all()
    np.testing.assert_allclose(shares(found[:, 0]), [0.2, 0.225, 0.575], atol=0.08)


def sampled(sampler, prompts, seeds, num_rows, **settings):
    decoding = Decoding(7, Stops(TOKENIZER, VOCAB), Sampling(**settings))
    prefilled = sampler.prefill(prompts, num_rows)
    return sampler.decode(prefilled, decoding, seeds=seeds)[0].tolist()


def test_draws_do_not_depend_on_the_batch(sampler):
    seeds = [11, 12, 13, 14, 15]
    hot = {"temperature": 1.5}
    together = sampled(sampler, PROMPTS, seeds, 6, **hot)
    assert together == sampled(sampler, PROMPTS[::-1], seeds[::-1], 6, **hot)[::-1]
    assert together != sampled(sampler, PROMPTS, seeds[::-1], 6, **hot)
    assert together != sampled(sampler, PROMPTS, seeds, 6, temperature=0.0)


def test_another_seed_draws_others_and_compiles_nothing(sampler):
    first = sampled(sampler, PROMPTS, None, 6, temperature=1.5, seed=1)
    num_traces = sampler.num_traces
    assert first != sampled(sampler, PROMPTS, None, 6, temperature=1.5, seed=2)
    assert first == sampled(sampler, PROMPTS, None, 6, temperature=1.5, seed=1)
    assert sampler.num_traces == num_traces


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.1}, "the temperature is -0.1; give 0 for greedy"),
        ({"temperature": float("nan")}, "the temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0; give a share above 0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
    ],
)
def test_bad_sampling(settings, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**settings)
