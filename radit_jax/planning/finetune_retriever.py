"""The train step of `stages.finetune_retriever`, without weights and without scores."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from radit_jax.config import Config
from radit_jax.models import flops
from radit_jax.planning import embed_corpus, program
from radit_jax.retrieval.lsr_objective import Objective
from radit_jax.stages import finetune_retriever
from radit_jax.training import mesh as mesh_lib
from radit_jax.training import state as state_lib
from radit_jax.training import train_step


def step(config: Config, mesh: Mesh) -> program.Step:
    """One update of the query tower, queries as long as it allows, a row each."""
    settings = config.retriever_training.resolved(config.encoder.temperature)
    tower = embed_corpus.query_tower(config)
    graphdef, params = nnx.split(tower.encoder)
    optimiser = finetune_retriever.make_optimizer(settings)
    state = jax.eval_shape(
        lambda params: state_lib.initial(params, optimiser.transformation, 0),
        {"query": params},
    )
    num_queries, length = settings.batch_size, tower.max_tokens
    num_groups = mesh_lib.num_splits(mesh, num_queries)
    queries = ((num_queries // num_groups, length), jnp.int32)
    names = ("query_ids", "query_segments", "query_positions")
    batch = program.place_rows(dict.fromkeys(names, queries), num_groups, mesh)
    batch |= program.place_rows(
        {
            "mask": ((config.scoring.num_chunks,), jnp.bool_),
            "lm_scores": ((config.scoring.num_chunks,), jnp.float32),
            "passages": ((config.scoring.num_chunks, tower.width), jnp.float32),
        },
        num_queries,
        mesh,
    )
    objective = Objective(settings, tower, graphdef)
    forward = flops.encoder_forward(tower.encoder.config, num_queries * length, length)
    return program.Step(
        function=train_step.make_train_step(objective, optimiser, mesh=mesh),
        arguments=(program.place(state, mesh), batch),
        model_flops=flops.TRAINING * forward,
        num_steps=settings.num_steps,
        remedy="Lower --config.retriever_training.batch_size.",
    )
