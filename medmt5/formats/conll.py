"""CoNLL files: `word<TAB>tag` lines, a blank line after each sentence.

Reading reports the file and line of what is wrong. What the tags mean is left to `labelling`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Sentence(NamedTuple):
    words: tuple[str, ...]
    tags: tuple[str, ...]
    line: int = 0  # of its first word, from 1


def read_lines(path: str) -> Iterator[tuple[int, str]]:
    """Numbered lines of a UTF-8 file, without line ends.

    Raises:
      ValueError: no such file, or invalid UTF-8 (with the line number).
    """
    try:
        file = open(path, "rb")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    with file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}:{number}: invalid UTF-8 at byte {error.start + 1} of the line "
                    f"({error.reason}); convert the file to UTF-8"
                ) from error
            if number == 1:
                line = line.removeprefix("\ufeff")
            yield number, line.rstrip("\r\n")


def check_tag(tag: str, labels: tuple[str, ...] | None) -> None:
    """Raise ValueError unless the tag is O, B-LABEL or I-LABEL with a known label."""
    if tag == "O":
        return
    prefix, _, label = tag.partition("-")
    if prefix not in ("B", "I") or not label:
        raise ValueError(f"tag {tag!r} is not IOB2; use O, B-LABEL or I-LABEL")
    if labels is not None and label not in labels:
        raise ValueError(f"label {label!r} is unknown; this task has {', '.join(labels)}")


def read_conll(path: str, *, labels: tuple[str, ...] | None = None) -> Iterator[Sentence]:
    """Sentences of a CoNLL file.

    Args:
      path: UTF-8, one word and its IOB2 tag per line, separated by a tab.
      labels: accepted labels; None accepts all.

    Raises:
      ValueError: a missing or empty file, invalid UTF-8, a line without a tag, an unknown tag;
        the message has the file and line.
    """
    words: list[str] = []
    tags: list[str] = []
    start, found = 0, False
    for number, line in read_lines(path):
        if not line.strip():
            if words:
                yield Sentence(tuple(words), tuple(tags), start)
                words, tags = [], []
            continue
        columns = line.split("\t")
        if len(columns) != 2 or not columns[0] or not columns[1]:
            raise ValueError(
                f"{path}:{number}: {line!r} has {len(columns)} columns, or an empty one; a line is "
                "word<TAB>tag, a sentence ends with a blank line"
            )
        try:
            check_tag(columns[1], labels)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
        start = start if words else number
        found = True
        words.append(columns[0])
        tags.append(columns[1])
    if words:
        yield Sentence(tuple(words), tuple(tags), start)
    if not found:
        raise ValueError(f"{path}: no sentences; a line is word<TAB>tag")
