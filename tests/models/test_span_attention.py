"""Attention in blocks, against the one that holds a mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from radit_jax.models import layers, span_attention
from radit_jax.ops import masks

SEGMENTS = np.array([[1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 0], [1] * 9 + [0, 0]])


def dense(query, key, value, window):
    mask = masks.segment_causal(jnp.asarray(SEGMENTS))
    if window is not None:
        places = np.arange(SEGMENTS.shape[1])
        mask &= (places[:, None] - places < window)[None]
    return layers.attend(query, key, value, mask, "float32")


def blocked(query, key, value, window):
    seen = span_attention.spans(jnp.asarray(SEGMENTS), window)
    sums = span_attention.attend(query, key, value, seen, "float32")
    sums = jax.lax.stop_gradient(sums)
    return span_attention.attend_again(query, key, value, seen, sums, "float32")


def small_blocks(monkeypatch):
    """Several a row, the last one cut."""
    monkeypatch.setattr(span_attention, "_QUERIES", 3)
    monkeypatch.setattr(span_attention, "_KEYS", 4)


@pytest.mark.parametrize("window", [None, 3])
def test_output_and_gradients_are_those_of_a_mask(monkeypatch, window):
    small_blocks(monkeypatch)
    rng = np.random.default_rng(0)
    shapes = [(2, 11, 6, 5), (2, 11, 2, 5), (2, 11, 2, 5), (2, 11, 6, 5)]
    *inputs, cotangent = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes)

    @jax.jit
    def both(*inputs):
        return [
            (mixed, backward(cotangent))
            for attend in (dense, blocked)
            for mixed, backward in [
                jax.vjp(lambda *xs, attend=attend: attend(*xs, window), *inputs)
            ]
        ]

    expected, found = both(*inputs)
    for one, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_queries_at_some_places_see_what_they_saw_there(monkeypatch):
    small_blocks(monkeypatch)
    rng = np.random.default_rng(1)
    query, key, value = (
        jnp.asarray(rng.normal(size=(2, 11, h, 5)), jnp.float32) for h in (6, 2, 2)
    )
    places = jnp.asarray([[8, 1, 4, 4, 0], [0, 8, 8, 3, 10]])
    seen = span_attention.spans(jnp.asarray(SEGMENTS), None).at(places)
    some = jnp.take_along_axis(query, places[:, :, None, None], axis=1)
    found = span_attention.attend(some, key, value, seen, "float32").mixed
    expected = jnp.take_along_axis(
        dense(query, key, value, None), places[:, :, None, None], axis=1
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_second_span_is_seen_too(monkeypatch):
    """A prefix, then two texts after it; the last token does not see the prefix."""
    small_blocks(monkeypatch)
    rng = np.random.default_rng(2)
    query, key, value = (
        jnp.asarray(rng.normal(size=(1, 11, h, 5)), jnp.float32) for h in (6, 2, 2)
    )
    own = span_attention.spans(jnp.asarray([[1] * 5 + [2] * 3 + [3] * 3]), None)
    sees = jnp.asarray([[False] * 5 + [True] * 5 + [False]])
    prefix = span_attention.Spans(jnp.where(sees, 1, 0), jnp.where(sees, 4, -1))
    found = span_attention.attend(query, key, value, own, "float32", prefix)
    places = jnp.arange(11)[None, None]
    mask = jnp.zeros((1, 11, 11), bool)
    for span in (own, prefix):
        first, last = (x[:, :, None] for x in span)
        mask |= (first <= places) & (places <= last)
    expected = layers.attend(query, key, value, mask, "float32")
    np.testing.assert_allclose(found.mixed, expected, rtol=1e-5, atol=1e-6)
