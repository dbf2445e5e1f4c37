"""From a command line to a configured call: gin files, macros, logging, several processes.

Only this module and `gin_checks` import gin. A gin file can import any Python module: it is code,
so run only files that you trust.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from medmt5 import gin_checks, task_modules
from medmt5.compilation import keep_compiled_programs
from medmt5.host_memory import keep_freed_memory
from medmt5.t5x_gin import modules as t5x_modules
from medmt5.t5x_gin.tables import FLAGS
from medmt5.task_modules import import_seqio

log = logging.getLogger(__name__)

# Stands in for T5X's own gin files: `include 't5x/...'` finds what is under here.
T5X_FILES = "gin_configs/t5x_compat"

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


@contextlib.contextmanager
def t5x_names() -> Iterator[None]:
    """While this lasts, gin's imports of T5X's modules give our stand-ins (`t5x_gin`).

    Those of modules that need SeqIO are put off (`task_modules`).
    """
    from gin import config

    # gin looks `__import__` up as a global name, so sys.modules stays as it is: a task module that
    # imports the real T5X still gets that.
    config.__import__ = task_modules.without_seqio(  # type: ignore[attr-defined]
        t5x_modules.import_module
    )
    try:
        yield
    finally:
        del config.__import__  # type: ignore[attr-defined]


def parse_gin(
    files: Sequence[str], bindings: Sequence[str], search_paths: Iterable[str] = (".",)
) -> None:
    """Load gin files and bindings, replacing what was loaded before.

    Raises:
      ValueError: a missing file, a syntax error, an unknown name, a macro that nothing reads, or a
        value of another type than one of our functions takes.
    """
    try:
        _parse_gin(files, bindings, search_paths)
    except task_modules.NeedsSeqio as reason:
        log.info("these gin files need SeqIO (%s): importing it", reason)
        import_seqio()
        _parse_gin(files, bindings, search_paths)


def _parse_gin(files: Sequence[str], bindings: Sequence[str], search_paths: Iterable[str]) -> None:
    import gin.config

    gin.clear_config()
    task_modules.forget()
    _forget_imported_names()
    # Set, not added to: gin keeps the paths of earlier calls. T5X's own files come first, if any.
    root = config_root()
    gin.config._LOCATION_PREFIXES[:] = [*search_paths, root, os.path.join(root, T5X_FILES)]
    try:
        with t5x_names(), gin_checks.recorded() as statements:
            gin.parse_config_files_and_bindings(list(files), list(bindings), finalize_config=False)
    except OSError as error:
        raise ValueError(
            f"{error}; gin files that ship with medmt5 are named gin_configs/..., as in "
            "gin_configs/recipes/quickstart_finetune.gin; those that stand in for T5X's are in "
            f"{T5X_FILES}/, for others give the folder that holds t5x/ in --gin_search_paths"
        ) from error
    except (SyntaxError, ImportError, AttributeError, NameError) as error:
        raise ValueError(f"gin: {error}") from error
    gin_checks.check_macros(gin.config._CONFIG, statements, as_t5x=bool(_t5x_entries()))
    gin_checks.check_types(gin.config._CONFIG, statements)
    gin.finalize()


def _forget_imported_names() -> None:
    """Drop what earlier gin files imported: `network.T5Config` may now be another module's."""
    from gin.config import _INVERSE_REGISTRY, _REGISTRY

    for selector, configurable in list(_REGISTRY.items()):
        if configurable.import_source is not None:
            _REGISTRY.pop(selector)
            _INVERSE_REGISTRY.pop(configurable.wrapped, None)


def _t5x_entries() -> dict[str, Any]:
    """command -> T5X's program that the parsed files configure, of which there is at most one."""
    from gin.config import _CONFIG, _inverse_lookup

    scripts = sys.modules.get("medmt5.t5x_gin.scripts")  # loaded if a file imported T5X's names
    bound = {selector for _, selector in _CONFIG}
    found = {}
    for command, programs in scripts.ENTRIES.items() if scripts else ():
        for program in programs:
            configurable = _inverse_lookup(program)
            if configurable is not None and configurable.selector in bound:
                found[command] = program
    return found


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

    module, function = COMMANDS[command]
    ours = importlib.import_module(module)
    parse_gin(files, bindings, [*search_paths])
    programs = _t5x_entries()
    if programs and command not in programs:
        raise ValueError(f"these gin files are for `medmt5 {next(iter(programs))}`")
    entry = gin.get_configurable(programs.get(command, getattr(ours, function)))
    return entry(describe_config=operative_config, dry_run=dry_run)


def operative_config() -> str:
    """The values that were used, as gin: the same command with this file alone repeats the run."""
    import gin

    with t5x_names():
        return gin.operative_config_str()


def main(command: str, arguments: Sequence[str] | None = None) -> None:
    """The command line of `medmt5 train` and `medmt5 eval`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    setup_logging()
    with errors_to_exit():
        for argument in arguments:
            if (flag := argument.partition("=")[0]) in FLAGS:
                raise ValueError(f"{flag} is T5X's, not ours: {FLAGS[flag]}")
        bindings, others = gin_flags(arguments)
        flags = parser(command).parse_args(others)
        keep_compiled_programs()
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
        keep_freed_memory()
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
