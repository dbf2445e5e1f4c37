"""Inline tags: one document per line, `<Label>` and `</Label>` around each entity."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NoReturn

from medmt5.formats.documents import (
    LINE_ENDS,
    Document,
    Entity,
    check,
    escape_label,
    unescape_label,
)
from medmt5.formats.gold import Annotation, Report, flat
from medmt5.formats.lines import name_of, read_lines

_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {end: f"&#{ord(end)};" for end in LINE_ENDS}
)
_INLINE = re.compile(r"<(?P<close>/?)(?P<name>[\w-]+)>|&(?P<code>\w+|#[0-9]+);|(?P<text>[^<>&]+)")
_CODES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


def to_inline(document: Document) -> str:
    """The text on one line, with `<Label>` and `</Label>` around each entity.

    `&`, `<`, `>` and line ends in the text are escaped as in XML (`&amp;`, `&#10;`), labels by
    `escape_label`. Scores, words and splits are not written.
    """
    check(document)
    parts, reached = [], 0
    for entity in document.entities:
        name = escape_label(entity.label)
        parts.append(document.text[reached : entity.start].translate(_ESCAPES))
        parts.append(f"<{name}>{entity.text.translate(_ESCAPES)}</{name}>")
        reached = entity.end
    return "".join(parts) + document.text[reached:].translate(_ESCAPES)


def from_inline(line: str) -> Document:
    """Read back a line of `to_inline`: the same text and entities, each with score 1.

    A line end after the last character is dropped.

    Raises:
      ValueError: with the column of a stray `&`, `<` or `>`, or of a tag that is nested, empty,
        unopened or unclosed.
    """
    line = line.removesuffix("\n").removesuffix("\r")
    parts: list[str] = []
    entities: list[Entity] = []
    length, column, opened = 0, 0, None

    def fail(fault: str) -> NoReturn:
        raise ValueError(f"column {column + 1}: {fault} at {line[column : column + 30]!r}")

    while column < len(line):
        match = _INLINE.match(line, column)
        if match is None:
            fail("stray `&`, `<` or `>`; write `&amp;`, `&lt;` or `&gt;`")
        if match["name"] and not match["close"]:
            if opened:
                fail(f"tag inside <{opened[0]}>; entities are flat, so close that one first")
            opened = (match["name"], length, len(parts))
        elif match["name"]:
            if not opened or opened[0] != match["name"] or opened[1] == length:
                fail("closing tag needs its opening tag and some text between")
            label, text = unescape_label(opened[0]), "".join(parts[opened[2] :])
            entities.append(Entity(opened[1], length, label, text, 1.0))
            opened = None
        else:
            part = match["text"] or _decode(match["code"])
            if part is None:
                fail("unknown code; use &amp; &lt; &gt; or &#NUMBER;")
            parts.append(part)
            length += len(part)
        column = match.end()
    if opened:
        fail(f"<{opened[0]}> is never closed; add </{opened[0]}>")
    return Document("".join(parts), tuple(entities))


def _decode(code: str) -> str | None:
    if not code.startswith("#"):
        return _CODES.get(code)
    return chr(int(code[1:])) if int(code[1:]) <= 0x10FFFF else None


def read_inline(path: str, report: Report) -> Iterator[Document]:
    """Documents of a file of inline tags, one per line; a blank line is an empty document."""
    for number, line in read_lines(path, report):
        place = f"{name_of(path)}:{number}"
        try:
            text, entities, *_ = from_inline(line)
        except ValueError as error:
            report.bad(place, str(error))
            continue
        annotations = [Annotation(e.label, ((e.start, e.end),), e.text, place) for e in entities]
        yield flat(text, annotations, report)
