"""Settings of a TOML file to frozen dataclasses: names and types are checked first."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    tuple: "a list of strings",
    dict: "a table",
}


def made(where: str, kind: Any, settings: Mapping[str, Any], **others: Any) -> Any:
    """`kind(**settings, **others)`, whose errors say where they come from."""
    check_settings(where, kind, settings)
    # TOML has lists where settings are tuples.
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    try:
        return kind(**settings, **others)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def check_settings(where: str, kind: Any, settings: Mapping[str, Any]) -> None:
    """Whether settings have names and types of the fields of a dataclass that have a default."""
    fields = [field for field in dataclasses.fields(kind) if field.init]
    none = dataclasses.MISSING
    defaults = {f.name: f.default for f in fields if f.default is not none}
    defaults |= {f.name: f.default_factory() for f in fields if f.default_factory is not none}
    check_keys(where, settings, defaults)
    for key, value in settings.items():
        default = defaults[key]
        accepted = {type(default)} | ({int} if isinstance(default, float) else set())
        plain = tuple if isinstance(value, list) else type(value)
        texts = not isinstance(value, list) or all(isinstance(item, str) for item in value)
        if plain not in accepted or not texts:
            raise ValueError(f"{where}: {key} is {value!r}; it must be {_KINDS[type(default)]}")


def check_keys(where: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    for key in given:
        check_one(where, "key", key, known)


def check_one(where: str, what: str, name: Any, known: Iterable[str]) -> None:
    known = list(known)
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(known)}"
        raise ValueError(f"{where}: {what} {name!r} is unknown; {hint}")
