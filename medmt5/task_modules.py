"""Python modules that register tasks: named by gin files, run where a source is read.

Importing SeqIO, and with it TensorFlow, takes ten seconds, and training from a cache needs neither.
So an import in a gin file that fails for want of them is put off until a task is read from its
source.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

HIDDEN = ("seqio", "tensorflow", "tensorflow_datasets", "tensorflow_text")
NEED_SEQIO = ("seqio", "t5x", "__main__")  # modules of gin files that are no use without it

_put_off: list[str] = []


class NeedsSeqio(Exception):
    """A gin file names something of a module whose import was put off."""


class _PutOff(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        raise NeedsSeqio(f"{self.__name__}.{name}")


def without_seqio(import_module: Callable[..., Any]) -> Callable[..., Any]:
    """An `__import__` for gin that puts off what needs SeqIO, unless that is imported already."""

    def imported(name: str, globals=None, locals=None, fromlist=(), level=0) -> Any:
        top = name.partition(".")[0]
        if top in NEED_SEQIO:
            import_seqio("this gin file")
        if sys.modules.get("seqio") is not None:
            return import_module(name, globals, locals, fromlist, level)
        try:
            with _hidden():
                return import_module(name, globals, locals, fromlist, level)
        except ModuleNotFoundError as error:
            if str(error.name).partition(".")[0] not in HIDDEN:
                raise
        if name not in _put_off:
            _put_off.append(name)
        return _PutOff(name) if fromlist else __import__(top)

    return imported


@contextlib.contextmanager
def _hidden() -> Iterator[None]:
    hidden = [name for name in HIDDEN if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type] - None: importing it fails
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def forget() -> None:
    """Drop what was put off: another set of gin files is to be read."""
    _put_off.clear()


def import_put_off() -> None:
    """Import what was put off, so that its tasks are registered.

    Raises:
      ValueError: it cannot be imported.
    """
    while _put_off:
        name = _put_off[0]
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ValueError(f"gin: import {name}: {error}") from error
        _put_off.remove(name)


def import_seqio(what: str = "reading a task from its source") -> None:
    """Import SeqIO, and with it TensorFlow, without the lines that its C++ side prints.

    Args:
      what: needs it.

    Raises:
      ValueError: it is not installed.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        importlib.import_module("seqio")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{what} needs {error.name}: pip install 'medmt5[data]'; or write a cache with "
            "`medmt5 cache` where that is installed, and set USE_CACHED_TASKS and CACHE_DIR"
        ) from error
    finally:
        os.dup2(kept, 2)
        os.close(kept)
