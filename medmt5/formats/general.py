"""Rows of general tasks: entailment, word sense, classification, translation, summaries, trivia.

JSON lines whose kind is told by their keys, each checked and given with the same keys. How a row
becomes the text of a model is left to tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from medmt5.formats import questions_fields as fields
from medmt5.formats.gold import BadRecord, Report
from medmt5.formats.lines import name_of, read_lines


class Kind(NamedTuple):
    name: str  # the task of rows that do not say theirs
    texts: tuple[str, ...]
    lists: tuple[str, ...] = ()  # of texts
    optional_lists: tuple[str, ...] = ()


KINDS = (
    Kind("entailment", ("premise", "hypothesis", "label")),
    Kind("word sense", ("sentence1", "sentence2", "word", "label")),
    Kind("classification", ("text", "label")),
    Kind("translation", ("src_lang", "tgt_lang", "src", "tgt"), optional_lists=("extra_refs",)),
    Kind("summary", ("document", "summary")),
    Kind("question", ("question",), ("answers",)),
)


def read_general(path: str, *, report: Report | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a JSON lines file.

    Args:
      path: UTF-8; `-` is standard input.
      report: whether bad rows are skipped; counts rows in `documents`.

    Yields:
      task: as the row says, else its kind.
      id: as the row says (`id` or `idx`), else its line.
      The keys of its kind in `KINDS`: texts, and lists of texts ([] where an optional one is
      missing). A label that is true or false is "true" or "false".

    Raises:
      ValueError: no such file, no text or no rows.
      BadRecord: a bad row, with file and line.
    """
    report = report or Report()
    found = False
    for number, line in read_lines(path, report):
        if not line.strip():
            continue
        found = True
        try:
            row = _checked(fields.load_object(line))
        except BadRecord as error:
            report.bad(f"{name_of(path)}:{number}", error.fault)
            continue
        report.documents += 1
        yield {**row, "id": row["id"] or str(number)}
    if not found:
        raise ValueError(f"{name_of(path)}: no rows")


def _checked(row: Mapping[str, Any]) -> dict[str, Any]:
    # The kind that has most of its keys here; so a row that lacks one hears which.
    def share(kind: Kind) -> float:
        keys = kind.texts + kind.lists
        return sum(key in row for key in keys) / len(keys)

    kind = max(KINDS, key=share)
    if not share(kind):
        known = "; ".join(", ".join(kind.texts + kind.lists) for kind in KINDS)
        raise BadRecord(f"keys {', '.join(row) or 'none'} are of no known kind ({known})")
    checked: dict[str, Any] = {
        "task": fields.optional(row, "task") or kind.name,
        "id": fields.row_id(row, "id", "idx"),
    }
    missing = [key for key in kind.texts + kind.lists if key not in row]
    if missing:
        raise BadRecord(
            f"no {', '.join(missing)}; a row of this kind has "
            f"{', '.join(kind.texts + kind.lists + kind.optional_lists)}"
        )
    for key in kind.texts:
        is_truth = key == "label" and isinstance(row[key], bool)
        checked[key] = str(row[key]).lower() if is_truth else fields.text(row, key)
    for key in kind.lists:
        checked[key] = fields.texts(row[key], key)
    for key in kind.optional_lists:
        given = row.get(key)
        checked[key] = [] if given in (None, []) else fields.texts(given, key)
    return checked
