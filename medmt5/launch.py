"""From a command line to a configured call: gin files, macros, logging, several processes.

The only module that imports gin. A gin file can import any Python module: it is code, so run only
files that you trust.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

COMMANDS = {"train": ("medmt5.train", "train"), "eval": ("medmt5.evaluate", "evaluate")}


def config_root() -> str:
    """The folder that holds `gin_configs`, in a checkout and in an installed wheel alike."""
    spec = importlib.util.find_spec("medmt5.gin_configs")
    if spec is not None and spec.submodule_search_locations:
        return os.path.dirname(next(iter(spec.submodule_search_locations)))
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def setup_logging() -> None:
    """Progress lines on standard error; libraries speak only when something is wrong."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True
    )
    logging.getLogger("medmt5").setLevel(logging.INFO)
    # gin reports each search path that does not hold a file as an error of the root logger.
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: record.module != "resource_reader")
    import absl.logging

    absl.logging.set_verbosity(absl.logging.ERROR)  # Orbax and gin warn where nothing is wrong


def import_seqio() -> None:
    """Import SeqIO, and with it TensorFlow, without the lines that its C++ side prints."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        importlib.import_module("seqio")
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def parser(command: str) -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog=f"medmt5 {command}",
        description=f"Run {COMMANDS[command][0]}.{COMMANDS[command][1]} with gin configuration.",
        epilog="Any macro or parameter can be set on the command line: --gin.TRAIN_STEPS=100, "
        "--gin.train_script.train.stats_period=10; strings need quotes: "
        "--gin.MODEL_DIR=\"'runs/a'\".",
    )
    flags.add_argument(
        "--gin_file", action="append", default=[], help="gin file; repeat, later ones win"
    )
    flags.add_argument(
        "--gin_bindings", action="append", default=[], help="one gin binding: 'NAME = VALUE'"
    )
    flags.add_argument(
        "--gin_search_paths", default=".", help="folders to find gin files in, comma-separated"
    )
    flags.add_argument(
        "--dry_run", action="store_true", help="check configuration and data, then stop"
    )
    group = flags.add_argument_group("several processes (one per host)")
    group.add_argument(
        "--distributed", action="store_true", help="find the others (Cloud TPU, SLURM, GKE)"
    )
    group.add_argument("--coordinator_address", help="host:port of process 0")
    group.add_argument("--process_count", type=int)
    group.add_argument("--process_index", type=int)
    return flags


def gin_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split `--gin.NAME=VALUE` flags from the others, as bindings `NAME = VALUE`."""
    bindings, others = [], []
    for argument in arguments:
        if argument.startswith("--gin."):
            name, equals, value = argument[len("--gin.") :].partition("=")
            if not equals:
                raise ValueError(f"{argument} has no value; write --gin.{name}=VALUE")
            bindings.append(f"{name} = {value}")
        else:
            others.append(argument)
    return bindings, others


def parse_gin(
    files: Sequence[str], bindings: Sequence[str], search_paths: Iterable[str] = (".",)
) -> None:
    """Load gin files and bindings, replacing what was loaded before.

    Raises:
      ValueError: a missing file, a syntax error, an unknown name, or a macro that nothing reads.
    """
    import gin

    gin.clear_config()
    # Set, not added to: gin keeps the paths of earlier calls.
    gin.config._LOCATION_PREFIXES[:] = [*search_paths, config_root()]
    try:
        gin.parse_config_files_and_bindings(list(files), list(bindings), finalize_config=False)
    except OSError as error:
        raise ValueError(
            f"{error}; gin files that ship with medmt5 are named gin_configs/..., as in "
            "gin_configs/recipes/quickstart_finetune.gin"
        ) from error
    except (SyntaxError, ImportError, AttributeError, NameError) as error:
        raise ValueError(f"gin: {error}") from error
    check_macros(gin.config._CONFIG)
    gin.finalize()


def check_macros(config: Any) -> None:
    """Raise ValueError for macros that are required and not set, or set and never read.

    gin itself ignores a misspelt macro, and names a missing one only in an inner error.
    """
    macros = {
        scope: v["value"] for (scope, selector), v in config.items() if selector == "gin.macro"
    }
    read = {
        reference.scoped_selector.rsplit("/", 1)[0]
        for values in config.values()
        for reference in _macros_in(list(values.values()))
    }
    required = {name for name, value in macros.items() if str(value) == "%gin.REQUIRED"}
    if missing := sorted(required | (read - macros.keys())):
        flags = " ".join(f"--gin.{name}=..." for name in missing)
        raise ValueError(f"{', '.join(missing)} must be set: add {flags}")
    if unread := sorted(macros.keys() - read):
        near = difflib.get_close_matches(unread[0], sorted(read), n=1)
        hint = (
            f"did you mean {near[0]}?" if near else f"macros read here: {', '.join(sorted(read))}"
        )
        raise ValueError(f"macro {unread[0]} is set, but nothing reads it: {hint}")


def _macros_in(value: Any) -> Iterator[Any]:
    from gin.config import ConfigurableReference

    if isinstance(value, ConfigurableReference):
        if value.selector == "gin.macro":
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _macros_in(item)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from _macros_in(item)


def run(
    command: str,
    *,
    files: Sequence[str],
    bindings: Sequence[str] = (),
    search_paths: Iterable[str] = (".",),
    dry_run: bool = False,
) -> Any:
    """Configure and call `train` or `evaluate` as the command line would."""
    import gin

    import_seqio()
    parse_gin(files, bindings, search_paths)
    module, function = COMMANDS[command]
    entry = gin.get_configurable(getattr(importlib.import_module(module), function))
    return entry(describe_config=gin.operative_config_str, dry_run=dry_run)


def main(command: str, arguments: Sequence[str] | None = None) -> None:
    """The command line of `medmt5 train` and `medmt5 eval`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    setup_logging()
    with errors_to_exit():
        bindings, others = gin_flags(arguments)
        flags = parser(command).parse_args(others)
        if not flags.gin_file:
            raise ValueError(
                f"no --gin_file given; try: medmt5 {command} "
                "--gin_file=gin_configs/recipes/quickstart_pretrain.gin"
            )
        if flags.distributed or flags.coordinator_address:
            import jax

            jax.distributed.initialize(
                flags.coordinator_address, flags.process_count, flags.process_index
            )
        run(
            command,
            files=flags.gin_file,
            bindings=[*flags.gin_bindings, *bindings],
            search_paths=flags.gin_search_paths.split(","),
            dry_run=flags.dry_run,
        )


class errors_to_exit:
    """Ends the program with a message and status 2 where the user's input is wrong.

    Other exceptions are bugs and keep their traceback; MEDMT5_TRACEBACK=1 keeps all.
    """

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback) -> bool:
        if isinstance(error, ValueError) and not os.environ.get("MEDMT5_TRACEBACK"):
            print(f"medmt5: error: {error}", file=sys.stderr)
            sys.exit(2)
        return False
