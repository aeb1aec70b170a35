"""One module at a time against PyTorch, within 1e-5."""

import jax.numpy as jnp
import numpy as np
import pytest

from radit_jax.models import huggingface, layers

from .conftest import (
    LENGTH,
    SCALINGS,
    SIZES,
    assert_close,
    causal,
    draw,
    layer,
    run,
    torch,
)
from .conftest import transformers as hf

X = np.random.default_rng(1).normal(size=(2, LENGTH, 24)).astype(np.float32)
X_TORCH = torch.tensor(X)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    path = tmp_path_factory.mktemp("llama")
    theirs = draw(hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES, num_key_value_heads=2)))
    theirs.save_pretrained(path)
    return huggingface.load_decoder(path), theirs.model


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    path = tmp_path_factory.mktemp("bert")
    theirs = draw(hf.BertModel(hf.BertConfig(**SIZES)))
    theirs.save_pretrained(path)
    return huggingface.load_encoder(path), theirs


def test_rms_norm(llama):
    ours, theirs = llama
    norm = layer(ours.layers, 1).attention_norm
    assert_close(run(norm, X), theirs.layers[1].input_layernorm(X_TORCH), atol=1e-5)


def test_gated_mlp(llama):
    ours, theirs = llama
    mlp = layer(ours.layers, 2).mlp
    assert_close(run(mlp, X), theirs.layers[2].mlp(X_TORCH), atol=1e-5)


def test_attention(llama):
    ours, theirs = llama
    positions, mask = causal()
    frequencies = layers.rope_frequencies(4, 10_000.0, None)
    rope = layers.rope_table(jnp.asarray(positions), frequencies)
    mixed = run(layer(ours.layers, 1).attention, X, rope, mask)
    hidden_by = torch.tensor(np.where(mask, 0.0, -np.inf)[:, None].astype(np.float32))
    expected, _ = theirs.layers[1].self_attn(
        X_TORCH,
        position_embeddings=theirs.rotary_emb(X_TORCH, torch.tensor(positions)),
        attention_mask=hidden_by,
    )
    assert_close(mixed, expected, atol=1e-5)


@pytest.mark.parametrize("kind", SCALINGS)
def test_rope_frequencies(kind):
    config = hf.LlamaConfig(**SIZES, head_dim=16, rope_parameters=dict(SCALINGS[kind]))
    module = hf.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
    fields = SCALINGS[kind]
    scaling = None
    if kind == "linear":
        scaling = layers.RopeScaling("linear", 4.0)
    if kind == "llama3":
        scaling = layers.RopeScaling("llama3", 8.0, 1.0, 4.0, 16)
    ours = layers.rope_frequencies(16, fields["rope_theta"], scaling)
    assert_close(ours, module.inv_freq, atol=1e-7)


def test_encoder_layer(bert):
    ours, theirs = bert
    mask = np.ones((2, 1, LENGTH), bool)
    expected = theirs.encoder.layer[1](X_TORCH)
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert_close(run(layer(ours.layers, 1), X, mask), expected, atol=1e-5)


def test_layer_norm(bert):
    ours, theirs = bert
    expected = theirs.embeddings.LayerNorm(X_TORCH)
    assert_close(run(ours.embedding_norm, X), expected, atol=1e-5)
