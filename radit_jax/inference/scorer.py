"""Scorer: log-likelihood of given outputs, token by token (paper §1, `score_LM`)."""

from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from radit_jax.inference import prefix_rows, prefix_step
from radit_jax.inference.placement import PlacedDecoder, Tokens
from radit_jax.inference.prefix_rows import Text, Work
from radit_jax.models.decoder import Decoder
from radit_jax.progress import Progress


class Scorer:
    """log p(output token | prompt, output tokens before it).

    Prompts that begin alike may share what is computed for their beginning.

    Args:
      decoder: the language model.
      mesh: devices to spread parameters and batches over; None: the default device.
    """

    def __init__(self, decoder: Decoder, mesh: Mesh | None = None):
        self._placed = PlacedDecoder(decoder, mesh)
        self._step = self._placed.compile(prefix_step.log_likelihood)
        self._num_blocks = 1
        if mesh is not None:
            self._num_blocks = mesh.shape["data"] * mesh.shape["fsdp"]
        self.work = Work()  # of the last call of `score`

    def score(
        self,
        prompts: Sequence[Tokens],
        outputs: Sequence[Tokens],
        batch_tokens: int,
        num_shared: Sequence[int] | None = None,
        progress: Progress | None = None,
    ) -> list[Float[np.ndarray, "_t"]]:
        """Scores every output after its prompt.

        Args:
          prompts: token ids, at least one each (bos counts).
          outputs: token ids, at least one each; eos included where it shall count.
          batch_tokens: that run together on a device; a longer text runs alone.
          num_shared: leading tokens of each prompt, bos and Background: prompts in
            which these are the same share them. None: nothing is shared.
          progress: is told of each scored output.

        Returns:
          For each output, in the order given, a float32 log-likelihood (nats) a
          token. It does not depend on what shared its prefix or its batch.

        Raises:
          ValueError: counts that differ, an empty prompt or output, or one too long.
        """
        num_shared = [0] * len(prompts) if num_shared is None else num_shared
        self._check(prompts, outputs, num_shared)
        texts = [
            _split(i, *given)
            for i, given in enumerate(zip(prompts, outputs, num_shared, strict=True))
        ]
        results: list[np.ndarray] = [np.empty(0, np.float32)] * len(texts)
        self.work, waiting = Work(), None
        rows = prefix_rows.rows(texts)
        for batch in prefix_rows.batches(rows, batch_tokens, self._num_blocks):
            layout = prefix_rows.lay_out(batch, batch_tokens, self._num_blocks)
            scores, _ = self._step(**self._placed.put(layout.arrays))
            self.work += layout.work
            # Fetching one batch behind keeps the device busy while the host lays out.
            if waiting is not None:
                _collect(*waiting, results, progress)
            waiting = layout.places, scores
        if waiting is not None:
            _collect(*waiting, results, progress)
        return results

    @property
    def num_traces(self) -> int:
        """Batch shapes compiled so far."""
        return self._placed.num_traces

    def _check(
        self,
        prompts: Sequence[Tokens],
        outputs: Sequence[Tokens],
        num_shared: Sequence[int],
    ) -> None:
        if not len(prompts) == len(outputs) == len(num_shared):
            raise ValueError(
                f"{len(prompts)} prompts but {len(outputs)} outputs and "
                f"{len(num_shared)} shared lengths; give one output a prompt."
            )
        for i, (prompt, output) in enumerate(zip(prompts, outputs, strict=True)):
            if not len(prompt) or not len(output):
                raise ValueError(
                    f"row {i} has {len(prompt)} prompt and {len(output)} output "
                    "tokens; both need at least one (start the prompt with bos, end "
                    "the output with eos)."
                )
            self._placed.check_positions(len(prompt) + len(output), f"row {i}")


def _split(place: int, prompt: Tokens, output: Tokens, num_shared: int) -> Text:
    # The prompt's last token predicts, so it is the text's own.
    num_shared = min(num_shared, len(prompt) - 1)
    return Text(place, tuple(prompt[:num_shared]), prompt[num_shared:], output)


def _collect(
    places: list[list[tuple[int, int]]],
    log_likelihood: Float[Array, "b t"],
    results: list[np.ndarray],
    progress: Progress | None,
) -> None:
    for block, scores in zip(places, np.asarray(log_likelihood), strict=False):
        start = 0
        for place, num_targets in block:
            results[place] = scores[start : start + num_targets].copy()
            start += num_targets
    if progress is not None:
        progress.update(sum(map(len, places)))
