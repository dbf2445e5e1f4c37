"""Bytes of one chip by count, and what would make a step fit that does not: nothing is compiled."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from jax.sharding import AbstractMesh

from medmt5.models.stack import REMAT_POLICIES
from medmt5.partitioning import MESH_AXES
from medmt5.plan.chips import GPUS_PER_HOST, SLICES, TILE, Topology, topology
from medmt5.plan.costs import Shapes, bytes_per_chip, placed

MAX_GPUS = 1024


@dataclasses.dataclass(frozen=True)
class Setting:
    """What decides the bytes of one chip, besides the model and its optimizer."""

    topology: Topology
    data: int
    fsdp: int
    model: int
    batch_size: int
    num_microbatches: int
    remat_policy: str = "none"

    @property
    def rows(self) -> float:
        """Rows of one microbatch on one chip."""
        return self.batch_size / (self.data * self.fsdp * self.num_microbatches)


class Memory(NamedTuple):
    """Bytes of one chip, by count.

    Attributes:
      state: parameters, optimizer slots and batch.
      gradients: of the trained parameters; twice with microbatches, a sum and a summand.
      activations: kept for the backward pass, of one microbatch. What the model axis splits of
        them is not told apart: they count whole.
    """

    state: int
    gradients: int
    activations: int

    @property
    def least(self) -> int:
        """What no compiler gets far below."""
        return self.state + self.gradients

    @property
    def total(self) -> int:
        return self.least + self.activations


class Change(NamedTuple):
    """One way to fit: what to add to the command line, what it costs, estimated bytes of a chip."""

    flags: str
    price: str
    bytes: int


class Counter:
    """Counts the bytes of one recipe in any setting.

    Args:
      shapes: of its arrays.
      per_row: from a rematerialisation policy to `costs.activation_bytes_per_row`.
    """

    def __init__(self, shapes: Shapes, per_row: Callable[[str], int]):
        self._shapes, self._per_row = shapes, functools.cache(per_row)

    def memory(self, setting: Setting) -> Memory:
        mesh = AbstractMesh((setting.data, setting.fsdp, setting.model), MESH_AXES)
        state, batch = placed(self._shapes, mesh)
        rows = sum(leaf.shape[1] * leaf.dtype.itemsize for leaf in batch if leaf is not None)
        return Memory(
            state=bytes_per_chip(state) + math.ceil(setting.rows) * rows,
            gradients=bytes_per_chip(state.params) * (1 + (setting.num_microbatches > 1)),
            activations=math.ceil(self._per_row(setting.remat_policy) * setting.rows),
        )

    def changes(self, now: Setting, *, available: int, measured: int | None) -> Iterator[Change]:
        """Changes that are estimated to make a setting fit: of each kind, the smallest.

        Args:
          now: does not fit.
          available: bytes of one chip.
          measured: what the compiler needed; activations are scaled to agree with it.
        """
        counted = self.memory(now)
        scale = 1.0
        if measured is not None and counted.activations:
            scale = max(measured - counted.least, 0) / counted.activations
        for kind in _kinds(now):
            for flags, price, setting in kind:
                memory = self.memory(setting)
                needed = memory.least + math.ceil(scale * memory.activations)
                if setting.rows == int(setting.rows) and needed <= available:
                    yield Change(flags, price + self._tiles(setting), needed)
                    if "MICROBATCHES" in flags:
                        return
                    break

    def _tiles(self, setting: Setting) -> str:
        width = self._shapes.architecture.shapes["token_embedder"]["embedding"].shape[1]
        if setting.topology.chip.platform == "tpu" and width / setting.fsdp < TILE:
            return f"; fsdp shards of {width / setting.fsdp:g} columns: TPUs want {TILE}"
        return ""


Candidates = Iterator[tuple[str, str, Setting]]


def _kinds(now: Setting) -> Iterator[Candidates]:
    """Kinds of change, those that matter least first; in each, from the smallest on."""
    shards = now.data * now.fsdp
    wide = dataclasses.replace(now, data=1, fsdp=shards)
    flag = f"--gin.partitioning.make_mesh.fsdp={shards}"
    if wide != now:
        yield iter([(flag, "the same update; weights are gathered from more chips", wide)])
    yield _rematerialised(now)
    yield _more_chips(now)
    yield _microbatches(now, "")
    if wide != now:
        yield _microbatches(wide, f"{flag} ")
    yield _smaller_batches(now)


def _doublings(start: int, limit: int) -> Iterator[int]:
    while (start := 2 * start) <= limit:
        yield start


def _rematerialised(now: Setting) -> Candidates:
    policies = tuple(REMAT_POLICIES)
    for policy in policies[policies.index(now.remat_policy) + 1 :]:
        price = "the same update; a part of the forward pass is computed twice"
        setting = dataclasses.replace(now, remat_policy=policy)
        yield f"--gin.REMAT_POLICY=\"'{policy}'\"", price, setting


def _microbatches(now: Setting, flags: str) -> Candidates:
    for parts in _doublings(now.num_microbatches, now.batch_size // (now.data * now.fsdp)):
        setting = dataclasses.replace(now, num_microbatches=parts)
        price = "the same update; weights are read once per microbatch"
        yield f"{flags}--gin.NUM_MICROBATCHES={parts}", price, setting


def _smaller_batches(now: Setting) -> Candidates:
    rows = now.batch_size // 2
    while rows >= now.data * now.fsdp * now.num_microbatches:
        setting = dataclasses.replace(now, batch_size=rows)
        yield f"--gin.BATCH_SIZE={rows}", "another training run: more and smaller steps", setting
        rows //= 2


def _more_chips(now: Setting) -> Candidates:
    generation = now.topology.generation
    if now.topology.chip.platform == "cpu":
        return
    sizes = SLICES.get(generation) or _doublings(GPUS_PER_HOST // 2, MAX_GPUS)
    names = [f"{generation}-{size}" for size in sizes]
    for larger in map(topology, names):
        if larger.chips <= now.topology.chips or larger.chips % now.model:
            continue
        fsdp = larger.chips // now.model
        setting = dataclasses.replace(now, topology=larger, data=1, fsdp=fsdp)
        flags = f"--topology {larger.name} --gin.partitioning.make_mesh.fsdp={fsdp}"
        yield flags, "more chips", setting
