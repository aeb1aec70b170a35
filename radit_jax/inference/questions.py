"""A question as the LM gets it: prompts, and which of them each retriever weighs."""

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence

import jax.numpy as jnp

from radit_jax.inference.placement import Tokens
from radit_jax.ops.ensemble import retrieval_log_softmax

_SLACK = 1e-3  # of a sum of probabilities


@dataclasses.dataclass(frozen=True, slots=True)
class Retrieval:
    """What one retriever found for a question, best chunk first."""

    rows: tuple[int, ...]  # k rows of the question's prompts
    log_p_r: tuple[float, ...]  # k log-probabilities; closed book: one row, 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A question as the LM gets it."""

    prompts: Sequence[Tokens]  # distinct; one a chunk, or one without any chunk
    retrievals: Mapping[str, Retrieval]  # by the retriever's name
    gold: str | None = None  # scored, but not a candidate
    prefix: Tokens = ()  # before every prompt: bos and demonstrations
    id: str = ""  # draws depend on it, and on no other question

    def check(self, what: str) -> None:
        """Refuses retrievals that do not fit the prompts.

        Raises:
          ValueError: with the retriever, what it names, and the remedy.
        """
        check_retrievals(self.retrievals, len(self.prompts), what)

    @property
    def size(self) -> "Size":
        """What decides which questions run together."""
        return size(self.prefix, self.prompts)

    def seeds(self, seed: int) -> list[int]:
        """Of each prompt's draws: of what is asked alone, not of its batch."""
        return [
            _hash(f"{seed}:{self.id}:{list(self.prefix)}:{list(prompt)}")
            for prompt in self.prompts
        ]


def log_p_r(scores: Sequence[float], temperature: float) -> tuple[float, ...]:
    """log p_R(c | x) over the retrieved chunks (paper §2.1); without any: (0,).

    Args:
      scores: s(x, c) of each.
      temperature: divides them.
    """
    if not scores:
        return (0.0,)
    found = retrieval_log_softmax(
        jnp.asarray([scores], jnp.float32),
        jnp.ones((1, len(scores)), bool),
        temperature,
    )
    return tuple(found[0].tolist())


def check_retrievals(
    retrievals: Mapping[str, Retrieval], num_prompts: int, what: str
) -> None:
    """Refuses retrievals that do not fit the prompts.

    Raises:
      ValueError: with the retriever, what it names, and the remedy.
    """
    for name, retrieval in retrievals.items():
        rows, num_rows = retrieval.rows, len(retrieval.rows)
        if not num_rows or num_rows != len(retrieval.log_p_r):
            raise ValueError(
                f"{what} has {num_rows} rows and {len(retrieval.log_p_r)} "
                f"log-probabilities for retriever {name!r}; give one a row, and "
                "at least one row (closed book: the bare prompt's, with 0.0)."
            )
        if not all(0 <= row < num_prompts for row in rows):
            raise ValueError(
                f"{what} has rows {rows} for retriever {name!r}, but "
                f"{num_prompts} prompts; rows count from 0."
            )
        total = sum(map(math.exp, retrieval.log_p_r))
        if not abs(total - 1) < _SLACK:
            raise ValueError(
                f"{what} has weights p_R for retriever {name!r} that sum to "
                f"{total:.4g}; give log-probabilities of a softmax over its chunks "
                "(closed book has no retriever to weigh: one row, with 0.0)."
            )


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """What decides which questions run together."""

    prefix: tuple[int, ...]
    longest: int  # prompt's tokens
    num_prompts: int


def size(prefix: Tokens, prompts: Sequence[Tokens]) -> Size:
    """Of a question."""
    return Size(tuple(prefix), max(map(len, prompts), default=0), len(prompts))


def groups(sizes: Sequence[Size], batch_size: int) -> Iterator[list[int]]:
    """Whole questions, as many as a batch holds; at least one.

    Questions of one prefix are neighbours, and of these the longest come first, so
    that what does not fit in memory fails at once.

    Args:
      sizes: of the questions.
      batch_size: prompts that run together.
    """
    group: list[int] = []
    num_rows, numbers = 0, {}
    for some in sizes:
        numbers.setdefault(some.prefix, len(numbers))
    keys = [(numbers[some.prefix], -some.longest) for some in sizes]
    for i in sorted(range(len(sizes)), key=keys.__getitem__):
        is_full = num_rows + sizes[i].num_prompts > batch_size
        if group and (is_full or sizes[i].prefix != sizes[group[0]].prefix):
            yield group
            group, num_rows = [], 0
        group.append(i)
        num_rows += sizes[i].num_prompts
    if group:
        yield group


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
