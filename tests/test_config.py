import dataclasses
import json

import pytest

from configs import quickstart
from radit_jax.config import Config, ConfigError, RetrieverTrainingConfig


@pytest.fixture
def config(tmp_path):
    config = Config()
    for section, field in (
        ("corpus", "documents"),
        ("instructions", "train"),
        ("instructions", "dev"),
        ("lm", "path"),
        ("encoder", "query_path"),
        ("encoder", "passage_path"),
    ):
        setattr(getattr(config, section), field, str(tmp_path))
    return config


def test_the_defaults_lack_nothing_but_the_paths(config):
    with pytest.raises(ConfigError, match="6 problem") as caught:
        Config().validate()
    assert str(caught.value).count("is not set; name a file or folder") == 6
    config.validate()  # the same defaults, with paths


@pytest.mark.parametrize(
    ("platform", "dtype"),
    [("cpu", "float32"), ("gpu", "bfloat16"), ("tpu", "bfloat16")],
)
def test_products_are_as_the_platform_has_them_unless_said(platform, dtype):
    config = Config()
    config.encoder.compute_dtype = "float32"
    config.settle(platform)
    assert (config.lm.compute_dtype, config.encoder.compute_dtype) == (dtype, "float32")
    config.settle("gpu")  # again: nothing is left to settle
    assert config.lm.compute_dtype == dtype


def test_all_problems_are_told_together(config):
    config.encoder.pooling = "max"
    config.lm_training.peak_learning_rate = -1.0
    config.lm.path = "/nowhere"
    with pytest.raises(ConfigError, match="3 problem") as caught:
        config.validate()
    message = str(caught.value)
    assert (
        "--config.encoder.pooling is 'max'; choose one of ('', 'cls', 'mean')"
        in message
    )
    assert "--config.lm_training.peak_learning_rate is -1.0" in message
    assert "--config.lm.path=/nowhere does not exist" in message


@pytest.mark.parametrize(
    ("section", "field", "value", "match"),
    [
        ("corpus", "documents", "", "documents is not set; name a file"),
        ("retrieve", "splits", ("train", "test"), "retrieve.splits is .* some of"),
        ("retrieve", "splits", "dev", "retrieve.splits is 'dev'; give a tuple"),
        ("scoring", "splits", (), r"scoring.splits is \(\); give a tuple"),
        ("retrieve", "num_chunks", 2, "only --config.retrieve.num_chunks=2 are"),
        ("instructions", "validation_fraction", 1.5, "a share from 0 to 1"),
        ("instructions", "max_dev", -1, "max_dev is -1; give 0 or more"),
        ("retriever_training", "lm_temperature", 0.0, "a number above 0"),
        ("retriever_training", "retriever_temperature", -1.0, "temperature is -1.0; g"),
        ("retriever_training", "loss", "kl", "loss is 'kl'; choose one of .'lsr'"),
        ("retriever_training", "teacher", "llm", "teacher is 'llm'; choose one of"),
        ("retriever_training", "train", "passage", "train is 'passage'; choose one"),
        ("lm_training", "accumulation_steps", 3, "batch_rows=64 is not divisible"),
        ("predict", "max_answer_tokens", 1024, "leaves no room for a prompt"),
        ("lm_training", "lora_targets", ("query",), "'query',.; give a tuple of some"),
        ("lm_training", "choose_by", "validation_em", "set .*validation_questions"),
        ("lm_training", "lora_save", "both", "lora_save is 'both'; choose one of"),
        ("lm_training", "schedule", "step", "schedule is 'step'; choose one of"),
        ("lm_training", "num_steps", 100, "warmup_steps=200 is more than num_steps=10"),
        ("examples", "row_tokens", 512, "row_tokens=512 is shorter than an example"),
    ],
)
def test_refuses(config, section, field, value, match):
    setattr(getattr(config, section), field, value)
    with pytest.raises(ConfigError, match=match):
        config.validate()


@pytest.mark.parametrize(
    ("loss", "field", "value", "match"),
    [
        ("pdist", "direction", "reverse", "direction='reverse' has no meaning for lo"),
        ("emdr2", "direction", "reverse", "direction='reverse' has no meaning for lo"),
        ("emdr2", "score", "likelihood", "score='likelihood' has no meaning for loss="),
        (
            "emdr2",
            "lm_temperature",
            0.1,
            "lm_temperature=0.1 has no meaning .* at None",
        ),
        (
            "emdr2",
            "teacher",
            "gold",
            "teacher='gold' has no tokens, which loss='emdr2'",
        ),
    ],
)
def test_refuses_what_a_loss_has_no_use_for(config, loss, field, value, match):
    setattr(config.retriever_training, field, value)
    config.validate()  # lsr has
    config.retriever_training.loss = loss
    with pytest.raises(ConfigError, match=match):
        config.validate()


@pytest.mark.parametrize(
    ("loss", "own"),
    [
        ("lsr", ("mean_log_likelihood", 0.01, 7.0)),
        ("replug_lsr", ("likelihood", 0.1, 0.1)),
        ("pdist", ("mean_log_likelihood", 0.01, 0.01)),
        ("emdr2", ("log_likelihood", 1.0, 1.0)),
    ],
)
def test_what_is_not_given_is_the_losses_own(loss, own):
    training = RetrieverTrainingConfig(loss=loss)
    found = training.resolved(encoder_temperature=7.0)
    assert own == (found.score, found.lm_temperature, found.retriever_temperature)
    training.retriever_temperature = 3.0
    found = training.resolved(encoder_temperature=7.0)
    assert own[:2] == (found.score, found.lm_temperature)
    assert found.retriever_temperature == 3.0


def test_section_leaves_out_paths(config):
    section = config.section("lm", "encoder")
    assert "path" not in section["lm"]
    assert "query_path" not in section["encoder"]
    assert section["encoder"]["pooling"] == "cls"


def test_json_round_trip(config):
    config.retrieve.splits = ("dev",)
    values = json.loads(json.dumps(dataclasses.asdict(config)))
    assert Config.from_dict(values) == config


def test_an_unknown_field_of_a_stored_config_is_refused():
    with pytest.raises(ConfigError, match="lm.depth is no field"):
        Config.from_dict({"lm": {"depth": 3}})
    with pytest.raises(ConfigError, match="speed.up is no field"):
        Config.from_dict({"speed": {"up": 3}})


def test_a_value_of_another_kind_is_told_with_this_versions():
    match = "lm_training.remat is True, but .* has 'layer' there; put such a value"
    with pytest.raises(ConfigError, match=match):
        Config.from_dict({"lm_training": {"remat": True}})


def test_a_quickstart_variant_that_is_none_is_refused():
    with pytest.raises(ValueError, match="has no variant 'tiny'"):
        quickstart.get_config("tiny")
    assert quickstart.get_config("smoke").lm_training.num_steps < 10


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"probe": "depth"}, "probe=depth asks one retriever, but there are ()"),
        (
            {"probe": "passages", "retrievers": ("base", "tuned")},
            "probe=passages asks one retriever",
        ),
        ({"probe_chunks": 3}, "probe_chunks is 3; give a tuple"),
        ({"probe_chunks": (-1,)}, "probe_chunks is .-1,.; give a tuple"),
        ({"probe": "width"}, "predict.probe is 'width'; choose one of"),
    ],
)
def test_probes(settings, match):
    config = Config()
    for name, value in settings.items():
        setattr(config.predict, name, value)
    with pytest.raises(ConfigError, match=match.replace("()", r"\(\)")):
        config.validate("predict")
