"""The encoding step of `stages.embed_corpus`, without weights and without texts."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from radit_jax.config import Config
from radit_jax.models import flops
from radit_jax.models.dual_encoder import Tower
from radit_jax.planning import program, shapes
from radit_jax.retrieval import embedder


def step(config: Config, mesh: Mesh, num_chunks: int) -> program.Step:
    """One batch of passages that are as long as the tower allows."""
    tower = passage_tower(config)
    length, num_devices = tower.max_tokens, mesh.size
    tokens = config.embed.batch_size * length
    tokens = tokens or embedder.ACCELERATOR_TOKENS * num_devices
    num_rows = embedder.full_rows(tokens, length, num_devices)
    graphdef, params = nnx.split(tower.encoder)
    batch = program.place_rows(
        {"ids": ((length,), jnp.int32), "mask": ((length,), jnp.bool_)}, num_rows, mesh
    )
    return program.Step(
        function=jax.jit(functools.partial(tower.embed, graphdef)),
        arguments=(program.place(params, mesh), batch["ids"], batch["mask"]),
        model_flops=flops.encoder_forward(
            tower.encoder.config, num_rows * length, length
        ),
        num_steps=-(-num_chunks // num_rows),
        remedy="Lower --config.embed.batch_size.",
    )


def passage_tower(config: Config) -> Tower:
    """The passage tower by its shapes."""
    settings = config.encoder
    return _tower(config, settings.passage_path, settings.max_passage_tokens)


def query_tower(config: Config) -> Tower:
    """The query tower by its shapes."""
    settings = config.encoder
    return _tower(config, settings.query_path, settings.max_query_tokens)


def _tower(config: Config, path: str, max_tokens: int) -> Tower:
    encoder = shapes.encoder(config, path)
    max_tokens = max_tokens or encoder.config.max_positions
    pooling = config.encoder.pooling or "mean"  # which costs as much as the other
    return Tower(encoder, None, pooling, config.encoder.normalize, max_tokens)
