"""The plan of one step, in order: count, compile, estimate, advise."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any

from medmt5.plan import compile as compiling
from medmt5.plan import costs
from medmt5.plan.advice import Counter, Memory, Setting
from medmt5.plan.chips import Topology
from medmt5.plan.compile import Compiled, DoesNotFit
from medmt5.plan.costs import Program, Shapes
from medmt5.plan.estimate import step_time
from medmt5.plan.recipe import Recipe
from medmt5.state import count_parameters

Report = dict[str, Any]


def plan(
    recipe: Recipe,
    topology: Topology,
    *,
    compiler: str,
    tokens: float | None = None,
    price: float | None = None,
    tell: Callable[[str, Report], None] = lambda section, report: None,
) -> Report:
    """Count, compile and estimate one step of a recipe.

    Args:
      recipe: its mesh has as many devices as the topology has chips.
      topology: the chips.
      compiler: one of those of `compile.choose_compiler`.
      tokens: source tokens that training is to see, padding included.
      price: of one chip for an hour.
      tell: gets the name of each section when it is known, with the report so far, and
        "compiling" before that begins.

    Returns:
      The report: values by name in the sections `recipe`, `flops`, `counted`, `compiled`, `time`
      and `verdict`; bytes of one chip, seconds, FLOPs.

    Raises:
      ValueError: batch, mesh and chips do not go together.
    """
    shapes = costs.shapes(recipe)
    program = costs.program(recipe, shapes, compiling.mesh_of(recipe, topology, compiler))
    setting = Setting(
        topology,
        *(program.mesh.shape[axis] for axis in ("data", "fsdp", "model")),
        recipe.batch_size,
        recipe.num_microbatches,
        recipe.model.remat_policy,
    )
    report: Report = {}

    def add(section: str, values: Report | None) -> None:
        report[section] = values
        if values is not None:
            tell(section, report)

    add("recipe", _recipe(recipe, shapes, topology))
    add("flops", _flops(recipe, program))

    def per_row(remat_policy: str) -> int:
        model = dataclasses.replace(recipe.model, remat_policy=remat_policy)
        one = program.mesh.devices.flat[0]
        return costs.activation_bytes_per_row(dataclasses.replace(recipe, model=model), one)

    counter = Counter(shapes, per_row)
    counted = counter.memory(setting)
    available = topology.chip.memory or _machine_memory() // topology.chips
    add("counted", _counted(program, counted) | {"available": available})
    taken = None
    needed: int | None = counted.total
    if compiler == "none":
        add("compiled", None)
    else:
        tell("compiling", report)
        try:
            taken = compiling.compile_step(program)
            needed = taken.peak
            add("compiled", {"compiler": compiler, **_compiled(taken)})
        except DoesNotFit as short:
            needed, available = short.needed, short.available or available
            add("compiled", {"compiler": compiler, "peak": needed})
    own = taken if compiler != "simulated" else None
    add("time", _time(recipe, topology, report["flops"], counted, taken, own, tokens, price))
    refused = compiler != "none" and taken is None
    fits = not refused and needed is not None and needed <= available
    changes = []
    if not fits:
        measured = None if compiler == "none" else needed
        found = counter.changes(setting, available=available, measured=measured)
        changes = [change._asdict() for change in found]
    add(
        "verdict",
        {
            "fits": fits,
            "needed": needed,
            "available": available,
            "at_least": counted.least,
            "changes": changes,
        },
    )
    return report


def _recipe(recipe: Recipe, shapes: Shapes, topology: Topology) -> Report:
    trained = count_parameters(shapes.state.params)
    mesh = {axis: int(size) for axis, size in recipe.mesh.shape.items()}
    return {
        "parameters": trained + count_parameters(shapes.state.frozen),
        "trained": trained,
        "batch_size": recipe.batch_size,
        "source": recipe.source,
        "target": recipe.target,
        "num_microbatches": recipe.num_microbatches,
        "source_tokens_per_step": recipe.batch_size * recipe.source,
        "topology": topology.name,
        "chip": topology.chip.kind,
        "platform": topology.chip.platform,
        "chips": topology.chips,
        "mesh": mesh,
        "columns": recipe.model.emb_dim / mesh["fsdp"],
    }


def _flops(recipe: Recipe, program: Program) -> Report:
    """FLOPs of matrix products: `model` is what MFU counts, `step` what is computed."""
    forward = costs.forward_flops(
        recipe.model, rows=recipe.batch_size, source=recipe.source, target=recipe.target
    )
    step = costs.traced_flops(program.trace().jaxpr.jaxpr)
    # With frozen parameters the backward pass leaves out the products that would be theirs.
    model = step if program.state.frozen else 3 * sum(forward.values())
    return {
        "forward": forward,
        "backward": model - sum(forward.values()),
        "model": model,
        "again": step - model,
        "step": step,
    }


def _counted(program: Program, counted: Memory) -> Report:
    state = program.state
    return {
        "parameters": costs.bytes_per_chip((state.params, state.frozen)),
        "optimizer": costs.bytes_per_chip(state.opt_state),
        "arguments": costs.bytes_per_chip((state, program.batch)),
        "gradients": counted.gradients,
        "activations": counted.activations,
    }


def _compiled(taken: Compiled) -> Report:
    collectives = [each._asdict() for each in taken.collectives]
    return taken._asdict() | {"peak": taken.peak, "collectives": collectives}


def _time(
    recipe: Recipe,
    topology: Topology,
    flops: Report,
    counted: Memory,
    taken: Compiled | None,
    own: Compiled | None,
    tokens: float | None,
    price: float | None,
) -> Report:
    """The estimate and what follows from it; empty for chips without published rates.

    Args:
      recipe, topology, tokens, price: as in `plan`.
      flops: that section.
      counted: by count.
      taken: what some compiler made; None without.
      own: the same if that compiler is the chips' own.
    """
    # What is kept is read and written again; temporaries are written and read.
    touched = own.arguments + own.temporaries if own else counted.least
    found = step_time(
        topology,
        flops=flops["step"],
        touched=2 * touched,
        traffic=own.traffic if own else None,
        sent=sum(each.sent for each in taken.collectives) if taken else None,
    )
    if found is None:
        return {}
    times = (found.fastest, found.slowest)
    peak = topology.chips * (topology.chip.flops or math.nan)
    per_step = recipe.batch_size * recipe.source
    report: Report = {
        "seconds_per_step": times,
        "mfu": [flops["model"] / (peak * seconds) for seconds in times],
        "source_tokens_per_second": [per_step / seconds for seconds in times],
        "compute": found.compute,
        "memory": found.memory,
        "communication": found.communication,
    }
    if tokens is not None:
        steps = math.ceil(tokens / per_step)
        hours = [steps * seconds / 3600 for seconds in times]
        report |= {"tokens": tokens, "steps": steps, "hours": hours}
        if price is not None:
            report["cost"] = [topology.chips * each * price for each in hours]
    return report


def _machine_memory() -> int:
    """Bytes of this machine, which simulated devices share."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
