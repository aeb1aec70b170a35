"""Stage 4: questions, query tower, index → the top chunks of each question."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
from absl import logging
from etils import epath

from radit_jax import artifacts, fingerprint, memory, room
from radit_jax.artifacts import Artifact
from radit_jax.config import Config
from radit_jax.corpus import questions
from radit_jax.instruct import augment, splits
from radit_jax.models import pretrained
from radit_jax.progress import Progress
from radit_jax.retrieval import trec
from radit_jax.retrieval.retriever import Retriever
from radit_jax.stages import inputs
from radit_jax.types import Instruction, Retrieved
from radit_jax.workdir import Workdir

_QUESTION_BYTES, _CHUNK_BYTES = 1000, 100  # of a question and of what it found


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Retrieves `config.retrieve.num_chunks` chunks for every question.

    Writes `{split}.jsonl` with one `Retrieved` a line, and for tools in trec_eval's
    manner `{split}.run` and `{split}.qrels` of their documents. The splits: `train` and
    `validation` are parts of the train questions, `dev` is apart, and `corpus` are
    chunks of the corpus cut into a question and an answer (paper §4), whose source
    chunk is left out of its own candidates.
    """
    path, made_of = output(config, workdir), identity(config, workdir)
    with artifacts.writing(path, "retrieve", *made_of, overwrite) as draft:
        if draft is not None:
            _retrieve(_with_splits(config), workdir, draft)
    return artifacts.load(path, "retrieve")


def output(config: Config, workdir: Workdir) -> epath.Path:
    """The folder of what it writes."""
    return workdir.retrieved(config.retrieve.query_tower)


def identity(config: Config, workdir: Workdir) -> artifacts.Identity:
    """What that depends on: config sections, and hashes of inputs."""
    config = _with_splits(config)
    tower = inputs.query_tower_hash(config, workdir, config.retrieve.query_tower)
    return (
        config.section("retrieve", "instructions")
        | {"encoder": inputs.query_settings(config)}
        | {"max_task_examples": config.examples.max_task_examples},
        {"query_tower": tower, "dev": fingerprint.hash_files(config.instructions.dev)}
        | inputs.index_hashes(config, workdir)
        | splits.fingerprints(config.instructions)
        | _tokenizer_input(config),
    )


def _with_splits(config: Config) -> Config:
    """Fills in the splits that the query tower's artifact holds by default."""
    settings = config.retrieve
    wanted = settings.splits or (
        ("dev",) if settings.query_tower == "tuned" else inputs.SPLITS
    )
    settings = dataclasses.replace(settings, splits=wanted)
    return dataclasses.replace(config, retrieve=settings)


def _tokenizer_input(config: Config) -> dict[str, str]:
    """The LM cuts the corpus queries, so they depend on its tokenizer."""
    if "corpus" not in config.retrieve.splits or not config.instructions.corpus_queries:
        return {}
    return {"tokenizer": fingerprint.hash_files(config.lm.path)}


def _retrieve(config: Config, workdir: Workdir, draft: artifacts.Draft) -> None:
    read = read_splits(config, workdir)
    retriever = inputs.retriever(config, workdir, config.retrieve.query_tower)
    total = sum(len(instructions) for instructions in read.values())
    # A chunk is an id and a score, and a line of the run file.
    disk_bytes = total * (_QUESTION_BYTES + _CHUNK_BYTES * config.retrieve.num_chunks)
    room.check(draft.path, "retrieve", disk_bytes, memory.host_bytes())
    progress = Progress(total, "questions", "retrieve")
    store = inputs.chunk_store(workdir)
    for split, instructions in read.items():
        found = []
        for item in _find(config, retriever, instructions):
            found.append(item)
            progress.update()
        draft.write_lines(f"{split}.jsonl", [item.to_record() for item in found])
        _write_trec_files(config, draft, split, found, store)
        draft.counts[split] = len(found)


def _write_trec_files(config, draft, split, found: list[Retrieved], store) -> None:
    if not artifacts.is_main_process():
        return
    tag = f"{config.retrieve.kind}-{config.retrieve.query_tower}"
    with draft.file(f"{split}.run") as path:
        trec.write_run(path, trec.document_rankings(found, store), tag)
    with draft.file(f"{split}.qrels") as path:
        asked = (item.instruction for item in found)
        trec.write_qrels(path, ((one.id, one.positives) for one in asked))


def _find(
    config: Config, retriever: Retriever, batch: list[Instruction]
) -> Iterator[Retrieved]:
    """The chunks of each question; none for those that only D_L reads (paper §2)."""
    only_reads = [
        one.category in ("reading_comprehension", "summarization")
        and one.task not in config.instructions.retriever_tasks
        for one in batch
    ]
    asked = [one for one, only in zip(batch, only_reads, strict=True) if not only]
    found = iter(())
    if asked:
        batches = retriever.retrieve_batches(
            [one.query for one in asked],
            config.retrieve.num_chunks,
            [one.source_chunk for one in asked],
            config.retrieve.batch_size,
        )
        found = itertools.chain.from_iterable(
            zip(*pair, strict=True) for pair in batches
        )
    for one, only in zip(batch, only_reads, strict=True):
        row, values = ((), ()) if only else (part.tolist() for part in next(found))
        yield Retrieved(one, tuple(row), tuple(values))


def read_splits(config: Config, workdir: Workdir) -> dict[str, list[Instruction]]:
    """The wanted splits, each in a fixed order."""
    settings, wanted = config.instructions, config.retrieve.splits
    train, validation = splits.read_own(settings)
    dev = questions.read_questions(settings.dev)
    splits.check_apart(train + validation, dev)
    for name in splits.task_names(settings):
        found = splits.read_task(name, settings, config.examples.max_task_examples)
        train += splits.leave_out(found[0], dev, name)
        validation += splits.leave_out(found[1], dev, name)
    generator = np.random.default_rng(settings.seed)
    # Shuffled, so that the first so many are a sample: see scoring.max_questions.
    read = {
        "train": [train[i] for i in generator.permutation(len(train))],
        "validation": validation,
        "dev": questions.subset(dev, settings.max_dev, settings.seed),
    }
    if "corpus" in wanted and settings.corpus_queries:
        read["corpus"] = _corpus_queries(config, workdir)
    logging.info("Questions: %s.", {split: len(items) for split, items in read.items()})
    return {split: read[split] for split in wanted if split in read}


def _corpus_queries(config: Config, workdir: Workdir) -> list[Instruction]:
    settings = config.instructions
    return augment.corpus_instructions(
        inputs.chunk_store(workdir),
        settings.corpus_queries,
        settings.corpus_query_tokens,
        pretrained.load_lm_tokenizer(config.lm.path),
        settings.seed,
    )
