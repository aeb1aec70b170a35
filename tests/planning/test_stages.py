"""Plans of a tiny model's steps, for a slice that is not there."""

import dataclasses
import importlib.util
import json

import jax
import jax.numpy as jnp
import pytest

from configs import ra_dit_7b, ra_dit_13b, ra_dit_65b, toy
from radit_jax.config import ConfigError
from radit_jax.models import flops
from radit_jax.planning import program, report, shapes, stages, topology, traced
from radit_jax.testing import toy as toy_world

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu is not installed: pip install 'radit_jax[tpu]'",
)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The toy config, its training state split over four chips."""
    folder = tmp_path_factory.mktemp("plan")
    toy_world.write(folder)
    config = toy.get_config(str(folder))
    config.lm_training.fsdp = 4
    config.lm.compute_dtype = "bfloat16"
    return config


@needs_libtpu
def test_a_plan_of_the_train_step(config):
    plan = json.loads(json.dumps(stages.plan(config, "finetune_lm", "v5e:2x2")))
    assert plan["mesh"] == {"data": 1, "fsdp": 4, "tensor": 1}
    update = plan["steps"]["update"]
    assert update["fits"]
    # Parameters are gathered and their gradients scattered; activations stay.
    assert update["collectives"]["all-gather"]["times"] > 0
    params = sum(
        x.size for x in jax.tree.leaves(jax.eval_shape(lambda: _params(config)))
    )
    sent = sum(one["bytes"] for one in update["collectives"].values())
    assert sent < 40 * params
    # The layers' forward pass is computed twice.
    assert 1.0 < update["program_flops"] / update["model_flops"] < 2.0
    assert update["chip_hours"] == pytest.approx(
        4 * 20 * update["seconds_a_step"] / 3600
    )
    text = report.of_stage(plan)
    assert "4 chips as data 1 × fsdp 4 × tensor 1" in text
    assert f"Bound by {update['bound']}" in text


@needs_libtpu
@pytest.mark.parametrize(
    ("stage", "steps"),
    [
        ("embed_corpus", {"encode"}),
        ("finetune_retriever", {"update"}),
        ("predict", {"prefill", "decode"}),
        ("score_chunks", {"score"}),
    ],
)
def test_plans_of_the_other_stages(config, monkeypatch, stage, steps):
    monkeypatch.setattr(config.lm, "tensor", 2)
    plan = stages.plan(config, stage, "v5e:2x2", num_chunks=1000)
    assert plan["steps"].keys() == steps
    for step in plan["steps"].values():
        assert step["fits"]
        # What the model needs, and hardly more: nothing is computed twice.
        assert 0.9 < step["program_flops"] / step["model_flops"] < 4.0


def _params(config):
    return jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype),
        jax.tree.leaves(shapes.decoder(config)),
    )


@needs_libtpu
def test_a_step_that_does_not_fit(config, monkeypatch):
    small = {**topology.CHIPS, "v5e": _small_chip()}
    monkeypatch.setattr(topology, "CHIPS", small)
    message = r"encode takes .* GB a chip .* but a chip has 0 GB\. Lower --config.embed"
    with pytest.raises(ConfigError, match=message):
        stages.plan(config, "embed_corpus", "v5e:2x2", 1000)


def _small_chip():
    return dataclasses.replace(topology.CHIPS["v5e"], memory_bytes=1e4)


def test_a_mesh_that_does_not_divide_the_slice():
    with pytest.raises(ConfigError, match="fsdp=3 and tensor=2 needs .* there are 8"):
        program.make_mesh(jax.devices(), 3, 2)


def test_a_batch_that_does_not_divide(config):
    mesh = program.make_mesh(jax.devices(), 8, 1)
    config.lm_training.accumulation_steps = 2
    message = r"batch_rows=8 in accumulation_steps=2 .* data=1 × fsdp=8 = 8 parts"
    try:
        with pytest.raises(ConfigError, match=message):
            stages.STEPS["finetune_lm"](config, mesh, 0)
    finally:
        config.lm_training.accumulation_steps = 1


@pytest.mark.parametrize(
    ("config", "billions", "rows"),
    [(ra_dit_7b, 6.7, 64), (ra_dit_13b, 13.0, 128), (ra_dit_65b, 65.3, 128)],
)
def test_the_papers_models_are_known_by_name(config, billions, rows):
    config = config.get_config()
    leaves = jax.tree.leaves(shapes.decoder(config))
    assert sum(x.size for x in leaves) / 1e9 == pytest.approx(billions, abs=0.05)
    settings = config.lm_training
    assert (settings.batch_rows, settings.num_steps, settings.warmup_steps) == (
        rows,
        500,
        200,
    )


def test_a_model_that_is_nowhere(config):
    other = ra_dit_7b.get_config()
    other.lm.path = "/nowhere/llama-8b"
    with pytest.raises(ConfigError, match=r"no model is known by the name 'llama-8b'"):
        shapes.decoder(other)


def test_smoke_is_small_and_nothing_else_is_a_variant():
    assert ra_dit_7b.get_config("smoke").lm_training.num_steps == 10
    with pytest.raises(ValueError, match="no variant 'small'"):
        ra_dit_7b.get_config("small")


def test_matrix_products_are_counted_through_loops():
    def step(x, w):
        def body(x, _):
            return jnp.tanh(x @ w), None

        return jax.lax.scan(jax.checkpoint(body), x, None, length=5)[0].sum()

    shape = jax.ShapeDtypeStruct((4, 8), jnp.float32)
    weight = jax.ShapeDtypeStruct((8, 8), jnp.float32)
    forward = 5 * 2 * 4 * 8 * 8
    assert traced.matmul_flops(jax.jit(step).trace(shape, weight)) == forward
    both = jax.jit(jax.grad(step, argnums=(0, 1))).trace(shape, weight)
    # Once forward, once more in the backward pass, and twice for its gradients.
    assert traced.matmul_flops(both) == 4 * forward


def test_flops_by_hand():
    decoder = shapes.decoder(ra_dit_7b.get_config()).config
    matrices = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    attention = 32 * 2 * 1024 * 4096
    assert (
        flops.decoder_forward(decoder, 10, 3, 1024)
        == 10 * 2 * (matrices + attention) + 3 * 2 * 32000 * 4096
    )
