"""The chips that a plan can be made for, and how many of them a topology's name means.

Only what their makers publish: nothing here is measured, and there are no prices.
"""

from __future__ import annotations

import dataclasses
import math
import re

GPUS_PER_HOST = 8
# TPUs lay arrays out in tiles of 128: of shards that are smaller XLA gathers and reduces the whole.
TILE = 128
MAX_CPUS = 1024


@dataclasses.dataclass(frozen=True)
class Chip:
    """One accelerator; None for what is not published.

    Attributes:
      kind: its name.
      platform: "tpu", "gpu" or "cpu".
      flops: peak dense bf16 FLOP/s.
      memory: bytes that a program can have.
      memory_bandwidth: bytes per second.
      interconnect: bytes per second that a chip sends, while it receives as many, to the others of
        its slice (TPU) or host (GPU).
    """

    kind: str
    platform: str
    flops: float | None = None
    memory: int | None = None
    memory_bandwidth: float | None = None
    interconnect: float | None = None


# TPU: docs.cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e}. The pages give the interconnect of v5e, v5p
# and v6e in both directions together: half is taken. That of v4 is its pod's all-reduce bandwidth,
# 1.1 PB/s, over 4,096 chips; for v5e and v6e the same quotient gives the same half.
# GPU: NVIDIA's data sheets of the SXM modules, as other pages quote them; NVLink is 600 GB/s (A100)
# and 900 GB/s (H100, H200) in both directions. Their memory is what the driver reports, from XLA's
# device specifications (openxla/xla, xla/backends/gpu/target_config/specs).
CHIPS = {
    "v4": Chip("TPU v4", "tpu", 275e12, 32 * 2**30, 1200e9, 1.1e15 / 4096),
    "v5e": Chip("TPU v5e", "tpu", 197e12, 16 * 2**30, 819e9, 200e9),
    "v5p": Chip("TPU v5p", "tpu", 459e12, 95 * 2**30, 2765e9, 600e9),
    "v6e": Chip("TPU v6e", "tpu", 918e12, 32 * 2**30, 1600e9, 400e9),
    "a100-40gb": Chip("NVIDIA A100", "gpu", 312e12, 42_331_013_120, 1555e9, 300e9),
    "a100-80gb": Chip("NVIDIA A100", "gpu", 312e12, 85_100_068_864, 2039e9, 300e9),
    "h100": Chip("NVIDIA H100", "gpu", 989e12, 84_942_979_072, 3352e9, 450e9),
    "h200": Chip("NVIDIA H200", "gpu", 989e12, 151_397_597_184, 4800e9, 450e9),
    "cpu": Chip("CPU", "cpu"),
}

# Slices that Google offers, by the number in their name. Names of v4 and v5p count TensorCores, of
# which a chip has two; names of v5e and v6e count chips.
_FLAT = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
_DEEP = {
    8: "2x2x1",
    16: "2x2x2",
    32: "2x2x4",
    64: "2x4x4",
    128: "4x4x4",
    256: "4x4x8",
    512: "4x8x8",
    1024: "8x8x8",
    2048: "8x8x16",
    4096: "8x16x16",
    8192: "16x16x16",
}
SLICES = {"v4": _DEEP, "v5e": _FLAT, "v5p": _DEEP, "v6e": _FLAT}


@dataclasses.dataclass(frozen=True)
class Topology:
    """So many chips of a kind, as wired together.

    Attributes:
      name: as given.
      generation: a key of `CHIPS`.
      chips: how many; a mesh has one device for each.
      shape: sides of a TPU slice, or hosts and GPUs of each.
    """

    name: str
    generation: str
    chips: int
    shape: tuple[int, ...]

    @property
    def chip(self) -> Chip:
        return CHIPS[self.generation]


def accepted() -> str:
    """The names that `topology` takes."""
    slices = [f"{name}-{{{','.join(map(str, sizes))}}}" for name, sizes in SLICES.items()]
    counted = [f"{name}-N" for name, chip in CHIPS.items() if chip.platform == "gpu"]
    hosts = f"N from 1 to {GPUS_PER_HOST}, or a multiple of {GPUS_PER_HOST}"
    return f"{', '.join(slices)} (v4 and v5p count two cores per chip, as Google's names do); " + (
        f"{', '.join(counted)} ({hosts}); cpu-N (N simulated devices)"
    )


def topology(name: str) -> Topology:
    """The topology of this name, such as v5e-16 or h100-8.

    Raises:
      ValueError: an unknown name, with those there are.
    """
    generation, _, digits = name.rpartition("-")
    refusal = ValueError(f"topology {name!r} is unknown; use {accepted()}")
    if generation not in CHIPS or not re.fullmatch(r"[1-9]\d{0,5}", digits):
        raise refusal
    number, platform = int(digits), CHIPS[generation].platform
    if platform == "tpu":
        if number not in SLICES[generation]:
            raise refusal
        shape = tuple(int(side) for side in SLICES[generation][number].split("x"))
        return Topology(name, generation, math.prod(shape), shape)
    if platform == "gpu":
        hosts = max(1, number // GPUS_PER_HOST)
        if number % hosts or number // hosts > GPUS_PER_HOST:
            raise refusal
        return Topology(name, generation, number, (hosts, number // hosts))
    if number > MAX_CPUS:
        raise refusal
    return Topology(name, generation, number, (number,))
