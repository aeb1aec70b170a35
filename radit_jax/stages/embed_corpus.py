"""Stage 2: chunk store, passage tower → embeddings `[n e]`."""

import jax
import numpy as np
from etils import epath
from jaxtyping import Float

from radit_jax import artifacts, fingerprint, room
from radit_jax.artifacts import Artifact
from radit_jax.config import Config
from radit_jax.corpus.store import ChunkStore
from radit_jax.models import weights
from radit_jax.progress import Progress
from radit_jax.retrieval import embeddings
from radit_jax.retrieval.embedder import Embedder
from radit_jax.stages import inputs
from radit_jax.workdir import Workdir


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Embeds every chunk; each process of a job embeds every so many-th shard."""
    path, made_of = output(config, workdir), identity(config, workdir)
    with artifacts.writing(path, "embed_corpus", *made_of, overwrite) as draft:
        if draft is not None:
            _embed(config, inputs.chunk_store(workdir), draft)
    return artifacts.load(path, "embed_corpus")


def output(config: Config, workdir: Workdir) -> epath.Path:
    """The folder of what it writes."""
    return workdir.embeddings


def identity(config: Config, workdir: Workdir) -> artifacts.Identity:
    """What that depends on: config sections, and hashes of inputs."""
    chunks = artifacts.load(workdir.chunks, "chunk_corpus")
    tower_hash = fingerprint.hash_files(config.encoder.passage_path)
    sections = config.section("embed") | {"encoder": inputs.passage_settings(config)}
    return sections, {"chunks": chunks.sha256, "passage_tower": tower_hash}


def _embed(config: Config, store: ChunkStore, draft: artifacts.Draft) -> None:
    size = config.embed.shard_size
    shards = [
        range(start, min(start + size, len(store)))
        for start in range(0, len(store), size)
    ]
    names = embeddings.shard_names(len(shards))
    mine = range(jax.process_index(), len(shards), jax.process_count())
    todo = [shard for shard in mine if not draft.has(names[shard])]
    if todo:
        num_passages = sum(len(shards[shard]) for shard in mine)
        num_left = sum(len(shards[shard]) for shard in todo)
        progress = Progress(
            num_passages, "passages", "embed_corpus", done=num_passages - num_left
        )
        tower = inputs.passage_tower(config)
        row_bytes = tower.width * np.dtype(config.embed.dtype).itemsize
        held = weights.num_bytes(tower.encoder) + size * tower.width * 4
        room.check(draft.path, "embed_corpus", len(store) * row_bytes, held)
        matrices = Embedder(tower).embed_groups(
            (_passages(store, shards[shard]) for shard in todo),
            config.embed.batch_size,
            progress.update,
        )
        for shard, matrix in zip(todo, matrices, strict=True):
            rows = _stored(matrix, config.embed.dtype, shards[shard].start)
            embeddings.write_shard(draft.path / names[shard], rows)
    draft.counts |= {"chunks": len(store), "shards": len(shards)}


def _passages(store: ChunkStore, ids: range) -> list[str]:
    return [chunk.passage for chunk in store.get_many(ids)]


def _stored(
    matrix: Float[np.ndarray, "m e"], dtype: str, first_chunk: int
) -> Float[np.ndarray, "m e"]:
    """Embeddings as they are stored, once they are known to be numbers."""
    with np.errstate(over="ignore"):  # infinities are reported with their chunks
        rows = matrix.astype(np.dtype(dtype))
    embeddings.check_finite([rows], first_chunk)
    return rows
