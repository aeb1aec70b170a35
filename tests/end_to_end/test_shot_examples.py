"""The 64-shot stage on the toy world: train questions → rows → a further tuned LM."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy
from etils import epath

from radit_jax.artifacts import ArtifactError
from radit_jax.config import ConfigError
from radit_jax.corpus.json_lines import CorpusError
from radit_jax.evaluation import paper_tables
from radit_jax.stages import build_shot_examples, finetune_lm, paper_table

PLACES = ("Arvon", "Belmar", "Corvia", "Dunmere")


def write(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture(scope="module")
def made(toy_run, tmp_path_factory):
    """The toy run again, and a config for three questions of two tasks."""
    folder = tmp_path_factory.mktemp("shots")
    asked = [f"What is the river of {place} ?" for place in PLACES]
    nq = [{"question": question, "answer": ["Pell", "Adar"]} for question in asked]
    slots = [
        {"id": place, "input": f"{place} [SEP] river", "output": [{"answer": "Rusk"}]}
        for place in PLACES
    ]
    write(folder / "tasks" / "nq" / "NQ-open.train.jsonl", nq)
    write(folder / "tasks" / "trex" / "trex-train-kilt.jsonl", slots)
    config = dataclasses.replace(
        toy_run.config,
        benchmarks=dataclasses.replace(
            toy_run.config.benchmarks,
            folder=str(folder / "tasks"),
            names=("nq", "trex"),
            train_shots=3,
        ),
        lm_training=dataclasses.replace(
            toy_run.config.lm_training,
            examples="ra_it_64shot",
            schedule="linear",
            peak_learning_rate=1e-9,
            end_learning_rate=1e-9,
            warmup_steps=0,
            num_steps=2,
            batch_rows=2,
        ),
    )
    return config, toy_run.copy(folder / "run")


def test_rows_hold_every_question_behind_each_of_its_chunks(made):
    config, workdir = made
    built = build_shot_examples.run(config, workdir)
    sets = {one["set"]: one for one in built.counts["sets"]}
    assert list(sets) == ["nq", "trex"]
    for one in sets.values():
        assert (one["questions"], one["examples"]) == (3, 3 * 2)
    assert built.counts["train"]["examples"] == 12
    text = (built.path / "samples.md").read_text()
    assert "    Background: " in text and " [SEP] river" in text
    # What is learned is the first answer and eos, as a demonstration shows it.
    learned = [one.split()[0] for one in text.split("\n\nthen\n\n")[1:]]
    assert learned == ["Pell"] * 3 + ["Rusk"] * 3


def test_the_tuned_lm_goes_on_from_the_one_before(made):
    config, workdir = made
    build_shot_examples.run(config, workdir)
    tuned = finetune_lm.run(config, workdir)
    weights = [
        safetensors.numpy.load_file(folder / "model.safetensors")
        for folder in (
            tuned.path / "model",
            workdir.lm("ra_it") / "model",
            epath.Path(config.lm.path),
        )
    ]
    ours, before, base = ({k: v for k, v in sorted(w.items())} for w in weights)
    for name in ours:  # two steps at 1e-9 move nothing that float32 shows
        np.testing.assert_allclose(ours[name], before[name], atol=1e-6)
    assert any(np.abs(before[name] - base[name]).max() > 1e-3 for name in before)
    setup = paper_table.setup(config, workdir, paper_tables.PAPER_TABLES[2])
    told = "ra_it after 2 more steps (paper: 100), which learned 3 of nq, 3 of trex"
    assert any(told in sentence for sentence in setup)


def test_what_it_can_not_learn_is_refused(made):
    config, workdir = made

    def run(**fields):
        benchmarks = dataclasses.replace(config.benchmarks, **fields)
        changed = dataclasses.replace(config, benchmarks=benchmarks)
        build_shot_examples.run(changed, workdir)

    with pytest.raises(ConfigError, match=r"\['mmlu'\] that the 64-shot stage"):
        run(names=("mmlu", "nq"))
    with pytest.raises(ConfigError, match="folder is ''"):
        run(folder="")
    with pytest.raises(CorpusError, match="eli5, train: .* has neither"):
        run(names=("nq", "eli5"))
    with pytest.raises(ValueError, match="5 demonstrations are wanted, but there are"):
        run(train_shots=5)
    nowhere = dataclasses.replace(workdir, path=workdir.path.parent / "nothing")
    with pytest.raises(ArtifactError, match="launch.build_shot_examples"):
        finetune_lm.run(config, nowhere)
