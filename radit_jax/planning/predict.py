"""The steps of `stages.predict`: reading prompts, and a token of every answer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from radit_jax.config import Config
from radit_jax.inference import cached_steps, placement, sampler
from radit_jax.inference.choosing import Sampling
from radit_jax.models import flops
from radit_jax.planning import program, score_chunks, shapes
from radit_jax.training import mesh as mesh_lib

_REMEDY = "Raise --config.lm.tensor, or lower --config.predict.batch_size."


def steps(config: Config, mesh: Mesh) -> dict[str, program.Step]:
    """`prefill` of a batch of prompts with a chunk each, and `decode` of one token."""
    settings, decoder = config.predict, shapes.decoder(config, is_rounded=True)
    graphdef, params = nnx.split(decoder)
    params = program.place(params, mesh)
    num_rows, length = settings.batch_size, score_chunks.prompt_tokens(config)
    num_streams = mesh_lib.num_splits(mesh, num_rows)
    prompts = [range(length)] * num_rows
    arrays = sampler.prompt_arrays(prompts, num_rows, num_streams)
    arrays = score_chunks.place(arrays, mesh) | {"prefix": None}
    prefill = placement.program(graphdef, cached_steps.prefill, mesh)
    _, read = prefill.eval_shape(params, None, arrays)
    forward = functools.partial(flops.decoder_forward, decoder.config)
    return {
        "prefill": program.Step(
            function=prefill,
            arguments=(params, None, arrays),
            model_flops=forward(num_rows * length, 0, length / 2),
            num_steps=0,
            remedy=_REMEDY,
        ),
        "decode": program.Step(
            function=placement.program(
                graphdef,
                functools.partial(cached_steps.advance, sampling=Sampling(), eos_id=2),
                mesh,
                donate="answers",
            ),
            arguments=(params, *_decode(config, graphdef, params, read, mesh)),
            model_flops=forward(num_rows, num_rows, length),
            num_steps=0,
            remedy=_REMEDY,
        ),
    }


def _decode(config: Config, graphdef, params, read, mesh: Mesh) -> tuple:
    """The donated answers and the other arrays of `cached_steps.advance`."""
    num_rows, num_new = config.predict.batch_size, config.predict.max_answer_tokens
    rows = {
        "tokens": np.zeros((num_rows, num_new), np.int32),
        "present": np.ones(num_rows, bool),
    }
    begin = placement.program(graphdef, cached_steps.begin, mesh)
    _, answers = begin.eval_shape(params, None, score_chunks.place(rows, mesh))
    vocab_size = params["embedding"].shape[0]
    scalar = jax.ShapeDtypeStruct((), jnp.int32, sharding=mesh_lib.replicated(mesh))
    stop = jax.ShapeDtypeStruct(
        (vocab_size,), jnp.bool_, sharding=mesh_lib.replicated(mesh)
    )
    arrays = {
        "prompts": _by_row(read, num_rows, mesh),
        "seeds": score_chunks.place({"x": np.zeros(num_rows, np.uint32)}, mesh)["x"],
        "stop": stop,
        "log_p_r": None,
        "until": scalar,
        "few": scalar,
    }
    return _by_row(answers, num_rows, mesh), arrays


def _by_row(tree, num_rows: int, mesh: Mesh):
    """Split where an array has the rows: first, or second behind the layers."""

    def place(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        spec = mesh_lib.batch_sharding(mesh, num_rows).spec
        heads = None
        if x.ndim == 5:  # a cache, [layers b g s c]
            splits = x.shape[2] % mesh.shape["tensor"] == 0
            heads = "tensor" if splits else None
            spec = (None, *(spec or (None,)), heads)
        elif x.ndim == 0:
            spec = ()
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    return jax.tree.map(place, tree)
