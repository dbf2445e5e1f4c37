"""`medmt5 adapter`: what a run has trained beside its base, saved alone."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from medmt5.adapters.adapted import save_adapter
from medmt5.launch import errors_to_exit, setup_logging
from medmt5.models.adapter_names import KINDS

log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="medmt5 adapter",
        description="Save the low-rank adapters or the soft prompt of a run alone, as Hugging Face "
        "PEFT does: a few MB beside a base of GB.",
        epilog="The folder is used on any copy of its base: medmt5 label -m BASE --adapter FOLDER, "
        "medmt5 eval --gin.ADAPTER_PATH=\"'FOLDER'\", medmt5 convert --adapter FOLDER (merged); "
        "adapters that PEFT made are used in the same way.",
    )
    flags.add_argument("run", help="model directory, checkpoint in it, or MODEL_DIR/best")
    flags.add_argument("folder", help="is made")
    flags.add_argument("--kind", choices=KINDS, help="which, where a run has both")
    flags.add_argument("--task", help="whose prompt, of several")
    flags.add_argument("--base", help="the model that they go on, if the run does not know it")
    return flags


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of `medmt5 adapter`."""
    given = parser().parse_args(arguments)
    setup_logging()
    with errors_to_exit():
        adapter = save_adapter(
            given.run, given.folder, kind=given.kind, task=given.task, base=given.base
        )
        numbers = sum(array.size for array in adapter.arrays.values())
        log.info(
            "wrote %s: %s parameters in %d arrays, for %s (fingerprint %s)",
            given.folder,
            f"{numbers:,}",
            len(adapter.arrays),
            adapter.base,
            adapter.fingerprint,
        )
