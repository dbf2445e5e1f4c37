"""Offset tables as in DisTEMIST: a TSV with a row per entity, and a folder of texts.

Columns are `filename mark label off0 off1 span`; the names that MedProcNER and SympTEMIST use
(`ann_id start_span end_span text`) are read too. Texts are `text_files/FILENAME.txt`, beside the
table or in the folder above it, or beside the table itself. Offsets count code points of a text as
it is stored. Tabs and line ends within `span` are written as spaces; scores are not written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from medmt5.formats.documents import Document, check, one_line
from medmt5.formats.gold import Annotation, BadRecord, Report, flat
from medmt5.formats.lines import read_lines, read_text

TABLE, TEXTS = "entities.tsv", "text_files"
COLUMNS = ("filename", "mark", "label", "off0", "off1", "span")
_ALSO = {
    "ann_id": "mark",
    "start_span": "off0",
    "start": "off0",
    "end_span": "off1",
    "end": "off1",
    "text": "span",
}


def to_offsets(document: Document, name: str) -> str:
    """The rows of a document's entities."""
    check(document)
    rows = (
        (name, f"T{i}", label, str(start), str(end), one_line(text))
        for i, (start, end, label, text, _) in enumerate(document.entities, 1)
    )
    return "".join("\t".join(row) + "\n" for row in rows)


def read_offsets(path: str, report: Report) -> Iterator[Document]:
    """Documents of a table, or of a folder that holds one, or texts alone; in order of names.

    Texts without a row have no entities.
    """
    given = Path(path)
    tables = sorted(given.glob("*.tsv")) if given.is_dir() else [given]
    if len(tables) > 1:
        raise ValueError(f"{path} has several tables; give one: {', '.join(map(str, tables))}")
    folder = given if given.is_dir() else given.parent
    places = [folder / TEXTS, folder.parent / TEXTS, folder]
    texts = next((place for place in places if any(place.glob("*.txt"))), None)
    if texts is None:
        raise ValueError(f"{path}: no .txt files in {' or '.join(map(str, places))}")
    rows = _read_table(str(tables[0]), report) if tables else {}
    files = {file.stem: file for file in sorted(texts.glob("*.txt"))}
    for name in rows.keys() - files.keys():
        place = rows[name][0].place
        report.bad(place, f"there is no text {name}.txt in {texts} for {len(rows[name])} rows")
    for name, file in files.items():
        try:
            text = read_text(str(file), report)
        except BadRecord as error:
            report.bad(error.place, error.fault)
            continue
        yield flat(text, rows.get(name, ()), report, id=name)


def _read_table(path: str, report: Report) -> dict[str, list[Annotation]]:
    rows: dict[str, list[Annotation]] = defaultdict(list)
    lines = read_lines(path, report)
    _, head = next(lines, (0, ""))
    names = [_ALSO.get(name, name) for name in head.split("\t")]
    if missing := [name for name in COLUMNS if name not in names and name not in ("mark", "span")]:
        raise ValueError(
            f"{path}:1: no column {' '.join(missing)} in {head[:80]!r}; the first line names "
            f"them: {' '.join(COLUMNS)}"
        )
    for number, line in lines:
        if not line.strip():
            continue
        row = dict(zip(names, line.split("\t"), strict=False))
        place = f"{path}:{number} ({row.get('mark', '')})"
        try:
            span = (int(row["off0"]), int(row["off1"]))
            annotation = Annotation(row["label"], (span,), row.get("span"), place)
        except (KeyError, ValueError):
            report.bad(place, f"{line[:60]!r} has too few columns, or offsets that are no numbers")
            continue
        rows[row["filename"].removesuffix(".txt")].append(annotation)
        for name in names:
            if name not in COLUMNS and row.get(name):
                report.other[f"values of column {name!r}"] += 1
    return rows
