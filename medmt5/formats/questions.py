"""Questions of medical exams from files of many data sets, one plain record each.

JSON lines, one JSON document, or CSV as MMLU has it. What the keys of a row mean is in
`questions_schemas`; how a question becomes the text of a model is left to tasks.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from medmt5.formats import questions_fields as fields
from medmt5.formats.gold import BadRecord, Report
from medmt5.formats.lines import name_of, read_lines
from medmt5.formats.questions_schemas import LETTERS, to_record

# A row and where it is, for messages; a BadRecord in its place where it cannot be read.
Rows = Iterator[tuple[str, dict[str, Any] | BadRecord]]
Lines = Iterable[tuple[int, str]]


def read_questions(
    path: str, *, lang: str = "", report: Report | None = None
) -> Iterator[dict[str, Any]]:
    """Questions of a file, whose schema is told by its keys.

    Read are MMedBench, MedQA, MedMCQA, HEAD-QA, FrenchMedMCQA, IgakuQA, RuMedDaNet, MMLU (`.csv`
    without a header), MedExpQA, PubMedQA and BioASQ.

    Args:
      path: UTF-8; `-` is standard input.
      lang: language of questions that do not say theirs.
      report: whether bad questions are skipped; counts questions in `documents`, and in `other`
        what is passed over: questions with an image, and those that ask for a number.

    Yields:
      id: of the question, else its number in the file.
      question, context: texts; "" where there is no context.
      letters, options: A, B, ... and their texts; empty for questions without options.
      answers: letters of all right options, in their order; without options, reference answers.
      rationale: "" where there is none.
      lang: such as "es", "" if unknown.
      human_check: of the rationale, "passed" or "failed", "" where nobody looked.

    Raises:
      ValueError: no such file, no text or no questions.
      BadRecord: a bad question, with file and line (or number, and id if it has one).
    """
    report = report or Report()
    lines = read_lines(path, report)
    rows = _csv_rows(path, lines) if path.lower().endswith(".csv") else _json_rows(path, lines)
    found = False
    for number, (place, row) in enumerate(_with_cop_as_letter(path, rows), 1):
        found = True
        try:
            if isinstance(row, BadRecord):
                raise row
            record = to_record(row)
        except BadRecord as error:
            report.bad(place, error.fault)
            continue
        if isinstance(record, str):
            report.other[record] += 1
            continue
        report.documents += 1
        yield {**record, "id": record["id"] or str(number), "lang": record["lang"] or lang}
    if not found:
        raise ValueError(f"{name_of(path)}: no questions")


def _json_rows(path: str, lines: Lines) -> Rows:
    """Rows of JSON lines, or of a document, which is told by its first two lines."""
    lines = iter(lines)
    first = list(itertools.islice((line for line in lines if line[1].strip()), 2))
    objects = [value for _, line in first if isinstance(value := _loaded(line), dict)]
    if len(first) == 1:
        by_line = any(_listed(value) == [value] for value in objects)
    else:  # the second line of a document may look like a row, its first one does not
        line = first[0][1].strip() if first else ""
        by_line = bool(objects) and not line.startswith("[") and not line.endswith(("[", "{"))
    return (_line_rows if by_line else _document_rows)(path, itertools.chain(first, lines))


def _loaded(line: str) -> Any:
    try:
        return fields.load(line)
    except BadRecord:
        return None


def _line_rows(path: str, lines: Lines) -> Rows:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            row: dict[str, Any] | BadRecord = fields.load_object(line)
        except BadRecord as error:
            row = error
        yield f"{name_of(path)}:{number}", row


def _document_rows(path: str, lines: Lines) -> Rows:
    """Questions of a document: a list, {"questions": []}, {"exams": {}}, {pmid: {}} or just one."""
    numbered = list(lines)
    if not numbered:
        return
    try:
        document = fields.load("\n".join(line for _, line in numbered))
    except BadRecord as error:  # nothing of it can be read, so nothing is skipped
        line = getattr(error.__cause__, "lineno", None)
        place = name_of(path) + (f":{numbered[line - 1][0]}" if line else "")
        raise BadRecord(f"{error.fault}; write JSON lines or one document", place) from error
    for number, row in enumerate(_listed(document), 1):
        place = f"{name_of(path)}: question {number}"
        if isinstance(row, dict):
            id = fields.row_id(row, "id", "qid", "problem_id", "pmid", "pairID")
            place += f" (id {id})" if id else ""
        elif not isinstance(row, BadRecord):
            row = BadRecord(f"{type(row).__name__} is not an object; a question is one")
        yield place, row


def _listed(document: Any) -> list[Any]:
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        return [document]
    if isinstance(document.get("questions"), list):
        return document["questions"]
    if isinstance(document.get("exams"), dict):
        return [row for name, exam in document["exams"].items() for row in _of_exam(name, exam)]
    if document and all(isinstance(row, dict) and "QUESTION" in row for row in document.values()):
        return [{"pmid": pmid, **row} for pmid, row in document.items()]
    return [document]


def _of_exam(name: str, exam: Any) -> list[Any]:
    rows = exam.get("data") if isinstance(exam, dict) else None
    if not isinstance(rows, list):
        fault = f'exam {name!r} is not understood; write {{"data": [{{"qid": 1, ...}}]}}'
        return [BadRecord(fault)]
    return [{"name": name, **row} if isinstance(row, dict) else row for row in rows]


def _csv_rows(path: str, lines: Lines) -> Rows:
    """Rows of MMLU: question, options, letter, without a header."""
    numbers: list[int] = []

    def texts() -> Iterator[str]:
        for number, line in lines:
            numbers.append(number)
            yield line + "\n"

    reader = csv.reader(texts())
    while True:
        begins = len(numbers)
        row: dict[str, Any] | BadRecord
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            row = BadRecord(f"not CSV ({error})")
        else:
            if not cells:
                continue
            row = _csv_row(cells)
        yield f"{name_of(path)}:{numbers[begins]}", row


def _csv_row(cells: list[str]) -> dict[str, Any] | BadRecord:
    if len(cells) != 6:
        return BadRecord(
            f"{len(cells)} columns; a row is question, 4 options and a letter, in quotes where "
            "there are commas"
        )
    return {"question": cells[0], "options": cells[1:5], "answer_idx": cells[5]}


def _with_cop_as_letter(path: str, rows: Rows) -> Rows:
    """MedMCQA's `cop` as a letter: its JSON files count from 1, Hugging Face's copy from 0.

    Only a 0 or a 4 shows which, so rows are held back until one comes: among the first few in
    either release. Both put the same keys into a row, and people reorder them.
    """
    held: list[tuple[str, dict[str, Any] | BadRecord]] = []
    begins: int | None = None
    shown = ""
    for place, row in rows:
        cop = row.get("cop") if isinstance(row, dict) else None
        if type(cop) is not int:
            yield place, row
            continue
        if cop in (0, 4) and begins is None:
            begins, shown = int(cop == 4), place
            yield from ((place, _lettered(row, begins, shown)) for place, row in held)
            held.clear()
        if begins is None and 0 < cop < 4:
            held.append((place, row))
        else:
            yield place, _lettered(row, begins, shown)
    if held:
        raise BadRecord(
            f"cop is 1, 2 or 3 in all {len(held)} questions, so it may count options from 0 (as "
            "Hugging Face's copy of MedMCQA) or from 1 (as its JSON files); write letters a to d",
            name_of(path),
        )


def _lettered(row: Any, begins: int | None, shown: str) -> dict[str, Any] | BadRecord:
    cop = row["cop"]
    if cop == -1:
        return BadRecord("cop is -1: the answer is kept secret, as in the test split; use another")
    if begins is None or not begins <= cop < begins + 4:
        since = f" of a file that counts from {begins}, as {shown} shows" if shown else ""
        return BadRecord(f"cop {cop} names no option{since}; write letters a to d")
    return {**row, "cop": LETTERS[cop - begins]}
