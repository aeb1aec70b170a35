"""What the LM thinks of each question's chunks, as `score_chunks` wrote it.

The answers' token log-likelihoods stay one flat array; a chunk's are a view of it. What
a loss reads is made batch by batch, so that a million questions take no padding.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from etils import epath
from jaxtyping import Bool, Float, Int
from safetensors import numpy as safetensors

from radit_jax.ops import likelihood

_LENGTH_MULTIPLE = 8  # tokens; every length is a program to compile


@dataclasses.dataclass(frozen=True, slots=True)
class LMScores:
    """Scores of n questions' chunks, best-ranked chunk first.

    Attributes:
      values: in one of `likelihood.FORMS`; 0 where nothing was scored.
      num_tokens: of the answer; 0 where there is no such chunk, or the question was
        left out.
      starts: of each chunk's tokens in `tokens`.
      tokens: log p_LM(y_t | c∘x, y_<t), nats; empty where they were not asked for.
    """

    values: Float[np.ndarray, "n k"]
    num_tokens: Int[np.ndarray, "n k"]
    starts: Int[np.ndarray, "n k"]
    tokens: Float[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def mask(self) -> Bool[np.ndarray, "n k"]:
        """True for chunks that were scored."""
        return self.num_tokens > 0

    def take(self, rows: Int[np.ndarray, " r"] | Bool[np.ndarray, " n"]) -> "LMScores":
        """Some of the questions."""
        return dataclasses.replace(
            self,
            values=self.values[rows],
            num_tokens=self.num_tokens[rows],
            starts=self.starts[rows],
        )

    def shuffled(self, seed: int) -> "LMScores":
        """Each question's scores, dealt out anew among its scored chunks.

        What a loss still learns from these is no knowledge of the LM's.
        """
        draws = np.random.default_rng(seed).random(self.values.shape)
        # Scored chunks in a random order, then the others in theirs; and as they stand.
        others = 1.0 + np.arange(draws.shape[1])[None]
        order = np.argsort(np.where(self.mask, draws, others), axis=1)
        places = np.argsort(~self.mask, axis=1, kind="stable")
        source = np.empty_like(order)
        np.put_along_axis(source, places, order, axis=1)

        def deal(array: np.ndarray) -> np.ndarray:
            return np.take_along_axis(array, source, axis=1)

        return dataclasses.replace(
            self,
            values=deal(self.values),
            num_tokens=deal(self.num_tokens),
            starts=deal(self.starts),
        )

    def padded_tokens(
        self, rows: Int[np.ndarray, " b"]
    ) -> tuple[Float[np.ndarray, "b k t"], Bool[np.ndarray, "b t"]]:
        """The tokens of some questions, and which of them the answers have.

        Zeros stand where a chunk or an answer has none. t is the longest answer's,
        rounded up.
        """
        num_tokens = self.num_tokens[rows]
        longest = int(num_tokens.max(initial=1))
        places = np.arange(-(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE)
        mask = places[None, None] < num_tokens[:, :, None]
        found = np.zeros(mask.shape, np.float32)
        found[mask] = self.tokens[(self.starts[rows][:, :, None] + places)[mask]]
        return found, mask.any(axis=1)


def read(
    files: Sequence[epath.Path], num_chunks: int, form: str, keeps_tokens: bool
) -> LMScores:
    """Reads a split's shards, one after the other.

    Args:
      files: in order.
      num_chunks: k.
      form: of `likelihood.FORMS`.
      keeps_tokens: whether `LMScores.tokens` are wanted.
    """
    values = [np.empty((0, num_chunks), np.float32)]
    counts = [np.empty((0, num_chunks), np.int32)]
    starts = [np.empty((0, num_chunks), np.int64)]
    tokens, begin = [np.empty(0, np.float32)], 0
    for file in files:
        shard = safetensors.load(file.read_bytes())
        flat, num_tokens = shard["token_log_likelihood"], shard["num_tokens"]
        ends = np.cumsum(num_tokens.reshape(-1), dtype=np.int64).reshape(
            num_tokens.shape
        )
        values.append(_values(flat, num_tokens, form))
        counts.append(num_tokens)
        starts.append(ends - num_tokens + begin)
        if keeps_tokens:
            tokens.append(flat)
            begin += len(flat)
    return LMScores(
        np.concatenate(values),
        np.concatenate(counts),
        np.concatenate(starts),
        np.concatenate(tokens),
    )


def _values(
    flat: Float[np.ndarray, " m"], num_tokens: Int[np.ndarray, "n k"], form: str
) -> Float[np.ndarray, "n k"]:
    lengths = num_tokens.reshape(-1)
    longest = max(int(lengths.max(initial=0)), 1)
    places = np.arange(-(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE)
    mask = places[None] < lengths[:, None]
    padded = np.zeros(mask.shape, np.float32)
    padded[mask] = flat
    scores = np.asarray(likelihood.sequence_score(padded, mask, form))
    return np.where(num_tokens > 0, scores.reshape(num_tokens.shape), np.float32(0))
