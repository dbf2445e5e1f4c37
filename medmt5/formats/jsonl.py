"""JSON Lines: one document per line, the format that loses nothing but digits of scores.

`{"id": ..., "text": ..., "entities": [{"start", "end", "label", "text", "score"}], "splits": []}`;
only `text` is required when reading, and an entity may also be `[start, end, label]`. What a search
adds, `alternatives` and `proven`, is written and not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from medmt5.formats.documents import Document, Entity, check
from medmt5.formats.gold import Annotation, BadRecord, Report, flat
from medmt5.formats.lines import name_of, read_lines

_RAW = re.compile("[\x85\u2028\u2029\ud800-\udfff]")
_FIELDS = {"id", "text", "entities", "splits", "alternatives", "proven"}


def to_jsonl(document: Document) -> str:
    """The document as one JSON object on one line, without the newline.

    Scores are rounded to 4 digits. Only `text` and `entities` are always there.
    """
    check(document)
    record: dict[str, Any] = {"id": document.id} if document.id else {}
    record |= {"text": document.text, "entities": list(map(_entity, document.entities))}
    if document.splits:
        record["splits"] = [int(split) for split in document.splits]
    if document.proven is not None:
        record["proven"] = document.proven
    if document.alternatives:
        record["alternatives"] = [
            {
                "start": start,
                "end": end,
                "score": round(float(score), 4),
                "entities": list(map(_entity, entities)),
            }
            for start, end, score, entities in document.alternatives
        ]
    line = json.dumps(record, ensure_ascii=False)
    # JSON escapes the other line ends itself. Half a surrogate pair has no UTF-8 form.
    return _RAW.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


def _entity(entity: Entity) -> dict[str, Any]:
    return {
        "start": int(entity.start),
        "end": int(entity.end),
        "label": entity.label,
        "text": entity.text,
        "score": round(float(entity.score), 4),
    }


def from_jsonl(line: str, report: Report, place: str = "line") -> Document:
    """Read a line back.

    Raises:
      BadRecord: not an object with a `text`, or entities without start, end and label.
    """
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadRecord(f"not JSON ({error}); a line is one object") from error
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise BadRecord('no string under "text"')
    annotations = []
    try:
        for number, given in enumerate(record.get("entities") or (), 1):
            entity: dict[str, Any] = given
            if not isinstance(given, dict):
                entity = dict(zip(("start", "end", "label"), given, strict=True))
            annotations.append(
                Annotation(
                    str(entity["label"]),
                    ((_integer(entity["start"]), _integer(entity["end"])),),
                    entity.get("text"),
                    f"{place} (entity {number})",
                    float(entity.get("score", 1.0)),
                )
            )
        splits = [_integer(split) for split in record.get("splits") or ()]
    except (KeyError, TypeError, ValueError) as error:
        raise BadRecord(
            f"entity {len(annotations) + 1} is not understood ({type(error).__name__}: {error}); "
            'write {"start": 0, "end": 5, "label": "Disease"} or [0, 5, "Disease"]'
        ) from error
    for field in record.keys() - _FIELDS:
        report.other[f"field {field!r}"] += 1
    return flat(record["text"], annotations, report, id=str(record.get("id") or ""), splits=splits)


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not an integer")
    return value


def read_jsonl(path: str, report: Report) -> Iterator[Document]:
    """Documents of a JSONL file; blank lines are passed over."""
    for number, line in read_lines(path, report):
        if not line.strip():
            continue
        place = f"{name_of(path)}:{number}"
        try:
            document = from_jsonl(line, report, place)
        except BadRecord as error:
            report.bad(error.place or place, error.fault)
            continue
        yield document
