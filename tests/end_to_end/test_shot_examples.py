"""The 64-shot stage on the toy world: train questions → rows → a further tuned LM."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy
from etils import epath

from configs import toy as toy_config
from radit_jax import artifacts
from radit_jax.artifacts import ArtifactError
from radit_jax.config import ConfigError
from radit_jax.corpus.json_lines import CorpusError
from radit_jax.evaluation import paper_tables
from radit_jax.models import huggingface, pretrained
from radit_jax.stages import (
    build_index,
    build_shot_examples,
    chunk_corpus,
    finetune_lm,
    paper_table,
)
from radit_jax.testing import toy
from radit_jax.workdir import Workdir

PLACES = ("Arvon", "Belmar", "Corvia", "Dunmere")


def write(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The toy corpus and a tuned LM, and a config for four questions of two tasks."""
    folder = epath.Path(tmp_path_factory.mktemp("shots"))
    asked = [f"What is the river of {place} ?" for place in PLACES]
    nq = [{"question": question, "answer": ["Pell", "Adar"]} for question in asked]
    slots = [
        {"id": place, "input": f"{place} [SEP] river", "output": [{"answer": "Rusk"}]}
        for place in PLACES
    ]
    write(folder / "tasks" / "nq" / "NQ-open.train.jsonl", nq)
    write(folder / "tasks" / "trex" / "trex-train-kilt.jsonl", slots)
    config = toy_config.get_config(str(toy.write(folder / "world")))
    config.retrieve.kind = "bm25"  # nothing to embed
    config.benchmarks.folder = str(folder / "tasks")
    config.benchmarks.names = ("nq", "trex")
    config.benchmarks.train_shots = 4
    training = config.lm_training
    training.examples = "ra_it_64shot"
    training.schedule = "linear"
    training.peak_learning_rate = training.end_learning_rate = 1e-9
    training.warmup_steps, training.num_steps = 0, 2
    # An example or two a row: enough rows for a batch.
    config.examples.num_chunks, config.examples.row_tokens = 3, 64
    workdir = Workdir(folder / "run")
    for stage in (chunk_corpus, build_index):
        stage.run(config, workdir)
    with artifacts.writing(workdir.lm("ra_it"), "finetune_lm", {}, {}) as draft:
        decoder, tokenizer = pretrained.load_lm(config.lm.path)
        decoder.embedding[...] = 2 * decoder.embedding[...]
        with draft.file("model") as path:
            huggingface.save_decoder(decoder, path, tokenizer)
    return config, workdir


def test_rows_hold_every_question_behind_each_of_its_chunks(made):
    config, workdir = made
    built = build_shot_examples.run(config, workdir)
    sets = {one["set"]: one for one in built.counts["sets"]}
    assert list(sets) == ["nq", "trex"]
    for one in sets.values():
        assert (one["questions"], one["examples"]) == (4, 4 * 3)
    assert built.counts["train"]["examples"] == 24
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
    told = "ra_it after 2 more steps (paper: 100), which learned 4 of nq, 4 of trex"
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
