"""Adapters between this package and peft, by the logits of both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from radit_jax.models import huggingface, lora
from radit_jax.models import peft as peft_files
from radit_jax.ops import masks
from radit_jax.testing import toy

peft = pytest.importorskip("peft")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOKENS = np.array([[5, 9, 2, 30, 7, 1], [8, 8, 4, 39, 0, 11]], np.int32)


@pytest.fixture
def decoder():
    return toy.decoder(40)


@pytest.fixture
def base(decoder, tmp_path):
    """The same model in transformers."""
    huggingface.save_decoder(decoder, tmp_path / "base")
    return transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")


def _logits(decoder):
    segments = jnp.ones(TOKENS.shape, jnp.int32)
    positions = jnp.broadcast_to(jnp.arange(TOKENS.shape[1]), TOKENS.shape)
    mask = masks.segment_causal(segments)
    return decoder.logits(decoder(jnp.asarray(TOKENS), positions, mask))


def _their_logits(model):
    with torch.no_grad():
        return model(torch.tensor(TOKENS, dtype=torch.long)).logits.numpy()


def _quietly(function, *args):
    """transformers 5 warns of a property that peft reads."""
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
        return function(*args).eval()


def test_peft_opens_what_is_saved(decoder, base, tmp_path):
    adapters = lora.make(decoder.config, 3, 6.0, tuple(lora.TARGETS), nnx.Rngs(1))
    for i, (_, adapter) in enumerate(adapters.items()):
        adapter.b[...] = 0.1 * jax.random.normal(jax.random.key(i), adapter.b.shape)
    name = str(tmp_path / "base")
    peft_files.save(adapters, 3, 6.0, name, tmp_path / "adapter")
    before = _logits(decoder)
    lora.attach(decoder, adapters)

    model = _quietly(peft.PeftModel.from_pretrained, base, tmp_path / "adapter")
    assert model.peft_config["default"].base_model_name_or_path == name
    theirs = _their_logits(model)
    np.testing.assert_allclose(_logits(decoder), theirs, atol=1e-4)
    assert np.abs(before - theirs).max() > 0.1


def test_what_peft_saves_is_read(decoder, base, tmp_path):
    settings = {"r": 2, "lora_alpha": 8, "target_modules": ["o_proj", "up_proj"]}
    model = _quietly(peft.get_peft_model, base, peft.LoraConfig(**settings))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(tmp_path / "adapter")
    theirs = _their_logits(model)
    assert np.abs(_logits(decoder) - theirs).max() > 0.1
    lora.merge(decoder, peft_files.load(tmp_path / "adapter", decoder.config))
    np.testing.assert_allclose(_logits(decoder), theirs, atol=1e-4)
