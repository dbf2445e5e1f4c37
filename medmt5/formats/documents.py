"""A labelled document: text with flat entities at character offsets.

What every file format shares. The formats themselves are files of their own (`jsonl`, `conll`,
`brat`, ...), found by name in `exchange`; gold that is not flat is made so in `gold`.
"""

import math
import re
from typing import NamedTuple


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


class Alternative(NamedTuple):
    """One of the best answers for a window, text[start:end] of a document, with its score.

    Windows of a sentence too long for the model overlap.
    """

    start: int
    end: int
    score: float
    entities: tuple[Entity, ...]


class Document(NamedTuple):
    """A text, its entities in order and without overlap, and how it was cut for the model.

    `words` holds the character offsets of the words that were labelled, `splits` those at which
    a sentence too long for the model gave way to the next of its windows, which overlap. `id` names
    the document where its file does, else it is empty.
    `alternatives` are the best answers of each window, best first, where they were asked for;
    `proven` says whether no other answer is more probable, where that was sought.
    """

    text: str
    entities: tuple[Entity, ...]
    words: tuple[tuple[int, int], ...] = ()
    splits: tuple[int, ...] = ()
    id: str = ""
    alternatives: tuple[Alternative, ...] = ()
    proven: bool | None = None


# Everything at which some reader ends a line (str.splitlines), so that one record stays one line.
LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
BREAK = re.compile(f"[\t{LINE_ENDS}]+")
_SPACES = str.maketrans(dict.fromkeys(f"\t{LINE_ENDS}", " "))


def one_line(text: str) -> str:
    """The text with a space for each tab and line end, so that offsets stay as they are."""
    return text.translate(_SPACES)


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
        elif not label or BREAK.search(label):
            fault = "needs a label, without tabs or line breaks; rename it"
        elif not math.isfinite(score):
            fault = f"has score {score}; give a finite number"
        else:
            reached = end
            continue
        raise ValueError(f"entity ({start}, {end}, {label!r}, {text!r}) {fault}")


def plain_words(document: Document) -> tuple[tuple[int, int], ...]:
    """The document's words or, where it has none, its text cut at white space and entity edges."""
    if document.words:
        return document.words
    edges = sorted({0, len(document.text), *(i for e in document.entities for i in e[:2])})
    finder = re.compile(r"\S+")
    return tuple(
        match.span()
        for start, end in zip(edges, edges[1:], strict=False)
        for match in finder.finditer(document.text, start, end)
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
