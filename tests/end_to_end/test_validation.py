"""Stage 6 keeps what answers best, and stops when nothing gets better."""

import dataclasses

import pytest
from flax import nnx

from launch.steps import Step
from radit_jax import artifacts
from radit_jax.config import ConfigError
from radit_jax.evaluation.answer_quality import AnswerQuality
from radit_jax.stages import finetune_lm, inputs
from radit_jax.training import mesh
from radit_jax.training.metrics import read_metrics
from tests.end_to_end.test_resume import files


def _config(toy_run, **changes):
    changed = {f"lm_training.{name}": value for name, value in changes.items()}
    return Step("finetune_lm", changed).config(toy_run.config)


def test_no_better_answers_end_the_run(toy_run, tmp_path):
    # A random LM of two layers answers nothing rightly: no score beats step 0's.
    config = _config(toy_run, validation_questions=4, patience=2, num_steps=40)
    workdir = toy_run.copy(tmp_path / "run")
    workdir.lm("ra_it").rmtree()
    counts = finetune_lm.run(config, workdir).counts
    assert (counts["steps"], counts["best_step"]) == (10, 0)
    assert (counts["validation_em_before"], counts["validation_em"]) == (0, 0)
    lines = read_metrics(workdir.lm("ra_it") / "metrics")
    validated = [line for line in lines if "validation_em" in line]
    assert [line["step"] for line in validated] == [0, 5, 10]
    losses = [line["validation_loss"] for line in validated]
    assert losses == sorted(losses, reverse=True)  # yet EM is what chose
    base = files(toy_run.world / "lm")["model.safetensors"]
    assert files(workdir.lm("ra_it") / "model")["model.safetensors"] == base


def _quality(toy_run, config, retrieved):
    decoder, tokenizer = inputs.load_lm(config, toy_run.workdir, "ra_it")
    graphdef, params = nnx.split(decoder)
    store, devices = inputs.chunk_store(toy_run.workdir), mesh.make_mesh(2, 2)
    quality = AnswerQuality(config, retrieved, graphdef, tokenizer, store, devices)
    return quality, params


def test_exact_match_is_that_of_the_stage_that_predicts(toy_run):
    """With accepted answers of which the LM gives every other one."""
    predicted = artifacts.load(toy_run.workdir.predictions("ra_it"), "predict")
    given = {
        record["id"]: record["answer"]
        for file in predicted.counts["shards"]
        for record in artifacts.read_lines(predicted.path / file)
        if record["retriever"] == "base"
    }
    dev = inputs.read_retrieved(toy_run.workdir, "base", "dev")
    golds = [
        (given[item.instruction.id] if i % 2 else "no such answer",)
        for i, item in enumerate(dev)
    ]
    asked = [
        dataclasses.replace(
            item, instruction=dataclasses.replace(item.instruction, answers=gold)
        )
        for item, gold in zip(dev, golds, strict=True)
    ]
    config = _config(toy_run, validation_questions=len(asked))
    quality, params = _quality(toy_run, config, asked)
    assert quality.exact_match(params) == 50.0
    # The same with other parameters, and back: nothing of them is kept.
    other = nnx.state(inputs.load_lm(config, toy_run.workdir, "base")[0])
    assert quality.exact_match(other) != 50.0
    assert quality.exact_match(params) == 50.0


def test_questions_that_retrieve_nothing_are_not_asked(toy_run):
    found = inputs.read_retrieved(toy_run.workdir, "base", "validation")
    bare = [dataclasses.replace(item, chunk_ids=(), scores=()) for item in found]
    config = _config(toy_run, validation_questions=3)
    message = f"validation_questions=3, but none of the {len(bare)} validation"
    with pytest.raises(ConfigError, match=message):
        _quality(toy_run, config, bare)


def test_a_batch_that_the_hosts_cannot_share_is_refused(toy_run, tmp_path, monkeypatch):
    monkeypatch.setattr("jax.process_count", lambda: 3)
    message = "batch_rows=8 is not divisible by the 3 hosts.*a multiple of 3"
    with pytest.raises(ConfigError, match=message):
        finetune_lm._batch_rows(toy_run.config.lm_training, mesh.make_mesh(2, 2))


def test_a_batch_that_the_devices_cannot_share_is_told(toy_run, caplog):
    settings = dataclasses.replace(toy_run.config.lm_training, batch_rows=6)
    assert finetune_lm._batch_rows(settings, mesh.make_mesh(2, 2)) == 6
    assert "batch_rows=6 cannot be split over data=2 × fsdp=2" in caplog.text


def test_adapters_of_a_tuned_lm_are_refused(toy_run):
    config = _config(toy_run, lora_rank=2, examples="ra_it_64shot")
    with pytest.raises(ConfigError, match="tuned LM 'ra_it', and adapters can only be"):
        finetune_lm._check_adapter(config)
    finetune_lm._check_adapter(_config(toy_run, lora_rank=2))
