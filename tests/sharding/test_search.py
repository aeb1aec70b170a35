"""Searches give the same ids and scores on one device, on eight, and in two processes.

Two processes of four devices each hold four devices' rows, and one of two parts.
"""

import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from etils import epath

from radit_jax.artifacts import Draft
from radit_jax.config import IndexConfig
from radit_jax.retrieval import embeddings, index
from radit_jax.retrieval.exact_index import ExactIndex

from .search_process import CONFIG, NUM_SHARDS

_PROGRAM = "tests.sharding.search_process"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A corpus with equal texts across its parts, and queries."""
    folder = epath.Path(tmp_path_factory.mktemp("corpus"))
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(100, 32))
    matrix = centres[rng.integers(100, size=1000)] + 0.5 * rng.normal(size=(1000, 32))
    matrix = np.concatenate([matrix, matrix[::-1]]).astype(np.float32)
    shards = np.array_split(matrix, NUM_SHARDS)
    for name, shard in zip(embeddings.shard_names(NUM_SHARDS), shards, strict=True):
        embeddings.write_shard(folder / name, shard)
    np.save(folder / "queries.npy", matrix[::97] + np.float32(0.2))
    return folder


@pytest.fixture(scope="module")
def of_two_processes(folder):
    """What each of two processes found."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    flags = "--xla_force_host_platform_device_count=4"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", _PROGRAM, str(process), port, str(folder)],
            cwd=pathlib.Path(__file__).parents[2],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    for process in running:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]
    loaded = [np.load(folder / f"{process}.npz") for process in range(2)]
    return [[found[name] for name in found.files] for found in loaded]


def test_processes_agree(of_two_processes):
    for one, other in zip(*of_two_processes, strict=True):
        np.testing.assert_array_equal(one, other)


def test_exact_search_agrees(folder, of_two_processes):
    stored = embeddings.Embeddings(folder, NUM_SHARDS)
    queries = np.load(folder / "queries.npy")
    one = ExactIndex(stored, jax.devices()[:1]).search(queries, 10)
    eight = ExactIndex(stored, jax.devices(), block_size=33).search(queries, 10)
    for expected, other, two in zip(one, eight, of_two_processes[0][:2], strict=True):
        np.testing.assert_array_equal(other, expected)
        np.testing.assert_array_equal(two, expected)
    # Every text is there twice, so its scores are equal: the lower id comes first.
    ids, scores = one
    np.testing.assert_array_equal(ids[:, 0::2] + ids[:, 1::2], 1999)
    assert np.all(ids[:, 0::2] < ids[:, 1::2])
    np.testing.assert_array_equal(scores[:, 0::2], scores[:, 1::2])


def test_parts_of_two_processes_find_what_exact_search_finds(folder, of_two_processes):
    ids, scores = of_two_processes[0][2:4]  # all leaves searched
    expected = of_two_processes[0][:2]
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_array_equal(scores, expected[1])


def test_parts_in_two_processes_agree_with_one(folder, of_two_processes):
    """Opened by one process, the two parts find the same."""
    stored = embeddings.Embeddings(folder, NUM_SHARDS)
    loaded = index.load(folder / "two", stored)
    ids, scores = loaded.search(np.load(folder / "queries.npy"), 10)
    np.testing.assert_array_equal(ids, of_two_processes[0][4])
    np.testing.assert_allclose(scores, of_two_processes[0][5], rtol=1e-6)


def test_a_part_is_built_alike_by_any_process(folder, of_two_processes):
    """Built in one process, the index reaches the target as well."""
    del of_two_processes
    stored = embeddings.Embeddings(folder, NUM_SHARDS)
    report = index.build(stored, IndexConfig(**CONFIG), Draft(folder / "one"))
    assert report["recall"] >= 0.95
    assert len(report["parts"]) == 2
