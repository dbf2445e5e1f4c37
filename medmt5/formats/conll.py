"""CoNLL files: `word<TAB>tag` lines, a blank line after each sentence.

Tags are read as IOB1, IOB2, BILOU or BIOES and given as IOB2, which is also what is written. The
text of a sentence is its words with a space between: CoNLL keeps neither other white space nor
empty documents. Reading reports the file and line of what is wrong; what tags mean to a model is
left to `labelling`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from medmt5.formats.documents import BREAK, Document, check, plain_words
from medmt5.formats.gold import Annotation, BadRecord, Report, flat
from medmt5.formats.lines import name_of, read_lines

SCHEMES = ("auto", "iob", "bilou", "bioes")


class Sentence(NamedTuple):
    words: tuple[str, ...]
    tags: tuple[str, ...]
    line: int = 0  # of its first word, from 1


def check_tag(tag: str, labels: tuple[str, ...] | None) -> None:
    """Raise ValueError unless the tag is O, B-LABEL or I-LABEL with a known label."""
    if tag == "O":
        return
    prefix, _, label = tag.partition("-")
    if prefix not in ("B", "I") or not label:
        raise ValueError(f"tag {tag!r} is not IOB2; use O, B-LABEL or I-LABEL")
    if labels is not None:
        check_label(label, labels)


def check_label(label: str, labels: tuple[str, ...]) -> None:
    if label not in labels:
        raise ValueError(f"label {label!r} is unknown; this task has {', '.join(labels)}")


# Prefixes that say where an entity ends, and their scheme; B, I and O are in all.
ENDINGS = {"L": "bilou", "U": "bilou", "E": "bioes", "S": "bioes"}


def to_iob2(tags: Sequence[str]) -> tuple[list[str], int | None]:
    """Tags of any scheme as IOB2, of one sentence.

    IOB1 and IOB2 need no telling apart: an I- that continues nothing begins an entity, a B- always
    does. BILOU and BIOES say where an entity ends.

    Returns:
      The tags, and the index of the first entity that BILOU and BIOES would not write so.
    """
    result: list[str] = []
    label, begun, odd = "", 0, None
    for i, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        continues = bool(label) and name == label and prefix in ("I", "L", "E")
        if odd is None and label and not continues:
            odd = begun  # ends without L- or E-
        if odd is None and not continues and prefix in ("I", "L", "E"):
            odd = i  # begins without B-
        begun = begun if continues else i
        label = "" if prefix == "O" or prefix in ENDINGS else name
        result.append("O" if prefix == "O" else f"{'I' if continues else 'B'}-{name}")
    return result[:-1], odd


class _Scheme:
    """Which scheme the tags of a file are in: said, or by the first sentence that shows it."""

    def __init__(self, name: str):
        if name not in SCHEMES:
            raise ValueError(f"scheme {name!r} is unknown; use one of {', '.join(SCHEMES)}")
        self.name = "" if name == "auto" else name
        self.where = f"scheme={name!r} was given"

    def check(self, tag: str) -> None:
        prefix, _, label = tag.partition("-")
        if tag != "O" and not (label and (prefix in ("B", "I") or prefix in ENDINGS)):
            raise BadRecord(f"tag {tag!r} is not IOB2; use O, B-LABEL or I-LABEL")

    def read(self, tags: Sequence[str], line: int) -> list[str]:
        """IOB2 tags of the sentence that begins on this line.

        Raises:
          BadRecord: the sentence is in two schemes, or not in that of the file.
        """
        result, odd = to_iob2(tags)
        shown = [(i, ENDINGS[tag[0]]) for i, tag in enumerate(tags) if tag[0] in ENDINGS]
        shown += [] if odd is None else [(odd, "iob")]
        for i, name in shown:
            what = f"line {line + i}, {tags[i]!r}, is {name}"
            if name == "iob":
                what = f"the entity at line {line + i} has no B- or no end, as only iob has it"
            if not self.name:
                self.name, self.where = name, what
            if self.name != name:
                raise BadRecord(f"{what}, but {self.where}; one of both is wrong: correct it")
        return result


def read_conll(
    path: str,
    *,
    labels: tuple[str, ...] | None = None,
    scheme: str = "auto",
    report: Report | None = None,
) -> Iterator[Sentence]:
    """Sentences of a CoNLL file, their tags in IOB2.

    Args:
      path: UTF-8, one word and its tag per line, separated by a tab.
      labels: accepted labels; None accepts all.
      scheme: one of `SCHEMES`. `iob` is IOB1 and IOB2; `auto` accepts any, if only one per file.
      report: whether broken sentences are skipped.

    Raises:
      ValueError: a missing or empty file, invalid UTF-8, a line without a tag, an unknown tag;
        the message has the file and line.
    """
    report = report or Report()
    tags_are = _Scheme(scheme)
    words: list[str] = []
    tags: list[str] = []
    start, found, skipped = 0, False, report.skipped
    # A blank line more ends the last sentence.
    for number, line in itertools.chain(read_lines(path, report), [(0, "")]):
        if not line.strip():
            # A line that was skipped takes its sentence along.
            if words and report.skipped == skipped:
                try:
                    yield Sentence(tuple(words), tuple(tags_are.read(tags, start)), start)
                except BadRecord as error:
                    report.bad(f"{name_of(path)}:{start}", error.fault)
            words, tags, skipped = [], [], report.skipped
            continue
        columns = line.split("\t")
        try:
            if len(columns) != 2 or not columns[0] or not columns[1]:
                raise BadRecord(
                    f"{line!r} has {len(columns)} columns, or an empty one; a line is "
                    "word<TAB>tag, a sentence ends with a blank line"
                )
            tags_are.check(columns[1])
            if labels is not None and columns[1] != "O":
                check_label(columns[1].partition("-")[2], labels)
        except ValueError as error:
            report.bad(f"{name_of(path)}:{number}", f"{error}")
        start = start if words else number
        found = True
        words.append(columns[0])
        tags.append(columns[-1])
    if not found:
        raise ValueError(f"{path}: no sentences; a line is word<TAB>tag")


def read_documents(path: str, report: Report, *, scheme: str = "auto") -> Iterator[Document]:
    """Sentences of a CoNLL file as documents: words joined by a space, kept in `words`."""
    for sentence in read_conll(path, scheme=scheme, report=report):
        ends = list(itertools.accumulate(len(word) + 1 for word in sentence.words))
        words = [
            (end - 1 - len(word), end - 1) for end, word in zip(ends, sentence.words, strict=True)
        ]
        annotations: list[Annotation] = []
        for (start, end), tag in zip(words, sentence.tags, strict=True):
            if tag.startswith("B-"):
                annotations.append(
                    Annotation(tag[2:], ((start, end),), None, f"{path}:{sentence.line}")
                )
            elif tag.startswith("I-"):
                spans = ((annotations[-1].spans[0][0], end),)
                annotations[-1] = annotations[-1]._replace(spans=spans)
        yield flat(" ".join(sentence.words), annotations, report, words=words)


def to_conll(document: Document) -> str:
    """One `word<TAB>tag` line per word, tags in IOB2, and a blank line.

    A document without `words` is cut at whitespace and at the edges of its entities.

    Raises:
      ValueError: words are empty, out of order or hold a tab or line break, or an entity cuts
        a word or covers none.
    """
    check(document)
    text, entities = document.text, document.entities
    words = plain_words(document)
    lines, current, begun, reached = [], 0, -1, 0
    for start, end in words:
        word = text[start:end]
        if not reached <= start < end <= len(text) or BREAK.search(word):
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
