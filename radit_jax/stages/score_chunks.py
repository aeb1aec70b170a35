"""Stage 7: retrieved chunks, an LM → log p_LM(y_t | c ∘ x, y_<t), token by token."""

import dataclasses

import numpy as np
from safetensors import numpy as safetensors

from radit_jax import artifacts
from radit_jax.artifacts import Artifact, Draft
from radit_jax.config import Config
from radit_jax.inference.scorer import Scorer
from radit_jax.progress import Progress
from radit_jax.stages import inputs
from radit_jax.text import templates
from radit_jax.training import mesh
from radit_jax.types import Retrieved
from radit_jax.workdir import Workdir


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Scores every retrieved chunk of every question of the chosen splits.

    Writes `{split}-00000-of-0000n.safetensors`, with the float32 log-likelihoods
    (nats) of all answer tokens, questions and their chunks one after another, in
    `token_log_likelihood`, and the `num_tokens` of each (question, chunk), `[b k]`.
    """
    name = config.scoring.lm
    retrieved = inputs.retrieved(workdir, "base")
    with artifacts.writing(
        workdir.scores(name),
        "score_chunks",
        config.section("scoring", "lm"),
        {
            "retrieved": retrieved.sha256,
            "lm": inputs.lm_hash(config, workdir, name),
        },
        overwrite,
    ) as draft:
        if draft is not None:
            _score(config, workdir, draft)
    return artifacts.load(workdir.scores(name), "score_chunks")


def _score(config: Config, workdir: Workdir, draft: Draft) -> None:
    shards = [
        (f"{split}-{number:05d}-of-{len(parts):05d}.safetensors", part)
        for split in config.scoring.splits
        for parts in [_shards(config, workdir, split)]
        for number, part in enumerate(parts)
    ]
    todo = [(file, part) for file, part in shards if not draft.has(file)]
    total = sum(len(part) for _, part in shards)
    if todo:
        decoder, tokenizer = inputs.load_lm(config, workdir, config.scoring.lm)
        store = inputs.chunk_store(workdir)
        scorer = Scorer(decoder, mesh.make_mesh())
        left = sum(len(part) for _, part in todo)
        progress = Progress(total, "questions", "score_chunks", done=total - left)
        for file, part in todo:
            arrays, truncated = _score_shard(config, part, store, tokenizer, scorer)
            arrays["num_truncated"] = np.asarray([truncated])
            if artifacts.is_main_process():
                with draft.file(file) as path:
                    path.write_bytes(safetensors.save(arrays))
            progress.update(len(part))
    draft.counts |= {
        "questions": total,
        "truncated_backgrounds": _num_truncated(draft, [file for file, _ in shards]),
        "chunks_a_question": config.scoring.num_chunks,
        "shards": [file for file, _ in shards],
    }


def _num_truncated(draft: Draft, files: list[str]) -> int:
    if not artifacts.is_main_process():  # whose files they are, and whose manifest
        return 0
    shards = (safetensors.load((draft.path / file).read_bytes()) for file in files)
    return sum(int(shard["num_truncated"][0]) for shard in shards)


def _shards(config: Config, workdir: Workdir, split: str) -> list[list[Retrieved]]:
    if split == "corpus" and not config.instructions.corpus_queries:
        return []
    found, size = (
        inputs.retriever_questions(config, workdir, split),
        config.scoring.shard_size,
    )
    found = found[: config.scoring.max_questions or None]
    return [found[i : i + size] for i in range(0, len(found), size)]


def _score_shard(config, part, store, tokenizer, scorer):
    """The arrays of one shard, and how many Backgrounds were cut to fit."""
    prompts, outputs, num_truncated = [], [], 0
    for item in part:
        for chunk in store.get_many(item.chunk_ids[: config.scoring.num_chunks]):
            # The chunk stands where a gold context would: it is what is scored.
            instruction = dataclasses.replace(item.instruction, context="")
            prompt = templates.encode_instruction(
                tokenizer,
                instruction.id,
                instruction,
                passage=chunk.passage,
                answer=templates.target(instruction),
            )
            tokens, truncated = templates.fit(prompt, config.lm.max_tokens)
            num_prompt_tokens = len(tokens) - prompt.num_target_tokens
            prompts.append(tokens[:num_prompt_tokens])
            outputs.append(tokens[num_prompt_tokens:])
            num_truncated += truncated
    scores = scorer.score(prompts, outputs, config.scoring.batch_size)
    lengths = np.asarray([len(score) for score in scores], np.int32)
    return {
        "token_log_likelihood": np.concatenate(scores),
        "num_tokens": lengths.reshape(len(part), -1),
    }, num_truncated
