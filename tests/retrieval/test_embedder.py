import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from radit_jax.models.dual_encoder import Tower
from radit_jax.models.encoder import Encoder, EncoderConfig
from radit_jax.retrieval.embedder import Embedder
from radit_jax.testing import toy

WORDS = [f"w{i}" for i in range(50)]


def _tower(pooling="mean", **changes):
    tokenizer = toy.encoder_tokenizer([" ".join(WORDS)])
    config = EncoderConfig(
        vocab_size=tokenizer.vocab_size,
        num_layers=2,
        width=16,
        num_heads=2,
        mlp_width=32,
        max_positions=80,
    )
    encoder = Encoder(config, rngs=nnx.Rngs(0))
    return Tower(encoder, tokenizer, pooling, False, 80, **changes)


def _texts(lengths):
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, size=length)) for length in lengths]


def _one_by_one(tower, texts):
    """Each text alone, without padding."""
    graphdef, params = nnx.split(tower.encoder)
    inputs = [map(jnp.asarray, tower.tokenize([text])) for text in texts]
    rows = [tower.embed(graphdef, params, *arrays) for arrays in inputs]
    return np.concatenate(rows)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_equals_one_text_at_a_time_in_the_order_given(pooling):
    tower, texts = _tower(pooling), _texts([3, 70, 1, 34, 3])
    embedded = Embedder(tower).embed(texts, batch_size=3)
    assert (embedded.shape, embedded.dtype) == ((5, 16), np.float32)
    np.testing.assert_allclose(embedded, _one_by_one(tower, texts), atol=1e-6)


def test_does_not_depend_on_the_batch():
    texts = _texts([40, 2, 17, 60, 5, 5, 28, 31, 1, 12, 77])
    embedder = Embedder(_tower())
    alone = embedder.embed(texts, 1)
    np.testing.assert_allclose(embedder.embed(texts, 4), alone, atol=1e-6)
    backwards = embedder.embed(texts[::-1], 64)[::-1]
    np.testing.assert_allclose(backwards, alone, atol=1e-6)


def test_prefix_and_cut_are_the_towers():
    plain, prefixed = _tower(), _tower(prefix="w7 w9 ")
    np.testing.assert_allclose(
        Embedder(prefixed).embed(["w1 w2"], 2),
        Embedder(plain).embed(["w7 w9 w1 w2"], 2),
        atol=1e-6,
    )
    long = _texts([200])
    cut = " ".join(long[0].split()[:78])  # and [CLS], [SEP]
    np.testing.assert_allclose(
        Embedder(plain).embed(long, 2), Embedder(plain).embed([cut], 2), atol=1e-6
    )


def test_few_shapes_are_compiled():
    """Lengths of 32, 64 and at most 80 tokens, whatever the texts."""
    embedder = Embedder(_tower())
    embedder.embed(_texts(range(1, 79)), 8)
    assert embedder._forward._cache_size() == 3


def test_no_texts():
    with pytest.raises(ValueError, match="there are no texts to embed"):
        Embedder(_tower()).embed([], 4)
