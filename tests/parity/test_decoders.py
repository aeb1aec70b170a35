"""Decoders against PyTorch: whole logits within 1e-4, and back again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from radit_jax.models import huggingface

from .conftest import SCALINGS, SIZES, TOKENS, assert_close, causal, draw, run, torch
from .conftest import transformers as hf

GQA = SIZES | {"num_key_value_heads": 2}
CONFIGS = {
    "llama": lambda: hf.LlamaConfig(**GQA),
    "llama without groups": lambda: hf.LlamaConfig(**SIZES),
    "llama tied": lambda: hf.LlamaConfig(**GQA, tie_word_embeddings=True),
    "llama wide heads": lambda: hf.LlamaConfig(**GQA, head_dim=8),
    "llama3 rope": lambda: hf.LlamaConfig(**GQA, rope_parameters=SCALINGS["llama3"]),
    "linear rope": lambda: hf.LlamaConfig(**GQA, rope_parameters=SCALINGS["linear"]),
    "mistral": lambda: hf.MistralConfig(**GQA, sliding_window=None),
    "mistral window": lambda: hf.MistralConfig(**GQA, sliding_window=5),
    "qwen2": lambda: hf.Qwen2Config(**GQA),
    "qwen2 tied": lambda: hf.Qwen2Config(**GQA, tie_word_embeddings=True),
}


def logits_of(model):
    with torch.no_grad():
        return model(torch.tensor(TOKENS)).logits


def likelihood_of_7(model):
    logits = model(torch.tensor(TOKENS)).logits
    return torch.log_softmax(logits[:, -1], -1)[:, 7].sum()


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_equal_transformers_and_so_do_those_of_our_copy(tmp_path, name):
    theirs = draw(hf.AutoModelForCausalLM.from_config(CONFIGS[name]()))
    theirs.save_pretrained(tmp_path / "theirs")
    ours = huggingface.load_decoder(tmp_path / "theirs")
    hidden = run(ours, TOKENS, *causal())
    expected = logits_of(theirs)
    assert_close(ours.logits(hidden), expected, atol=1e-4)

    huggingface.save_decoder(ours, tmp_path / "ours", max_shard_bytes=9000)
    assert len(list((tmp_path / "ours").glob("*.safetensors"))) > 1
    copy = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    copied = torch.log_softmax(logits_of(copy), -1)
    torch.testing.assert_close(
        copied, torch.log_softmax(expected, -1), rtol=0, atol=1e-6
    )


def test_sharded_files_of_transformers_load(tmp_path):
    theirs = draw(hf.LlamaForCausalLM(hf.LlamaConfig(**GQA)))
    theirs.save_pretrained(tmp_path, max_shard_size="9KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    hidden = run(huggingface.load_decoder(tmp_path), TOKENS, *causal())
    with torch.no_grad():
        expected = theirs.model(torch.tensor(TOKENS)).last_hidden_state
    assert_close(hidden, expected, atol=1e-4)


def test_bfloat16_files_load(tmp_path):
    theirs = draw(hf.LlamaForCausalLM(hf.LlamaConfig(**GQA))).to(torch.bfloat16)
    theirs.save_pretrained(tmp_path)
    ours = huggingface.load_decoder(tmp_path)
    assert_close(ours.head, theirs.lm_head.weight.float(), atol=0)
    hidden = run(ours, TOKENS, *causal())
    # Not theirs.float(): its rotary frequencies stay rounded to bfloat16.
    again = hf.LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert_close(ours.logits(hidden), logits_of(again.eval()), atol=1e-4)


def test_gradients_equal_torch(tmp_path):
    """Of the summed likelihood of the last token, in three of the parameters."""
    theirs = draw(hf.LlamaForCausalLM(hf.LlamaConfig(**GQA)))
    theirs.save_pretrained(tmp_path)
    graphdef, params = nnx.split(huggingface.load_decoder(tmp_path))
    inputs = [jnp.asarray(array) for array in (TOKENS, *causal())]

    @jax.jit
    def loss(params):
        model = nnx.merge(graphdef, params)
        hidden = model(*inputs)
        log_p = jax.nn.log_softmax(model.logits(hidden[:, -1:]))
        return log_p[:, 0, 7].sum()

    ours = jax.grad(loss)(params)
    likelihood_of_7(theirs).backward()
    block = theirs.model.layers[1]
    pairs = [
        (ours["embedding"][...], theirs.model.embed_tokens.weight.grad),
        (ours["layers"]["mlp"]["up"]["weight"][1].T, block.mlp.up_proj.weight.grad),
        (
            np.asarray(ours["layers"]["attention"]["key"]["weight"][1])
            .reshape(24, 8)
            .T,
            block.self_attn.k_proj.weight.grad,
        ),
    ]
    for mine, other in pairs:
        assert_close(mine, other, atol=1e-4)
