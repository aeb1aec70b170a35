"""One of two processes of a job: what test_two_processes.py starts."""

import os
import signal
import sys

import jax
from etils import epath

from configs import toy as toy_config
from launch import cli
from launch.steps import Step
from radit_jax.config import Config
from radit_jax.instruct.batches import RowBatches
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
ADAPTER_STAGES = finetune_lm, score_chunks  # with `with_adapters`


def with_adapters(config: Config) -> Config:
    """The config that tunes another LM, by adapters, and scores with it."""
    changed = {
        "lm_training.examples": "it",
        "lm_training.lora_rank": 4,
        "lm_training.num_steps": 10,
        "scoring.lm": "it",
    }
    return Step("finetune_lm", changed).config(config)


def run(process: int, port: str, world: str, workdir: str, dies_at: str) -> None:
    """Runs the stages that all processes of a job run, each in its launcher's way."""
    die_at_batch(int(dies_at))
    jax.distributed.initialize(
        f"localhost:{port}", 2, process, heartbeat_timeout_seconds=20
    )
    assert (jax.local_device_count(), jax.device_count()) == (2, 4)
    config = toy_config.get_config(world)
    config.lm_training.fsdp = 4  # no process holds the LM: it is saved together
    made = Workdir(epath.Path(workdir))
    for stage in STAGES:
        stage.run(config, made)
    for stage in ADAPTER_STAGES:
        stage.run(with_adapters(config), made)


def die_at_batch(number: int) -> None:
    """Sends this process SIGKILL when stage 6 asks for this batch; 0: never."""
    drawn, original = [], RowBatches.__next__

    def counted(batches):
        drawn.append(None)
        if len(drawn) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(batches)

    RowBatches.__next__ = counted


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.argv[1:] = []
    cli.run_main(lambda _: run(int(arguments[0]), *arguments[1:]))
