"""Runs RA-DIT from documents to report: all stages, each skipped where it is done.

python -m launch.run_pipeline --config=configs/quickstart.py --workdir=runs/q
"""

import dataclasses
import gc
from typing import Any

import jax
from absl import logging

from launch import cli
from radit_jax.config import Config
from radit_jax.progress import duration
from radit_jax.stages import (
    build_examples,
    build_index,
    chunk_corpus,
    embed_corpus,
    evaluate,
    finetune_lm,
    finetune_retriever,
    predict,
    retrieve,
    score_chunks,
)
from radit_jax.workdir import Workdir

# Each stage with the fields that make its variants: three LMs ("base", plain
# instruction tuning "it", RA-DIT's "ra_it") and two query towers ("base", "tuned").
PLAN = (
    (chunk_corpus, {}),
    (embed_corpus, {}),
    (build_index, {}),
    (retrieve, {"retrieve.query_tower": "base"}),
    (build_examples, {"examples.kind": "ra_it"}),
    (finetune_lm, {"lm_training.examples": "ra_it"}),
    (build_examples, {"examples.kind": "it"}),
    (finetune_lm, {"lm_training.examples": "it"}),
    (score_chunks, {"scoring.lm": "base"}),
    (finetune_retriever, {}),
    (retrieve, {"retrieve.query_tower": "tuned"}),
    (predict, {"predict.lm": "base"}),
    (predict, {"predict.lm": "it"}),
    (predict, {"predict.lm": "ra_it"}),
    (evaluate, {}),
)


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> None:
    """Runs the plan."""
    seconds, steps = 0.0, plan(config)
    for number, (stage, overrides) in enumerate(steps, start=1):
        name = stage.__name__.rpartition(".")[2]
        variant = " ".join(v for v in overrides.values() if isinstance(v, str))
        logging.info("[%d/%d] %s %s", number, len(steps), name, variant)
        artifact = stage.run(with_fields(config, overrides), workdir, overwrite)
        seconds += artifact.manifest["seconds"]
        gc.collect()
        jax.clear_caches()  # the next stage compiles other functions
    logging.info("All stages are done: %s of work.", duration(seconds))


def plan(config: Config) -> tuple[tuple[Any, dict[str, Any]], ...]:
    """The stages of this config: search by words alone has no query tower to tune."""
    if config.retrieve.kind != "bm25":
        return PLAN
    of_towers = embed_corpus, score_chunks, finetune_retriever
    systems = {"base": ("none", "base"), "it": ("base",), "ra_it": ("base",)}
    steps = [
        (stage, overrides)
        for stage, overrides in PLAN
        if stage not in of_towers and overrides.get("retrieve.query_tower") != "tuned"
    ]
    return tuple(
        (stage, overrides | {"predict.retrievers": systems[overrides["predict.lm"]]})
        if stage is predict
        else (stage, overrides)
        for stage, overrides in steps
    )


def with_fields(config: Config, overrides: dict[str, Any]) -> Config:
    """A copy of `config` with some `section.field`s replaced."""
    for name, value in overrides.items():
        section, field = name.split(".")
        changed = dataclasses.replace(getattr(config, section), **{field: value})
        config = dataclasses.replace(config, **{section: changed})
    return config


if __name__ == "__main__":
    cli.run_stage(run)
