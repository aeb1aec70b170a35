"""Encoders against PyTorch: embeddings within 1e-4, and back again."""

import jax.numpy as jnp
import numpy as np
import pytest

from radit_jax.models import encoder as encoders
from radit_jax.models import huggingface

from .conftest import LENGTH, SIZES, TOKENS, assert_close, draw, run, torch
from .conftest import transformers as hf

MASK = np.arange(LENGTH) < np.array([[LENGTH], [6]])


def hidden_of(model):
    with torch.no_grad():
        output = model(torch.tensor(TOKENS), attention_mask=torch.tensor(MASK).long())
    return output.last_hidden_state


@pytest.mark.parametrize("activation", ["gelu", "gelu_new"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_embeddings_equal_transformers_and_so_do_those_of_our_copy(
    tmp_path, pooling, activation
):
    theirs = draw(hf.BertModel(hf.BertConfig(**SIZES, hidden_act=activation)))
    theirs.save_pretrained(tmp_path / "theirs")
    ours = huggingface.load_encoder(tmp_path / "theirs")
    hidden = run(ours, TOKENS, MASK)
    expected = hidden_of(theirs)
    assert_close(hidden[MASK], expected[torch.tensor(MASK)], atol=1e-4)

    weights = torch.tensor(MASK)[..., None].float()
    pooled = {
        "cls": expected[:, 0],
        "mean": (expected * weights).sum(1) / weights.sum(1),
    }[pooling]
    assert_close(
        encoders.pool(hidden, jnp.asarray(MASK), pooling, False), pooled, atol=1e-4
    )
    unit = torch.nn.functional.normalize(pooled)
    assert_close(
        encoders.pool(hidden, jnp.asarray(MASK), pooling, True), unit, atol=1e-4
    )

    huggingface.save_encoder(ours, tmp_path / "ours")
    copy = hf.BertModel.from_pretrained(tmp_path / "ours", add_pooling_layer=False)
    torch.testing.assert_close(hidden_of(copy.eval()), expected, rtol=0, atol=1e-6)


def test_a_pretraining_model_loads_without_its_heads(tmp_path):
    theirs = draw(hf.BertForMaskedLM(hf.BertConfig(**SIZES)))
    theirs.save_pretrained(tmp_path)
    hidden = run(huggingface.load_encoder(tmp_path), TOKENS, MASK)
    expected = hidden_of(theirs.bert)
    assert_close(hidden[MASK], expected[torch.tensor(MASK)], atol=1e-4)
