"""Runs RA-DIT from documents to report: all stages, each skipped where it is done.

python -m launch.run_pipeline --config=configs/quickstart.py --workdir=runs/q
"""

import gc

import jax
from absl import logging

from launch import cli, steps
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

STAGES = {
    stage.__name__.rpartition(".")[2]: stage
    for stage in (
        chunk_corpus,
        embed_corpus,
        build_index,
        retrieve,
        build_examples,
        finetune_lm,
        score_chunks,
        finetune_retriever,
        predict,
        evaluate,
    )
}


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> None:
    """Takes all steps."""
    seconds, todo = 0.0, steps.of(config)
    for number, step in enumerate(todo, start=1):
        logging.info("[%d/%d] %s", number, len(todo), step.label)
        artifact = STAGES[step.stage].run(step.config(config), workdir, overwrite)
        logging.info("%s", cli.summary(artifact))
        seconds += artifact.manifest["seconds"]
        gc.collect()
        jax.clear_caches()  # the next stage compiles other functions
    logging.info("All stages are done: %s of work.", duration(seconds))
    logging.info("Next: %s", cli.command("ask", workdir.path, words=["Who …?"]))


if __name__ == "__main__":
    cli.run_stage(run)
