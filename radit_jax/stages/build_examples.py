"""Stage 5: retrieved questions → packed LM examples, k chunks → k examples."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from absl import logging
from etils import epath

from radit_jax import artifacts, fingerprint, progress, room
from radit_jax.artifacts import Artifact, Draft
from radit_jax.config import Config, ConfigError
from radit_jax.instruct import mixture, packing, rows, summary
from radit_jax.instruct.examples import ExampleStream, QuestionSet
from radit_jax.instruct.rendering import Renderer
from radit_jax.models import pretrained
from radit_jax.stages import inputs
from radit_jax.text import templates
from radit_jax.text.tokenizer import LMTokenizer
from radit_jax.types import Retrieved
from radit_jax.workdir import Workdir

_SAMPLES = 10  # of each kind
_WORD_BYTES = 6.0  # in packed rows: one and a half tokens, of 4 bytes


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Draws, renders, tokenises and packs the train and validation questions of D_L.

    Kind "ra_it": every one of the first `num_chunks` chunks makes an example of its
    own (Eq. 3). Kind "it": the same questions without a retrieved Background; a gold
    context stays. Beside the rows, `samples.md` and `samples.jsonl` hold examples to
    be read by eye, and the counts a table of the sets of D_L and D_R.

    Raises:
      ConfigError: a set of `lm_tasks` has no question.
      MixtureError: there is nothing to make examples of.
    """
    path, made_of = output(config, workdir), identity(config, workdir)
    with artifacts.writing(path, "build_examples", *made_of, overwrite) as draft:
        if draft is not None and artifacts.is_main_process():
            _build(config, workdir, draft)
    return artifacts.load(path, "build_examples")


def output(config: Config, workdir: Workdir) -> epath.Path:
    """The folder of what it writes."""
    return workdir.examples(config.examples.kind)


def identity(config: Config, workdir: Workdir) -> artifacts.Identity:
    """What that depends on: config sections, and hashes of inputs."""
    retrieved = inputs.retrieved(workdir, "base")
    return (
        config.section("examples")
        | {"max_tokens": config.lm.max_tokens}
        | {"lm_tasks": config.instructions.lm_tasks},
        {
            "retrieved": retrieved.sha256,
            "tokenizer": fingerprint.hash_files(config.lm.path),
        },
    )


def _build(config: Config, workdir: Workdir, draft: Draft) -> None:
    tokenizer = pretrained.load_lm_tokenizer(config.lm.path)
    renderer = Renderer(tokenizer, config.lm.max_tokens, config.examples.seed)
    samples = _write_split(config, workdir, renderer, "train", draft)
    _write_split(config, workdir, renderer, "validation", draft)
    tables = {"D_L": summary.table(draft.counts["train"]["sets"])}
    if config.examples.kind == "ra_it":
        draft.counts["retriever"], found = _retriever_sets(config, workdir, renderer)
        samples += found
        tables["D_R"] = summary.table(draft.counts["retriever"]["sets"])
    for name, table in tables.items():
        logging.info("build_examples: %s\n%s", name, table)
    draft.write_lines("samples.jsonl", samples)
    with draft.file("samples.md") as path:
        path.write_text(summary.markdown(samples, tables))


