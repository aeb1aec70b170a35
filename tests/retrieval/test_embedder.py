import dataclasses
import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from radit_jax.models.dual_encoder import Tower
from radit_jax.models.encoder import Encoder, EncoderConfig
from radit_jax.retrieval.embedder import Embedder
from radit_jax.testing import toy

WORDS = [f"w{i}" for i in range(50)]


@functools.cache
def _mean_tower():
    tokenizer = toy.encoder_tokenizer([" ".join(WORDS)])
    config = EncoderConfig(
        vocab_size=tokenizer.vocab_size,
        num_layers=1,
        width=16,
        num_heads=2,
        mlp_width=32,
        max_positions=512,
    )
    # Drawn by NumPy: compiling a random generator for every shape takes seconds.
    abstract = nnx.eval_shape(lambda: Encoder(config, rngs=nnx.Rngs(0)))
    graphdef, state = nnx.split(abstract)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0.1, 0.3, leaf.shape), jnp.float32), state
    )
    return Tower(nnx.merge(graphdef, params), tokenizer, "mean", False, 80)


def _tower(**changes):
    return dataclasses.replace(_mean_tower(), **changes)


@functools.cache
def _embedder():
    """One for all tests: every new one compiles its shapes again."""
    return Embedder(_tower())


def _texts(lengths):
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, size=length)) for length in lengths]


def _one_by_one(tower, texts):
    """Each text alone, without padding."""
    graphdef, params = nnx.split(tower.encoder)
    embed = jax.jit(functools.partial(tower.embed, graphdef))
    rows = [embed(params, *tower.tokenize([text])) for text in texts]
    return np.concatenate(rows)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_equals_one_text_at_a_time_in_the_order_given(pooling):
    tower, texts = _tower(pooling=pooling), _texts([3, 70, 1, 70, 3])
    embedded = Embedder(tower).embed(texts, batch_size=3)
    assert (embedded.shape, embedded.dtype) == ((5, 16), np.float32)
    np.testing.assert_allclose(embedded, _one_by_one(tower, texts), atol=1e-6)


def test_does_not_depend_on_the_batch_beyond_rounding():
    texts, embedder = _texts([40, 2, 17, 60, 5, 5, 28, 31, 1, 12, 77]), _embedder()
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    np.testing.assert_allclose(embedder.embed(texts, 1), alone, atol=1e-6)
    backwards = embedder.embed(texts[::-1], 64)[::-1]
    np.testing.assert_allclose(backwards, alone, atol=1e-6)


def test_the_same_texts_give_the_same_bits():
    groups = [_texts(range(1, 40)), _texts([7]), _texts(range(70, 3, -2))]
    together = list(_embedder().embed_groups(groups, 4))
    assert [len(matrix) for matrix in together] == [39, 1, 34]
    for texts, matrix in zip(groups, together, strict=True):
        np.testing.assert_array_equal(_embedder().embed(texts, 4), matrix)


def test_groups_are_counted_as_they_go():
    counts = []
    groups = [_texts(range(1, 60)), _texts([4])]
    matrices = _embedder().embed_groups(groups, 2, counts.append)
    next(matrices)
    assert sum(counts) == 59
    next(matrices)
    assert sum(counts) == 60 and len(counts) > 2


def test_the_next_group_is_read_in_another_thread():
    readers = []

    def read():
        for _ in range(3):
            readers.append(threading.current_thread())
            yield _texts([3])

    list(_embedder().embed_groups(read()))
    assert len(readers) == 3
    assert threading.main_thread() not in readers


def test_an_error_in_reading_is_raised_here():
    def read():
        yield _texts([3])
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(_embedder().embed_groups(read()))


def test_prefix_and_cut_are_the_towers():
    prefixed = Embedder(_tower(prefix="w7 w9 "))
    np.testing.assert_array_equal(
        prefixed.embed(["w1 w2"]), _embedder().embed(["w7 w9 w1 w2"])
    )
    long = _texts([200])
    cut = " ".join(long[0].split()[:78])  # and [CLS], [SEP]
    np.testing.assert_array_equal(_embedder().embed(long), _embedder().embed([cut]))


def _shapes(lengths, batch_size, max_tokens=512):
    """Rows, and the padded shape, of every batch on 8 devices."""
    embedder = Embedder(_tower(max_tokens=max_tokens))
    plan = embedder._plan(np.array(lengths), batch_size * max_tokens)
    return [(list(map(int, rows)), shape) for rows, shape in plan]


def test_batches_have_equally_many_tokens_and_the_longest_go_first():
    lengths = [9] * 700 + [500] * 9 + [200] * 20
    shapes = [shape for _, shape in _shapes(lengths, 8)]
    # 4,096 tokens are 8 rows of 512, or 16 of 256 (on 8 devices), or 256 of 16.
    assert shapes == [(8, 512), (8, 512), (16, 208), (256, 16), (256, 16), (256, 16)]


def test_a_batch_that_is_not_full_is_cut_to_a_power_of_two_a_device():
    assert _shapes([9], 8) == [([0], (8, 16))]
    [(rows, shape)] = _shapes([5, 16, 3] * 10, 8)
    assert shape == (32, 16)
    assert [*rows[:11]] == [1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 0]


def test_lengths_are_few_and_end_at_the_towers_limit():
    lengths = {_shapes([n], 1, max_tokens=300)[0][1][1] for n in range(1, 301, 3)}
    assert lengths == {*range(16, 257, 16), 300}


def test_each_shape_is_compiled_once():
    embedder = Embedder(_tower(max_tokens=40))
    for texts in (_texts(range(1, 39)), _texts(range(38, 0, -1))):
        embedder.embed(texts, 1)
    assert embedder._forward._cache_size() == 3  # 16, 32 and 40 tokens


def test_no_texts():
    with pytest.raises(ValueError, match="there are no texts to embed"):
        _embedder().embed([], 4)
