"""Prediction files: one JSON object per line, of one of three kinds.

    labelling  {"words": [..], "gold": [[start, end, label], ..], "predicted": [..]}
    choice     {"gold": ["A"], "predicted": ["A"], "options": 5}
               also "rationale" and "predicted_rationale"
    text       {"references": [".."], "predicted": ".."}

Spans are half-open in words; a fourth element, their score, is left aside. Each may have "lang" and
"id", and anything else. What is wrong is said with file and line, or with the record's number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from medmt5.formats.gold import BadRecord
from medmt5.formats.lines import name_of, read_lines
from medmt5.metrics.metric import Record

KINDS = ("labelling", "choice", "text")
_KEYS = {
    "labelling": ("words", "gold", "predicted"),
    "choice": ("gold", "predicted", "options"),
    "text": ("references", "predicted"),
}
# What makes two records the same example.
_SAME = {
    "labelling": ("words", "gold"),
    "choice": ("id", "gold", "options", "rationale"),
    "text": ("id", "references"),
}


def read_predictions(path: str) -> list[dict[str, Any]]:
    """The records of a prediction file, checked; `-` is standard input.

    Record i stands on line i + 1: there are no blank lines, but at the end.

    Raises:
      ValueError: no such file, or nothing in it.
      BadRecord: a line that is no record, or of another kind than the first.
    """
    records: list[dict[str, Any]] = []
    blank, kind, name = 0, "", name_of(path)
    for number, line in read_lines(path):
        if not line.strip():
            blank = blank or number
            continue
        if blank:
            raise BadRecord("blank line between records", f"{name}:{blank}")
        record = _parse(line, f"{name}:{number}")
        kind = _check(record, f"{name}:{number}", kind)
        records.append(record)
    if not records:
        raise ValueError(f"{name} holds no predictions")
    return records


def _parse(line: str, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BadRecord(f"not JSON ({error}); a line is one object", place) from error
    if not isinstance(record, dict):
        raise BadRecord("not a JSON object", place)
    return record


def _no_number(constant: str):
    raise ValueError(f"{constant} is not a number")


def kind_of(records: Sequence[Record]) -> str:
    """The kind of records, which are checked: "labelling", "choice" or "text".

    Raises:
      ValueError: there are none.
      BadRecord: one is broken, or they are of several kinds.
    """
    if not len(records):
        raise ValueError("there are no predictions to score")
    kind = ""
    for number, record in enumerate(records, 1):
        kind = _check(record, f"record {number}", kind)
    return kind


def _check(record: Record, place: str, before: str) -> str:
    """The kind of a record, which is `before` where that is given."""
    if not isinstance(record, Mapping):
        raise BadRecord(f"a record is a mapping, not {type(record).__name__}", place)
    if "words" in record:
        kind = "labelling"
    elif "references" in record:
        kind = "text"
    elif "gold" in record or "options" in record:
        kind = "choice"
    else:
        raise BadRecord(
            f"keys {', '.join(map(str, record)) or 'none'}: neither labelling (words), nor choice "
            "(gold, options), nor text (references)",
            place,
        )
    if before and kind != before:
        raise BadRecord(f"a {kind} record after {before} records; one kind per file", place)
    for key in _KEYS[kind]:
        if key not in record:
            raise BadRecord(f"a {kind} record without {key!r}", place)
    fault = _FAULTS[kind](record) or _lang_fault(record)
    if fault:
        raise BadRecord(fault, place)
    return kind


def _labelling_fault(record: Record) -> str:
    if not _strings(record["words"]):
        return '"words" must be a list of strings'
    length = len(record["words"])
    for key in ("gold", "predicted"):
        if not _is_list(record[key]):
            return f"{key!r} must be a list of [start, end, label]"
        for span in record[key]:
            if not _is_list(span) or len(span) not in (3, 4):
                return f"{key} span {span!r} is not [start, end, label] or [.., score]"
            start, end, label = span[:3]
            if not (_integer(start) and _integer(end) and isinstance(label, str) and label):
                return f"{key} span {list(span)!r} is not two whole numbers and a label"
            if not 0 <= start < end <= length:
                return f"{key} span {list(span)!r} is empty or not within {length} words"
    return ""


def _choice_fault(record: Record) -> str:
    for key in ("gold", "predicted"):
        if not _strings(record[key]) or not all(record[key]):
            return f'{key!r} must be a list of letters, as ["A", "C"], not {record[key]!r}'
    if not record["gold"]:
        return '"gold" is empty; a question has one right answer or more'
    options = record["options"]
    if not _integer(options) or options < len(set(record["gold"])):
        return f'"options" is {options!r}; it is the number of options'
    given = [key for key in ("rationale", "predicted_rationale") if key in record]
    if len(given) == 1:
        return f'{given[0]!r} alone; "rationale" and "predicted_rationale" go together'
    if not all(isinstance(record[key], str) for key in given):
        return '"rationale" and "predicted_rationale" must be strings'
    return ""


def _text_fault(record: Record) -> str:
    if not _strings(record["references"]) or not record["references"]:
        return '"references" must be a list of one or more strings'
    if not isinstance(record["predicted"], str):
        return f'"predicted" must be a string, not {record["predicted"]!r}'
    return ""


_FAULTS = {"labelling": _labelling_fault, "choice": _choice_fault, "text": _text_fault}


def _lang_fault(record: Record) -> str:
    lang = record.get("lang", "")
    return "" if isinstance(lang, str) else f'"lang" must be a string, not {lang!r}'


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _strings(value: Any) -> bool:
    return _is_list(value) and all(isinstance(item, str) for item in value)


def _integer(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def check_same(
    kind: str, a: Sequence[Record], b: Sequence[Record], names: tuple[str, str] = ("a", "b")
) -> None:
    """Raise ValueError where two systems' predictions are not for the same examples, in order.

    Args:
      kind: of the records.
      a: predictions of one system.
      b: of the other.
      names: of both, for messages.
    """
    for number, (one, other) in enumerate(zip(a, b, strict=False), 1):
        for key in _SAME[kind]:
            if key in one and key in other and _plain(key, one) != _plain(key, other):
                raise ValueError(
                    f"{names[0]} and {names[1]} differ in line {number}: {key} is {one[key]!r} and "
                    f"{other[key]!r}; a paired test needs the same examples in the same order"
                )
    if len(a) != len(b):
        raise ValueError(
            f"{names[0]} has {len(a)} records and {names[1]} has {len(b)}, so they differ in line "
            f"{min(len(a), len(b)) + 1}; a paired test needs the same examples"
        )


def _plain(key: str, record: Record) -> Any:
    """A value in a form in which lists equal tuples, and the order of gold does not count."""
    value = record[key]
    if key == "gold":
        return sorted({item if isinstance(item, str) else tuple(item[:3]) for item in value})
    return list(value) if _is_list(value) else value
