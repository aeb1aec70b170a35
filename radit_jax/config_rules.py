"""What the fields of a `Config` may hold, and which of them contradict each other.

`Config.validate` asks; its file imports this one, so sections are of type `Any` here.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

from etils import epath

_CHOICES = {
    "corpus.drop_duplicates": ("", "exact", "near"),
    "corpus.decontaminate": ("", "list", "drop"),
    "lm.compute_dtype": ("auto", "float32", "bfloat16"),
    "encoder.compute_dtype": ("auto", "float32", "bfloat16"),
    "encoder.pooling": ("", "cls", "mean"),
    "embed.dtype": ("float32", "float16", "bfloat16"),
    "index.kind": ("auto", "exact", "scann"),
    "index.rows_dtype": ("", "bfloat16"),
    "retrieve.query_tower": ("base", "tuned"),
    "retrieve.kind": ("dense", "bm25", "hybrid"),
    "examples.kind": ("ra_it", "it"),
    "lm_training.examples": ("ra_it", "it", "ra_it_64shot"),
    "lm_training.remat": ("none", "mlp", "layer"),
    "lm_training.schedule": ("cosine", "linear"),
    "lm_training.lora_save": ("adapter", "merged"),
    "lm_training.choose_by": ("", "validation_em", "validation_loss"),
    "scoring.lm": ("base", "ra_it", "it"),
    "retriever_training.lm": ("base", "ra_it", "it"),
    "predict.lm": ("base", "ra_it", "it"),
    "predict.mode": ("answer_ensemble", "token_ensemble", "concatenate"),
    "predict.probe": ("", "depth", "concatenate", "passages"),
    "retriever_training.loss": ("lsr", "replug_lsr", "pdist", "emdr2"),
    "retriever_training.teacher": ("lm", "shuffled", "gold"),
    "retriever_training.train": ("query", "both"),
    "retriever_training.score": (
        "",
        "mean_log_likelihood",
        "log_likelihood",
        "likelihood",
        "mean_likelihood",
    ),
    "retriever_training.direction": ("forward", "reverse"),
    "benchmarks.split": ("", "dev", "test"),
    "benchmarks.kilt_pages": ("title", "wikipedia_id"),
}
_ELEMENT_CHOICES = {
    "retrieve.splits": ("train", "validation", "dev", "corpus"),
    "lm_training.lora_targets": (
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    ),
    "scoring.splits": ("train", "corpus"),
    "predict.retrievers": ("none", "base", "tuned"),
}
_MAY_BE_EMPTY = ("retrieve.splits", "predict.retrievers")
_MAY_BE_ZERO = (
    "predict.num_chunks",
    "predict.num_demonstrations",
    "predict.temperature",
    "corpus.max_documents",
    "corpus.max_bad_share",
    "embed.batch_size",
    "encoder.max_query_tokens",
    "encoder.max_passage_tokens",
    "examples.max_task_examples",
    "examples.num_examples",
    "instructions.max_train",
    "instructions.max_dev",
    "instructions.corpus_queries",
    "scoring.max_questions",
    "predict.max_questions",
    "lm_training.lora_rank",
    "lm_training.validation_rows",
    "lm_training.validation_questions",
    "lm_training.patience",
    "index.exact_below",
    "index.recall_noise",
    "index.num_leaves",
    "evaluation.num_shown",
    "evaluation.num_browsed",
    "evaluation.probe_questions",
    "evaluation.probe_tokens",
    "benchmarks.max_items",
    "seed",
    "warmup_steps",
    "end_learning_rate",
    "weight_decay",
)
_FRACTIONS = (
    "corpus.max_bad_share",
    "corpus.near_duplicate_similarity",
    "examples.text_weight",
    "examples.dialogue_weight",
    "instructions.validation_fraction",
    "retriever_training.corpus_weight",
    "index.target_recall",
    "index.approximate_recall",
    "retrieve.bm25_b",
)
REQUIRED_PATHS = (
    "corpus.documents",
    "instructions.train",
    "instructions.dev",
    "lm.path",
    "encoder.query_path",
    "encoder.passage_path",
)


def problems(config: Any) -> list[str]:
    """All that is wrong with a `Config`, each beginning "--config.{section}."."""
    kinds = _choice_problems, _number_problems, _relation_problems, _path_problems
    return [problem for find in kinds for problem in find(config)]


def _fields(config: Any) -> dict[str, Any]:
    return {
        f"{section.name}.{field.name}": getattr(
            getattr(config, section.name), field.name
        )
        for section in dataclasses.fields(config)
        for field in dataclasses.fields(getattr(config, section.name))
    }


def _choice_problems(config: Any) -> Iterator[str]:
    values = _fields(config)
    for name, choices in _CHOICES.items():
        if values[name] not in choices:
            yield f"--config.{name} is {values[name]!r}; choose one of {choices}."
    for name, choices in _ELEMENT_CHOICES.items():
        value = values[name]
        unknown = [element for element in value if element not in choices]
        is_empty = not value and name not in _MAY_BE_EMPTY
        if unknown or is_empty or isinstance(value, str):
            yield f"--config.{name} is {value!r}; give a tuple of some of {choices}."


def _number_problems(config: Any) -> Iterator[str]:
    for name, value in _fields(config).items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if name in _FRACTIONS:
            if not 0 <= value <= 1:
                yield f"--config.{name} is {value}; give a share from 0 to 1."
        elif name in _MAY_BE_ZERO or name.split(".")[1] in _MAY_BE_ZERO:
            if value < 0:
                yield f"--config.{name} is {value}; give 0 or more."
        elif value <= 0:
            yield f"--config.{name} is {value}; give a number above 0."


def _relation_problems(config: Any) -> Iterator[str]:
    yield from _corpus_problems(config.corpus)
    yield from _retrieve_problems(config)
    yield from _training_problems(config)
    yield from _loss_problems(config.retriever_training)
    if config.predict.max_answer_tokens >= config.lm.max_tokens:
        yield (
            f"--config.predict.max_answer_tokens={config.predict.max_answer_tokens} "
            f"leaves no room for a prompt in lm.max_tokens={config.lm.max_tokens}."
        )
    yield from _predict_problems(config.predict)
    yield from _probe_problems(config.predict)
    yield from _benchmarks_problems(config.benchmarks)
    weights = config.examples.text_weight, config.examples.dialogue_weight
    if sum(weights) >= 1:
        yield (
            f"--config.examples.text_weight={weights[0]} and dialogue_weight="
            f"{weights[1]} leave nothing for the other sets; lower one."
        )
    if config.examples.row_tokens < config.lm.max_tokens:
        yield (
            f"--config.examples.row_tokens={config.examples.row_tokens} is shorter "
            f"than an example may be (lm.max_tokens={config.lm.max_tokens}); raise it."
        )


def _corpus_problems(corpus: Any) -> Iterator[str]:
    for name in ("max_chunk_words", "max_web_chunk_words"):
        if getattr(corpus, name) < 2 * corpus.min_chunk_words:
            yield (
                f"--config.corpus.{name}={getattr(corpus, name)} is less than twice "
                f"min_chunk_words={corpus.min_chunk_words}, so cutting a text in two "
                "could leave parts too short to keep; raise it or lower that."
            )


def _retrieve_problems(config: Any) -> Iterator[str]:
    for name, value in (
        ("examples.num_chunks", config.examples.num_chunks),
        ("scoring.num_chunks", config.scoring.num_chunks),
        ("predict.num_chunks", config.predict.num_chunks),
    ):
        if value > config.retrieve.num_chunks:
            yield (
                f"--config.{name} is {value}, but only "
                f"--config.retrieve.num_chunks={config.retrieve.num_chunks} are "
                "retrieved; raise that or lower this."
            )
    if (config.retrieve.kind, config.retrieve.query_tower) == ("bm25", "tuned"):
        yield (
            "--config.retrieve.kind=bm25 has no query tower that could be tuned; take "
            "--config.retrieve.query_tower=base, or kind=hybrid."
        )


def _training_problems(config: Any) -> Iterator[str]:
    training = config.lm_training
    for name in ("batch_rows", "it_batch_rows"):
        if getattr(training, name) % training.accumulation_steps:
            yield (
                f"--config.lm_training.{name}={getattr(training, name)} is not "
                f"divisible by accumulation_steps={training.accumulation_steps}; "
                "change one."
            )
    for name in ("lm_training", "retriever_training"):
        section = getattr(config, name)
        if section.warmup_steps > section.num_steps:
            yield (
                f"--config.{name}.warmup_steps={section.warmup_steps} is more than "
                f"num_steps={section.num_steps}; lower one or raise the other."
            )
    if training.choose_by == "validation_em" and not training.validation_questions:
        yield (
            "--config.lm_training.choose_by=validation_em, but no exact match is "
            "measured: set --config.lm_training.validation_questions."
        )


def _loss_problems(training: Any) -> Iterator[str]:
    name = "--config.retriever_training"
    if training.direction != "forward" and training.loss != "lsr":
        yield (
            f"{name}.direction={training.direction!r} has no meaning for "
            f"loss={training.loss!r}, whose direction is fixed; leave it, or take "
            "loss=lsr."
        )
    if training.loss != "emdr2":
        return
    for field, unset in (("score", ""), ("lm_temperature", None)):
        if (value := getattr(training, field)) != unset:
            yield (
                f"{name}.{field}={value!r} has no meaning for loss='emdr2', which "
                f"reads the LM token by token; leave it at {unset!r}."
            )
    if training.teacher == "gold":
        yield (
            f"{name}.teacher='gold' has no tokens, which loss='emdr2' needs; take "
            "another loss, or teacher=lm or shuffled."
        )


def _predict_problems(settings: Any) -> Iterator[str]:
    if settings.top_p > 1:
        yield f"--config.predict.top_p is {settings.top_p}; give a share up to 1."
    if isinstance(settings.stop, str) or not all(settings.stop):
        yield (
            f"--config.predict.stop is {settings.stop!r}; give a tuple of texts of at "
            "least one character, or () to stop at the end token alone."
        )
    named = [name for name in settings.retrievers if name != "none"]
    if not settings.num_chunks and named:
        yield (
            "--config.predict.num_chunks=0 is closed book, but there are retrievers "
            f"to weigh: {named}. Take --config.predict.retrievers=\"('none',)\", or "
            "chunks."
        )


def _probe_problems(settings: Any) -> Iterator[str]:
    if settings.probe and settings.retrievers not in (("base",), ("tuned",)):
        yield (
            f"--config.predict.probe={settings.probe} asks one retriever, but there "
            f"are {settings.retrievers}; take --config.predict.retrievers=\"('base',)\""
            ", or \"('tuned',)\"."
        )
    ks = settings.probe_chunks
    if not isinstance(ks, tuple) or not ks or min(ks) < 0:
        yield (
            f"--config.predict.probe_chunks is {ks!r}; give a tuple of numbers of "
            'chunks, such as "(0, 1, 3, 10)".'
        )


def _benchmarks_problems(settings: Any) -> Iterator[str]:
    if isinstance(settings.names, str):
        yield (
            f"--config.benchmarks.names is {settings.names!r}; give a tuple, such as "
            "\"('nq', 'boolq')\"."
        )
    shots = settings.shots
    if not isinstance(shots, tuple) or not shots or min(shots) < 0:
        yield (
            f"--config.benchmarks.shots is {shots!r}; give a tuple of numbers of "
            'demonstrations, such as "(0, 5)".'
        )


def _path_problems(config: Any) -> Iterator[str]:
    values = _fields(config)
    settings = config.instructions
    has_tasks = bool(settings.lm_tasks or settings.retriever_tasks)
    for name in REQUIRED_PATHS:
        path = values[name]
        if not path:
            if name == "instructions.train" and has_tasks:
                continue  # the sets are what is learned from
            yield f"--config.{name} is not set; name a file or folder."
        elif not epath.Path(path).expanduser().exists():
            yield f"--config.{name}={path} does not exist; check the path."
