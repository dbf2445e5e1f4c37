"""Labelled documents and how they are written: JSONL, CoNLL, brat, inline tags.

A document is text with flat entities at character offsets. How the entities were found is left
to the labeller, the HTML page to `page`.
"""

import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self, TextIO

FORMATS = ("jsonl", "conll", "brat", "inline", "html")


class Entity(NamedTuple):
    """A labelled stretch of text.

    Offsets are half-open and count Unicode code points, as Python indexes strings; JavaScript
    and Java count UTF-16 units, which differ after an emoji.
    """

    start: int
    end: int
    label: str
    text: str
    score: float


class Document(NamedTuple):
    """A text, its entities in order and without overlap, and how it was cut for the model.

    `words` holds the character offsets of the words that were labelled, `splits` those at which
    a long text was divided.
    """

    text: str
    entities: tuple[Entity, ...]
    words: tuple[tuple[int, int], ...] = ()
    splits: tuple[int, ...] = ()


def check(document: Document) -> None:
    """Refuse a document whose entities cannot be written faithfully.

    Raises:
      ValueError: an entity is empty, outside the text, out of order, overlaps the one before,
        does not quote its text, or has an empty label, a label with a tab or line break, or a
        score that is not finite.
    """
    reached = 0
    for entity in document.entities:
        start, end, label, text, score = entity
        if not 0 <= start < end <= len(document.text):
            fault = f"needs 0 <= start < end <= {len(document.text)}, the length of the text"
        elif start < reached:
            fault = f"starts before {reached}, where the entity before it ends; sort, drop overlaps"
        elif text != document.text[start:end]:
            fault = f"must quote the text at its offsets, {document.text[start:end]!r}"
        elif not label or _BREAK.search(label):
            fault = "needs a label, without tabs or line breaks; rename it"
        elif not math.isfinite(score):
            fault = f"has score {score}; give a finite number"
        else:
            reached = end
            continue
        raise ValueError(f"entity ({start}, {end}, {label!r}, {text!r}) {fault}")


# Everything at which some reader ends a line (str.splitlines), so that one record stays one line.
_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_BREAK = re.compile(f"[\t{_LINE_ENDS}]+")


_RAW = re.compile("[\x85\u2028\u2029\ud800-\udfff]")


def to_jsonl(document: Document) -> str:
    """The document as one JSON object on one line, without the newline.

    Scores are rounded to 4 digits. `splits` appears only where the text was divided.
    """
    check(document)
    entities = [
        {
            "start": int(entity.start),
            "end": int(entity.end),
            "label": entity.label,
            "text": entity.text,
            "score": round(float(entity.score), 4),
        }
        for entity in document.entities
    ]
    record: dict[str, Any] = {"text": document.text, "entities": entities}
    if document.splits:
        record["splits"] = [int(split) for split in document.splits]
    line = json.dumps(record, ensure_ascii=False)
    # JSON escapes the other line ends itself. Half a surrogate pair has no UTF-8 form.
    return _RAW.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


def to_conll(document: Document) -> str:
    """One `word<TAB>tag` line per word, tags in IOB2, and a blank line.

    A document without `words` is cut at whitespace and at the edges of its entities.

    Raises:
      ValueError: words are empty, out of order or hold a tab or line break, or an entity cuts
        a word or covers none.
    """
    check(document)
    text, entities = document.text, document.entities
    words = document.words or _plain_words(document)
    lines, current, begun, reached = [], 0, -1, 0
    for start, end in words:
        word = text[start:end]
        if not reached <= start < end <= len(text) or _BREAK.search(word):
            raise ValueError(
                f"word ({start}, {end}) {word!r} is empty, out of order, outside the text or holds "
                "a tab or line break; give words in order, cut at whitespace"
            )
        reached = end
        while current < len(entities) and entities[current].end <= start:
            current += 1
        if current == len(entities) or end <= entities[current].start:
            lines.append(f"{word}\tO\n")
            continue
        entity = entities[current]
        if start < entity.start or entity.end < end:
            raise ValueError(
                f"entity {tuple(entity)} cuts the word {word!r} at ({start}, {end}); CoNLL tags "
                "whole words: cut the words at its edges, or write another format"
            )
        lines.append(f"{word}\t{'I' if begun == current else 'B'}-{entity.label}\n")
        begun = current
    tagged = sum("\tB-" in line for line in lines)
    if tagged != len(entities):
        raise ValueError(
            f"{len(entities) - tagged} of {len(entities)} entities cover no word, so CoNLL cannot "
            "hold them; add words there, or write another format"
        )
    return "".join(lines) + "\n"


def _plain_words(document: Document) -> tuple[tuple[int, int], ...]:
    edges = sorted({0, len(document.text), *(i for e in document.entities for i in e[:2])})
    pieces = zip(edges, edges[1:], strict=False)
    finder = re.compile(r"\S+")
    return tuple(
        m.span() for start, end in pieces for m in finder.finditer(document.text, start, end)
    )


