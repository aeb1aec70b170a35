"""Corpora of vectors on disk."""

import numpy as np
import pytest

from radit_jax.retrieval import embeddings


@pytest.fixture
def to_disk(tmp_path):
    """Writes a matrix in unequal shards and opens it."""

    def write(matrix, num_shards=3, folder="embeddings"):
        directory = tmp_path / folder
        directory.mkdir()
        cuts = np.cumsum([len(matrix) // (num_shards + 1)] * (num_shards - 1))
        names = embeddings.shard_names(num_shards)
        for name, part in zip(names, np.split(matrix, cuts.astype(int)), strict=True):
            embeddings.write_shard(directory / name, part)
        return embeddings.Embeddings(directory, num_shards)

    return write


@pytest.fixture
def clustered():
    """2,000 vectors around 100 centres, as texts on 100 subjects would be."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(100, 32))
    vectors = centres[rng.integers(100, size=2000)] + 0.5 * rng.normal(size=(2000, 32))
    return vectors.astype(np.float32)


def ranking_of(matrix, queries, k):
    """Ids and scores by float64 products, float32 rounding and a stable sort."""
    scores = (np.float64(queries) @ np.float64(matrix).T).astype(np.float32)
    ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return ids, np.take_along_axis(scores, ids, axis=1)