def _write_split(
    config: Config, workdir: Workdir, renderer: Renderer, split: str, draft: Draft
) -> list[dict[str, Any]]:
    """Writes `{split}.array_record`; returns samples of the examples in it."""
    settings, store = config.examples, inputs.chunk_store(workdir)
    questions = mixture.lm_questions(
        inputs.read_retrieved(workdir, "base", split),
        config.instructions,
        settings.max_task_examples,
    )
    num_chunks = settings.num_chunks if settings.kind == "ra_it" else 0
    sets = {name: QuestionSet(items, num_chunks) for name, items in questions.items()}
    sizes = {name: items.size for name, items in sets.items()}
    if split == "train":
        _check_none_missing(config, sizes)
        portions = mixture.lm_portions(sizes, len(store), settings)
    else:
        portions = mixture.once(sizes)
    stream = ExampleStream(sets, portions, store, renderer, _SAMPLES)
    total = sum(portion.num_drawn for portion in portions)
    if split == "train":  # most of it
        _check_room(workdir, draft, total)
    label = f"build_examples {settings.kind} {split}"
    packed = packing.pack(
        progress.counted(stream, total, "examples", label), settings.row_tokens
    )
    with draft.file(f"{split}.array_record") as path:
        written = rows.write_rows(path, packed, settings.row_tokens)
    draft.counts[split] = {
        "questions": sum(number for number, _ in sizes.values()),
        **stream.totals(),
        **written.to_record(),
        "sets": stream.records(),
    }
    shown = {k: v for k, v in draft.counts[split].items() if k != "sets"}
    logging.info("build_examples: %s %s", split, shown)
    return [
        summary.sample(name, rendered, renderer.tokenizer)
        for kind in stream.samples.values()
        for name, rendered in kind
    ]


def _check_room(workdir: Workdir, draft: Draft, num_examples: int) -> None:
    """An example is a chunk, and about as much again of question and answer."""
    chunks = artifacts.load(workdir.chunks, "chunk_corpus").counts
    chunk_words = chunks["words"] / max(chunks["chunks"], 1)
    room.check(
        draft.path, "build_examples", num_examples * 2 * chunk_words * _WORD_BYTES
    )


def _check_none_missing(config: Config, sizes: dict[str, tuple[int, int]]) -> None:
    missing = [name for name in config.instructions.lm_tasks if name not in sizes]
    if missing:
        raise ConfigError(
            f"the retrieved train questions have none of the sets {missing}; run "
            "`python -m launch.retrieve --overwrite` with the same "
            "--config.instructions.lm_tasks, or leave them out there."
        )


def _retriever_sets(
    config: Config, workdir: Workdir, renderer: Renderer
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """D_R as stage 8 will draw it: a line for each set, and samples."""
    training, has = config.retriever_training, inputs.retrieved(workdir, "base").counts
    found = {
        split: inputs.retriever_questions(config, workdir, split)
        if has.get(split)
        else []
        for split in ("train", "corpus")
    }
    portions = mixture.retriever_portions(
        mixture.sizes_by_set(found["train"]),
        len(found["corpus"]),
        training.corpus_weight,
        training.num_steps * training.batch_size,
    )
    sets = mixture.by_set(found["train"]) | {mixture.CORPUS: found["corpus"]}
    lines, samples = [], []
    for portion in portions:
        items = sets[portion.name]
        lines.append(portion.to_record() | _num_tokens(items, renderer.tokenizer))
        samples += _retriever_samples(portion.name, items, workdir, renderer)
    return {"questions": sum(map(len, sets.values())), "sets": lines}, samples


def _num_tokens(items: Sequence[Retrieved], tokenizer: LMTokenizer) -> dict[str, int]:
    """LM tokens of the queries, and of the answers that the LM scores."""
    counts = {"query_tokens": 0, "answer_tokens": 0}
    for item in items:
        one = item.instruction
        counts["query_tokens"] += len(tokenizer.encode(one.query))
        counts["answer_tokens"] += len(tokenizer.encode(templates.target(one)))
    return counts


def _retriever_samples(
    name: str, items: Sequence[Retrieved], workdir: Workdir, renderer: Renderer
) -> list[dict[str, Any]]:
    """What the retriever reads, and what the LM scores with the first chunk."""
    store, samples = inputs.chunk_store(workdir), []
    for item in items:
        if len(samples) == _SAMPLES:
            break
        chunks = store.get_many(item.chunk_ids[:1])
        # The chunk stands where a gold context would, as stage 7 has it.
        instruction = dataclasses.replace(item.instruction, context="")
        try:
            rendered = renderer.question(
                instruction, chunks[0] if chunks else None, templates.EVAL_MARKERS
            )
        except templates.PromptError:  # too long: stage 7 says what to do
            continue
        found = summary.sample(name, rendered, renderer.tokenizer)
        samples.append(
            found | {"kind": f"retriever, {name}", "query": item.instruction.query}
        )
    return samples
