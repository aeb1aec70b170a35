"""Which rows a scoring run computes, so that a shared prefix is read once.

Texts that begin with the same prefix (bos and a chunk's Background) are a group. The
prefix is one row; what follows it, text after text, fills others, where each text is
a segment that sees the prefix and itself:

    prefix   b b b b b b
    row      q q y q q q y y q y       three texts: prompt q, output y

Texts that share nothing are rows of their own, short ones several to a row.
"""

import dataclasses
import heapq
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from radit_jax.inference.placement import Tokens, right_pad, round_up
from radit_jax.inference.prefix_step import Prefixes

_MIN_SHARED = 16  # tokens; to share fewer costs more than to read them again
_ROW_TOKENS = 192  # about; of a row with several texts
_WIDTH_MULTIPLE = 64  # tokens; every width of rows and prefixes is a shape to compile
_TARGET_MULTIPLE = 128  # likewise, targets of a block
_BLOCK_MULTIPLE = 256  # likewise, tokens of a block


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """What is scored: `output`, after `prefix` and `prompt`."""

    place: int  # in the caller's order
    prefix: tuple[int, ...]  # token ids that others may share
    prompt: Tokens  # at least one token
    output: Tokens  # at least one token

    @property
    def fed(self) -> Tokens:
        """What is read after the prefix: not the last token, which predicts nothing."""
        return [*self.prompt, *self.output[:-1]]

    @property
    def num_fed(self) -> int:
        """Their number."""
        return len(self.prompt) + len(self.output) - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """Texts after one prefix; `()`: they share none."""

    prefix: tuple[int, ...]
    texts: tuple[Text, ...]

    @property
    def num_fed(self) -> int:
        """Tokens that are read after the prefix."""
        return sum(text.num_fed for text in self.texts)


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What was scored, and what it took."""

    texts: int = 0
    prefixes: int = 0  # shared ones that were computed; again in every block
    tokens: int = 0  # read, had each text been read by itself
    computed_tokens: int = 0  # read, a shared prefix once a block
    padded_tokens: int = 0  # computed, padding too

    def __add__(self, other: "Work") -> "Work":
        """The work of both."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Work(*(mine + others for mine, others in pairs))


def rows(texts: Sequence[Text]) -> list[Row]:
    """Fills rows; a group's are neighbours, and so are groups of like lengths."""
    groups: dict[tuple[int, ...], list[Text]] = {}
    for text in texts:
        groups.setdefault(text.prefix, []).append(text)
    alone: list[Text] = []
    filled: list[list[Row]] = []
    for prefix, group in groups.items():
        if len(group) == 1 or len(prefix) < _MIN_SHARED:
            alone += [_unshared(text) for text in group]
        else:
            filled.append([Row(prefix, part) for part in _fill(group)])
    filled += [[Row((), part)] for part in _fill(alone)]
    filled.sort(key=_size, reverse=True)
    return [row for group in filled for row in group]


def _unshared(text: Text) -> Text:
    return dataclasses.replace(text, prefix=(), prompt=(*text.prefix, *text.prompt))


