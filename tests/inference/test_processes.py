"""Answers are the same on one device, on eight, and in two processes of four each."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

from radit_jax.training.mesh import make_mesh

from . import generation_process


@pytest.fixture(scope="module")
def expected():
    return generation_process.answers(None)


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    flags = "--xla_force_host_platform_device_count=4"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    program = "tests.inference.generation_process"
    running = [
        subprocess.Popen(
            [sys.executable, "-m", program, str(process), port, str(folder)],
            cwd=pathlib.Path(__file__).parents[2],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    for process in running:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors[-3000:]
    return [json.loads((folder / f"{i}.json").read_text()) for i in range(2)]


def check(found, expected):
    assert found["texts"] == expected["texts"]
    assert found["by_token"] == expected["by_token"]
    for name in ("log_probability", "nll"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5)


def test_answers_differ(expected):
    # Guards the others: texts that are all the same would prove little.
    assert len({text for some in expected["texts"] for text in some}) > 3


def test_eight_devices_agree(expected):
    check(generation_process.answers(make_mesh(fsdp=2)), expected)


def test_two_processes_agree(expected, of_two_processes):
    for found in of_two_processes:
        check(found, expected)
