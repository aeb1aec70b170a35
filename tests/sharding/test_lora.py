"""Adapters learn alike on every mesh, and nothing else does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from radit_jax.models import lora
from radit_jax.ops import masks
from radit_jax.testing import toy
from radit_jax.training import mesh as mesh_lib
from radit_jax.training import optimizer as optimizer_lib
from radit_jax.training import state as state_lib
from radit_jax.training import train_step
from radit_jax.training.lm_loss import NextTokenLoss
from tests.sharding.test_train_step import _decoder, _one_device

MESHES = {"1x8x1": (8, 1), "2x2x2": (2, 2)}


@pytest.fixture(autouse=True, scope="module")
def _compile_fast():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@functools.cache
def _adapted():
    """A decoder with adapters whose B is not zero: (graphdef, adapters, the rest)."""
    decoder = toy.decoder(vocab_size=40)
    adapters = lora.make(decoder.config, 4, 8.0, tuple(lora.TARGETS), nnx.Rngs(1))
    for i, (_, adapter) in enumerate(adapters.items()):
        adapter.b[...] = 0.1 * jax.random.normal(jax.random.key(i), adapter.b.shape)
    lora.attach(decoder, adapters)
    return nnx.split(decoder, nnx.LoRAParam, ...)


def _plain_loss(adapters, rest, graphdef, batch):
    """The same by the decoder's own forward pass and all logits."""
    decoder = nnx.merge(graphdef, adapters, rest)
    mask = masks.segment_causal(batch["segment_ids"])
    hidden = decoder(batch["tokens"], batch["positions"], mask)
    log_p = jax.nn.log_softmax(decoder.logits(hidden))
    rows = jnp.arange(len(log_p))[:, None]
    found = log_p[rows, batch["target_positions"], batch["target_tokens"]]
    return -jnp.sum(found, where=batch["target_mask"]) / batch["target_mask"].sum()


@functools.cache
def _run(mesh, accumulation_steps=1):
    """Two updates: the first one's gradients by name, and what came of the rest."""
    graphdef, adapters, rest = _adapted()
    adam = optimizer_lib.make_optimizer(
        peak=0.01, end=0.0, warmup=0, num_steps=9, weight_decay=0.1, clip_norm=1e9
    )
    frozen = state_lib.place(rest, mesh)
    state = state_lib.init_state(adapters, adam.transformation, mesh)
    step = train_step.make_train_step(
        NextTokenLoss(graphdef, "layer"),
        adam,
        accumulation_steps,
        mesh=mesh,
        frozen=frozen,
    )
    batch = mesh_lib.put_batch(_decoder()[2], mesh)
    state, metrics = step(state, batch)
    # Adam's first moment after one unclipped update is a tenth of the gradient.
    moments = jax.tree.leaves_with_path(state.opt_state[1][0].mu)
    gradients = {jax.tree_util.keystr(k): 10 * np.array(x) for k, x in moments}
    state, _ = step(state, batch)
    return float(metrics["loss"]), gradients, state, frozen


@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_gradients_are_those_of_the_plain_forward_pass(accumulation_steps):
    graphdef, adapters, rest = _adapted()
    batch = jax.tree.map(jnp.asarray, _decoder()[2])
    loss, expected = jax.jit(
        jax.value_and_grad(lambda a: _plain_loss(a, rest, graphdef, batch))
    )(adapters)
    found_loss, gradients, _, _ = _run(_one_device(), accumulation_steps)
    np.testing.assert_allclose(found_loss, loss, rtol=1e-5)
    for path, gradient in jax.tree.leaves_with_path(expected):
        found = gradients[jax.tree_util.keystr(path)]
        assert np.abs(gradient).max() > 0, path
        np.testing.assert_allclose(
            found, gradient, rtol=1e-4, atol=1e-5 * np.abs(gradient).max()
        )


@pytest.mark.parametrize("mesh", MESHES)
def test_every_mesh_agrees_with_one_device(mesh):
    loss, gradients, _, _ = _run(_one_device())
    found_loss, found, state, _ = _run(mesh_lib.make_mesh(*MESHES[mesh]))
    np.testing.assert_allclose(found_loss, loss, rtol=1e-5)
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        atol = 1e-5 * np.abs(gradient).max()
        np.testing.assert_allclose(found[name], gradient, rtol=1e-5, atol=atol)
    fsdp, tensor = MESHES[mesh]
    a = state.opt_state[1][0].mu["layers"]["mlp"]["up"]["lora"]["a"].get_value()
    b = state.opt_state[1][0].mu["layers"]["mlp"]["up"]["lora"]["b"].get_value()
    assert a.addressable_shards[0].data.shape == (2, 32 // fsdp, 4)
    assert b.addressable_shards[0].data.shape == (2, 4, 64 // tensor)


def test_what_is_frozen_has_no_gradient_no_moments_and_does_not_change():
    _, adapters, rest = _adapted()
    _, gradients, state, frozen = _run(mesh_lib.make_mesh(2, 2))
    assert len(gradients) == 2 * len(lora.TARGETS)
    assert all("'lora'" in name for name in gradients)
    learned = sum(x.size for x in jax.tree.leaves(adapters))
    assert sum(x.size for x in jax.tree.leaves(state.opt_state)) == 2 * learned + 2
    for one, other in zip(jax.tree.leaves(frozen), jax.tree.leaves(rest), strict=True):
        np.testing.assert_array_equal(one, other)
