"""The scoring step of `stages.score_chunks`, without weights and without texts."""

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from radit_jax.config import Config
from radit_jax.inference import placement, prefix_rows, prefix_step
from radit_jax.inference.prefix_rows import Text
from radit_jax.models import flops
from radit_jax.planning import program, shapes
from radit_jax.training import mesh as mesh_lib

# Of the texts that are planned for; a passage of w words has about 4w/3 tokens.
QUESTION_TOKENS, ANSWER_TOKENS = 32, 16


def step(config: Config, mesh: Mesh) -> program.Step:
    """One batch of pairs in which no two share their chunk: the dearest case."""
    decoder = shapes.decoder(config, is_rounded=True)
    graphdef, params = nnx.split(decoder)
    num_blocks = mesh_lib.num_splits(mesh, mesh.shape["data"] * mesh.shape["fsdp"])
    prompt = prompt_tokens(config)
    block_tokens = config.scoring.batch_tokens
    num_texts = num_blocks * max(1, block_tokens // (prompt + ANSWER_TOKENS - 1))
    texts = [Text(i, (), range(prompt), range(ANSWER_TOKENS)) for i in range(num_texts)]
    blocks = prefix_rows.batches(prefix_rows.rows(texts), block_tokens, num_blocks)
    layout = prefix_rows.lay_out(next(blocks), block_tokens, num_blocks)
    num_tokens = layout.work.tokens
    forward = flops.decoder_forward(
        decoder.config, num_tokens, layout.work.texts * ANSWER_TOKENS, prompt / 2
    )
    num_pairs = config.instructions.corpus_queries * (config.scoring.num_chunks + 1)
    return program.Step(
        function=placement.program(graphdef, prefix_step.log_likelihood, mesh),
        arguments=(program.place(params, mesh), None, place(layout.arrays, mesh)),
        model_flops=forward,
        num_steps=-(-num_pairs // layout.work.texts),
        remedy="Raise --config.lm.tensor, or lower --config.scoring.batch_tokens.",
    )


def prompt_tokens(config: Config) -> int:
    """Tokens of a prompt with one chunk, at most `config.lm.max_tokens` with answer."""
    tokens = round(config.corpus.max_chunk_words * 4 / 3) + QUESTION_TOKENS
    return min(tokens, config.lm.max_tokens - ANSWER_TOKENS)


def place(arrays: dict, mesh: Mesh) -> dict:
    """Host arrays as shapes, split over the mesh by row."""

    def shape(array: np.ndarray) -> jax.ShapeDtypeStruct:
        array = np.asarray(array)
        sharding = mesh_lib.batch_sharding(mesh, len(array))
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)

    return jax.tree.map(shape, arrays)
