"""Which examples share a row: best fit over sizes alone, before any example is made."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int


def pack(sizes: Int[np.ndarray, "examples 2"], lengths: Mapping[str, int]) -> list[list[int]]:
    """Group examples into rows: longest first, each into the fullest row that still takes it.

    Args:
      sizes: tokens of inputs and targets of each example, none more than `lengths`.
      lengths: of a row.

    Returns:
      Indices of the examples of each row; no example is lost.
    """
    capacity = np.array([lengths["inputs"], lengths["targets"]])
    least = sizes.min(axis=0)
    if (sizes == least).all():  # span corruption: nothing to search for
        count = int((capacity // least).min())
        return [list(range(i, min(i + count, len(sizes)))) for i in range(0, len(sizes), count)]
    rows: list[list[int]] = []
    room = np.empty((len(sizes), 2), np.int64)  # of rows that may still take something
    share = np.empty(len(sizes))  # of the room
    row_of = np.empty(len(sizes), np.int64)
    opened = 0
    for i in np.argsort(-(sizes / capacity).max(axis=1), kind="stable"):
        size = sizes[i]
        left = room[:opened]
        fits = np.flatnonzero((left[:, 0] >= size[0]) & (left[:, 1] >= size[1]))
        if len(fits):
            best = int(fits[share[fits].argmin()])
            rows[row_of[best]].append(int(i))
        else:
            best, opened = opened, opened + 1
            room[best] = capacity
            row_of[best] = len(rows)
            rows.append([int(i)])
        room[best] -= size
        if (room[best] >= least).all():
            share[best] = (room[best] / capacity).sum()
        else:  # closed: the last open row takes its place
            opened -= 1
            room[best], share[best], row_of[best] = room[opened], share[opened], row_of[opened]
    return rows


def fill(
    sizes: Int[np.ndarray, "examples 2"], rows: int, lengths: Mapping[str, int]
) -> tuple[float, float]:
    """Shares of the places of `rows` rows that examples fill: of inputs, and of both sides."""
    capacity = np.array([lengths["inputs"], lengths["targets"]]) * rows
    filled = np.minimum(sizes, [lengths["inputs"], lengths["targets"]]).sum(axis=0)
    return float(filled[0] / capacity[0]), float(filled.sum() / capacity.sum())


def suggested_targets(sizes: Int[np.ndarray, "examples 2"], inputs: int) -> int:
    """The targets' row length that wastes least: a multiple of 8, or what one size needs exactly.

    Rows in the data's own ratio of targets to inputs fill on both sides at once; best fit wants a
    little more than that, and how much depends on the sizes, so lengths near it are tried.

    Args:
      sizes: tokens of inputs and targets of some hundred examples or more.
      inputs: row length of the inputs.
    """
    sizes = sizes[(sizes[:, 0] <= inputs) & (sizes > 0).all(axis=1)]
    if not len(sizes):
        raise ValueError(f"no example has {inputs} input tokens or fewer; use longer rows")
    exact = inputs * sizes[:, 1].sum() / sizes[:, 0].sum()
    widest, longest = sizes.max(axis=0).tolist()
    wanted = {-(-max(round(exact * more), longest) // 8) * 8 for more in np.arange(0.98, 1.1, 0.01)}
    wanted.add(inputs // widest * longest)

    def waste(targets: int) -> float:
        lengths = {"inputs": inputs, "targets": targets}
        return -fill(sizes, len(pack(sizes, lengths)), lengths)[1]

    return min(sorted(wanted), key=waste)
