"""Where arrays live: the mesh, and one table from logical axis names to mesh axes.

Parameters carry logical axes (`layers.parameter`); this file turns them into shardings. What is
sharded and when is the compiler's business, except for the batch, which `shard_rows` pins down.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

Rules = Mapping[str, str | None]

log = logging.getLogger(__name__)

MESH_AXES = ("data", "fsdp", "model")
BATCH_AXES = ("data", "fsdp")

# One row per logical axis of a parameter. `embed` is split over fsdp (each weight is gathered
# just before use), the wide axes over model (tensor parallelism).
RULES: Rules = {
    "embed": "fsdp",
    "vocab": "model",
    "mlp": "model",
    "joined_kv": "model",
    "heads": "model",
    "relpos_buckets": None,
}


def make_mesh(
    data: int = -1, fsdp: int = 1, model: int = 1, devices: Sequence[Any] | None = None
) -> Mesh:
    """The mesh ('data', 'fsdp', 'model').

    Args:
      data: copies of the model; -1 takes all devices that the other axes leave.
      fsdp: devices that share one copy's weights and split the batch.
      model: devices that split the matrices themselves (tensor parallelism).
      devices: devices to use; all by default.

    Raises:
      ValueError: the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    if data == -1:
        data = max(1, len(devices) // (fsdp * model))
    if data * fsdp * model != len(devices):
        raise ValueError(
            f"mesh data={data} x fsdp={fsdp} x model={model} asks for {data * fsdp * model} "
            f"devices, but there are {len(devices)}; change the sizes (data=-1 takes what is left)"
        )
    # Auto on every axis: make_mesh's default has become Explicit, which rejects plain einsums.
    return jax.make_mesh(
        (data, fsdp, model), MESH_AXES, axis_types=(AxisType.Auto,) * 3, devices=devices
    )


def batch_shards(mesh: Mesh) -> int:
    """Over how many parts a batch is split."""
    return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def check_batch_size(batch_size: int, mesh: Mesh, *, name: str = "BATCH_SIZE") -> None:
    """Raise ValueError, with the nearest sizes that work, unless the batch divides."""
    shards = batch_shards(mesh)
    if batch_size <= 0 or batch_size % shards:
        below, above = batch_size // shards * shards, -(-batch_size // shards) * shards
        near = " or ".join(str(size) for size in dict.fromkeys((below, above)) if size > 0)
        raise ValueError(
            f"{name} {batch_size} does not divide over {shards} data shards; "
            f"use {near or shards}, or change MESH"
        )


def batch_sharding(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def parameter_sharding(
    shape: Sequence[int], axes: Sequence[str], mesh: Mesh, rules: Rules = RULES
) -> NamedSharding:
    """The sharding of one parameter.

    A dimension that its mesh axis does not divide (6 heads over 4 devices) is kept whole; where
    that costs more than a megabyte per device it is logged.

    Raises:
      ValueError: an axis name has no rule.
    """
    spec: list[str | None] = []
    for size, axis in zip(shape, axes, strict=True):
        if axis not in rules:
            raise ValueError(f"axis {axis!r} has no sharding rule; rules cover {sorted(rules)}")
        target = rules[axis]
        if target is not None and size % mesh.shape[target]:
            if math.prod(shape) * 4 > 2**20:
                log.warning(
                    "axis %s of size %d does not divide over %d %s devices and is kept whole",
                    axis, size, mesh.shape[target], target,
                )  # fmt: skip
            target = None
        spec.append(target)
    return NamedSharding(mesh, PartitionSpec(*spec))


def shard_rows(x: Array) -> Array:
    """Split the leading axis of an activation over the batch axes of the mesh in force, if any."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or x.shape[0] % math.prod(mesh.shape[axis] for axis in BATCH_AXES):
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(BATCH_AXES))
