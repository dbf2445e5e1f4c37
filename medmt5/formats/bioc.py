"""BioC JSON: a collection of documents, their passages and annotations.

Offsets count code points from the start of the document, passages included, as PubTator's files
and the `bioc` package have it. A gap between passages is read as line ends, so that offsets stay.
What is read: a collection, PubTator's `{"PubTator3": [...]}`, a document; one in the file, or one
on each line, which needs memory for one at a time. A collection is written, with one passage per
document and the score as an infon.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from medmt5.formats.documents import Document, check
from medmt5.formats.gold import Annotation, BadRecord, Report, flat
from medmt5.formats.lines import name_of, read_lines

HEAD = '{"source": "medmt5", "date": "", "key": "", "infons": {}, "documents": [\n'
TAIL = "\n]}\n"
# A gap is filled with as many characters; more than this is a mistake.
_LARGEST_GAP = 10_000_000


def to_bioc(document: Document, number: int = 1) -> str:
    """One document of a collection, on one line without its end."""
    check(document)
    annotations = [
        {
            "id": f"T{i}",
            "infons": {"type": entity.label, "score": f"{float(entity.score):.4f}"},
            "text": entity.text,
            "locations": [{"offset": entity.start, "length": entity.end - entity.start}],
        }
        for i, entity in enumerate(document.entities, 1)
    ]
    passage = {
        "offset": 0,
        "infons": {},
        "text": document.text,
        "sentences": [],
        "annotations": annotations,
        "relations": [],
    }
    record = {"id": document.id or str(number), "infons": {}, "passages": [passage]}
    # In ASCII, so that no reader sees a line end or half a surrogate pair.
    return json.dumps(record | {"annotations": [], "relations": []})


def from_bioc(record: Mapping[str, Any], report: Report, *, place: str = "") -> Document:
    """A document of BioC JSON.

    Raises:
      BadRecord: passages that overlap, or something that is missing or of another type.
    """
    id = str(record.get("id") or "")
    place = f"{place} ({id})" if id else place
    text, pieces = "", []
    try:
        for passage in _passages(record):
            gap = passage["offset"] - len(text)
            if passage["text"] and not 0 <= gap <= _LARGEST_GAP:
                raise BadRecord(
                    f"a passage is at offset {passage['offset']}, but {len(text)} characters come "
                    "before it; offsets must count Unicode code points",
                    place,
                )
            if passage["text"]:
                text += "\n" * gap + passage["text"]
            pieces.append(passage)
        annotations = [
            _annotation(entry, report, place)
            for piece in (*pieces, record)
            for entry in piece.get("annotations") or ()
        ]
        report.other["relations"] += sum(
            len(piece.get("relations") or ()) for piece in (*pieces, record)
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise BadRecord(f"not BioC ({type(error).__name__}: {error})", place) from error
    return flat(text, annotations, report, id=id)


def _passages(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Passages, and sentences where the text is in those."""
    for passage in record["passages"]:
        yield {**passage, "text": passage.get("text") or ""}
        for sentence in passage.get("sentences") or ():
            inside = "" if passage.get("text") else sentence.get("text") or ""
            yield {**sentence, "text": inside}


def _annotation(entry: Mapping[str, Any], report: Report, place: str) -> Annotation:
    spans = tuple((at["offset"], at["offset"] + at["length"]) for at in entry["locations"])
    infons = dict(entry["infons"])
    label, score = str(infons.pop("type")), infons.pop("score", 1.0)
    report.other.update(f"infons {key!r}" for key in infons)
    try:
        score = float(score)
    except (TypeError, ValueError):
        score = 1.0
    return Annotation(label, spans, entry.get("text"), f"{place} {entry.get('id', '')}", score)


def read_bioc(path: str, report: Report) -> Iterator[Document]:
    """Documents of a BioC JSON file."""
    lines = ((number, line) for number, line in read_lines(path, report) if line.strip())
    number, first = next(lines, (0, ""))
    try:
        json.loads(first)
    except json.JSONDecodeError:  # one value over several lines
        lines = iter([(0, "\n".join([first, *(line for _, line in lines)]))])
    else:
        lines = itertools.chain([(number, first)], lines)
    for number, line in lines:
        place = f"{name_of(path)}:{number}" if number else name_of(path)
        try:
            records = _documents(json.loads(line))
        except (ValueError, RecursionError) as error:
            report.bad(place, f"not BioC JSON ({error}); give a collection or documents")
            continue
        for record in records:
            try:
                yield from_bioc(record, report, place=place)
            except BadRecord as error:
                report.bad(error.place or place, error.fault)


def _documents(value: Any) -> list[Mapping[str, Any]]:
    if isinstance(value, dict):
        if "passages" in value:
            return [value]
        value = value.get("documents", value.get("PubTator3"))
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError("neither documents nor passages in it")
    return value
