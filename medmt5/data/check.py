"""Check data files before anyone trains on them: every malformed row, with its line and column.

CoNLL files are left to `check_conll`, JSON to its readers; then the splits of a data set are
compared.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from medmt5.data.check_conll import check_conll
from medmt5.data.findings import Checked, Findings
from medmt5.formats.general import read_general
from medmt5.formats.instructions import read_instructions
from medmt5.formats.instructions_schemas import is_instruction
from medmt5.formats.questions import read_questions

log = logging.getLogger(__name__)

NAME = re.compile(r"(?P<lang>[a-z]{2,3})-(?P<data>.+)-(?P<split>train|dev|test)\.(tsv|jsonl)")
ENDINGS = (".tsv", ".jsonl", ".json", ".csv")
# Keys of `formats.general` that no question has, and those that do not make a row another one.
GENERAL = {"premise", "sentence1", "src_lang", "document", "text"}
NOT_CONTENT = ("id", "lang", "answers", "rationale", "label")


def data_files(paths: Sequence[str]) -> list[str]:
    """The files given, and those of folders that have a data set's name; others are logged.

    Raises:
      FileNotFoundError: a path that does not exist, or a folder without such files.
    """
    found: list[str] = []
    for path in paths:
        inside = [path]
        if os.path.isdir(path):
            tree = sorted(file for file in _tree(path) if file.endswith(ENDINGS))
            inside = [file for file in tree if NAME.fullmatch(os.path.basename(file))]
            others = [file for file in tree if not NAME.fullmatch(os.path.basename(file))]
            if inside and others:
                log.info(
                    "%s: %d files of other names are left out, such as %s; give them by name",
                    path, len(others), others[0],
                )  # fmt: skip
        if not inside or not os.path.exists(path):
            fault = "has no <lang>-<dataset>-<split>.tsv or .jsonl" if not inside else "is missing"
            raise FileNotFoundError(f"{path} {fault}; give files, or folders of them")
        found += inside
    return found


def _tree(path: str) -> Iterator[str]:
    """All files under a folder, links followed, each folder once."""
    seen = set()
    for folder, inner, names in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        yield from (os.path.join(folder, name) for name in names)


def check_files(
    paths: Sequence[str], findings: Findings, tick: Callable[[], None] = lambda: None
) -> dict[str, int]:
    """Check files and compare the splits of each data set.

    Args:
      paths: of files, of any kind of `kind_of`.
      findings: gets what is found.
      tick: called now and then, for progress.

    Returns:
      path -> sentences, questions or rows that could be read.
    """
    items: dict[str, int] = {}
    sets: dict[tuple[str, str, str], dict[str, Checked]] = {}
    for path in paths:
        check = check_conll if kind_of(path) == "sentences" else check_json
        items[path], checked = check(path, findings, tick)
        folder, base = os.path.split(path)
        name = NAME.fullmatch(base)
        key = (folder, name["lang"], name["data"]) if name else (folder, "", base)
        sets.setdefault(key, {})[name["split"] if name else ""] = checked
    for splits in sets.values():
        compare_splits(splits, findings)
    return items


def kind_of(path: str) -> str:
    """What a file holds, by its name and, of JSON, its first row.

    Returns:
      "sentences", "questions", "instructions" or, of general tasks, "rows".
    """
    if not path.endswith((".jsonl", ".json", ".csv")):
        return "sentences"
    with open(path, "rb") as file:
        try:
            row = json.loads(file.readline())
        except ValueError:  # not JSON, or the beginning of a document
            return "questions"
    keys = row.keys() if isinstance(row, dict) else set()
    if keys and is_instruction(row):
        return "instructions"
    plain = {*keys} & {"question", "answers", "options", "correct_answers"}
    return "rows" if keys & GENERAL or plain == {"question", "answers"} else "questions"


def check_json(
    path: str, findings: Findings, tick: Callable[[], None] = lambda: None
) -> tuple[int, Checked]:
    """Check a file of JSON by reading it; see `check_files`."""
    checked, ids, kind = Checked(path, {}, {}), set(), kind_of(path)
    before, passed, other = findings.documents, findings.skipped, Counter(findings.other)
    readers = {"rows": read_general, "instructions": read_instructions}
    try:
        for record in readers.get(kind, read_questions)(path, report=findings):
            tick()
            # Its line in JSON lines: what is passed over is counted, and blank lines are rare.
            line = findings.documents - before + findings.skipped - passed
            if kind != "instructions":  # where turns are passed over, not rows
                line += (findings.other - other).total()
            content = {key: value for key, value in record.items() if key not in NOT_CONTENT}
            checked.items.setdefault(hash(json.dumps(content)), line)
            if record["id"] in ids:
                fault = f"id {record['id']!r} is that of an earlier row; give each its own"
                findings.warning(path, line, 1, "identifier", fault)
            ids.add(record["id"])
    except ValueError as error:
        findings.unreadable(path, error)
    for kind, number in (findings.other - other).items():
        findings.warning(path, 1, 1, "left aside", f"{number:,} of kind {kind!r} are left aside")
    return findings.documents - before, checked


def compare_splits(splits: dict[str, Checked], findings: Findings) -> None:
    """Warn of labels that only one split has or that differ by case, and of items in two splits."""
    spelt: dict[str, tuple[str, str]] = {}
    for split, checked in splits.items():
        for label, line in checked.labels.items():
            other, where = spelt.setdefault(label.casefold(), (label, f"{checked.path}:{line}"))
            if other != label:
                fault = f"label {label!r} is {other!r} at {where}; write both the same way"
                findings.warning(checked.path, line, 1, "label", fault)
            others = [name for name in splits if name != split]
            if others and not any(label in splits[name].labels for name in others):
                fault = f"label {label!r} is in {split} alone, not in {' or '.join(others)}"
                findings.warning(checked.path, line, 1, "label", fault)
    train = splits.get("train")
    for split, checked in splits.items():
        if train is None or checked is train:
            continue
        for item, line in checked.items.items():
            if item in train.items:
                where = f"{train.path}:{train.items[item]}"
                fault = f"what begins here is in the training split too, at {where}"
                findings.warning(checked.path, line, 1, f"{split} in train", fault)
