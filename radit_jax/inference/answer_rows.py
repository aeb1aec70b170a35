"""Given answers as rows after their prompts, and their scores back again.

Answers to one prompt often begin alike ("The capital of …"). They are laid out as a
tree: a beginning that several share is read once, and each of its tokens is scored
once (tree attention, as SpecInfer's, arXiv 2305.09781, has it for drafts).
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from radit_jax.inference.placement import Tokens, right_pad, round_up
from radit_jax.inference.streams import Layout

_TARGETS_MULTIPLE = 128  # tokens; every number is a shape to compile


class AnswerRows:
    """Answers of each prompt, one row a prompt.

    Example: answers (7, 8, 2), (7, 9, 2) and (3, 2), where 2 is eos, become tokens
    (3, 7, 8, 9) at offsets (0, 0, 1, 1), of which a token sees those before its end,
    (1, 4, 3, 4), and itself: 7 is seen by 8 and 9. Targets are (3, 2, 7, 8, 2, 9, 2).

    Args:
      answers: of each prompt any number, at least one token each. The last token of
        an answer is only a target, unless a longer answer goes on from it.
      num_rows: of the batch; at least as many as prompts.
      num_streams: that rows are divided among; divides them.
    """

    def __init__(
        self,
        answers: Sequence[Sequence[Tokens]],
        num_rows: int,
        num_streams: int,
    ):
        self._trees = [_tree(row) for row in answers]
        self._per_stream = num_rows // num_streams
        trees = [*self._trees, *[_tree([])] * (num_rows - len(answers))]
        fed = [tree.tokens for tree in trees]
        offsets = [tree.offsets for tree in trees]
        layout = Layout([len(row) for row in fed], num_streams)
        sources = [
            self._sources(tree, i, int(layout.starts[i]))
            for i, tree in enumerate(trees)
        ]
        sources = layout.by_stream(sources)
        targets = layout.by_stream([tree.targets for tree in trees])
        num_targets = round_up(max(map(len, targets)), _TARGETS_MULTIPLE)
        row_of = [[i % self._per_stream] * len(row) for i, row in enumerate(fed)]
        # What `cached_steps.rescore` reads.
        self.arrays: dict[str, Any] = {
            "tokens": layout.streams(fed),
            "offsets": layout.streams(offsets),
            "row_of": layout.streams(row_of),
            "rows": layout.rows,
            "ends": right_pad([t.ends for t in trees], num_rows, layout.width),
            "row_offsets": right_pad(offsets, num_rows, layout.width),
            "sources": right_pad(sources, num_streams, num_targets),
            "targets": right_pad(targets, num_streams, num_targets),
        }

    def _sources(self, tree: "_Tree", row: int, start: int) -> list[int]:
        """Places among a stream's prompts and then its tokens."""
        prompt, first = row % self._per_stream, self._per_stream + start
        return [prompt if source < 0 else first + source for source in tree.sources]

    def sort_out(
        self, scores: Float[np.ndarray, "m t"]
    ) -> list[list[Float[np.ndarray, "_t"]]]:
        """From streams of targets to the answers of each prompt."""
        found, start = [], 0
        for i, tree in enumerate(self._trees):
            start = start if i % self._per_stream else 0
            stop = start + len(tree.targets)
            row = scores[i // self._per_stream, start:stop]
            found.append([row[places] for places in tree.places])
            start = stop
        return found


@dataclasses.dataclass(slots=True)
class _Tree:
    """The tokens that are read, each before those that follow it; and the targets."""

    tokens: list[int]
    offsets: list[int]  # in the answer
    ends: list[int]  # what goes on from a token comes before its end
    sources: list[int]  # of each target, the token that predicts it; -1: the prompt
    targets: list[int]
    places: list[list[int]]  # of each answer, its targets


def _tree(answers: Sequence[Tokens]) -> _Tree:
    tree = _Tree([], [], [], [], [], [])
    places: dict[tuple[int, ...], list[int]] = {}
    before: tuple[int, ...] = ()
    path: list[int] = []  # targets of the answer before
    read: list[int] = []  # which of its tokens are read: so many first ones
    for answer in sorted(set(map(tuple, answers))):
        shared = len(os.path.commonprefix((before, answer)))
        del path[shared:], read[shared:]
        for offset in range(shared, len(answer)):
            if len(read) < offset:
                read.append(len(tree.tokens))
                tree.tokens.append(answer[offset - 1])
                tree.offsets.append(offset - 1)
            path.append(len(tree.targets))
            tree.sources.append(read[-1] if offset else -1)
            tree.targets.append(answer[offset])
        places[answer] = list(path)
        before = answer
    tree.ends = _ends(tree.offsets)
    tree.places = [places[tuple(answer)] for answer in answers]
    return tree


def _ends(offsets: Sequence[int]) -> list[int]:
    """Of each token, where the next is that does not go on from it."""
    ends, path = [len(offsets)] * len(offsets), []
    for i, offset in enumerate(offsets):
        for j in path[offset:]:
            ends[j] = i
        path[offset:] = [i]
    return ends
