"""One update is the same on every mesh, and lies where the rules say."""

import contextlib
import functools
import logging
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from radit_jax.ops import likelihood
from radit_jax.testing import toy
from radit_jax.training import lm_loss, train_step
from radit_jax.training import mesh as mesh_lib
from radit_jax.training import optimizer as optimizer_lib
from radit_jax.training import state as state_lib

MESHES = {"8x1x1": (1, 1), "1x8x1": (8, 1), "2x2x2": (2, 2)}


@pytest.fixture(autouse=True, scope="module")
def _compile_fast():
    """What is compared here is the partitioning; LLVM takes most of the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


class Stack(nnx.Module):
    """Two residual layers with an embedding and a head: one of each logical axis."""

    def __init__(self, rngs):
        def parameter(**sizes):
            value = jax.random.normal(rngs.params(), tuple(sizes.values()))
            return nnx.Param(0.3 * value, axes=tuple(sizes))

        self.table = parameter(vocab=24, embed=8)
        self.scale = parameter(layers=2, embed=8)
        self.up = parameter(layers=2, embed=8, mlp=16)
        self.down = parameter(layers=2, mlp=16, embed=8)

    def __call__(self, tokens):
        x = self.table[...][tokens]
        stack = (self.scale[...], self.up[...], self.down[...])

        def layer(x, weights):
            scale, up, down = weights
            return x + jnp.tanh(x * scale[None, None] @ up) @ down, None

        x, _ = jax.lax.scan(layer, x, stack)
        return x @ self.table[...].T


def _stack():
    graphdef, params = nnx.split(Stack(nnx.Rngs(1)))

    def loss_fn(params, batch):
        log_p = jax.nn.log_softmax(nnx.merge(graphdef, params)(batch["tokens"]))
        log_p = jnp.take_along_axis(log_p[:, :-1], batch["tokens"][:, 1:, None], 2)
        mask = batch["mask"]
        return -jnp.sum(log_p[..., 0], where=mask), mask.sum(), {}

    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 24, (16, 6)).astype(np.int32)
    return params, loss_fn, {"tokens": tokens, "mask": rng.random((16, 5)) < 0.6}


def _decoder():
    graphdef, params = nnx.split(toy.decoder(vocab_size=40))
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 40, (16, 12)).astype(np.int32)
    segments = np.repeat([[1] * 5 + [2] * 6 + [0]], 16, axis=0).astype(np.int32)
    batch = {
        "tokens": tokens,
        "positions": np.repeat([[*range(5), *range(7)]], 16, 0).astype(np.int32),
        "segment_ids": segments,
        "target_positions": np.repeat([[2, 3, 7, 9]], 16, axis=0).astype(np.int32),
        "target_tokens": tokens[:, [3, 4, 8, 10]],
        "target_mask": rng.random((16, 4)) < 0.7,
    }
    return params, lm_loss.NextTokenLoss(graphdef), batch


MODELS = {"stack": _stack, "decoder": _decoder}


class Run(NamedTuple):
    """Three updates with the same batch."""

    metrics: dict  # of the first
    gradients: dict  # of the first, by parameter
    state: state_lib.TrainState  # after the third
    num_traces: int
    recompiled: list[str]  # what was compiled for the second and third


@functools.cache
def _run(model, mesh, accumulation_steps):
    params, loss_fn, batch = MODELS[model]()
    traces = []

    def counted(params, batch):
        traces.append(1)
        return loss_fn(params, batch)

    adam = _adam()
    state = state_lib.init_state(params, adam.transformation, mesh)
    step = train_step.make_train_step(counted, adam, accumulation_steps, mesh=mesh)
    batch = mesh_lib.put_batch(batch, mesh)
    state, metrics = step(state, batch)
    # Adam's first moment after one unclipped update is a tenth of the gradient.
    moments = jax.tree.leaves_with_path(state.opt_state[1][0].mu)
    gradients = {jax.tree_util.keystr(k): 10 * np.array(x) for k, x in moments}
    recompiled = []
    # What the step needs is on its devices: nothing is moved unasked.
    with _compilations(recompiled), jax.transfer_guard("disallow"):
        for _ in range(2):
            state, _ = step(state, batch)
    return Run(jax.device_get(metrics), gradients, state, len(traces), recompiled)


@contextlib.contextmanager
def _compilations(found):
    """Collects what JAX says when it compiles."""
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())
    logger = logging.getLogger("jax")
    logger.addHandler(handler)
    try:
        with jax.log_compiles():
            yield
    finally:
        logger.removeHandler(handler)


def _adam():
    return optimizer_lib.make_optimizer(
        peak=0.01, end=0.0, warmup=0, num_steps=9, weight_decay=0.1, clip_norm=1e9
    )


def _one_device():
    devices = np.array(jax.devices()[:1]).reshape(1, 1, 1)
    return jax.sharding.Mesh(devices, mesh_lib.AXES)


@pytest.mark.parametrize(
    ("model", "mesh", "accumulation_steps"),
    [*((model, mesh, 1) for model in MODELS for mesh in MESHES), ("stack", "2x2x2", 2)],
)
def test_loss_and_gradients_agree_with_one_device(model, mesh, accumulation_steps):
    one = _run(model, _one_device(), 1)
    run = _run(model, mesh_lib.make_mesh(*MESHES[mesh]), accumulation_steps)
    for name, value in one.metrics.items():
        np.testing.assert_allclose(run.metrics[name], value, rtol=1e-5)
    assert run.gradients.keys() == one.gradients.keys()
    for name, gradient in one.gradients.items():
        assert np.abs(gradient).max() > 0, name
        atol = 1e-5 * np.abs(gradient).max()
        np.testing.assert_allclose(
            run.gradients[name], gradient, rtol=1e-5, atol=atol, err_msg=name
        )


@pytest.mark.parametrize("mesh", MESHES)
def test_every_shard_has_the_shape_that_the_rules_give(mesh):
    fsdp, tensor = MESHES[mesh]
    state = _run("stack", mesh_lib.make_mesh(fsdp, tensor), 1).state
    expected = {
        "table": (24 // tensor, 8 // fsdp),
        "scale": (2, 8 // fsdp),
        "up": (2, 8 // fsdp, 16 // tensor),
        "down": (2, 16 // tensor, 8 // fsdp),
    }
    adam = state.opt_state[1][0]
    for tree in (state.params, adam.mu, adam.nu):
        for name, shape in expected.items():
            shards = tree[name].get_value().addressable_shards
            assert {shard.data.shape for shard in shards} == {shape}


@pytest.mark.parametrize("mesh", MESHES)
def test_the_decoders_parameters_lie_as_the_table_says(mesh):
    fsdp, tensor = MESHES[mesh]
    state = _run("decoder", mesh_lib.make_mesh(fsdp, tensor), 1).state
    width, heads, mlp = 32 // fsdp, 4 // tensor, 64 // tensor
    expected = {
        ("embedding",): (40 // tensor, width),
        ("final_norm", "scale"): (32,),
        ("layers", "attention_norm", "scale"): (2, 32),
        ("layers", "attention", "query", "weight"): (2, width, heads, 8),
        ("layers", "attention", "key", "weight"): (2, width, 2 // tensor, 8),
        ("layers", "attention", "output", "weight"): (2, heads, 8, width),
        ("layers", "mlp", "gate", "weight"): (2, width, mlp),
        ("layers", "mlp", "down", "weight"): (2, mlp, width),
    }
    adam = state.opt_state[1][0]
    for tree in (state.params, adam.mu, adam.nu):
        for path, shape in expected.items():
            variable = functools.reduce(lambda node, name: node[name], path, tree)
            shards = variable.get_value().addressable_shards
            assert {shard.data.shape for shard in shards} == {shape}, path


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("model", MODELS)
def test_the_step_compiles_once(model, mesh):
    run = _run(model, mesh_lib.make_mesh(*MESHES[mesh]), 1)
    assert int(run.state.step) == 3
    assert run.num_traces == 1
    assert run.recompiled == []


def test_the_gradient_of_a_split_head_is_summed_some_words_at_a_time(monkeypatch):
    monkeypatch.setattr(likelihood, "_WORDS", 23)
    mesh = mesh_lib.make_mesh(*MESHES["1x8x1"])
    params, loss_fn, batch = _decoder()
    adam = _adam()
    state = state_lib.init_state(params, adam.transformation, mesh)
    step = train_step.make_train_step(loss_fn, adam, mesh=mesh)
    hlo = step.lower(state, mesh_lib.put_batch(batch, mesh)).compile().as_text()
    assert re.search(r" f32\[23,32\]\S* (all-reduce|reduce-scatter)\(", hlo)
