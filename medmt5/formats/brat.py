"""brat stand-off: pairs of NAME.txt and NAME.ann in a folder.

Offsets count code points of the text as it is stored, `\\r` and a byte order mark included, as
brat counts them. An entity over a line end is written as fragments, which is how brat itself stores
it, and comes back as one. Relations, events, attributes and notes are counted when reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from medmt5.formats.documents import BREAK, Document, check, escape_label, unescape_label
from medmt5.formats.gold import Annotation, BadRecord, Report, flat
from medmt5.formats.lines import read_text

_OTHERS = {
    "R": "relations",
    "*": "relations",
    "E": "events",
    "A": "attributes",
    "M": "attributes",
    "N": "normalisations",
    "#": "notes",
}
_ENTITY = re.compile(r"(T\S*)\t(\S+) ([0-9]+ [0-9]+(?:;[0-9]+ [0-9]+)*)\t(.*)")


def to_brat(document: Document) -> str:
    """The standoff (.ann) half of a brat document: `T1<TAB>Label start end<TAB>text` lines.

    An entity that runs over a line break or tab becomes brat's discontinuous kind: fragments
    `start end;start end`, their texts joined by a space. Labels are written by `escape_label`,
    because brat ends a label at a space. Scores have no place here and are dropped.

    Raises:
      ValueError: an entity holds nothing but line breaks and tabs.
    """
    check(document)
    lines = []
    for number, entity in enumerate(document.entities, start=1):
        spans, reached = [], entity.start
        for match in BREAK.finditer(document.text, entity.start, entity.end):
            spans.append((reached, match.start()))
            reached = match.end()
        spans = [(start, end) for start, end in [*spans, (reached, entity.end)] if start < end]
        if not spans:
            raise ValueError(f"entity {tuple(entity)} holds only line breaks and tabs; drop it")
        offsets = ";".join(f"{start} {end}" for start, end in spans)
        text = " ".join(document.text[start:end] for start, end in spans)
        lines.append(f"T{number}\t{escape_label(entity.label)} {offsets}\t{text}\n")
    return "".join(lines)


def from_brat(
    text: str, annotations: str, report: Report, *, id: str = "", place: str = ""
) -> Document:
    """A document of a text and the content of its .ann file.

    Raises:
      BadRecord: a T line that is not `T1<TAB>Label start end<TAB>text`, or does not fit the text.
    """
    found = []
    for number, line in enumerate(annotations.removeprefix("\ufeff").split("\n"), 1):
        line = line.removesuffix("\r")
        if not line.strip():
            continue
        if line[0] in _OTHERS:
            report.other[_OTHERS[line[0]]] += 1
            continue
        match = _ENTITY.fullmatch(line)
        if not match:
            fault = f"{line[:60]!r} is not `T1<TAB>Label start end<TAB>text`"
            report.bad(f"{place}:{number}", fault)
            continue
        name, label, offsets, quote = match.groups()
        pairs = (span.split(" ") for span in offsets.split(";"))
        spans = tuple((int(start), int(end)) for start, end in pairs)
        found.append(Annotation(unescape_label(label), spans, quote, f"{place}:{number} ({name})"))
    return flat(text, found, report, id=id)


def read_brat(path: str, report: Report) -> Iterator[Document]:
    """Documents of a folder and the folders in it, in order of their names, or of one .txt file.

    A text without .ann has no entities. The id is the name without its ending.
    """
    root = Path(path)
    texts = sorted(root.rglob("*.txt")) if root.is_dir() else [root.with_suffix(".txt")]
    if not texts:
        raise ValueError(f"{path} has no .txt files; brat keeps NAME.txt beside NAME.ann")
    for orphan in sorted(root.rglob("*.ann")) if root.is_dir() else ():
        if not orphan.with_suffix(".txt").exists():
            report.bad(str(orphan), "there is no .txt file beside it")
    for file in texts:
        notes = file.with_suffix(".ann")
        try:
            text = read_text(str(file), report)
            annotations = read_text(str(notes), report) if notes.exists() else ""
        except BadRecord as error:
            report.bad(error.place, error.fault)
            continue
        name = file.relative_to(root if root.is_dir() else root.parent).with_suffix("")
        yield from_brat(text, annotations, report, id=name.as_posix(), place=str(notes))
