"""Stage 2: chunk store, passage tower → embeddings `[n e]`."""

import jax
import numpy as np

from radit_jax import artifacts, fingerprint
from radit_jax.artifacts import Artifact
from radit_jax.config import Config
from radit_jax.corpus.store import ChunkStore
from radit_jax.progress import Progress
from radit_jax.retrieval import embeddings
from radit_jax.retrieval.embedder import Embedder
from radit_jax.stages import inputs
from radit_jax.workdir import Workdir


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Embeds every chunk; each process of a job embeds every so many-th shard."""
    chunks = artifacts.load(workdir.chunks, "chunk_corpus")
    tower_hash = fingerprint.hash_files(config.encoder.passage_path)
    with artifacts.writing(
        workdir.embeddings,
        "embed_corpus",
        config.section("embed") | {"encoder": inputs.passage_settings(config)},
        {"chunks": chunks.sha256, "passage_tower": tower_hash},
        overwrite,
    ) as draft:
        if draft is not None:
            _embed(config, inputs.chunk_store(workdir), draft)
    return artifacts.load(workdir.embeddings, "embed_corpus")


def _embed(config: Config, store: ChunkStore, draft: artifacts.Draft) -> None:
    size = config.embed.shard_size
    num_shards = -(-len(store) // size)
    names = embeddings.shard_names(num_shards)
    mine = range(jax.process_index(), num_shards, jax.process_count())
    todo = [shard for shard in mine if not draft.has(names[shard])]
    if todo:
        embedder = Embedder(inputs.passage_tower(config))
        rows = {shard: min(size, len(store) - shard * size) for shard in mine}
        progress = Progress(
            sum(rows.values()),
            "passages",
            "embed_corpus",
            done=sum(rows[shard] for shard in mine if shard not in todo),
        )
        for shard in todo:
            ids = range(shard * size, shard * size + rows[shard])
            passages = [chunk.passage for chunk in store.get_many(ids)]
            matrix = embedder.embed(passages, config.embed.batch_size)
            embeddings.write_shard(
                draft.path / names[shard], matrix.astype(np.dtype(config.embed.dtype))
            )
            progress.update(rows[shard])
    draft.counts |= {"chunks": len(store), "shards": num_shards}
