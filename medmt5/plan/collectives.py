"""Which arrays a compiled step moves between chips, read from XLA's text of it."""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")

_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_COLLECTIVE = re.compile(rf"\s+(?:ROOT )?%?\S+ = (.+?) ({'|'.join(KINDS)})(-start)?\(")
_CALLS = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+\w*)\[([\d,]*)\]")
_TRIPS = re.compile(r'known_trip_count["\s:={]+n["\s:]+"?(\d+)')
_CONDITION = re.compile(r"condition=%?([\w.\-]+)")
# TPU's text does not say how often a loop runs: its condition compares a counter with a constant.
_CONSTANT = re.compile(r"= s32\[\]\S* constant\((\d+)\)")
_BELOW = re.compile(r"ROOT .* compare\(.*direction=LT")


class Collective(NamedTuple):
    """All collectives of one kind, of a step.

    Attributes:
      kind: one of `KINDS`.
      count: how often one is run in a step.
      sent: bytes that one chip sends, if each goes around a ring of its group.
      in_loop: how many of `count` are in a loop.
      unknown_loop: some are in a loop whose length XLA's text does not give; it counts as 1.
    """

    kind: str
    count: int
    sent: int
    in_loop: int
    unknown_loop: bool


def collectives(text: str, chips: int) -> list[Collective]:
    """Collectives in the text of a compiled program, by kind; those of one chip are left out.

    On TPU an asynchronous one is repeated in each part of a chain of fusions: its channel tells
    that it is one. There, too, a reduce-scatter is an all-reduce in a fusion of that name.
    """
    found: dict[tuple[str, str], tuple[str, str, int]] = {}
    calls: dict[str, list[tuple[str, float]]] = collections.defaultdict(list)
    bounds = _bounds(text)
    inside = entry = ""
    for number, line in enumerate(text.splitlines()):
        if start := _COMPUTATION.match(line):
            inside = start[2]
            entry = inside if start[1] else entry
        elif match := _COLLECTIVE.match(line):
            shapes, kind, asynchronous = match.groups()
            if kind == "all-reduce" and inside.startswith("all-reduce-scatter"):
                kind = "reduce-scatter"
                shapes = f"whole {shapes}"
            group = _group_size(line, chips)
            channel = re.search(r"channel_id=(\d+)", line)
            key = (kind, channel[1] if channel else f"line {number}")
            if group > 1 and key not in found:
                found[key] = (inside, kind, _sent(kind, shapes, bool(asynchronous), group))
        if " while(" in line:
            trips = _TRIPS.search(line)
            condition = _CONDITION.search(line)
            times = float(trips[1]) if trips else bounds.get(condition and condition[1], math.inf)
        else:
            times = 1.0
        called = _CALLS.findall(line)
        for branches in _BRANCHES.findall(line):
            called += [name.strip(" %") for name in branches.split(",")]
        calls[inside] += [(name, times) for name in called]
    runs = _runs(calls, entry)
    totals: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0, 0, 0])
    for where, kind, sent in found.values():
        times = runs.get(where, 1.0)
        unknown = math.isinf(times)
        count = 1 if unknown else int(times)
        total = totals[kind]
        total[0] += count
        total[1] += sent * count
        total[2] += count if times > 1 else 0
        total[3] |= unknown
    return [
        Collective(kind, *totals[kind][:3], bool(totals[kind][3]))
        for kind in KINDS
        if kind in totals
    ]


def _bounds(text: str) -> dict[str | None, float]:
    """Of each computation that compares a counter with one constant: that constant."""
    found: dict[str | None, float] = {}
    inside, constants = "", []
    for line in text.splitlines():
        if start := _COMPUTATION.match(line):
            inside, constants = start[2], []
        elif constant := _CONSTANT.search(line):
            constants.append(float(constant[1]))
        elif _BELOW.search(line) and len(constants) == 1:
            found[inside] = constants[0]
    return found


def _runs(calls: Mapping[str, Iterable[tuple[str, float]]], entry: str) -> dict[str, float]:
    """How often each computation runs in a step; infinite in a loop of unknown length."""
    runs: dict[str, float] = {}

    def visit(name: str, times: float) -> None:
        if runs.get(name, 0.0) >= times:
            return
        runs[name] = times
        for inner, trips in calls.get(name, ()):
            visit(inner, times * trips)

    visit(entry, 1.0)
    return runs


def _group_size(line: str, chips: int) -> int:
    """How many chips take part together."""
    if axes := re.search(r"replica_groups=mesh\[([^\]]*)\] ?\{([^}]*)\}", line):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", axes[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", axes[2]))
    if grid := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(grid[1])
    if groups := re.search(r"replica_groups=\{\{([\d,]*)\}", line):
        return len(groups[1].split(","))
    return chips


def _sent(kind: str, shapes: str, asynchronous: bool, group: int) -> int:
    """Bytes that one chip sends around a ring.

    Args:
      kind: of the collective.
      shapes: of its results, or for some `-start` forms of operands and results.
      asynchronous: its `-start` form.
      group: chips that take part.
    """
    whole = shapes.startswith("whole ")
    shapes = re.sub(r"\{[^}]*\}", "", shapes)  # layouts
    arrays = _ARRAY.findall(shapes)
    if shapes.startswith("(("):  # ((operands), (results))
        arrays = arrays[len(_ARRAY.findall(shapes[: shapes.index(")")])) :]
    elif asynchronous and kind != "all-reduce":  # (operand, result, ...)
        arrays = arrays[1:2]
    size = sum(
        math.prod(int(side) for side in sides.split(",") if side) * _width(dtype)
        for dtype, sides in arrays
    )
    if kind == "collective-permute":
        return size
    if kind == "reduce-scatter" and not whole:
        return size * (group - 1)
    rounds = 2 if kind == "all-reduce" else 1
    return rounds * size * (group - 1) // group


def _width(dtype: str) -> int:
    """Bytes of an element: `bf16`, `f8e4m3`, `pred`, `s32`."""
    bits = re.search(r"\d+", dtype)
    return max(1, int(bits[0]) // 8) if bits else 1
