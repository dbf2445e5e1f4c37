"""Compiles a step for chips that are not here, and reads off what it takes.

The compiler is the chip's own where it is installed: libtpu for TPU, JAX's CUDA plugin for GPU;
neither needs a chip. Otherwise the step is compiled for as many simulated CPU devices: what a chip
holds between steps is the same, what the step needs in between is then that of the CPU's compiler.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import re
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from medmt5 import partitioning
from medmt5.plan.chips import Chip, Topology
from medmt5.plan.collectives import Collective, collectives
from medmt5.plan.costs import Program
from medmt5.plan.recipe import Recipe

log = logging.getLogger(__name__)

CHOICES = ("auto", "tpu", "gpu", "simulated", "none")
PLUGINS = {"tpu": ("libtpu",), "gpu": ("jax_plugins.xla_cuda13", "jax_plugins.xla_cuda12")}
INSTALL = {
    "tpu": "pip install 'medmt5[plan]'",
    # Alone: the package that it belongs to brings 3 GB of libraries for running what it compiles.
    "gpu": f"pip install jax-cuda13-pjrt=={jax.__version__}",
}

_ENVIRONMENT = {
    # libtpu looks for the TPU machine that it runs on; there is none.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v4-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_LOG_DIR": "disabled",
    # Its lock is for programs that use the same chips.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    # The same of CUDA: no GPU, none of its libraries.
    "CUDA_VISIBLE_DEVICES": "-1",
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
}

# What XLA asks of a GPU, from NVIDIA's programming guide (compute capabilities 8.0 and 9.0) and
# data sheets. It chooses kernels by these.
_GPU = """gpu_device_info {{
  threads_per_block_limit: 1024  threads_per_warp: 32  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  thread_dim_limit_x: 1024  thread_dim_limit_y: 1024  thread_dim_limit_z: 64
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
  shared_memory_per_block: 49152
  memory_bandwidth: {bandwidth}  device_memory_size: {memory}
  {processors}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9  minor: 10 }}
device_description_str: "{kind}"
"""
_PROCESSORS = {
    "NVIDIA A100": """core_count: 108  fpus_per_core: 64  clock_rate_ghz: 1.41
  l2_cache_size: 41943040  shared_memory_per_core: 167936  shared_memory_per_block_optin: 166912
  cuda_compute_capability {{ major: 8 }}""",
    "NVIDIA H100": """core_count: 132  fpus_per_core: 128  clock_rate_ghz: 1.98
  l2_cache_size: 52428800  shared_memory_per_core: 233472  shared_memory_per_block_optin: 232448
  cuda_compute_capability {{ major: 9 }}""",
}
_PROCESSORS["NVIDIA H200"] = _PROCESSORS["NVIDIA H100"]


class Compiled(NamedTuple):
    """What a compiled step takes of one chip, in bytes.

    Attributes:
      seconds: compilation took.
      arguments: state and batch, as the compiler lays them out.
      temporaries: what the step needs besides; results that do not take the arguments' place too.
      code: the program itself, where it lies in the chip's memory (TPU).
      traffic: bytes read from and written to memory in a step, by the compiler's own count; it
        includes what stays on the chip. None if it does not count.
      collectives: what is moved between chips.
    """

    seconds: float
    arguments: int
    temporaries: int
    code: int
    traffic: float | None
    collectives: Sequence[Collective]

    @property
    def peak(self) -> int:
        return self.arguments + self.temporaries + self.code


class DoesNotFit(Exception):
    """The compiler found no way to fit the step into the chip's memory.

    Attributes:
      needed, available: bytes, if it said so.
    """

    def __init__(self, needed: int | None, available: int | None):
        super().__init__(f"needs {needed} bytes of {available}")
        self.needed, self.available = needed, available


def installed(platform: str) -> bool:
    """Whether the compiler of this platform's chips is here."""
    return any(_found(name) for name in PLUGINS.get(platform, ()))


def _found(module: str) -> bool:
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.util.find_spec(module) is not None
    return False


