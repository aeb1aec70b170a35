"""What a compiled program moves: its collectives, and its traffic with HBM.

XLA's own cost analysis counts the body of a loop once. Here the text of the optimised
program is read, and what stands in a loop counts as often as the loop goes round: a
`lax.scan` compiles to a loop whose condition compares a counter with a constant.
"""

import dataclasses
import math
import re
from collections.abc import Iterator

COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-permute",
    "reduce-scatter",
)
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\) -> .*\{$")
_INSTRUCTION = re.compile(r"^  (?:ROOT )?%?([\w.-]+) = (.*)$")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](\{[^{}]*\})?")
_BITS = re.compile(r"\d+")
_ON_CHIP = "S(1)"  # a layout with this lies in the core's own memory, not in HBM
# Instructions that move no bytes of their own.
_FREE = {
    "after-all",
    "bitcast",
    "conditional",
    "constant",
    "get-tuple-element",
    "iota",
    "parameter",
    "partition-id",
    "tuple",
    "while",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Instruction:
    """One line of a computation."""

    name: str
    shape: str  # of the result, as printed
    kind: str  # the operation
    rest: str  # operands and attributes

    @property
    def operands(self) -> list[str]:
        """Names of the operands."""
        return re.findall(r"%([\w.-]+)", self.rest[: _closing(self.rest)])

    def called(self, attribute: str) -> str | None:
        """The computation that e.g. `body=` names."""
        found = re.search(rf"\b{attribute}=%?([\w.-]+)", self.rest)
        return found and found.group(1)


@dataclasses.dataclass(frozen=True, slots=True)
class Collective:
    """One exchange among chips, as often as it happens in a step."""

    kind: str  # of `COLLECTIVES`
    bytes_sent: float  # by a chip, each time: a ring's share of the data
    times: int


class Program:
    """The computations of an optimised HLO module."""

    def __init__(self, text: str):
        """Parses `jax.stages.Compiled.as_text()`."""
        self._computations: dict[str, list[Instruction]] = {}
        self._entry = ""
        lines: list[Instruction] = []
        for line in text.splitlines():
            if head := _COMPUTATION.match(line):
                lines = self._computations.setdefault(head.group(2), [])
                self._entry = head.group(2) if head.group(1) else self._entry
            elif found := _INSTRUCTION.match(line):
                lines.append(_instruction(*found.groups()))

    def collectives(self) -> list[Collective]:
        """Every exchange, with the loops' trips multiplied in."""
        found, seen = [], set()
        for one, times, outer in self._walk(self._entry, 1, self._entry):
            kind = one.kind.removesuffix("-start")
            if kind not in COLLECTIVES:
                continue
            # One asynchronous exchange may be spread over several fusions, which
            # repeat the instruction with its channel.
            channel = re.search(r"channel_id=(\d+)", one.rest)
            key = (outer, kind, channel and channel.group(1), _first(one.shape))
            if channel and key in seen:
                continue
            seen.add(key)
            found.append(_collective(one, kind, times))
        return found

    def hbm_bytes(self) -> float:
        """Bytes that a chip reads from and writes to HBM in a step.

        Operands and results of every scheduled instruction, but those that lie in
        on-chip memory; of an array that is only sliced, the slice.
        """
        return sum(
            times * self._moved(one, computation)
            for computation, times in self._scheduled(self._entry, 1)
            for one in self._computations[computation]
        )

    def _scheduled(self, name: str, times: int) -> Iterator[tuple[str, int]]:
        """The entry and the bodies of loops and branches: what runs line by line."""
        yield name, times
        for one in self._computations.get(name, []):
            if one.kind == "while":
                body, trips = one.called("body"), self._trips(one)
                yield from self._scheduled(body, times * trips)
            elif one.kind in ("call", "conditional", "async-start"):
                for called in self._calls(one):
                    yield from self._scheduled(called, times)

    def _walk(
        self, name: str, times: int, outer: str
    ) -> Iterator[tuple[Instruction, int, str]]:
        """All instructions with how often they run, and the loop body around them."""
        for one in self._computations.get(name, []):
            if one.kind == "while":
                body = one.called("body")
                yield from self._walk(body, times * self._trips(one), body)
                continue
            calls = self._calls(one)
            if any(called.startswith("all-reduce-scatter") for called in calls):
                # A TPU's reduce-scatter: printed as an all-reduce that is then cut.
                (called,) = calls
                for inner in self._computations[called]:
                    if inner.kind == "all-reduce":
                        scatter = dataclasses.replace(inner, kind="reduce-scatter")
                        yield scatter, times, outer
                continue
            yield one, times, outer
            for called in calls:
                yield from self._walk(called, times, outer)

    def _calls(self, one: Instruction) -> list[str]:
        if one.kind == "conditional":
            several = re.search(r"branch_computations=\{([^}]*)\}", one.rest)
            if several:
                return re.findall(r"%?([\w.-]+)", several.group(1))
            names = (one.called("true_computation"), one.called("false_computation"))
            return [name for name in names if name]
        called = one.called("calls") or (
            one.called("to_apply") if one.kind == "call" else None
        )
        return [called] if called else []

    def num_open_loops(self) -> int:
        """Loops of a length that is known only as they run; they count once."""
        return sum(
            one.kind == "while" and self._limit(one) is None
            for computation, _ in self._scheduled(self._entry, 1)
            for one in self._computations[computation]
        )

    def _trips(self, loop: Instruction) -> int:
        """How often a loop goes round; 1 where its condition does not say."""
        limit = self._limit(loop)
        return 1 if limit is None else limit

    def _limit(self, loop: Instruction) -> int | None:
        lines = self._computations.get(loop.called("condition") or "", [])
        constants = {
            one.name: int(one.rest.partition(")")[0])
            for one in lines
            if one.kind == "constant" and one.rest.partition(")")[0].isdigit()
        }
        for one in lines:
            if one.kind == "compare" and "direction=LT" in one.rest:
                limits = [constants[x] for x in one.operands if x in constants]
                return limits[0] if limits else None
        return None

    def _moved(self, one: Instruction, computation: str) -> float:
        if one.kind in _FREE or one.kind.endswith("-done"):
            return 0
        shapes = {x.name: x.shape for x in self._computations[computation]}
        operands = [shapes.get(name, "") for name in one.operands]
        if one.kind == "dynamic-slice":
            return 2 * _hbm(one.shape)
        if one.kind == "dynamic-update-slice":
            return 2 * _hbm(operands[1])
        called = one.called("calls")
        if one.kind != "fusion" or called not in self._computations:
            # Start of an asynchronous copy or exchange: its result names the source.
            result = 0 if one.kind.endswith("-start") else _hbm(one.shape)
            return result + sum(map(_hbm, operands)) * (1 + (result == 0))
        return self._moved_by_fusion(one, called, operands)

    def _moved_by_fusion(
        self, one: Instruction, called: str, operands: list[str]
    ) -> float:
        lines = self._computations[called]
        shapes = {x.name: x.shape for x in lines}
        total, updated = 0.0, 0.0
        for line in lines:
            if line.kind == "dynamic-update-slice":
                whole = _hbm(shapes.get(line.operands[0], ""))
                updated += max(whole - _hbm(shapes.get(line.operands[1], "")), 0)
        total += max(_hbm(one.shape) - updated, 0)
        for line in lines:
            if line.kind != "parameter":
                continue
            place = int(_BITS.match(line.rest).group())
            whole = _hbm(operands[place]) if place < len(operands) else 0
            users = [x for x in lines if line.name in x.operands]
            slices = [x for x in users if x.kind == "dynamic-slice"]
            if users and len(slices) == len(users):
                whole = min(whole, sum(_num_bytes(x.shape) for x in slices))
            elif any(
                x.kind == "dynamic-update-slice" and x.operands[0] == line.name
                for x in users
            ):
                whole = 0
            total += whole
        return total


def _instruction(name: str, line: str) -> Instruction:
    """Of "f32[8]{0:T(128)} add(%x, %y), metadata=…" or "(f32[], …) while(%x), …"."""
    end = _closing(line[1:]) + 2 if line.startswith("(") else line.index(" ")
    kind, _, rest = line[end:].lstrip().partition("(")
    return Instruction(name, line[:end], kind, rest)


def _closing(text: str) -> int:
    """Where the parenthesis closes that stands open before the text."""
    depth = 1
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return i
    return len(text)


def _collective(one: Instruction, kind: str, times: int) -> Collective:
    arrays = _ARRAY.findall(_first(one.shape) if one.kind != kind else one.shape)
    if one.kind.endswith("-start") and kind != "all-reduce":
        # (operand, result, …): the result of a gather is the larger one.
        arrays = _ARRAY.findall(one.shape)
        arrays = [max(arrays, key=_array_bytes)]
    num_bytes = sum(map(_array_bytes, arrays))
    size = _group_size(one.rest)
    share = (size - 1) / size
    factors = {"all-reduce": 2 * share, "collective-permute": 1.0}
    # Of a reduce-scatter that is printed as such, the result is a chip's part.
    if (
        kind == "reduce-scatter"
        and "to_apply" in one.rest
        and "dimensions={" in one.rest
    ):
        num_bytes *= size
    return Collective(kind, num_bytes * factors.get(kind, share), times)


def _group_size(attributes: str) -> int:
    """Chips in a group, in any of the three ways that XLA prints groups."""
    if found := re.search(r"replica_groups=\{\{([\d,]+)\}", attributes):
        return len(found.group(1).split(","))
    if found := re.search(r"replica_groups=\[(\d+),(\d+)\]<=", attributes):
        return int(found.group(2))
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", attributes):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", found.group(1)))
        return math.prod(int(sizes[x]) for x in re.findall(r"'(\w+)'", found.group(2)))
    return 2  # of a pair


def _first(shape: str) -> str:
    found = _ARRAY.search(shape)
    return found.group() if found else ""


def _hbm(shape: str) -> int:
    arrays = _ARRAY.findall(shape)
    return sum(_array_bytes(x) for x in arrays if _ON_CHIP not in x[2])


def _num_bytes(shape: str) -> int:
    return sum(map(_array_bytes, _ARRAY.findall(shape)))


def _array_bytes(array: tuple[str, str, str]) -> int:
    dtype, sizes, _ = array
    bits = 8 if dtype == "pred" else int((_BITS.search(dtype) or [0])[0])
    return math.prod(map(int, filter(None, sizes.split(",")))) * max(bits, 8) // 8