def _fill(texts: list[Text]) -> list[tuple[Text, ...]]:
    """Long texts by themselves; the others evenly over as few rows as hold them."""
    alone = [(text,) for text in texts if 2 * text.num_fed > _ROW_TOKENS]
    together = [text for text in texts if 2 * text.num_fed <= _ROW_TOKENS]
    num_rows = -(-sum(text.num_fed for text in together) // _ROW_TOKENS)
    parts: list[list[Text]] = [[] for _ in range(num_rows)]
    emptiest = [(0, i) for i in range(num_rows)]
    for text in sorted(together, key=lambda text: -text.num_fed):
        num_tokens, i = heapq.heappop(emptiest)
        parts[i].append(text)
        heapq.heappush(emptiest, (num_tokens + text.num_fed, i))
    return [*alone, *map(tuple, parts)]


def _size(group: list[Row]) -> tuple[int, int, int]:
    """Longest first, so that what does not fit in memory fails at once."""
    longest = max(row.num_fed for row in group)
    num_prefix = len(group[0].prefix)
    return num_prefix > 0, round_up(longest, _WIDTH_MULTIPLE), num_prefix


def batches(
    rows: Sequence[Row], block_tokens: int, num_blocks: int
) -> Iterator[list[list[Row]]]:
    """Blocks of rows, each for one device.

    Args:
      rows: of `rows`.
      block_tokens: in a block, prefixes and all; a row with more is a block.
      num_blocks: of a batch; the last may have fewer.
    """
    blocks: list[list[Row]] = []
    for block in _blocks(rows, block_tokens):
        is_other_kind = blocks and bool(blocks[0][0].prefix) != bool(block[0].prefix)
        if len(blocks) == num_blocks or is_other_kind:
            yield blocks
            blocks = []
        blocks.append(block)
    if blocks:
        yield blocks


def _blocks(rows: Sequence[Row], block_tokens: int) -> Iterator[list[Row]]:
    block: list[Row] = []
    num_tokens = 0
    for row in rows:
        is_new = not block or row.prefix != block[-1].prefix
        num_more = row.num_fed + len(row.prefix) * is_new
        is_other_kind = block and bool(row.prefix) != bool(block[0].prefix)
        if block and (num_tokens + num_more > block_tokens or is_other_kind):
            yield block
            block, num_tokens, num_more = [], 0, row.num_fed + len(row.prefix)
        block.append(row)
        num_tokens += num_more
    if block:
        yield block


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """A batch as arrays, and what is in it."""

    arrays: dict[str, Any]  # of `prefix_step.log_likelihood`
    places: list[list[tuple[int, int]]]  # of each block: text, number of targets
    work: Work


def lay_out(batch: list[list[Row]], block_tokens: int, num_blocks: int) -> Layout:
    """Pads a batch of `batches` to few shapes.

    A block is one stream: its prefixes one after another, and then its rows.

    Example: prefix (1 2 3), and a row of the texts 4 5 | 6 and 4 | 7 8, are the stream
    1 2 3 4 5 4 7 at positions 0 1 2 3 4 3 4; the row has slots 3 4 5 6 and segments
    1 1 2 2, and the sources of the targets 6 7 8 are 4 5 6.
    """
    blocks = [_Block(rows) for rows in batch]
    most = max(len(block.tokens) for block in blocks)
    small = len(batch) == 1 and 2 * most < block_tokens
    # A last block pads to a quarter at least, not to the whole.
    step = _BLOCK_MULTIPLE if small else max(_BLOCK_MULTIPLE, block_tokens // 4)
    length = round_up(most, step)
    num_rows = _power_of_two(max(len(block.slots) for block in blocks))
    width = round_up(max(max(map(len, b.slots)) for b in blocks), _WIDTH_MULTIPLE)
    num_targets = round_up(max(len(b.targets) for b in blocks), _TARGET_MULTIPLE)
    prefixes = _lay_out_prefixes(blocks, num_blocks, num_rows, length)
    num_prefixes, prefix_width = (
        (0, 0) if prefixes is None else prefixes.slots.shape[1:]
    )
    num_padded = num_prefixes * prefix_width
    attended = [block.attended(prefix_width, num_padded, width) for block in blocks]
    arrays = {
        "tokens": right_pad([b.tokens for b in blocks], num_blocks, length),
        "positions": right_pad([b.positions for b in blocks], num_blocks, length),
        "row_slots": _pad([b.slots for b in blocks], num_blocks, num_rows, width),
        "segment_ids": _pad(
            [b.segment_ids for b in blocks], num_blocks, num_rows, width
        ),
        "attended_slots": right_pad(attended, num_blocks, length),
        "sources": right_pad([b.sources for b in blocks], num_blocks, num_targets),
        "targets": right_pad([b.targets for b in blocks], num_blocks, num_targets),
        "prefixes": prefixes,
    }
    texts = [[text for row in block for text in row.texts] for block in batch]
    work = Work(
        texts=sum(map(len, texts)),
        prefixes=sum(len(block.prefix_slots) for block in blocks),
        tokens=sum(len(t.prefix) + t.num_fed for some in texts for t in some),
        computed_tokens=sum(len(block.tokens) for block in blocks),
        padded_tokens=num_blocks * length,
    )
    places = [[(text.place, len(text.output)) for text in some] for some in texts]
    return Layout(arrays, places, work)


def _lay_out_prefixes(
    blocks: list["_Block"], num_blocks: int, num_rows: int, length: int
) -> Prefixes | None:
    slots = [block.prefix_slots for block in blocks]
    if not slots[0]:
        return None
    num = _power_of_two(max(map(len, slots)))
    width = round_up(max(len(s) for some in slots for s in some), _WIDTH_MULTIPLE)
    return Prefixes(
        slots=_pad(slots, num_blocks, num, width),
        lengths=right_pad([list(map(len, some)) for some in slots], num_blocks, num),
        of_row=right_pad([b.prefix_of_row for b in blocks], num_blocks, num_rows),
        starts=right_pad([b.prefix_starts for b in blocks], num_blocks, length),
        sizes=right_pad([b.prefix_sizes for b in blocks], num_blocks, length),
    )


class _Block:
    """A block's stream of tokens, and where in it everything is."""

    def __init__(self, rows: list[Row]):
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.prefix_slots: list[range] = []
        self.prefix_of_row: list[int] = []
        self.prefix_starts: list[int] = []  # of each token's
        self.prefix_sizes: list[int] = []
        self.slots: list[range] = []
        self.segment_ids: list[list[int]] = []
        self.sources: list[int] = []
        self.targets: list[int] = []
        prefixes = list(dict.fromkeys(row.prefix for row in rows if row.prefix))
        for prefix in prefixes:
            self.prefix_slots.append(self._append(prefix, range(0)))
        number = {prefix: i for i, prefix in enumerate(prefixes)}
        for row in rows:
            self.prefix_of_row.append(number.get(row.prefix, 0))
            slots = self.prefix_slots[number[row.prefix]] if row.prefix else range(0)
            self._append_row(row, slots)

    def _append(self, tokens: Tokens, prefix: range) -> range:
        first = len(self.tokens)
        self.tokens += tokens
        self.positions += range(len(prefix), len(prefix) + len(tokens))
        self.prefix_starts += [prefix.start] * len(tokens)
        self.prefix_sizes += [len(prefix)] * len(tokens)
        return range(first, len(self.tokens))

    def _append_row(self, row: Row, prefix: range) -> None:
        first, segment_ids = len(self.tokens), []
        for segment, text in enumerate(row.texts, start=1):
            slots = self._append(text.fed, prefix)
            segment_ids += [segment] * len(slots)
            self.sources += slots[len(text.prompt) - 1 :]
            self.targets += text.output
        self.slots.append(range(first, len(self.tokens)))
        self.segment_ids.append(segment_ids)

    def attended(self, prefix_width: int, num_padded: int, width: int) -> list[int]:
        """Where each token of the stream is, among padded prefixes and then rows.

        Args:
          prefix_width: slots of a padded prefix.
          num_padded: slots of all of them.
          width: slots of a padded row.
        """
        found: list[int] = []
        for i, slots in enumerate(self.prefix_slots):
            found += range(i * prefix_width, i * prefix_width + len(slots))
        for i, slots in enumerate(self.slots):
            first = num_padded + i * width
            found += range(first, first + len(slots))
        return found


def _pad(
    blocks: Sequence[Sequence[Tokens]], num_blocks: int, num_rows: int, width: int
) -> Int[np.ndarray, "b n l"]:
    padded = np.zeros((num_blocks, num_rows, width), np.int32)
    for block, rows in zip(padded, blocks, strict=False):
        block[:] = right_pad(rows, num_rows, width)
    return padded


def _power_of_two(number: int) -> int:
    """The least that is not below `number`."""
    return 1 << (number - 1).bit_length()
