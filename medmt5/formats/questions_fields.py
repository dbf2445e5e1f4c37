"""Rows of JSON and their fields, checked: objects without repeated keys, texts that are texts.

What a row means is left to `questions_schemas` and `general`; file and line are added by readers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from medmt5.formats.gold import BadRecord


def load(text: str) -> Any:
    """A JSON value.

    Raises:
      BadRecord: not JSON, or an object with a key twice, of which Python would keep the last.
    """
    try:
        return json.loads(text, object_pairs_hook=_no_key_twice)
    except BadRecord:
        raise
    except json.JSONDecodeError as error:
        raise BadRecord(f"not JSON ({error.msg} at column {error.colno})") from error
    except (ValueError, RecursionError) as error:  # ValueError: an integer of 4,300 digits
        raise BadRecord(f"not JSON ({error})") from error


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadRecord(f"key {twice!r} is there twice in one object; keep one")
    return found


def load_object(text: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
      BadRecord: not JSON, not an object, or a key twice.
    """
    value = load(text)
    if not isinstance(value, dict):
        raise BadRecord(f"{_shown(value)} is not an object; a line is one {{...}}")
    return value


def string(value: Any, name: str) -> str:
    """The value if it is a string that UTF-8 can write.

    Raises:
      BadRecord: anything else, NaN and null among it.
    """
    if not isinstance(value, str):
        raise BadRecord(f"{name} is {_shown(value)}, not a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRecord(f"{name} holds half a surrogate pair, which has no UTF-8 form") from error
    return value


def text(row: Mapping[str, Any], key: str) -> str:
    """The text under a key, which must be there and say something.

    Raises:
      BadRecord: missing, not a string, or only white space.
    """
    if key not in row:
        raise BadRecord(f"no {key}")
    value = string(row[key], key)
    if not value.strip():
        raise BadRecord(f"{key} is empty")
    return value


def optional(row: Mapping[str, Any], key: str) -> str:
    """The text under a key; "" where it is missing or null."""
    value = row.get(key)
    return "" if value is None else string(value, key)


def texts(value: Any, name: str) -> list[str]:
    """One text or a list of at least one.

    Raises:
      BadRecord: anything else, or a text that says nothing.
    """
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values:
        raise BadRecord(f"{name} is {_shown(value)}; write a string or a list of strings")
    return [text({name: each}, name) for each in values]


def row_id(row: Mapping[str, Any], *keys: str) -> str:
    """The first identifier there is, as text; "" if none."""
    found = (row[key] for key in keys if isinstance(row.get(key), (str, int)))
    return str(next(found, ""))


def _shown(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=True, default=repr)
    return shown if len(shown) <= 60 else shown[:57] + "..."
