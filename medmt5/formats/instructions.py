"""Instructions and responses from files of the usual public schemas, one plain example each.

JSON lines, or one JSON list. What the keys of a row mean is in `instructions_schemas`; how an
example becomes the text of a model is left to `instructions_text`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from medmt5.formats import questions_fields as fields
from medmt5.formats.gold import BadRecord, Report
from medmt5.formats.instructions_schemas import is_instruction, to_examples
from medmt5.formats.lines import name_of, read_lines

Lines = Iterator[tuple[int, str]]


def read_instructions(
    path: str, *, lang: str = "", report: Report | None = None
) -> Iterator[dict[str, Any]]:
    """Examples of a file, whose schema is told by its keys.

    Read are Alpaca (`instruction`, `input`, `output` or `response`), ShareGPT (`conversations`),
    OpenAI's chat (`messages`), `prompt` and `completion`, `question` and `answer`, and MMedBench,
    put as its authors put it. An Alpaca row may have `system`, `history` and, where it is answered
    with letters, `options`.

    Args:
      path: UTF-8; `-` is standard input.
      lang: language of rows that do not say theirs (`lang` or `language`).
      report: whether bad rows are skipped; counts rows in `documents`, and in `other` the turns of
        conversations that make no example.

    Yields:
      id: of the row, else its line; `-1`, `-2`, ... is added where it makes several examples.
      lang, system: "" where unknown or not given.
      history: turns before the instruction, user and assistant by turns.
      instruction, input: what is asked, and about what; "" where there is no input.
      answers: the response, in a list.
      letters, options, several: of a row with a closed answer, whose response is then letters as in
        "A,C"; `several` says whether more than one may be right.

    Raises:
      ValueError: no such file, no text or no rows.
      BadRecord: a bad row, with file and line (or number, in a list).
    """
    report = report or Report()
    found = False
    for number, place, row in _rows(path, read_lines(path, report)):
        found = True
        try:
            if isinstance(row, BadRecord):
                raise row
            examples = to_examples(row, lang, report.other)
        except BadRecord as error:
            report.bad(place, error.fault)
            continue
        report.documents += 1
        for count, example in enumerate(examples, 1):
            own = f"{number}-{count}" if len(examples) > 1 else str(number)
            yield {**example, "id": example["id"] or own}
    if not found:
        raise ValueError(f"{name_of(path)}: no instructions")


def holds_instructions(path: str) -> bool:
    """Whether the first row of a file of JSON lines is an instruction, by its keys."""
    line = next((line for _, line in read_lines(path) if line.strip()), "")
    try:
        return is_instruction(fields.load_object(line))
    except BadRecord:
        return False


def _rows(path: str, lines: Lines) -> Iterator[tuple[int, str, dict[str, Any] | BadRecord]]:
    """Number, place and content of each row; a BadRecord where it cannot be read."""
    filled = ((number, line) for number, line in lines if line.strip())
    first = next(filled, None)
    if first is None:
        return
    if first[1].lstrip().startswith("["):
        yield from _listed(path, [first, *filled])
        return
    for number, line in itertools.chain([first], filled):
        row: dict[str, Any] | BadRecord
        try:
            row = fields.load_object(line)
        except BadRecord as error:
            row = error
        yield number, f"{name_of(path)}:{number}", row


def _listed(path: str, lines: list[tuple[int, str]]):
    """Rows of one JSON list, as Alpaca and ShareGPT are published."""
    try:
        rows = fields.load("\n".join(line for _, line in lines))
    except BadRecord as error:  # nothing of it can be read, so nothing is skipped
        line = getattr(error.__cause__, "lineno", None)
        place = name_of(path) + (f":{lines[line - 1][0]}" if line else "")
        raise BadRecord(f"{error.fault}; write JSON lines or one list", place) from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            row = BadRecord(f"{type(row).__name__} is not an object; a row is one")
        yield number, f"{name_of(path)}: row {number}", row
