"""Given answers as rows after their prompts, and their scores back again."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from radit_jax.inference.placement import Tokens, right_pad, round_up
from radit_jax.inference.streams import Layout

_TARGETS_MULTIPLE = 128  # tokens; every number is a shape to compile


def lay_out(
    answers: Sequence[Sequence[Tokens]], num_rows: int, num_streams: int
) -> tuple[Layout, dict[str, Any]]:
    """A row's answers one after another; an answer's last token is only a target.

    Example: answers (7, 8, 2) and (9, 2), where 2 is eos, of the first of two prompts
    become tokens (7, 8, 9), offsets (0, 1, 0), segments (1, 1, 2) and targets
    (7, 8, 2, 9, 2) with sources (0, 2, 3, 0, 4): 0 is the prompt, 2 the first token.
    """
    answers = [*answers, *[[]] * (num_rows - len(answers))]
    fed = [[token for answer in row for token in answer[:-1]] for row in answers]
    offsets = [[i for answer in row for i in range(len(answer) - 1)] for row in answers]
    segments = [
        [number for number, answer in enumerate(row, 1) for _ in answer[:-1]]
        for row in answers
    ]
    layout = Layout([len(row) for row in fed], num_streams)
    per_stream = num_rows // num_streams
    sources = [
        _sources(row, i % per_stream, per_stream + int(layout.starts[i]))
        for i, row in enumerate(answers)
    ]
    targets = [[token for answer in row for token in answer] for row in answers]
    sources, targets = layout.by_stream(sources), layout.by_stream(targets)
    num_targets = round_up(max(map(len, targets)), _TARGETS_MULTIPLE)
    row_of = [[i % per_stream] * len(row) for i, row in enumerate(fed)]
    return layout, {
        "tokens": layout.streams(fed),
        "offsets": layout.streams(offsets),
        "row_of": layout.streams(row_of),
        "rows": layout.rows,
        "segment_ids": right_pad(segments, num_rows, layout.width),
        "row_offsets": right_pad(offsets, num_rows, layout.width),
        "sources": right_pad(sources, num_streams, num_targets),
        "targets": right_pad(targets, num_streams, num_targets),
    }


def _sources(answers: Sequence[Tokens], prompt: int, start: int) -> list[int]:
    """What predicts each token of a prompt's answers, whose first one is `start`."""
    sources = []
    for answer in answers:
        num_fed = len(answer) - 1
        sources += [prompt, *range(start, start + num_fed)]
        start += num_fed
    return sources


def sort_out(
    scores: Float[np.ndarray, "m t"],
    layout: Layout,
    answers: Sequence[Sequence[Tokens]],
) -> list[list[Float[np.ndarray, "_t"]]]:
    """Back from streams of targets to rows of answers."""
    found, per_stream = [], layout.rows.slots.shape[1]
    for i, row in enumerate(answers):
        if i % per_stream == 0:
            start = 0
        found.append([])
        for answer in row:
            stream = scores[i // per_stream]
            found[-1].append(stream[start : start + len(answer)])
            start += len(answer)
    return found
