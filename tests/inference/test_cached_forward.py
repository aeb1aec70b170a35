"""Attention over streams, as CPUs take it, against padded rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from radit_jax.inference import attention, cached_forward
from radit_jax.inference.attention import Cache
from radit_jax.inference.streams import Layout
from radit_jax.models import span_attention
from radit_jax.ops import masks

LENGTHS = [5, 3, 70, 1]
HEADS, GROUPS, WIDTH, SHARED = 4, 2, 8, 6


@pytest.mark.parametrize("has_prefix", [False, True])
@pytest.mark.parametrize("window", [None, 4])
def test_streams_and_rows_mix_the_same(monkeypatch, has_prefix, window):
    monkeypatch.setattr(attention, "_STREAM_BLOCK", 64)  # of 128 tokens
    rng = np.random.default_rng(0)
    layout = Layout(LENGTHS, num_streams=2)
    rows = jax.tree.map(jnp.asarray, layout.rows)
    offsets = jnp.asarray(layout.streams([range(num) for num in LENGTHS]))

    def drawn(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    query, key, value = (
        drawn(*offsets.shape, h, WIDTH) for h in (HEADS, GROUPS, GROUPS)
    )
    past = [Cache(*(drawn(1, GROUPS, SHARED, WIDTH) for _ in range(2)))]
    past = past if has_prefix else []
    start = SHARED if has_prefix else 0
    places = jnp.arange(layout.width)[None]

    def near(query, key):
        distance = query[:, :, None] - key[:, None, :]
        return distance < (window or 10_000)

    own = masks.causal(layout.width)[None] & near(places, places)
    shared = jnp.arange(SHARED)[None]
    by_row, by_token = (
        [near(start + x, shared)] if has_prefix else [] for x in (places, offsets)
    )
    spans = span_attention.spans_of(offsets, window)
    in_rows = cached_forward.mix_rows(rows, own, by_row, "float32")
    in_streams = cached_forward.mix_streams(rows, spans, by_token, "float32")
    expected, kept = jax.jit(in_rows)(query, key, value, past)
    mixed, same = jax.jit(in_streams)(query, key, value, past)
    # Padding of a stream mixes whatever it likes.
    for i, num in enumerate((8, 71)):
        np.testing.assert_allclose(
            mixed[i, :num], expected[i, :num], rtol=1e-5, atol=1e-6
        )
    for one, other in zip(kept, same, strict=True):
        np.testing.assert_array_equal(one, other)
