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
import numpy as np
from jax.experimental import mesh_utils
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
    "rank": None,
    "prompt": None,
}


# JAX may lay an axis along part of a side of these slices; `jax.make_mesh` has the same list.
_SIDES_MAY_BE_SPLIT = ("TPU v5 lite", "TPU v5e")


def make_mesh(
    data: int = -1, fsdp: int = 1, model: int = 1, devices: Sequence[Any] | None = None
) -> Mesh:
    """The mesh ('data', 'fsdp', 'model').

    Args:
      data: copies of the model; -1 takes all devices that the other axes leave.
      fsdp: devices that share one copy's weights and split the batch.
      model: devices that split the matrices themselves (tensor parallelism).
      devices: devices to use; all of all processes by default.

    Raises:
      ValueError: the sizes do not multiply to the number of devices, or do not suit how these are
        connected.
    """
    devices = list(jax.devices() if devices is None else devices)
    for name, size in zip(MESH_AXES, (data, fsdp, model), strict=True):
        whole = isinstance(size, int) and not isinstance(size, bool)
        if not whole or (size < 1 and (name, size) != ("data", -1)):
            raise ValueError(
                f"mesh {name} is {size!r}; use a number of devices, 1 or more (data=-1 takes what "
                "the others leave)"
            )
    if data == -1:
        data = max(1, len(devices) // (fsdp * model))
    if data * fsdp * model != len(devices):
        raise ValueError(
            f"mesh data={data} x fsdp={fsdp} x model={model} asks for {data * fsdp * model} "
            f"devices, but there are {len(devices)}; change the sizes (data=-1 takes what is left)"
        )
    # Auto on every axis: plain einsums, whose shardings are the compiler's business.
    return Mesh(grid(data, fsdp, model, devices), MESH_AXES, axis_types=(AxisType.Auto,) * 3)


def grid(data: int, fsdp: int, model: int, devices: Sequence[Any]) -> np.ndarray:
    """The devices as an array (data, fsdp, model), neighbours close together in the network.

    Of several slices (JAX's word: TPU slices; GPUs that NVLink joins, mostly a host's) each holds
    whole copies, so that between slices go gradients alone. GPUs may share a copy between hosts
    all the same, which is logged.

    Raises:
      ValueError: a TPU slice would hold parts of a copy, or an axis does not lie along its sides.
    """
    try:
        return _grid(data, fsdp, model, devices)
    except NotImplementedError as error:
        fitting = [n for n in range(1, len(devices) + 1) if _fits(n, model, devices)]
        sides = np.ptp([device.coords for device in devices], axis=0) + 1
        raise ValueError(
            f"mesh data={data} x fsdp={fsdp} x model={model} does not lie along the sides "
            f"{' x '.join(map(str, sides))} of a slice: each axis has to be a product of whole "
            f"sides; use fsdp={' or '.join(map(str, fitting))}"
        ) from error


def _grid(data: int, fsdp: int, model: int, devices: Sequence[Any]) -> np.ndarray:
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    options = {"allow_split_physical_axes": devices[0].device_kind in _SIDES_MAY_BE_SPLIT}
    if slices == 1:
        return mesh_utils.create_device_mesh((data, fsdp, model), devices, **options)
    if data % slices == 0:
        return mesh_utils.create_hybrid_device_mesh(
            (data // slices, fsdp, model), (slices, 1, 1), devices, **options
        )
    size = len(devices) // slices
    problem = (
        f"mesh data={data} x fsdp={fsdp} x model={model}: {data} copies are not whole ones in each "
        f"of {slices} slices of {size} devices"
    )
    if devices[0].platform == "tpu":
        raise ValueError(f"{problem}; fsdp x model has to divide {size}, data=-1 does the rest")
    log.warning("%s: weights are gathered between hosts", problem)
    return mesh_utils.create_device_mesh((data, fsdp, model), devices)


def _fits(fsdp: int, model: int, devices: Sequence[Any]) -> bool:
    data, left = divmod(len(devices), fsdp * model)
    try:
        return not left and _grid(data, fsdp, model, devices).size > 0
    except (NotImplementedError, ValueError):
        return False


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
      ValueError: an axis name has no rule, or two axes of the parameter are split over the same
        devices.
    """
    spec: list[str | None] = []
    taken: dict[str, str] = {}
    for size, axis in zip(shape, axes, strict=True):
        if axis not in rules:
            raise ValueError(f"axis {axis!r} has no sharding rule; rules cover {sorted(rules)}")
        target = rules[axis]
        if target in taken:
            raise ValueError(
                f"a parameter has the axes {tuple(axes)}, and the rules split both "
                f"{taken[target]!r} and {axis!r} over {target!r}; give one of the two another mesh "
                "axis, or None"
            )
        if target is not None:
            if target not in mesh.shape:
                raise ValueError(
                    f"the rule of axis {axis!r} names {target!r}; the mesh has the axes "
                    f"{', '.join(mesh.axis_names)}"
                )
            taken[target] = axis
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


def on_all_devices(tree: Any) -> Any:
    """Give every device of the mesh in force, if any, the whole of some arrays of the host.

    All processes bring the same ones: a program over the devices of all takes no arrays of one.
    """
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return tree

    def place(x: Any) -> Array:
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, replicated(mesh), lambda at: host[at])

    return jax.tree.map(place, tree)


def gather(tree: Any) -> Any:
    """Inside jit: have results whole on every device, so that every process can read them."""
    if jax.sharding.get_abstract_mesh().empty:
        return tree
    return jax.lax.with_sharding_constraint(tree, PartitionSpec())
