"""One of two processes that search a corpus together: what test_search.py starts."""

import sys

import jax
import numpy as np
from etils import epath

from radit_jax.artifacts import Draft
from radit_jax.config import IndexConfig
from radit_jax.retrieval import embeddings, index
from radit_jax.retrieval.exact_index import ExactIndex

CONFIG = {"kind": "scann", "num_parts": 2, "recall_queries": 200}
NUM_SHARDS = 3


def run(process: int, port: str, folder: epath.Path) -> None:
    """Builds an index, searches it and exactly, and saves what it found."""
    jax.distributed.initialize(f"localhost:{port}", 2, process)
    assert (jax.local_device_count(), jax.device_count()) == (4, 8)
    stored = embeddings.Embeddings(folder, NUM_SHARDS)
    queries = np.load(folder / "queries.npy")
    exact = ExactIndex(stored, jax.devices(), block_size=50).search(queries, 10)
    index.build(stored, IndexConfig(**CONFIG), Draft(folder / "two"))
    built = index.load(folder / "two", stored)
    mine = [range(0, 1000), range(1000, 2000)][process]
    assert [part.ids for part in built.parts] == [mine]
    approximate = built.search(queries, 10)
    for part in built.parts:
        settings = part.parameters
        settings.update(leaves_to_search=settings["num_leaves"], reorder=1000)
    everything = built.search(queries, 10)
    np.savez(folder / f"{process}.npz", *exact, *everything, *approximate)


if __name__ == "__main__":
    run(int(sys.argv[1]), sys.argv[2], epath.Path(sys.argv[3]))
