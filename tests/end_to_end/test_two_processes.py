"""Two processes of two devices each write what one process of eight writes."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from safetensors import numpy as safetensors

from radit_jax import artifacts
from radit_jax.stages import inputs
from tests.end_to_end import stages_process

_PROGRAM = stages_process.__name__


@pytest.fixture(scope="module")
def made(toy_run, tmp_path_factory):
    """The toy run again, its distributed stages made by two processes.

    One of them is killed in the midst of stage 6, and both are started again.
    """
    workdir = toy_run.copy(tmp_path_factory.mktemp("two") / "run")
    for made in (
        workdir.embeddings,
        workdir.index,
        workdir.retrieved("base"),
        workdir.lm("ra_it"),
        workdir.lm("it"),
        workdir.scores("base"),
        workdir.query_tower,
        workdir.predictions("base"),
    ):
        made.rmtree()
    ended = [_ended(job) for job in _start(toy_run, workdir, dies_at=12)]
    for job in _start(toy_run, workdir):
        status, said = _ended(job)
        assert status == 0, said[-3000:]
    return workdir, ended


def _start(toy_run, workdir, dies_at=0):
    """Two processes of a job; the second kills itself at a batch of stage 6."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    flags = "--xla_force_host_platform_device_count=2"
    arguments = [port, str(toy_run.world), str(workdir.path)]
    return [
        subprocess.Popen(
            [sys.executable, "-m", _PROGRAM, str(process), *arguments, str(dies)],
            cwd=pathlib.Path(__file__).parents[2],
            env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
            stderr=subprocess.PIPE,
            text=True,
        )
        for process, dies in ((0, 0), (1, dies_at))
    ]


def _ended(job):
    """Exit status, and what it said; the time limit is the job's own and some more."""
    _, said = job.communicate(timeout=600)
    return job.returncode, said


@pytest.fixture(scope="module")
def workdir(made):
    return made[0]


def test_the_process_that_is_left_says_what_happened(made, toy_run):
    _, ((survivor, said), (killed, _)) = made
    assert killed == -signal.SIGKILL
    # Whichever of the two sees it first: the step, or JAX' own watch over processes.
    ours = "process 0 of 2 cannot go on, most likely because another one has ended"
    jax_says = "most likely indicates that another task died"
    assert survivor in (1, -signal.SIGABRT), said[:3000]
    assert ours in said or jax_says in said, said[:3000]


def _tensors(folder, pattern):
    files = sorted(folder.glob(pattern))
    assert files
    return [safetensors.load(file.read_bytes()) for file in files]


def _assert_close(folder, expected, pattern, tolerance):
    for one, other in zip(
        _tensors(folder, pattern), _tensors(expected, pattern), strict=True
    ):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if name == "work":  # how much was padded depends on the devices
                continue
            np.testing.assert_allclose(value, other[name], atol=tolerance, err_msg=name)


def test_embeddings(workdir, toy_run):
    _assert_close(workdir.embeddings, toy_run.workdir.embeddings, "*.safetensors", 1e-6)


@pytest.mark.parametrize("split", ["train", "validation", "dev"])
def test_retrieved(workdir, toy_run, split):
    found = inputs.read_retrieved(workdir, "base", split)
    expected = inputs.read_retrieved(toy_run.workdir, "base", split)
    assert [item.chunk_ids for item in found] == [i.chunk_ids for i in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)


def test_tuned_lm(workdir, toy_run):
    _assert_close(
        workdir.lm("ra_it") / "model",
        toy_run.workdir.lm("ra_it") / "model",
        "*.safetensors",
        1e-5,
    )


@pytest.fixture(scope="module")
def adapted(toy_run, tmp_path_factory):
    """One process' adapters, and scores by them."""
    workdir = toy_run.copy(tmp_path_factory.mktemp("one") / "run")
    workdir.lm("it").rmtree()
    for stage in stages_process.ADAPTER_STAGES:
        stage.run(stages_process.with_adapters(toy_run.config), workdir)
    return workdir


def test_adapters(workdir, adapted):
    folder, expected = (w.lm("it") / "adapter" for w in (workdir, adapted))
    _assert_close(folder, expected, "*.safetensors", 1e-5)
    settings = [(f / "adapter_config.json").read_text() for f in (folder, expected)]
    assert settings[0] == settings[1]


def test_scores_by_adapters(workdir, adapted):
    _assert_close(workdir.scores("it"), adapted.scores("it"), "*.safetensors", 1e-4)


def test_scores(workdir, toy_run):
    _assert_close(
        workdir.scores("base"), toy_run.workdir.scores("base"), "*.safetensors", 1e-4
    )


def test_tuned_query_tower(workdir, toy_run):
    _assert_close(
        workdir.query_tower / "model",
        toy_run.workdir.query_tower / "model",
        "*.safetensors",
        1e-4,
    )


def test_answers(workdir, toy_run):
    answers = []
    for made in (workdir, toy_run.workdir):
        artifact = artifacts.find(made.predictions("base"))
        answers.append(
            [
                (record["id"], record["retriever"], record["answer"])
                for file in artifact.counts["shards"]
                for record in artifacts.read_lines(artifact.path / file)
            ]
        )
    assert answers[0] == answers[1]
