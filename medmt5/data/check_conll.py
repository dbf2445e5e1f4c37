"""Check a CoNLL file line by line, by the rules of `formats.conll`.

The reader leaves a sentence at its first fault; here every row is looked at, and its column said.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

from medmt5.data.findings import Checked, Findings, Places
from medmt5.formats.conll import ENDINGS
from medmt5.formats.lines import read_lines

ACCEPTED = "a line is word<TAB>tag, a sentence ends with a blank line"
# Spaces, controls, soft hyphens, zero-width characters and marks of direction: nobody sees them,
# vocabularies drop or split them, and two words that look the same are not.
INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x20\x7f-\xa0\xad\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u3000\ufeff]"
)


def check_conll(
    path: str, findings: Findings, tick: Callable[[], None] = lambda: None
) -> tuple[int, Checked]:
    """Check a CoNLL file.

    Args:
      path: of the file.
      findings: gets what is found; columns count characters of a line.
      tick: called for each line.

    Returns:
      Sentences without a fault, and what comparing splits needs.
    """
    checked, scheme = Checked(path, {}, {}), _Scheme(findings.limit)
    count, found, broken, skipped = 0, False, False, findings.skipped
    words: list[str] = []
    tags: list[tuple[int, int, str]] = []
    try:
        # A blank line more ends the last sentence; two in a row hold an empty one.
        for number, line in itertools.chain(read_lines(path, findings), [(0, "")]):
            tick()
            if line.strip():
                found = True
                columns, where = _columns(path, number, line, findings), len(line)
                broken = broken or columns is None
                if columns:
                    where -= len(columns[1]) - 1
                    words.append(columns[0])
                    tags.append((number, where, columns[1]))
                    if columns[1] != "O":
                        checked.labels.setdefault(columns[1][2:], number)
                continue
            if line:
                fault = "white space alone ends a sentence; write an empty line, or a word and tag"
                findings.warning(path, number, 1, "white space", fault)
            # A line that is no text takes its sentence along.
            if words and not broken and findings.skipped == skipped:
                count += 1
                checked.items.setdefault(hash(tuple(words)), tags[0][0])
                scheme.add(tags)
            elif number and not (words or broken or findings.skipped > skipped):
                fault = "an empty sentence; one blank line between sentences is enough"
                findings.warning(path, number, 1, "empty sentence", fault)
            words, tags, broken, skipped = [], [], False, findings.skipped
        if not found:
            findings.error(path, 1, 1, "file", f"no sentences; {ACCEPTED}")
        _line_ends(path, findings)
    except ValueError as error:
        findings.unreadable(path, error)
    scheme.report(path, findings)
    return count, checked


def _columns(path: str, line: int, text: str, findings: Findings) -> tuple[str, str] | None:
    """Word and tag of a line; None if it has not just these, which is then reported."""
    columns = text.split("\t")
    column, fault = 1, ""
    if len(columns) == 1:
        column, fault = len(text) + 1, f"{text[:60]!r} has one column"
    elif len(columns) > 2:
        column = len(columns[0]) + len(columns[1]) + 2
        fault = f"{text[:60]!r} has {len(columns)} columns"
    elif not columns[0]:
        fault = f"{text[:60]!r} has an empty word"
    elif not columns[1]:
        column, fault = len(text) + 1, f"{text[:60]!r} has an empty tag"
    if fault:
        findings.error(path, line, column, "columns", f"{fault}; {ACCEPTED}")
        return None
    prefix, _, label = columns[1].partition("-")
    if columns[1] != "O" and not (label and prefix in ("B", "I", *ENDINGS)):
        fault = f"tag {columns[1]!r} is not IOB2, BILOU or BIOES; write O, B-LABEL or I-LABEL"
        findings.error(path, line, len(columns[0]) + 2, "tag", fault)
        return None
    for match in INVISIBLE.finditer(text):
        name = unicodedata.name(match[0], f"control character U+{ord(match[0]):04X}")
        part = "word" if match.start() < len(columns[0]) else "tag"
        fault = f"{name} in the {part} of {text[:60]!r}; correct it unless it is meant"
        findings.warning(path, line, match.start() + 1, "character", fault)
    return columns[0], columns[1]


def _line_ends(path: str, findings: Findings) -> None:
    with open(path, "rb") as file:
        returns = Places(1)
        for number, raw in enumerate(file, 1):
            if raw.endswith(b"\r\n"):
                returns.add(number, len(raw.decode("utf-8", "replace")) - 1, "")
    for line, column, _ in returns.first:
        fault = f"{returns.count:,} lines end in CR LF, of which CR is left out; write LF alone"
        findings.warning(path, line, column, "line end", fault)


def unfinished(tags: Sequence[str]) -> Iterator[tuple[int, str]]:
    """What BILOU and BIOES have no place for: `begins` without B-, `ends` without L- or E-.

    Returns:
      The index of the word that begins or ends an entity so, in order.
    """
    label = ""
    for i, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        inside = prefix in ("I", "L", "E")
        continues = bool(label) and name == label and inside
        if label and not continues:
            yield i - 1, "ends"
        if inside and not continues:
            yield i, "begins"
        label = "" if prefix == "O" or prefix in ENDINGS else name


class _Scheme:
    """The scheme of a file is that of most of its tags; the others are errors."""

    def __init__(self, limit: int | None):
        # Marks of each scheme. IOB1 has no B- but after an entity of the same label.
        self.shown = {name: Places(limit) for name in ("BILOU", "BIOES", "IOB1", "IOB2", "ends")}

    def add(self, sentence: Sequence[tuple[int, int, str]]) -> None:
        """Take in the tags of a sentence, each with its line and column."""
        tags = [tag for _, _, tag in sentence]
        for place, before in zip(sentence, ["O", *tags], strict=False):
            if place[2][0] in ENDINGS:
                self.shown[ENDINGS[place[2][0]].upper()].add(*place)
            elif place[2][0] == "B" and before[2:] != place[2][2:]:
                self.shown["IOB2"].add(*place)
        for i, what in unfinished(tags):
            self.shown["IOB1" if what == "begins" else "ends"].add(*sentence[i])

    def report(self, path: str, findings: Findings) -> None:
        shown = self.shown
        marks = {
            "BILOU": shown["BILOU"].count,
            "BIOES": shown["BIOES"].count,
            "IOB2": shown["ends"].count + shown["IOB1"].count,
        }
        scheme = max(marks, key=lambda name: marks[name])
        for other in {"BILOU", "BIOES"} - {scheme}:
            fault = f"tag {{!r}} is {other}, but most of the file is {scheme}; use one of both"
            findings.errors(path, "scheme", shown[other], fault)
        begins = "{!r} begins an entity, "
        if scheme != "IOB2":
            end = "an entity ends with {!r}, " + f"but the file is {scheme}; end it with "
            end += "L- or U-" if scheme == "BILOU" else "E- or S-"
            findings.errors(path, "scheme", shown["ends"], end)
            fault = f"{begins}but the file is {scheme}; begin it with B-"
            findings.errors(path, "scheme", shown["IOB1"], fault)
        elif shown["IOB1"].count <= shown["IOB2"].count:
            fault = f"{begins}but the file is IOB2; write B- (it is read so)"
            findings.errors(path, "I- begins an entity", shown["IOB1"], fault)
        else:
            fault = "{!r} follows no entity of its label, but the file is IOB1; write I-"
            findings.errors(path, "B- begins an entity", shown["IOB2"], fault)
