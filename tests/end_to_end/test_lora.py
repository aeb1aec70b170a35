"""Stage 6 with adapters, and the stages after it that read them."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from flax import nnx

from launch.steps import Step
from radit_jax import artifacts
from radit_jax.instruct.batches import RowBatches
from radit_jax.stages import finetune_lm, inputs, predict
from tests.end_to_end.test_resume import Killed, files, kill_after

RANK = 4


def _config(toy_run, **changes):
    settings = {"lora_rank": RANK, "peak_learning_rate": 3e-2, "fsdp": 2, "tensor": 2}
    changed = {f"lm_training.{k}": v for k, v in (settings | changes).items()}
    return Step("finetune_lm", changed).config(toy_run.config)


def _copy(toy_run, folder):
    workdir = toy_run.copy(folder / "run")
    workdir.lm("ra_it").rmtree()
    return workdir


@pytest.fixture(scope="module")
def tuned(toy_run, tmp_path_factory):
    """The toy LM with adapters, trained on a 2x2x2 mesh."""
    workdir = _copy(toy_run, tmp_path_factory.mktemp("lora"))
    artifact = finetune_lm.run(_config(toy_run), workdir)
    return workdir, artifact


def _params(config, workdir, name):
    decoder, _ = inputs.load_lm(config, workdir, name)
    return nnx.state(decoder)


def test_few_parameters_learn_and_they_do(toy_run, tuned):
    workdir, artifact = tuned
    assert artifact.counts["validation_loss_before"] == pytest.approx(
        artifacts.load(toy_run.workdir.lm("ra_it"), "finetune_lm").counts[
            "validation_loss_before"
        ],
        rel=1e-5,  # with adapters that are new, the LM is the base LM
    )
    gain = (
        artifact.counts["validation_loss_before"] - artifact.counts["validation_loss"]
    )
    assert gain > 0.2
    base = _params(toy_run.config, workdir, "base")
    layers, width, heads, kv_heads, mlp = 2, 32, 32, 16, 64
    sizes = [(width, heads), (width, kv_heads), (width, kv_heads), (heads, width)]
    sizes += [(width, mlp), (width, mlp), (mlp, width)]
    expected = layers * RANK * sum(ins + outs for ins, outs in sizes)
    assert artifact.counts["parameters_that_learn"] == expected
    assert expected < 0.4 * sum(x.size for x in jax.tree.leaves(base))


def test_only_the_adapters_are_saved_and_changed(toy_run, tuned):
    workdir, _ = tuned
    assert not (workdir.lm("ra_it") / "model").exists()
    base = dict(nnx.to_flat_state(_params(toy_run.config, workdir, "base")))
    after = nnx.to_flat_state(_params(_config(toy_run), workdir, "ra_it"))
    changed = {
        path[-2]
        for path, value in after
        if not np.array_equal(value[...], base[path][...])
    }
    assert changed == {"query", "key", "value", "output", "gate", "up", "down"}


def test_a_killed_run_resumes_bit_for_bit(toy_run, tuned, tmp_path, monkeypatch):
    workdir, config = _copy(toy_run, tmp_path), _config(toy_run)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(patch, RowBatches, "__next__", 12)
        finetune_lm.run(config, workdir)
    finetune_lm.run(config, workdir)
    whole = files(tuned[0].lm("ra_it") / "adapter")
    assert files(workdir.lm("ra_it") / "adapter") == whole


def test_merged_is_base_and_adapters(toy_run, tuned, tmp_path):
    config, workdir = _config(toy_run, lora_save="merged"), _copy(toy_run, tmp_path)
    finetune_lm.run(config, workdir)
    assert not (workdir.lm("ra_it") / "adapter").exists()
    merged = nnx.to_flat_state(_params(config, workdir, "ra_it"))
    adapted = dict(nnx.to_flat_state(_params(config, tuned[0], "ra_it")))
    for path, value in merged:
        np.testing.assert_array_equal(value[...], adapted[path][...])


def test_the_stages_after_it_read_base_and_adapters(toy_run, tuned, tmp_path):
    workdir, _ = tuned
    changes = {"lm": "ra_it", "max_questions": 2, "retrievers": ("base",)}
    changed = {f"predict.{name}": value for name, value in changes.items()}
    config = Step("finetune_lm", changed).config(_config(toy_run))
    workdir.predictions("ra_it").rmtree()
    found = predict.run(config, workdir)
    assert found.counts["questions"] == 2
    assert found.manifest["inputs"]["lm"] == tuned[1].sha256


def test_another_base_is_refused(toy_run, tuned, tmp_path):
    other = tmp_path / "lm"
    other.mkdir()
    for file in (toy_run.world / "lm").iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    raw = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(raw | {"rope_theta": 5e5}))
    config = dataclasses.replace(
        toy_run.config, lm=dataclasses.replace(toy_run.config.lm, path=str(other))
    )
    with pytest.raises(artifacts.ArtifactError, match="was trained on another LM"):
        inputs.load_lm(config, tuned[0], "ra_it")
