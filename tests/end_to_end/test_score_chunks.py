"""The scores of a run, against each prompt scored by itself."""

import dataclasses
import json

import numpy as np
import pytest
from safetensors import numpy as safetensors

from radit_jax import artifacts
from radit_jax.inference.scorer import Scorer
from radit_jax.stages import finetune_retriever, inputs, score_chunks
from radit_jax.text import templates


@pytest.fixture(scope="module")
def scores(toy_run):
    return artifacts.load(toy_run.workdir.scores("base"), "score_chunks")


def shards(scores, split):
    files = [file for file in scores.counts["shards"] if file.startswith(split)]
    return [safetensors.load((scores.path / file).read_bytes()) for file in files]


def encode(config, tokenizer, item, passage):
    prompt = templates.encode_instruction(
        tokenizer,
        item.instruction.id,
        item.instruction,
        passage=passage,
        answer=templates.target(item.instruction),
    )
    ids, _ = templates.fit(prompt, config.lm.max_tokens)
    return ids[: -prompt.num_target_tokens], ids[-prompt.num_target_tokens :]


def longest_question(toy_run):
    """Tokens of a question and its answer, without any Background."""
    config, workdir = toy_run.config, toy_run.workdir
    _, tokenizer = inputs.load_lm(config, workdir, "base")
    return max(
        sum(map(len, encode(config, tokenizer, item, None)))
        for item in inputs.retriever_questions(config, workdir, "train")
    )


def with_max_tokens(config, max_tokens):
    lm = dataclasses.replace(config.lm, max_tokens=max_tokens)
    return dataclasses.replace(config, lm=lm)


@pytest.mark.parametrize("is_cut", [False, True])
def test_equal_those_of_each_prompt_by_itself(toy_run, tmp_path, is_cut):
    """In the order of the questions and their chunks, with Backgrounds cut too."""
    workdir, config = toy_run.workdir, toy_run.config
    if is_cut:
        workdir = toy_run.copy(tmp_path / "run")
        config = with_max_tokens(config, longest_question(toy_run) + 6)
        score_chunks.run(config, workdir, overwrite=True)
    scores = artifacts.load(workdir.scores("base"), "score_chunks")
    assert bool(scores.counts["truncated_backgrounds"]) == is_cut
    found = inputs.retriever_questions(config, workdir, "train")
    decoder, tokenizer = inputs.load_lm(config, workdir, "base")
    store, k = inputs.chunk_store(workdir), config.scoring.num_chunks
    pairs = [(item, store[i].passage) for item in found for i in item.chunk_ids[:k]]
    pairs += [(item, None) for item in found]
    prompts, outputs = zip(
        *(encode(config, tokenizer, *pair) for pair in pairs), strict=True
    )
    expected = Scorer(decoder).score(prompts, outputs, 2048)
    loaded = shards(scores, "train")
    for name, some in (
        ("token_log_likelihood", expected[: -len(found)]),
        ("token_log_likelihood_no_chunk", expected[-len(found) :]),
    ):
        flat = np.concatenate([shard[name] for shard in loaded])
        np.testing.assert_allclose(flat, np.concatenate(some), atol=1e-4)
    num_tokens = np.concatenate([shard["num_tokens"] for shard in loaded])
    assert num_tokens.reshape(-1).tolist() == list(map(len, outputs[: -len(found)]))


def test_a_question_too_long_with_its_answer_is_left_out(toy_run, tmp_path, caplog):
    workdir = toy_run.copy(tmp_path / "run")
    config = with_max_tokens(toy_run.config, longest_question(toy_run))
    file = workdir.retrieved("base") / "train.jsonl"
    lines = artifacts.read_lines(file)
    lines[1]["answers"] = [" ".join(9 * lines[1]["answers"])]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    score_chunks.run(config, workdir, overwrite=True)
    scores = artifacts.load(workdir.scores("base"), "score_chunks")
    assert scores.counts["left_out"] == 1
    found = finetune_retriever.supervised(config, workdir, "train")
    kept = [line["question"] for line in (lines[0], *lines[2:])]
    assert [*found.queries] == kept
    assert found.scores.values.shape == (len(kept), config.scoring.num_chunks)
    assert found.left_out == {"without scores": 1}
    assert f"example {lines[1]['id']!r} needs" in caplog.text


def test_the_manifest_counts_what_sharing_saved(toy_run, scores):
    counts, k = scores.counts, toy_run.config.scoring.num_chunks
    found = inputs.retriever_questions(toy_run.config, toy_run.workdir, "train")
    pairs = [i for item in found for i in item.chunk_ids[:k]]
    assert counts["pairs"] == len(pairs)
    assert counts["distinct_chunks"] == len(set(pairs))
    assert counts["repeated_chunks"] == len(pairs) - len(set(pairs))
    assert counts["tokens_computed"] == counts["tokens"] - counts["tokens_saved"]
    assert 0 <= counts["tokens_saved"] < counts["tokens"]
    assert counts["tokens_computed_with_padding"] > counts["tokens_computed"]
    assert not (scores.path / "parts").exists()