def choose_compiler(topology: Topology, choice: str) -> str:
    """One of "tpu", "gpu", "simulated" and "none".

    Raises:
      ValueError: an unknown choice, one for other chips, or one that is not installed.
    """
    platform = topology.chip.platform
    if choice not in CHOICES:
        raise ValueError(f"--compile is {choice!r}; use {', '.join(CHOICES)}")
    if choice == "auto":
        return platform if installed(platform) else "simulated"
    if choice in PLUGINS and choice != platform:
        raise ValueError(
            f"--compile {choice} does not compile for {topology.name}; use auto, simulated or none"
        )
    if choice in PLUGINS and not installed(platform):
        raise ValueError(
            f"--compile {choice} needs {PLUGINS[choice][0]}: {INSTALL[choice]}; or use simulated"
        )
    return choice


def prepare(chips: int) -> None:
    """Make this process one of simulated devices that can load compilers; before JAX is used."""
    os.environ.update(_ENVIRONMENT)
    for name in ("jax._src.xla_bridge", "jax_plugins"):  # "no GPU", as intended
        logging.getLogger(name).setLevel(logging.CRITICAL)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", chips)


def devices(topology: Topology, compiler: str) -> list[Any]:
    """Devices to compile for: of the topology, or simulated ones of this process."""
    chip = topology.chip
    if compiler not in PLUGINS:
        return jax.devices("cpu")[: topology.chips]
    from jax.experimental import topologies

    sides = "x".join(map(str, topology.shape))
    if compiler == "tpu":
        # Without it, two cores of a v4 chip are two devices.
        options = {"chip_config_name": "megacore"} if topology.generation == "v4" else {}
        name = f"{topology.generation}:{sides}"
    else:
        options = {"target_config": gpu_description(chip), "topology": f"1x{sides}"}
        name = topology.generation
    platform = {"tpu": "tpu", "gpu": "cuda"}[compiler]
    return list(
        topologies.get_topology_desc(platform=platform, topology_name=name, **options).devices
    )


def mesh_of(recipe: Recipe, topology: Topology, compiler: str) -> Mesh:
    """The recipe's mesh, over the devices to compile for.

    Raises:
      ValueError: its axes cannot be laid along the sides of a TPU slice.
    """
    if compiler not in PLUGINS:
        return recipe.mesh
    return partitioning.make_mesh(*recipe.mesh.devices.shape, devices=devices(topology, compiler))


def gpu_description(chip: Chip) -> str:
    """XLA's `GpuTargetConfigProto`, as text."""
    return _GPU.format(
        bandwidth=int(chip.memory_bandwidth or 0),
        memory=chip.memory,
        processors=_PROCESSORS[chip.kind].replace("{{", "{").replace("}}", "}"),
        kind=chip.kind,
    )


def compile_step(program: Program) -> Compiled:
    """Compile for the devices of the program's mesh.

    Raises:
      DoesNotFit: the compiler says so. TPU's does; the others compile what does not fit.
    """
    platform = {"gpu": "cuda"}.get(kind := program.mesh.devices.flat[0].platform, kind)
    began = time.monotonic()
    with jax.set_mesh(program.mesh):
        lowered = program.trace().lower(lowering_platforms=(platform,))
        try:
            compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise _shortage(str(error)) from error
    memory = compiled.memory_analysis()
    on_tpu = platform == "tpu"
    counted = compiled.cost_analysis() if on_tpu else None
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Compiled(
        seconds=time.monotonic() - began,
        arguments=memory.argument_size_in_bytes,
        temporaries=memory.temp_size_in_bytes + results,
        code=memory.generated_code_size_in_bytes if on_tpu else 0,
        traffic=counted.get("bytes accessed") if counted else None,
        collectives=collectives(compiled.as_text(), program.mesh.size),
    )


def _shortage(message: str) -> DoesNotFit:
    """`Used 21.24G of 15.75G hbm`, as bytes."""
    found = re.search(r"Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT]) hbm", message)
    if found is None:
        return DoesNotFit(None, None)
    units = {unit: 2 ** (10 * power) for power, unit in enumerate("KMGT", start=1)}
    sizes = [int(float(found[i]) * units[found[i + 1]]) for i in (1, 3)]
    return DoesNotFit(*sizes)