def escape_label(label: str) -> str:
    """Write a label as a name that brat and XML accept: `Sign or Symptom` -> `Sign_x0020_or_...`.

    Letters, digits, `_` and `-` stay, except a first digit or `-`. Other characters become
    `_xHHHH_`, their code point in hexadecimal, the convention of .NET's XmlConvert.EncodeName.
    Labels stay distinct, and `unescape_label` gives them back.
    """

    def code(match: re.Match[str]) -> str:
        return f"_x{ord(match[0]):04X}_"

    # A `_` that would read as the start of such a code is coded itself.
    return re.sub(r"^[\d-]|_(?=x[0-9A-F]{4})|[^\w-]", code, label)


def unescape_label(name: str) -> str:
    """Inverse of `escape_label`."""
    return re.sub("_x(10[0-9A-F]{4}|[0-9A-F]{4,5})_", lambda match: chr(int(match[1], 16)), name)


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
        for match in _BREAK.finditer(document.text, entity.start, entity.end):
            spans.append((reached, match.start()))
            reached = match.end()
        spans = [(start, end) for start, end in [*spans, (reached, entity.end)] if start < end]
        if not spans:
            raise ValueError(f"entity {tuple(entity)} holds only line breaks and tabs; drop it")
        offsets = ";".join(f"{start} {end}" for start, end in spans)
        text = " ".join(document.text[start:end] for start, end in spans)
        lines.append(f"T{number}\t{escape_label(entity.label)} {offsets}\t{text}\n")
    return "".join(lines)


_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {end: f"&#{ord(end)};" for end in _LINE_ENDS}
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


# sys.stdout is declared as TextIO and is, like io.StringIO, a TextIOBase: checkers ask for either.
Destination = TextIO | io.TextIOBase | str | os.PathLike[str]


class Writer:
    """Takes documents one by one; `close`, or leaving a `with` block, finishes the output."""

    def write(self, document: Document) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _StreamWriter(Writer):
    """Writes each document as it comes or, for a page with a legend, all of them at the end."""

    def __init__(self, destination: Any, *, line: Callable[[Document], str] | None) -> None:
        self._line = line
        self._documents: list[Document] = []
        self._owned = isinstance(destination, str | os.PathLike)
        # newline="\n": offsets and lines are the same on Windows.
        self._stream = (
            open(destination, "w", encoding="utf-8", newline="\n") if self._owned else destination
        )

    def write(self, document: Document) -> None:
        if self._line:
            self._stream.write(self._line(document))
        else:
            check(document)
            self._documents.append(document)

    def close(self) -> None:
        if not self._line:
            from medmt5.formats.page import to_html  # which builds on this module

            self._stream.write(to_html(self._documents))
        self._stream.close() if self._owned else self._stream.flush()


class _FolderWriter(Writer):
    """Writes brat's pair of files for each document."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.glob("*.ann")):
            # Someone may have corrected them by hand since.
            raise ValueError(f"{folder} already holds .ann files; give a new or empty folder")
        self._folder, self._count = folder, 0

    def write(self, document: Document) -> None:
        annotations = to_brat(document)
        self._count += 1
        for ending, content in (("txt", document.text), ("ann", annotations)):
            path = self._folder / f"{self._count:05d}.{ending}"
            # newline="": a translated \r\n would shift every offset after it.
            with open(path, "w", encoding="utf-8", newline="") as stream:
                stream.write(content)


def writer(format: str, destination: Destination) -> Writer:
    """Open a writer of labelled documents.

    Args:
      format: one of `FORMATS`.
      destination: an open text stream, which is left open, or a path to write. For brat a
        folder, which gets `00001.txt` and `00001.ann`, `00002.txt` and so on.

    Raises:
      ValueError: the format is unknown, or brat gets a stream or a folder with .ann files.
    """
    if format == "brat":
        if not isinstance(destination, str | os.PathLike):
            raise ValueError(
                "brat writes two files per document and got one stream; give a folder instead"
            )
        return _FolderWriter(Path(destination))
    lines: dict[str, Callable[[Document], str] | None] = {
        "jsonl": lambda document: to_jsonl(document) + "\n",
        "conll": to_conll,
        "inline": lambda document: to_inline(document) + "\n",
        "html": None,
    }
    if format not in lines:
        raise ValueError(f"format {format!r} is unknown; use one of {', '.join(FORMATS)}")
    return _StreamWriter(destination, line=lines[format])


def write_documents(documents: Iterable[Document], format: str, destination: Destination) -> int:
    """Write all documents with a `writer` of that format and return how many there were."""
    count = 0
    with writer(format, destination) as out:
        for document in documents:
            out.write(document)
            count += 1
    return count
