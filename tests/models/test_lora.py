import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from radit_jax.models import huggingface, lora, narrow
from radit_jax.models import peft as peft_files
from radit_jax.models.weights import CheckpointError
from radit_jax.ops import masks
from radit_jax.testing import toy

RANK, ALPHA = 3, 6.0
TOKENS = np.array([[5, 9, 2, 30, 7, 1], [8, 8, 4, 39, 0, 11]], np.int32)


def _adapters(decoder, targets=tuple(lora.TARGETS), seed=1):
    """With a B that is not zero, as after training."""
    adapters = lora.make(decoder.config, RANK, ALPHA, targets, nnx.Rngs(seed))
    for i, (_, adapter) in enumerate(adapters.items()):
        drawn = 0.1 * jax.random.normal(jax.random.key(i), adapter.b[...].shape)
        adapter.b[...] = drawn
    return adapters


@jax.jit
def _run(graphdef, params):
    decoder = nnx.merge(graphdef, params)
    segments = jnp.ones(TOKENS.shape, jnp.int32)
    positions = jnp.broadcast_to(jnp.arange(TOKENS.shape[1]), TOKENS.shape)
    hidden = decoder(jnp.asarray(TOKENS), positions, masks.segment_causal(segments))
    return decoder.logits(hidden)


def _logits(decoder):
    return np.asarray(_run(*nnx.split(decoder)))


def test_step_0_is_the_base_model():
    base, adapted = toy.decoder(40), toy.decoder(40)
    lora.attach(adapted, lora.make(base.config, RANK, ALPHA, ("q_proj",), nnx.Rngs(1)))
    np.testing.assert_array_equal(_logits(adapted), _logits(base))


@pytest.mark.parametrize("changes", [{}, {"attention_bias": True, "family": "qwen2"}])
def test_merged_is_adapted(changes):
    base, adapted, merged = (toy.decoder(40, **changes) for _ in range(3))
    lora.attach(adapted, _adapters(base))
    lora.merge(merged, _adapters(base))
    assert np.abs(_logits(adapted) - _logits(base)).max() > 0.1
    np.testing.assert_allclose(_logits(adapted), _logits(merged), atol=1e-5)
    assert nnx.state(merged, nnx.LoRAParam) == nnx.State({})


def test_only_the_named_projections_change():
    base, merged = toy.decoder(40), toy.decoder(40)
    lora.merge(merged, _adapters(base, ("v_proj", "down_proj")))
    before, after = (
        nnx.to_flat_state(nnx.state(base)),
        dict(nnx.to_flat_state(nnx.state(merged))),
    )
    changed = {
        ".".join(path)
        for path, value in before
        if not np.array_equal(value[...], after[path][...])
    }
    assert changed == {"layers.attention.value.weight", "layers.mlp.down.weight"}


def test_what_is_frozen_keeps_its_vectors_in_float32():
    params = lora.frozen(nnx.state(toy.decoder(40)), "bfloat16")
    up = params["layers"]["mlp"]["up"]["weight"]
    assert narrow.unpack(up.get_value()).dtype == jnp.bfloat16
    assert params["embedding"].dtype == jnp.bfloat16
    assert params["final_norm"]["scale"].dtype == jnp.float32
    assert params["layers"]["mlp_norm"]["scale"].dtype == jnp.float32
    assert params["embedding"].get_metadata("axes") == ("vocab", "embed")


@pytest.fixture
def saved(tmp_path):
    """A base model and adapters on disk; the adapted decoder."""
    decoder = toy.decoder(40)
    huggingface.save_decoder(decoder, tmp_path / "base")
    adapters = _adapters(decoder)
    folder, base = tmp_path / "adapter", str(tmp_path / "base")
    peft_files.save(adapters, RANK, ALPHA, base, folder)
    lora.attach(decoder, adapters)
    return tmp_path, decoder


def test_it_comes_back_bit_for_bit(saved):
    folder, decoder = saved
    found = peft_files.load(folder / "adapter", decoder.config)
    again = toy.decoder(40)
    lora.attach(again, found)
    np.testing.assert_array_equal(_logits(again), _logits(decoder))


def test_targets_that_are_none_are_listed_with_those_there_are():
    config = toy.decoder(40).config
    message = r"name \['query', 'k_prj'\] \(meant: \['k_proj'\].*there are \['q_proj'"
    with pytest.raises(ValueError, match=message):
        lora.make(config, 2, 4.0, ("query", "k_prj", "v_proj"), nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"name nothing; there are \['q_proj'"):
        lora.make(config, 2, 4.0, (), nnx.Rngs(0))


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("use_dora", True, "use_dora=True changes the maths.*merge_and_unload"),
        ("target_modules", ["q_proj", "lm_head"], "supported here: .'q_proj'"),
        ("lora_alpha", None, "field 'lora_alpha' is missing"),
        ("r", 4, r"q_proj.lora_A.weight has shape \(3, 32\), but .* for \(4, 32\)"),
    ],
)
def test_adapters_that_would_be_computed_otherwise_are_refused(
    saved, field, value, match
):
    folder, decoder = saved
    path = folder / "adapter" / "adapter_config.json"
    raw = json.loads(path.read_text()) | {field: value}
    path.write_text(json.dumps({k: v for k, v in raw.items() if v is not None}))
    with pytest.raises(CheckpointError, match=match):
        peft_files.load(folder / "adapter", decoder.config)


def test_a_folder_that_is_no_adapter_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="lacks .*adapter_model.safetensors"):
        peft_files.load(tmp_path, toy.decoder(40).config)
