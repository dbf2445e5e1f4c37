"""`medmt5 plan`: what a recipe takes on chips that need not be here, and whether it fits.

What is counted and compiled is in `planning`, how it reads in `text`; both are imported late.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from medmt5.plan import chips


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="medmt5 plan",
        description="Say what a training recipe takes on chips that need not be here: parameters, "
        "bytes per chip, FLOPs, collectives, time and cost, and whether it fits. Nothing is read "
        "but the gin files; nothing is trained.",
        epilog=f"Topologies: {chips.accepted()}. The last line is `fits` (status 0) or `does not "
        "fit` (status 1); a mistake ends with status 2.",
    )
    add = flags.add_argument
    add("--gin_file", action="append", default=[], help="as for `medmt5 train`")
    add("--gin_bindings", action="append", default=[], help="one gin binding: 'NAME = VALUE'")
    add("--gin_search_paths", default=".", help="folders to find gin files in, comma-separated")
    add("--topology", required=True, help="the chips, such as v5e-16 or h100-8")
    add(
        "--compile",
        default="auto",
        dest="compiler",
        help="auto: with the chips' own compiler where it is installed (tpu, gpu), else simulated: "
        "for simulated CPU devices; none: count only, in seconds",
    )
    add("--tokens", type=float, help="source tokens to train on, padding included: 4.5e9")
    add("--price", type=float, help="of one chip for an hour, for the cost of --tokens")
    add("--json", help="write the figures to this file too")
    return flags


def main(arguments: Sequence[str]) -> None:
    """`medmt5 plan`."""
    from medmt5 import launch

    launch.setup_logging()
    with launch.errors_to_exit():
        bindings, others = launch.gin_flags(arguments)
        flags = parser().parse_args(others)
        if not flags.gin_file:
            raise ValueError("no --gin_file given; name the recipe as for `medmt5 train`")
        for name in ("tokens", "price"):
            value = getattr(flags, name)
            if value is not None and not value > 0:
                raise ValueError(f"--{name} is {value}; use a number above 0")
        topology = chips.topology(flags.topology)
        from medmt5.plan import compile as compiling
        from medmt5.plan import text
        from medmt5.plan.planning import plan
        from medmt5.plan.recipe import read_recipe

        compiler = compiling.choose_compiler(topology, flags.compiler)
        compiling.prepare(topology.chips)
        search_paths = flags.gin_search_paths.split(",")
        recipe = read_recipe(flags.gin_file, [*flags.gin_bindings, *bindings], search_paths)

        def tell(section: str, report: dict[str, Any]) -> None:
            for line in text.lines(section, report, compiler):
                print(line, flush=True)

        report = plan(
            recipe,
            topology,
            compiler=compiler,
            tokens=flags.tokens,
            price=flags.price,
            tell=tell,
        )
        if flags.json:
            with open(flags.json, "w", encoding="utf-8") as file:
                json.dump(report, file, indent=1)
        sys.exit(0 if report["verdict"]["fits"] else 1)
