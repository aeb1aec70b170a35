"""One of two processes of a job: what test_two_processes.py starts."""

import sys

import jax
from etils import epath

from configs import toy as toy_config
from radit_jax.stages import (
    build_index,
    embed_corpus,
    finetune_lm,
    finetune_retriever,
    predict,
    retrieve,
    score_chunks,
)
from radit_jax.workdir import Workdir

STAGES = (
    embed_corpus,
    build_index,
    retrieve,
    finetune_lm,
    score_chunks,
    finetune_retriever,
    predict,
)


def run(process: int, port: str, world: str, workdir: str) -> None:
    """Runs the stages that all processes of a job run."""
    jax.distributed.initialize(f"localhost:{port}", 2, process)
    assert (jax.local_device_count(), jax.device_count()) == (2, 4)
    config = toy_config.get_config(world)
    config.lm_training.fsdp = 4  # no process holds the LM: it is saved together
    for stage in STAGES:
        stage.run(config, Workdir(epath.Path(workdir)))


if __name__ == "__main__":
    run(int(sys.argv[1]), *sys.argv[2:])
