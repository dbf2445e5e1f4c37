"""PubTator: `ID|t|title`, `ID|a|abstract`, then a line per entity and a blank line.

Offsets count code points of title, one character, abstract. Here that character is the text's
first line feed; a text without one is all title, and has no `|a|` line. PubTator cannot hold other
line ends, nor tabs: each is written as a space, so that offsets stay. Scores are not written.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from medmt5.formats.documents import Document, check, one_line
from medmt5.formats.gold import Annotation, Report, flat
from medmt5.formats.lines import name_of, read_lines

_PASSAGE = re.compile(r"([^|\t]+)\|([at])\|(.*)", re.DOTALL)


def to_pubtator(document: Document, number: int = 1) -> str:
    """The lines of a document and a blank one; without an id it gets its number.

    Raises:
      ValueError: an id with a tab, `|` or line end.
    """
    check(document)
    name = document.id or str(number)
    if one_line(name) != name or "|" in name:
        raise ValueError(f"id {name!r} has a tab, `|` or line end, which PubTator has no form for")
    title, line_end, abstract = document.text.partition("\n")
    lines = [f"{name}|t|{one_line(title)}\n"]
    if line_end:
        lines.append(f"{name}|a|{one_line(abstract)}\n")
    for start, end, label, text, _ in document.entities:
        # The last column is for concept identifiers, of which there are none.
        lines.append(f"{name}\t{start}\t{end}\t{one_line(text)}\t{label}\t-\n")
    return "".join(lines) + "\n"


def read_pubtator(path: str, report: Report) -> Iterator[Document]:
    """Documents of a PubTator file; identifiers and relations are counted."""
    id, passages, annotations = "", {}, []

    def document() -> Document:
        text = "\n".join(passages.get(kind, "") for kind in "ta" if kind == "t" or kind in passages)
        return flat(text, annotations, report, id=id)

    # A blank line more ends the last document.
    for number, line in itertools.chain(read_lines(path, report), [(0, "")]):
        place = f"{name_of(path)}:{number}"
        match = _PASSAGE.fullmatch(line)
        if passages and (not line.strip() or (match and match[1] != id)):
            yield document()
            passages, annotations = {}, []
        if not line.strip():
            continue
        columns = line.split("\t")
        if match:
            id = match[1]
            passages[match[2]] = match[3]
        elif not passages or columns[0] != id:
            report.bad(place, f"{line[:60]!r} belongs to no document; begin with ID|t|title")
        elif len(columns) >= 5 and columns[1].isdecimal() and columns[2].isdecimal():
            span = (int(columns[1]), int(columns[2]))
            annotations.append(Annotation(columns[4], (span,), columns[3], f"{place} ({id})"))
            if columns[5:] and columns[5] not in ("", "-", "-1"):
                report.other["concept identifiers"] += 1
        elif len(columns) == 4 and not columns[1].isdecimal():
            report.other["relations"] += 1
        else:
            fault = f"{line[:60]!r} is not ID<TAB>start<TAB>end<TAB>text<TAB>label"
            report.bad(place, fault)
