import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx
from gguf import GGMLQuantizationType as Type
from gguf import quants

from radit_jax.models import gguf, layers
from radit_jax.models.weights import CheckpointError

from . import gguf_files
from .conftest import make_decoder

# Quantised rows come in blocks of 32 numbers.
SIZES = {"width": 64, "num_heads": 4, "num_kv_heads": 2, "head_width": 16}
SIZES |= {"mlp_width": 96, "num_layers": 2, "vocab_size": 10}


def save(path, decoder, kind=Type.F32, fields=None, tensors=None):
    return gguf_files.write(
        path / "model.gguf",
        decoder.config.family,
        gguf_files.fields_of(decoder.config) | (fields or {}),
        gguf_files.tensors_of(decoder) | (tensors or {}),
        kind,
    )


def assert_same(loaded, decoder, atol=0.0):
    def close(a, b):
        np.testing.assert_allclose(a, b, atol=atol)

    jax.tree.map(close, nnx.state(loaded), nnx.state(decoder))


def assert_same_config(loaded, decoder):
    # The file stores float32.
    ours = dataclasses.replace(loaded.config, norm_epsilon=decoder.config.norm_epsilon)
    assert ours == decoder.config


@pytest.mark.parametrize(
    ("kind", "atol"),
    [
        (Type.F32, 0.0),
        (Type.F16, 1e-3),
        (Type.BF16, 1e-2),
        (Type.Q8_0, 1e-2),
        (Type.Q5_1, 0.05),
        (Type.Q4_0, 0.2),
        (Type.Q4_1, 0.1),
    ],
)
def test_a_decoder_survives_each_type_within_its_rounding(tmp_path, kind, atol):
    decoder = make_decoder(**SIZES)
    loaded = gguf.load_decoder(save(tmp_path, decoder, kind))
    assert_same(loaded, decoder, atol)
    assert_same_config(loaded, decoder)
    changed = np.abs(np.asarray(loaded.head) - np.asarray(decoder.head)).max() > 0
    assert changed == (kind != Type.F32)


@pytest.mark.parametrize("kind", [Type.Q4_K, Type.Q5_K, Type.Q6_K])
def test_k_quants_are_read(tmp_path, kind):
    decoder = make_decoder(
        **SIZES | {"width": 256, "num_heads": 16, "mlp_width": 256, "num_layers": 1}
    )
    rng, blocks = np.random.default_rng(0), {}
    for name, value in gguf_files.tensors_of(decoder).items():
        if value.ndim == 2:
            shape = quants.quant_shape_to_byte_shape(value.shape, kind)
            # Small bytes, so that a block's float16 scales are finite.
            blocks[name] = rng.integers(0, 60, shape).astype(np.uint8)
    loaded = gguf.load_decoder(save(tmp_path, decoder, kind, tensors=blocks))
    expected = quants.dequantize(blocks["blk.0.ffn_down.weight"], kind).T
    np.testing.assert_array_equal(loaded.layers.mlp.down.weight[0], expected)
    assert np.isfinite(expected).all() and np.abs(expected).max() > 0


def test_qwen2_has_biases_and_keeps_its_row_order(tmp_path):
    decoder = make_decoder(**SIZES, family="qwen2", attention_bias=True)
    loaded = gguf.load_decoder(save(tmp_path, decoder))
    assert_same(loaded, decoder)
    assert_same_config(loaded, decoder)


def test_a_file_without_a_head_is_tied(tmp_path):
    decoder = make_decoder(**SIZES, tied_head=True)
    loaded = gguf.load_decoder(save(tmp_path, decoder), "bfloat16", remat=True)
    assert loaded.config.tied_head and loaded.config.remat
    assert loaded.config.compute_dtype == "bfloat16"
    assert_same(loaded, decoder)


def test_linear_rope_scaling_is_read(tmp_path):
    decoder = make_decoder(**SIZES)
    fields = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    loaded = gguf.load_decoder(save(tmp_path, decoder, fields=fields))
    assert loaded.config.rope_scaling == layers.RopeScaling("linear", 4.0)


def test_llama3_rope_factors_are_recognised_or_refused(tmp_path):
    decoder = make_decoder(**SIZES, rope_theta=5e5)
    scaling = layers.RopeScaling("llama3", 32.0)
    plain, scaled = (layers.rope_frequencies(16, 5e5, s) for s in (None, scaling))
    tensors = {"rope_freqs.weight": (plain / scaled).astype(np.float32)}
    loaded = gguf.load_decoder(save(tmp_path, decoder, tensors=tensors))
    assert loaded.config.rope_scaling == scaling
    tensors["rope_freqs.weight"][3] *= 2
    with pytest.raises(CheckpointError, match="does not follow Llama 3's rope"):
        gguf.load_decoder(save(tmp_path, decoder, tensors=tensors))


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"llama.expert_count": 8}, "'expert_count' .8. is not known here"),
        ({"llama.rope.dimension_count": 8}, "dimension_count is 8, but a head has 16"),
        ({"llama.rope.scaling.type": "yarn"}, "scaling.type is 'yarn'; supported"),
        ({"llama.attention.head_count_kv": [2, 1]}, "layers that differ are not"),
    ],
)
def test_what_would_be_computed_differently_is_refused(tmp_path, fields, match):
    path = save(tmp_path, make_decoder(**SIZES), fields=fields)
    with pytest.raises(CheckpointError, match=match):
        gguf.load_decoder(path)


def test_other_architectures_types_and_tensors_are_refused(tmp_path):
    decoder = make_decoder(**SIZES)
    path = gguf_files.write(tmp_path / "gpt2.gguf", "gpt2", {}, {})
    with pytest.raises(CheckpointError, match="architecture is 'gpt2'; supported"):
        gguf.load_decoder(path)
    path = save(tmp_path, decoder, Type.TQ2_0, tensors=_ternary(decoder))
    with pytest.raises(CheckpointError, match="is of type TQ2_0; supported"):
        gguf.load_decoder(path)
    extra = {"blk.0.attn_q.bias": np.zeros(64, np.float32)}
    with pytest.raises(CheckpointError, match=r"attn_q\.bias \(64,\) has no place"):
        gguf.load_decoder(save(tmp_path, decoder, tensors=extra))


def _ternary(decoder):
    tensors = gguf_files.tensors_of(decoder)
    return {
        name: np.zeros((len(value), 66), np.uint8)
        for name, value in tensors.items()
        if value.ndim == 2
    }


@pytest.mark.parametrize("kept", [2, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, kept):
    path = save(tmp_path, make_decoder(**SIZES))
    whole = path.read_bytes()
    size = int(kept * len(whole)) if isinstance(kept, float) else kept
    path.write_bytes(whole[:size])
    with pytest.raises(CheckpointError, match=rf"\({size} bytes\) is no whole GGUF"):
        gguf.load_decoder(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.gguf does not exist"):
        gguf.load_decoder(tmp_path / "nowhere.gguf")
