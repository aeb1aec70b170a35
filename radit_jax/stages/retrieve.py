"""Stage 4: questions, query tower, index → the top chunks of each question."""

import dataclasses

import numpy as np
from absl import logging

from radit_jax import artifacts, fingerprint
from radit_jax.artifacts import Artifact
from radit_jax.config import Config, ConfigError
from radit_jax.corpus import questions
from radit_jax.instruct import augment
from radit_jax.models import pretrained
from radit_jax.progress import Progress
from radit_jax.stages import inputs
from radit_jax.types import Instruction, Retrieved
from radit_jax.workdir import Workdir


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Retrieves `config.retrieve.num_chunks` chunks for every question.

    Writes `{split}.jsonl` with one `Retrieved` a line. The splits: `train` and
    `validation` are parts of the train questions, `dev` is apart, and `corpus` are
    chunks of the corpus cut into a question and an answer (paper §4), whose source
    chunk is left out of its own candidates.
    """
    name = config.retrieve.query_tower
    config = _with_splits(config)
    built = artifacts.load(workdir.index, "build_index")
    with artifacts.writing(
        workdir.retrieved(name),
        "retrieve",
        config.section("retrieve", "instructions")
        | {"encoder": inputs.query_settings(config)},
        {
            "index": built.sha256,
            "query_tower": inputs.query_tower_hash(config, workdir, name),
            "train": fingerprint.hash_files(config.instructions.train),
            "dev": fingerprint.hash_files(config.instructions.dev),
        }
        | _tokenizer_input(config),
        overwrite,
    ) as draft:
        if draft is not None:
            _retrieve(config, workdir, draft)
    return artifacts.load(workdir.retrieved(name), "retrieve")


def _with_splits(config: Config) -> Config:
    """Fills in the splits that the query tower's artifact holds by default."""
    settings = config.retrieve
    splits = settings.splits or (
        ("dev",) if settings.query_tower == "tuned" else inputs.SPLITS
    )
    settings = dataclasses.replace(settings, splits=splits)
    return dataclasses.replace(config, retrieve=settings)


def _tokenizer_input(config: Config) -> dict[str, str]:
    """The LM cuts the corpus queries, so they depend on its tokenizer."""
    if "corpus" not in config.retrieve.splits or not config.instructions.corpus_queries:
        return {}
    return {"tokenizer": fingerprint.hash_files(config.lm.path)}


def _retrieve(config: Config, workdir: Workdir, draft: artifacts.Draft) -> None:
    splits = read_splits(config, workdir)
    retriever = inputs.retriever(config, workdir, config.retrieve.query_tower)
    total = sum(len(instructions) for instructions in splits.values())
    progress = Progress(total, "questions", "retrieve")
    size = config.retrieve.batch_size
    for split, instructions in splits.items():
        records = []
        for begin in range(0, len(instructions), size):
            batch = instructions[begin : begin + size]
            ids, scores = retriever.retrieve(
                [instruction.question for instruction in batch],
                config.retrieve.num_chunks,
                [instruction.source_chunk for instruction in batch],
            )
            for instruction, row, values in zip(batch, ids, scores, strict=True):
                found = Retrieved(
                    instruction, tuple(row.tolist()), tuple(values.tolist())
                )
                records.append(found.to_record())
            progress.update(len(batch))
        draft.write_lines(f"{split}.jsonl", records)
        draft.counts[split] = len(records)


def read_splits(config: Config, workdir: Workdir) -> dict[str, list[Instruction]]:
    """The wanted splits, each in a fixed order."""
    settings, wanted = config.instructions, config.retrieve.splits
    train = questions.read_questions(settings.train)
    train = questions.subset(train, settings.max_train, settings.seed)
    train, validation = questions.split_validation(
        train, settings.validation_fraction, settings.seed
    )
    dev = questions.read_questions(settings.dev)
    _check_apart(train + validation, dev)
    generator = np.random.default_rng(settings.seed)
    # Shuffled, so that the first so many are a sample: see scoring.max_questions.
    splits = {
        "train": [train[i] for i in generator.permutation(len(train))],
        "validation": validation,
        "dev": questions.subset(dev, settings.max_dev, settings.seed),
    }
    if "corpus" in wanted and settings.corpus_queries:
        splits["corpus"] = _corpus_queries(config, workdir)
    logging.info(
        "Questions: %s.", {split: len(items) for split, items in splits.items()}
    )
    return {split: splits[split] for split in wanted if split in splits}


def _check_apart(train: list[Instruction], dev: list[Instruction]) -> None:
    known = {one.question.strip().lower() for one in train}
    shared = [one for one in dev if one.question.strip().lower() in known]
    if shared:
        raise ConfigError(
            f"{len(shared)} of {len(dev)} dev questions are train questions too, the "
            f"first is {shared[0].id!r}: {shared[0].question!r}. Remove them from "
            "--config.instructions.train: what was trained on can't be measured on."
        )


def _corpus_queries(config: Config, workdir: Workdir) -> list[Instruction]:
    settings = config.instructions
    return augment.corpus_instructions(
        inputs.chunk_store(workdir),
        settings.corpus_queries,
        settings.corpus_query_tokens,
        pretrained.load_lm_tokenizer(config.lm.path),
        settings.seed,
    )
