"""How a plan reads: each section of `planning.plan`'s report as lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from medmt5.plan.chips import TILE
from medmt5.plan.estimate import HIGH, LOW
from medmt5.progress import duration

COMPILERS = {"tpu": "libtpu", "gpu": "XLA's GPU compiler", "simulated": "XLA's CPU compiler"}
JAX_SHARE = 0.75  # of a GPU's memory, which JAX takes unless it is told otherwise


def lines(section: str, report: dict[str, Any], compiler: str) -> Iterator[str]:
    """The lines of one section, as soon as it is in the report."""
    if section == "compiling":
        yield f"compiling with {COMPILERS[compiler]}: minutes, for large models"
        return
    yield from _SECTIONS[section](report[section], report, compiler)


def _recipe(recipe: dict[str, Any], report: dict[str, Any], compiler: str) -> Iterator[str]:
    frozen = recipe["parameters"] - recipe["trained"]
    mesh = " x ".join(f"{axis} {size}" for axis, size in recipe["mesh"].items())
    parts = recipe["num_microbatches"]
    yield f"parameters     {recipe['parameters']:,}" + (f", {frozen:,} frozen" if frozen else "")
    yield (
        f"batch          {recipe['batch_size']} rows of {recipe['source']:,} / "
        f"{recipe['target']:,} tokens: {recipe['source_tokens_per_step']:,} source tokens per step"
        + (f", in {parts} microbatches" if parts > 1 else "")
    )
    yield f"chips          {recipe['topology']}: {recipe['chips']} x {recipe['chip']}; mesh {mesh}"
    if recipe["platform"] == "tpu" and recipe["columns"] < TILE:
        yield f"  fsdp shards of {recipe['columns']:g} columns: TPUs want {TILE}"


def _flops(flops: dict[str, Any], report: dict[str, Any], compiler: str) -> Iterator[str]:
    model = flops["model"]
    yield f"FLOPs per step {flops['step']:.4g} in matrix products"
    for part, forward in flops["forward"].items():
        share = 100 * forward / sum(flops["forward"].values())
        yield f"  {part:26} {forward:.4g} forward  ({share:.1f} %)"
    yield f"  {'backward':26} {flops['backward']:.4g}"
    again = 100 * flops["again"] / model
    yield f"  {'computed again, padding':26} {flops['again']:.4g}  ({again:.1f} %)"


def _counted(counted: dict[str, Any], report: dict[str, Any], compiler: str) -> Iterator[str]:
    yield "bytes per chip, by count"
    for name, about in {
        "parameters": "parameters",
        "optimizer": "optimizer slots",
        "arguments": "arguments (the two, and the batch)",
        "gradients": "gradients",
        "activations": "activations as differentiated; compilers kept about half of them",
    }.items():
        yield f"  {size(counted[name]):>10}  {about}"
    yield f"  {size(counted['available']):>10}  memory of a chip"
    if report["recipe"]["platform"] == "cpu":
        yield "              (its share of this machine's)"


def _compiled(compiled: dict[str, Any], report: dict[str, Any], compiler: str) -> Iterator[str]:
    if "arguments" not in compiled:
        yield f"compiled: {COMPILERS[compiler]} finds no way to fit it into a chip's memory"
        return
    yield f"bytes per chip, compiled in {duration(compiled['seconds'])}"
    for name in ("arguments", "temporaries", "code", "peak"):
        if compiled[name]:
            yield f"  {size(compiled[name]):>10}  {name}"
    if compiler == "simulated" and report["recipe"]["platform"] != "cpu":
        yield (
            "  not known: temporaries are those of XLA's CPU compiler, which multiplies bfloat16 "
            "in float32 and fuses less; the chip's own compiler also rewrites collectives"
        )
    yield "collectives per step; bytes are what one chip sends around a ring"
    for each in compiled["collectives"]:
        loop = f", {each['in_loop']} in loops" if each["in_loop"] else ""
        unknown = " (one of unknown length, counted once)" if each["unknown_loop"] else ""
        yield f"  {size(each['sent']):>10}  {each['count']} {each['kind']}{loop}{unknown}"
    if not compiled["collectives"]:
        yield "  none"


def _time(time: dict[str, Any], report: dict[str, Any], compiler: str) -> Iterator[str]:
    if not time:
        yield f"time           not known: no published rates for {report['recipe']['chip']}"
        return
    low, high = (100 * each for each in reversed(time["mfu"]))
    yield (
        f"time per step  {span(time['seconds_per_step'], '.3g')} s, an estimate: "
        f"MFU {low:.0f} to {high:.0f} %, "
        f"{span(time['source_tokens_per_second'][::-1], ',.0f')} source tokens/s"
    )
    yield (
        f"  arithmetic    {span(time['compute'], '.3g')} s: {100 * HIGH:.0f} to {100 * LOW:.0f} % "
        "of peak, as in published T5 training"
    )
    if (report["compiled"] or {}).get("traffic"):
        traffic = "all touched once, to all traffic that the compiler counts"
    elif compiler in ("tpu", "gpu") and "arguments" in report["compiled"]:
        traffic = "all touched once; more is not known, this compiler does not count it"
    else:
        traffic = "state and gradients alone; the rest is not known without the chip's compiler"
    yield f"  memory        {span(time['memory'], '.3g')} s: {traffic}"
    if time["communication"]:
        seconds = span(time["communication"], ".3g")
        yield f"  communication {seconds} s: all or half of a chip's links"
    else:
        yield "  communication not known: " + (
            "nothing was compiled" if compiler == "none" else "no rate between hosts, or no program"
        )
    yield "  fastest: the largest of these; slowest: the larger of two, then communication"
    if "hours" in time:
        yield (
            f"{time['tokens']:,.0f} source tokens: {time['steps']:,} steps, "
            f"{span(time['hours'], ',.3g')} hours, {span([h / 24 for h in time['hours']], ',.3g')} "
            "days"
        )
        if "cost" in time:
            yield f"cost           {span(time['cost'], ',.0f')}, at the price given"


def _verdict(verdict: dict[str, Any], report: dict[str, Any], compiler: str) -> Iterator[str]:
    changes, needed, available = verdict["changes"], verdict["needed"], verdict["available"]
    gpu = report["recipe"]["platform"] == "gpu"
    if verdict["fits"] and gpu and needed > JAX_SHARE * available:
        yield (
            f"JAX takes {100 * JAX_SHARE:.0f} % of a GPU's memory: set "
            "XLA_PYTHON_CLIENT_MEM_FRACTION=0.95"
        )
    if not verdict["fits"]:
        by = "" if compiler == "none" else ", scaled to what was compiled"
        if changes:
            yield f"estimated to fit (counted{by}; not compiled):"
        else:
            yield f"no other batch, mesh or larger topology is estimated to fit (counted{by})"
        for change in changes:
            yield f"  {change['flags']}: {size(change['bytes'])}; {change['price']}"
    if compiler == "none":
        ground = f"by count; {size(verdict['at_least'])} at the least; compile to be sure"
    else:
        ground = f"by {COMPILERS[compiler]}"
    amount = f"needs {size(needed)}" if needed else "needs more than there is"
    word = "fits" if verdict["fits"] else "does not fit"
    yield f"{word}: {amount} of {size(available)} per chip, {ground}"


_SECTIONS = {
    "recipe": _recipe,
    "flops": _flops,
    "counted": _counted,
    "compiled": _compiled,
    "time": _time,
    "verdict": _verdict,
}


def size(count: int) -> str:
    """`1.23 GiB`, or a smaller unit."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if count >= 1024**power:
            return f"{count / 1024**power:,.2f} {unit}"
    return f"{count} B"


def span(values: Sequence[float], form: str) -> str:
    """`1.2 to 3.4`, or one value where both read the same."""
    first, last = (format(value, form) for value in values)
    return first if first == last else f"{first} to {last}"
