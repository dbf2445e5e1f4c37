"""Modules that gin imports in place of T5X's, and how a function is put into one."""

from __future__ import annotations

import builtins
import functools
import importlib
import importlib.util
import inspect
import logging
import types
from collections.abc import Callable
from typing import Any

from medmt5.t5x_gin.tables import ANY, PARAMETERS, REFUSED, Ignored, Refused

log = logging.getLogger(__name__)

UNSET = object()


@functools.cache
def say(message: str) -> None:
    log.info("%s", message)


def apply_rule(name: str, parameter: str, rule: Ignored | Refused, value: Any) -> None:
    """Log or refuse a value that is set, unless it means what happens anyway."""
    fine = rule.silent if isinstance(rule, Ignored) else rule.accepted
    if value is UNSET or fine is ANY or getattr(value, "__name__", value) in fine:
        return
    shown = getattr(value, "__name__", repr(value))
    if isinstance(rule, Refused):
        raise ValueError(f"{name}.{parameter} = {shown} is T5X's, not ours: {rule.instead}")
    say(f"{name}.{parameter} = {shown} is passed over: {rule.because}")


class _Module(types.ModuleType):
    """A module of stand-ins. What is not in it is refused by name, or taken from `fallback`."""

    fallback: Callable[[str], Any] | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        refuse(f"{self.__name__}.{name}")
        if self.fallback is not None:
            return self.fallback(name)
        known = sorted(key for key in vars(self) if not key.startswith("__"))
        raise ValueError(
            f"{self.__name__}.{name} of T5X has no counterpart here; known are: {', '.join(known)}"
        )


MODULES: dict[str, _Module] = {}
SCRIPTS = {"train": "train_script", "evaluate": "eval_script", "infer": "infer_script"}


def module_of(name: str) -> _Module:
    """The stand-in module of this name, made with its parents if need be."""
    if name not in MODULES:
        MODULES[name] = _Module(name)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(module_of(parent), child, MODULES[name])
    return MODULES[name]


def import_module(name: str, globals=None, locals=None, fromlist=(), level=0) -> Any:
    """`__import__` for gin: stand-ins for the names they stand in for, Python's own for others."""
    top = name.split(".")[0]
    if top == "t5" and importlib.util.find_spec(top) is None:
        raise ValueError(
            f"{name} registers the public tasks of T5, and is not installed: pip install t5, or "
            "import the module of your own task"
        )
    if top not in ("t5x", "__main__", "seqio"):
        return builtins.__import__(name, globals, locals, fromlist, level)
    importlib.import_module("medmt5.t5x_gin.scripts")  # fills MODULES
    refuse(name)
    if top != "seqio" and name not in MODULES:
        known = ", ".join(sorted(MODULES))
        raise ValueError(f"{name} of T5X has no counterpart here; known are: {known}")
    if name in MODULES:
        return MODULES[name if fromlist else top]
    return builtins.__import__(name, globals, locals, fromlist, level)


def refuse(name: str) -> None:
    """Raise ValueError, with our equivalent, if T5X's `name` or a module above it is refused."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        if (above := ".".join(parts[:end])) in REFUSED:
            raise ValueError(f"{name} is T5X's, not ours: {REFUSED[above]}")


def stand_in(*modules: str, name: str = "") -> Callable[[Callable], Callable]:
    """Put a function into stand-in modules, with the parameters of `PARAMETERS` added to its own.

    Args:
      *modules: where it is found.
      name: what it is called there; by default its own name.
    """

    def decorate(function: Callable) -> Callable:
        public = name or function.__name__
        added = PARAMETERS.get(function.__name__, PARAMETERS.get(public, {}))
        module = SCRIPTS.get(public, modules[0].rpartition(".")[2])

        def call(*args: Any, **given: Any) -> Any:
            for parameter, rule in added.items():
                apply_rule(f"{module}.{public}", parameter, rule, given.pop(parameter, UNSET))
            return function(*args, **given)

        # Not functools.wraps: gin follows __wrapped__ and would not see the added parameters.
        call.__name__ = call.__qualname__ = public
        call.__doc__, call.__module__ = function.__doc__, function.__module__
        parameters = list(inspect.signature(function).parameters.values())
        for parameter in added:
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(inspect.Parameter(parameter, kind, default=UNSET))
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        for place in modules:
            setattr(module_of(place), public, call)
        return call

    return decorate
