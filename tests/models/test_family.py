import dataclasses

import pytest

from radit_jax.models import family
from radit_jax.models.layers import RopeScaling
from radit_jax.models.weights import CheckpointError

from .conftest import DECODER, ENCODER

LLAMA = family.write_decoder(DECODER)
BERT = family.write_encoder(ENCODER)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"model_type": "gemma2"}, r"'gemma2'; supported here: \['llama', 'mistral'"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu' changes the maths"),
        ({"attention_bias": True}, "attention_bias=True changes the maths"),
        ({"mlp_bias": True}, "mlp_bias=True"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping=30.0"),
        ({"use_sliding_window": True}, "use_sliding_window=True"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0}}, "rope_type is 'yarn'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}, "lacks the fields"),
        (
            {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
            "partial_rotary_factor is not 1",
        ),
    ],
)
def test_what_would_be_computed_differently_is_refused(change, match):
    with pytest.raises(CheckpointError, match=match):
        family.read_decoder(LLAMA | change, "model")


def test_all_problems_are_listed_with_missing_fields():
    raw = {k: v for k, v in LLAMA.items() if k not in ("rms_norm_eps", "hidden_act")}
    with pytest.raises(CheckpointError, match=r"3 problem\(s\)") as caught:
        family.read_decoder(raw | {"mlp_bias": True}, "model")
    assert "'rms_norm_eps' is missing" in str(caught.value)
    assert "'hidden_act' is missing" in str(caught.value)


@pytest.mark.parametrize(
    "scaling",
    [None, RopeScaling("linear", 4.0), RopeScaling("llama3", 8.0, 1.0, 4.0, 256)],
)
def test_rope_is_read_from_older_and_newer_fields(scaling):
    config = dataclasses.replace(DECODER, rope_scaling=scaling, rope_theta=5e5)
    raw = family.write_decoder(config)
    assert family.read_decoder(raw, "model") == config
    old = dict(raw.pop("rope_scaling") or {"rope_type": "default"})
    raw["rope_parameters"] = {"rope_theta": raw.pop("rope_theta"), **old}
    assert family.read_decoder(raw, "model") == config


def test_mistral_without_a_word_on_its_window_has_transformers_default():
    raw = LLAMA | {"model_type": "mistral"}
    assert family.read_decoder(raw, "model").sliding_window == 4096
    raw["sliding_window"] = None
    assert family.read_decoder(raw, "model").sliding_window is None
    del raw["num_key_value_heads"]
    with pytest.raises(CheckpointError, match="'num_key_value_heads' is missing"):
        family.read_decoder(raw, "model")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"model_type": "roberta"}, r"'roberta'; supported here: \['bert', 'dpr'\]"),
        ({"hidden_act": "relu"}, "hidden_act='relu'"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"is_decoder": True}, "is_decoder=True"),
    ],
)
def test_other_encoders_are_refused(change, match):
    with pytest.raises(CheckpointError, match=match):
        family.read_encoder(BERT | change, "model")


def test_the_tanh_gelu_is_told_from_the_exact_one():
    assert family.read_encoder(BERT, "model") == ENCODER
    assert not family.read_encoder(BERT | {"hidden_act": "gelu_new"}, "m").exact_gelu
