"""Trains a query tower for each arm of a study, measures them and writes its page.

    python -m launch.study --config=configs/lsr_study.py:FOLDER --workdir=runs/s

Runs the stages before, where they are not done. Each arm is an artifact of its own: a
killed study goes on where it was, and a new arm costs no other one's work.
"""

import dataclasses
import gc

import jax
from absl import logging

from launch import cli
from radit_jax.config import Config
from radit_jax.evaluation import arms
from radit_jax.stages import (
    build_index,
    chunk_corpus,
    embed_corpus,
    finetune_retriever,
    predict,
    retrieve,
    score_chunks,
    study,
)
from radit_jax.workdir import Workdir

STAGES = (chunk_corpus, embed_corpus, build_index, retrieve, score_chunks)


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> None:
    """Runs stages 1 to 4 and 7, then stage 8 for each arm; answers with the best."""
    for stage in STAGES:
        _log(stage.__name__.rpartition(".")[2])
        stage.run(config, workdir, overwrite)
    for number, arm in enumerate(arms.ARMS, start=1):
        _log(f"[{number}/{len(arms.ARMS)}] {arm.name}: {arm.what}")
        branch = workdir.study_arm(arm.name)
        finetune_retriever.run(arm.config(config), branch, overwrite)
    if best := study.best_arm(workdir):
        _log(f"answers with the query tower of {best}")
        _answer(config, workdir.study_arm(best), overwrite)
    _log("study")
    found = study.run(config, workdir, overwrite)
    print((found.path / "table.md").read_text())
    logging.info("Page: %s", found.path / "study.html")


def _answer(config: Config, branch: Workdir, overwrite: bool) -> None:
    """What the base LM answers behind the base query tower and behind the branch's."""
    tuned = dataclasses.replace(config.retrieve, query_tower="tuned", splits=("dev",))
    retrieve.run(dataclasses.replace(config, retrieve=tuned), branch, overwrite)
    both = dataclasses.replace(config.predict, lm="base", retrievers=("base", "tuned"))
    predict.run(dataclasses.replace(config, predict=both), branch, overwrite)


def _log(what: str) -> None:
    gc.collect()
    jax.clear_caches()  # what comes next compiles other functions
    logging.info("study: %s", what)


if __name__ == "__main__":
    cli.run_stage(run)
