"""Scorer: log-likelihood of given outputs, token by token (paper §1, `score_LM`)."""

from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from radit_jax.inference.placement import PlacedDecoder, Tokens, right_pad, round_up
from radit_jax.models.decoder import Decoder
from radit_jax.ops import likelihood, masks
from radit_jax.progress import Progress

_ROW_MULTIPLE = 32  # tokens; every length of batch is a shape to compile
_OUTPUT_MULTIPLE = 8  # tokens


class Scorer:
    """log p(output token | prompt, output tokens before it), in length-sorted batches.

    Args:
      decoder: the language model.
      mesh: devices to spread parameters and batches over; None: the default device.
    """

    def __init__(self, decoder: Decoder, mesh: Mesh | None = None):
        self._placed = PlacedDecoder(decoder, mesh)
        self._forward = self._placed.compile(_log_likelihood)

    def score(
        self,
        prompts: Sequence[Tokens],
        outputs: Sequence[Tokens],
        batch_size: int,
        progress: Progress | None = None,
    ) -> list[Float[np.ndarray, "_t"]]:
        """Scores every output after its prompt.

        Args:
          prompts: token ids, at least one each (bos counts).
          outputs: token ids, at least one each; eos included where it shall count.
          batch_size: rows that run together.
          progress: is told of each scored row.

        Returns:
          For each output, in the order given, a float32 log-likelihood (nats) a
          token. It does not depend on which rows shared its batch.

        Raises:
          ValueError: counts that differ, an empty prompt or output, or one too long.
        """
        self._check(prompts, outputs)
        results: list[np.ndarray] = [np.empty(0, np.float32)] * len(prompts)
        waiting = None
        for rows in _length_sorted(prompts, outputs, batch_size):
            batch = _lay_out([(prompts[i], outputs[i]) for i in rows], batch_size)
            dispatched = rows, self._forward(**self._placed.put(batch))[0]
            # Fetching one batch behind keeps the device busy while the host lays out.
            if waiting is not None:
                _collect(*waiting, outputs, results, progress)
            waiting = dispatched
        if waiting is not None:
            _collect(*waiting, outputs, results, progress)
        return results

    @property
    def num_traces(self) -> int:
        """Batch shapes compiled so far."""
        return self._placed.num_traces

    def _check(self, prompts: Sequence[Tokens], outputs: Sequence[Tokens]) -> None:
        if len(prompts) != len(outputs):
            raise ValueError(
                f"{len(prompts)} prompts but {len(outputs)} outputs; give one output "
                "a prompt."
            )
        for i, (prompt, output) in enumerate(zip(prompts, outputs, strict=True)):
            if not prompt or not output:
                raise ValueError(
                    f"row {i} has {len(prompt)} prompt and {len(output)} output "
                    "tokens; both need at least one (start the prompt with bos, end "
                    "the output with eos)."
                )
            self._placed.check_positions(len(prompt) + len(output), f"row {i}")


def _log_likelihood(
    decoder: Decoder,
    tokens: Int[Array, "b l"],
    sources: Int[Array, "b t"],
    targets: Int[Array, "b t"],
) -> tuple[Float[Array, "b t"], None]:
    """Only `sources`, the positions that predict an output token, meet the head."""
    batch, num_tokens = tokens.shape
    positions = jnp.broadcast_to(jnp.arange(num_tokens)[None], tokens.shape)
    # Padding is to the right, so causality alone hides it from every real token.
    mask = jnp.repeat(masks.causal(num_tokens)[None], batch, axis=0)
    hidden, _ = decoder(tokens, positions, mask)
    hidden = jnp.take_along_axis(hidden, sources[:, :, None], axis=1)
    dtype = decoder.config.compute_dtype
    return likelihood.token_log_likelihood(
        hidden, decoder.head, targets, dtype=dtype
    ), None


def _length_sorted(
    prompts: Sequence[Tokens], outputs: Sequence[Tokens], batch_size: int
) -> Iterator[list[int]]:
    """Row numbers batch by batch, longest first: what does not fit fails at once."""
    lengths = [len(p) + len(o) for p, o in zip(prompts, outputs, strict=True)]
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _lay_out(
    rows: Sequence[tuple[Tokens, Tokens]], batch_size: int
) -> dict[str, Int[np.ndarray, "b _"]]:
    """A padded batch.

    Position i predicts token i + 1: prompt (5, 6) and output (7, 8) become tokens
    (5, 6, 7), sources (1, 2) and targets (7, 8). The last token predicts nothing
    that is asked for, so it is not fed.
    """
    num_tokens = round_up(max(len(p) + len(o) for p, o in rows) - 1, _ROW_MULTIPLE)
    num_targets = round_up(max(len(o) for _, o in rows), _OUTPUT_MULTIPLE)
    sources = [range(len(p) - 1, len(p) + len(o) - 1) for p, o in rows]
    return {
        "tokens": right_pad([[*p, *o][:-1] for p, o in rows], batch_size, num_tokens),
        "sources": right_pad(sources, batch_size, num_targets),
        "targets": right_pad([o for _, o in rows], batch_size, num_targets),
    }


def _collect(
    rows: list[int],
    log_likelihood: Float[Array, "b t"],
    outputs: Sequence[Tokens],
    results: list[np.ndarray],
    progress: Progress | None,
) -> None:
    for i, row in zip(rows, np.asarray(log_likelihood), strict=False):
        results[i] = row[: len(outputs[i])].copy()
    if progress is not None:
        progress.update(len(rows))
