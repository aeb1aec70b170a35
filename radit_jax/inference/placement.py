"""A decoder held for inference: parameters on their devices, batches beside them."""

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Int

from radit_jax.models.decoder import Decoder
from radit_jax.training import mesh as mesh_lib

Tokens = Sequence[int]


def round_up(number: int, multiple: int) -> int:
    """The least positive multiple of `multiple` that is not below `number`."""
    return max(1, -(-number // multiple)) * multiple


def batch_rows(num: int, batch_size: int, num_devices: int) -> int:
    """Rows of a batch for so many: a full batch, or one of few smaller numbers.

    Example: 10 for 10, 20 for 17; on 8 devices 16 and 24. Each is a shape to compile.
    """
    step = max(1, (1 << (num - 1).bit_length()) // 8)
    return min(batch_size, round_up(max(8, num), math.lcm(step, num_devices)))


def right_pad(
    rows: Sequence[Tokens], num_rows: int, num_tokens: int
) -> Int[np.ndarray, "b l"]:
    """Rows of token ids as one array, zeros after each row and below the last."""
    padded = np.zeros((num_rows, num_tokens), np.int32)
    for row, tokens in zip(padded, rows, strict=False):
        row[: len(tokens)] = tokens
    return padded


def program(
    graphdef: Any, function: Callable, mesh: Mesh | None, donate: str | None = None
) -> Callable:
    """What `PlacedDecoder.compile` runs: `(params, donated, arrays)`; see there.

    Shapes are enough to lower it, see `planning`.
    """

    def run(params: Any, donated: Any, arrays: dict[str, Any]) -> Any:
        arrays = arrays if donate is None else arrays | {donate: donated}
        with contextlib.ExitStack() as stack:
            if mesh is not None:
                around = jax.sharding.use_abstract_mesh(mesh.abstract_mesh)
                stack.enter_context(around)
            results, kept = function(nnx.merge(graphdef, params), **arrays)
        if mesh is not None:
            everywhere = mesh_lib.replicated(mesh)
            results = jax.lax.with_sharding_constraint(results, everywhere)
        return results, kept

    return jax.jit(run, donate_argnums=1)


class PlacedDecoder:
    """Splits a decoder, places its parameters, and compiles functions of it.

    Args:
      decoder: the language model; its parameters are shared, not copied, where they
        already lie as the mesh wants them.
      mesh: parameters are spread over it as `training.mesh` says, batches by row;
        None: the default device.
    """

    def __init__(self, decoder: Decoder, mesh: Mesh | None = None):
        self.config = decoder.config
        self.mesh = mesh
        self.num_traces = 0  # shapes seen so far, over all compiled functions
        self._graphdef, params = nnx.split(decoder)
        if mesh is not None:
            params = jax.device_put(params, mesh_lib.param_shardings(params, mesh))
        self._params = params

    def compile(self, function: Callable, donate: str | None = None) -> Callable:
        """`function(decoder, **arrays) -> (results, kept)`, compiled once a shape.

        Every host can read the results; what is kept stays where it was computed.

        Args:
          function: pure.
          donate: name of the one argument that is used up.
        """

        def counted(decoder: Decoder, **arrays: Any) -> Any:
            self.num_traces += 1
            return function(decoder, **arrays)

        jitted = program(self._graphdef, counted, self.mesh, donate)

        def call(**arrays: Any) -> Any:
            donated = None if donate is None else arrays.pop(donate)
            return jitted(self._params, donated, arrays)

        return call

    def set_params(self, params: Any) -> None:
        """Others, placed as the first were: nothing is compiled again."""
        self._params = params

    def put(self, batch: Any) -> Any:
        """Places NumPy arrays with a leading row axis."""
        if self.mesh is None:
            return jax.device_put(batch)
        return mesh_lib.put_batch(batch, self.mesh)

    def check_positions(self, num_tokens: int, what: str) -> None:
        """Refuses a sequence that is longer than the model's positions.

        Raises:
          ValueError: with both lengths and the remedy.
        """
        limit = self.config.max_positions
        if num_tokens > limit:
            raise ValueError(
                f"{what} takes {num_tokens} tokens, but the model has {limit} "
                "positions. Lower --config.lm.max_tokens, or use a model with a "
                "longer context."
            )
