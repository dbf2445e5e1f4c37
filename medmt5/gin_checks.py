"""What gin accepts and nobody can mean: macros that nothing reads, values of another type.

gin ignores a misspelt macro, names a missing one only in an inner error, and hands on whatever it
is given. Here each is an error; what a file binds is named with the file and the line.
"""

from __future__ import annotations

import collections.abc
import contextlib
import difflib
import inspect
import logging
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medmt5.t5x_gin.tables import MACROS

log = logging.getLogger(__name__)


@contextlib.contextmanager
def recorded() -> Iterator[list[Any]]:
    """While this lasts, gin's binding statements as they are parsed, with file and line."""
    from gin.config_parser import BindingStatement, ConfigParser

    statements: list[Any] = []
    plain = ConfigParser.parse_statement

    def parse_statement(parser: Any) -> Any:
        statement = plain(parser)
        if isinstance(statement, BindingStatement):
            statements.append(statement)
        return statement

    ConfigParser.parse_statement = parse_statement
    try:
        yield statements
    finally:
        ConfigParser.parse_statement = plain


def check_macros(
    config: Mapping[Any, Any], statements: Sequence[Any], *, as_t5x: bool = False
) -> None:
    """Raise ValueError for macros that are required and not set, or set and never read.

    What another binding has overridden counts as read.

    Args:
      config: of gin.
      statements: that gave it, as `recorded` has them.
      as_t5x: T5X's own names may be set and not read, as in files for several of its programs.
    """
    macros = _macros(config)
    needed = {name for values in config.values() for name in _macros_in(list(values.values()))}
    required = {name for name, value in macros.items() if str(value) == "%gin.REQUIRED"}
    if missing := sorted(required | (needed - macros.keys())):
        flags = " ".join(f"--gin.{name}=..." for name in missing)
        raise ValueError(f"{', '.join(missing)} must be set: add {flags}")
    read = {name for statement in statements for name in _macros_in(statement.value)}
    if refused := sorted(macro for macro in macros.keys() - read if MACROS.get(macro)):
        raise ValueError(f"macro {refused[0]} is T5X's, not ours: {MACROS[refused[0]]}")
    unread = sorted(macros.keys() - read)
    if as_t5x and (known := [macro for macro in unread if macro in MACROS]):
        log.info("set, but nothing reads it: %s", ", ".join(known))
        unread = [macro for macro in unread if macro not in MACROS]
    if unread:
        near = difflib.get_close_matches(unread[0], sorted(read), n=1)
        hint = (
            f"did you mean {near[0]}?" if near else f"macros read here: {', '.join(sorted(read))}"
        )
        raise ValueError(
            f"{_where(statements, unread[0])}macro {unread[0]} is set, but nothing reads it: {hint}"
        )


def check_types(config: Mapping[Any, Any], statements: Sequence[Any]) -> None:
    """Raise ValueError where one of our functions is given a value that its annotation excludes.

    Args:
      config: of gin.
      statements: that gave it, as `recorded` has them.
    """
    from gin.config import _REGISTRY

    macros = _macros(config)
    for (scope, selector), values in config.items():
        function = _REGISTRY[selector].wrapped
        if not function.__module__.startswith("medmt5."):
            continue
        parameters = inspect.signature(function).parameters
        for name, given in values.items():
            if name not in parameters:
                continue
            value, macro = _followed(given, macros)
            parameter = parameters[name]
            if value is parameter.default or _fits(value, _hint(parameter, function)):
                continue
            bound = macro or f"{scope}{'/' if scope else ''}{function.__name__}.{name}"
            raise ValueError(
                f"{_where(statements, macro or name, selector)}{bound} = {value!r}, but "
                f"{function.__name__}.{name} takes {_text(parameter)}"
            )


def _macros(config: Mapping[Any, Any]) -> dict[str, Any]:
    return {scope: v["value"] for (scope, selector), v in config.items() if selector == "gin.macro"}


def _macro_of(value: Any) -> str | None:
    from gin.config import ConfigurableReference

    if isinstance(value, ConfigurableReference) and value.selector == "gin.macro":
        return value.scoped_selector.rsplit("/", 1)[0]
    return None


def _followed(value: Any, macros: Mapping[str, Any]) -> tuple[Any, str | None]:
    """What macros that read macros come to, and the last of them; None if a value is none."""
    passed: list[str] = []
    while (macro := _macro_of(value)) in macros:
        if macro in passed:
            raise ValueError(f"macro {macro} reads itself: {' -> '.join([*passed, macro])}")
        passed.append(macro)
        value = macros[macro]
    return value, passed[-1] if passed else None


def _macros_in(value: Any) -> Iterator[str]:
    if (macro := _macro_of(value)) is not None:
        yield macro
    elif isinstance(value, dict):
        for item in value.values():
            yield from _macros_in(item)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from _macros_in(item)


def _where(statements: Sequence[Any], name: str, selector: str = "") -> str:
    """`FILE:LINE: ` of the last statement for a macro or a parameter; empty if it has no file."""
    found = ""
    for statement in statements:
        if statement.arg_name:
            same = statement.arg_name == name and f".{selector}".endswith(f".{statement.selector}")
        else:
            same = "/".join(filter(None, (statement.scope, statement.selector))) == name
        if same:
            file, line, *_ = statement.location
            found = f"{file}:{line}: " if file else ""
    return found


def _text(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    annotation = getattr(annotation, "__forward_arg__", annotation)
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _hint(parameter: inspect.Parameter, function: Any) -> Any:
    """The annotation; Any where there is none, or where it names what only type checkers import."""
    if parameter.annotation is parameter.empty:
        return Any
    try:
        # Not `get_type_hints`: one name that is not imported would lose all of a function's.
        return eval(_text(parameter), vars(sys.modules[function.__module__]))
    except Exception:
        return Any


def _fits(value: Any, hint: Any) -> bool:
    """Whether a hint allows a value; what gin makes by a call is taken to fit."""
    from gin.config import ConfigurableReference

    origin, of = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, ConfigurableReference) or hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in of)
    if origin is typing.Literal:
        return value in of
    if hint is None:
        return value is None
    if hint in (int, float):  # True is an int, and a float may be written as one
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    if not isinstance(origin or hint, type):
        return True
    if origin is None:
        try:
            return isinstance(value, hint)
        except TypeError:  # a protocol
            return True
    if issubclass(origin, collections.abc.Mapping):
        return isinstance(value, dict) and (
            not of or all(_fits(k, of[0]) and _fits(v, of[1]) for k, v in value.items())
        )
    if issubclass(origin, collections.abc.Iterable):
        if origin is tuple and Ellipsis not in of:
            return (
                isinstance(value, (list, tuple))
                and len(value) == len(of)
                and all(map(_fits, value, of))
            )
        return isinstance(value, (list, tuple, set)) and all(_fits(item, of[0]) for item in value)
    return origin is not collections.abc.Callable or callable(value)
