"""The examples of a finished toy run, and of mixtures over its corpus."""

import dataclasses

import pytest

from radit_jax import artifacts
from radit_jax.config import ConfigError
from radit_jax.instruct.rows import RowCounts, RowStore
from radit_jax.stages import build_examples


def rebuilt(toy_run, folder, tasks=(), **examples):
    settings = dataclasses.replace(toy_run.config.examples, **examples)
    instructions = dataclasses.replace(toy_run.config.instructions, lm_tasks=tasks)
    config = dataclasses.replace(
        toy_run.config, examples=settings, instructions=instructions
    )
    workdir = toy_run.copy(folder / "run")
    return build_examples.run(config, workdir, overwrite=True)


def test_the_rows_hold_what_was_counted(toy_run):
    built = artifacts.load(toy_run.workdir.examples("ra_it"), "build_examples")
    for split in ("train", "validation"):
        counts = built.counts[split]
        store = RowStore(
            built.path / f"{split}.array_record", RowCounts.from_record(counts)
        )
        rows = [store[i] for i in range(len(store))]
        assert len(rows) == counts["rows"] > 0
        assert sum(row["segment_ids"].max() for row in rows) == counts["examples"]
        assert sum((row["segment_ids"] > 0).sum() for row in rows) == counts["tokens"]
        targets = sum(row["target_mask"].sum() for row in rows)
        assert targets == counts["target_tokens"]


def test_the_tables_and_samples_are_written(toy_run):
    built = artifacts.load(toy_run.workdir.examples("ra_it"), "build_examples")
    (own,) = built.counts["train"]["sets"]
    assert own["name"] == "own questions"
    assert own["num_examples"] == own["num_drawn"] == own["examples"]
    assert [line["name"] for line in built.counts["retriever"]["sets"]] == [own["name"]]
    samples = artifacts.read_lines(built.path / "samples.jsonl")
    kinds = [one["kind"] for one in samples]
    assert kinds == ["open_qa"] * 10 + ["retriever, own questions"] * 10
    assert all(one["prompt"].startswith("Background: The ") for one in samples)
    page = (built.path / "samples.md").read_text()
    assert page.count("\n### ") == 20
    assert "100.00%" in page


def test_text_has_its_share_of_the_draws(toy_run, tmp_path):
    built = rebuilt(toy_run, tmp_path, text_weight=0.25, num_examples=200)
    lines = {line["name"]: line for line in built.counts["train"]["sets"]}
    assert lines["corpus text"]["examples"] == 50
    assert lines["own questions"]["examples"] == 150  # of 58: some come again
    assert {line["name"] for line in built.counts["validation"]["sets"]} == {
        "own questions"
    }


def test_a_set_without_questions_is_an_error(toy_run, tmp_path):
    with pytest.raises(ConfigError, match=r"none of the sets \['gsm8k'\]; run"):
        rebuilt(toy_run, tmp_path, tasks=("gsm8k",))
