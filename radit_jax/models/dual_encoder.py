"""The retriever's two towers: s(x, c) = E_q(x) · E_d(c) (paper Eq. 1)."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from radit_jax.models.encoder import Encoder, pool, pool_packed
from radit_jax.text.tokenizer import EncoderTokenizer


@dataclasses.dataclass(frozen=True, slots=True)
class Tower:
    """An encoder with everything that turns a text into one vector.

    `tokenize` runs on the host; `embed` is pure and runs inside `jax.jit`, on the
    encoder's parameters as `nnx.split(tower.encoder)` gives them.
    """

    encoder: Encoder
    tokenizer: EncoderTokenizer | None  # None: of a tower that is only planned
    pooling: str  # "cls" or "mean"
    normalize: bool  # divide by the L2 norm
    max_tokens: int  # of a text, [CLS] and [SEP] included
    prefix: str = ""  # before every text

    @property
    def width(self) -> int:
        """e: numbers in an embedding."""
        return self.encoder.config.width

    def tokenize(
        self, texts: Sequence[str], bucket_tokens: int = 1
    ) -> tuple[Int[np.ndarray, "b p"], Bool[np.ndarray, "b p"]]:
        """Ids and mask of texts, with the tower's prefix.

        Args:
          texts: in any order; longer ones are cut.
          bucket_tokens: the padded length is a multiple of this, or `max_tokens`: few
            lengths mean few compilations.
        """
        prefixed = [self.prefix + text for text in texts]
        ids, mask = self.tokenizer.encode_batch(prefixed, self.max_tokens)
        length = -(-ids.shape[1] // bucket_tokens) * bucket_tokens
        missing = min(length, self.max_tokens) - ids.shape[1]
        pad = ((0, 0), (0, max(missing, 0)))
        padded = np.pad(ids, pad, constant_values=self.tokenizer.pad_id)
        return padded, np.pad(mask, pad)

    def embed(
        self,
        graphdef: Any,  # nnx.GraphDef, which beartype can't read
        params: Any,  # nnx.State, likewise
        ids: Int[Array | np.ndarray, "b p"],
        mask: Bool[Array | np.ndarray, "b p"],
    ) -> Float[Array, "b e"]:
        """Embeddings under `params`, which need not be the tower's own."""
        ids, mask = jnp.asarray(ids), jnp.asarray(mask)
        hidden = nnx.merge(graphdef, params)(ids, mask)
        return pool(hidden, mask, self.pooling, self.normalize)

    def embed_packed(
        self,
        graphdef: Any,  # nnx.GraphDef
        params: Any,  # nnx.State
        ids: Int[Array, "n r p"],
        segments: Int[Array, "n r p"],
        positions: Int[Array, "n r p"],
        num_texts: int,
    ) -> Float[Array, "nq e"]:
        """As `embed`, of texts that stand in rows together: see `pool_packed`.

        Args:
          graphdef: of the encoder.
          params: of the encoder; need not be the tower's own.
          ids: n groups of rows.
          segments: the text of its group that a token is of, from 1; 0: of none.
          positions: of the tokens in their texts.
          num_texts: q, of each group.
        """
        rows = [x.reshape(-1, x.shape[-1]) for x in (ids, segments, positions)]
        of_one = rows[1][:, :, None] == rows[1][:, None]
        hidden = nnx.merge(graphdef, params)(rows[0], of_one, rows[2])
        hidden = hidden.reshape(*ids.shape, -1)
        rest = segments, positions, num_texts, self.pooling, self.normalize
        return pool_packed(hidden, *rest).reshape(-1, self.width)


@dataclasses.dataclass(frozen=True, slots=True)
class DualEncoder:
    """A query tower and a passage tower; only the first is ever trained."""

    query: Tower
    passage: Tower

    def __post_init__(self):
        """Refuses towers that could not be compared, or would be trained together.

        Raises:
          ValueError: for one encoder in both towers, or different widths.
        """
        if self.query.encoder is self.passage.encoder:
            raise ValueError(
                "both towers hold the same Encoder, so training one would change the "
                "index's; load the passage tower a second time."
            )
        if self.query.width != self.passage.width:
            raise ValueError(
                f"the query tower embeds in {self.query.width} dimensions, the passage "
                f"tower in {self.passage.width}; choose towers of one dual encoder."
            )
