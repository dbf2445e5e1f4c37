"""Instructions made of questions and labelled sentences: `medmt5 data instructions`.

Two stages, as in MMed-IFT (arXiv 2409.05732): `general` has explanations, open answers and lists
of what a text mentions; `choice` has questions with options, answered with letters. Every row is
worded in the language of its data, as a seed draws from the wordings of `instruction_texts`.

Only training and development files are made into rows. What also stands in a test file of the
language, or in what is made validation, is left out of training, whatever set it comes from.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from medmt5.data.instruction_rows import (
    Item,
    Rows,
    choice_rows,
    draw,
    folded,
    general_rows,
    joined,
    label_rows,
)
from medmt5.data.instruction_texts import TEXTS
from medmt5.files import write_text
from medmt5.formats.conll import read_conll
from medmt5.formats.gold import Report
from medmt5.formats.questions import read_questions

STAGES = {"general": ("explain", "open", "label"), "choice": ("choice",)}
SPLITS = {"train": "train", "dev": "validation", "test": "test"}
# Of a set without a development file, one row in so many is for validation.
HELD_OUT = 50
MMEDBENCH = {
    "en": "English",
    "zh": "Chinese",
    "ja": "Japanese",
    "fr": "French",
    "ru": "Russian",
    "es": "Spanish",
}

_NAME = re.compile(r"(?P<set>.+)-(?P<split>train|dev|test)\.(?P<ending>tsv|jsonl|json|csv)")
IN_TEST, IN_VALIDATION = "rows that are in a test split", "rows that are in validation"
TWICE = "rows that are there twice"


class Source(NamedTuple):
    """A data set in one language: its name, whether it is labelled, and split -> path."""

    name: str
    labelled: bool
    files: dict[str, str]


class Built(NamedTuple):
    """A row, and where it goes: `kind` is one of `STAGES`, `split` is train or validation."""

    kind: str
    split: str
    row: dict[str, Any]


def sources(folder: str, lang: str, stage: str) -> list[Source]:
    """The data sets of a language under a folder like MEDMT5_DATA_DIR, for a stage.

    MMedBench comes first: it has rationales, and holds the questions of other sets.
    """
    found = []
    if lang in MMEDBENCH:
        paths = {
            split: os.path.join(folder, "mmedbench", name, f"{MMEDBENCH[lang]}.jsonl")
            for split, name in (("train", "Train"), ("test", "Test"))
        }
        there = {split: path for split, path in paths.items() if os.path.exists(path)}
        found += [Source(f"{lang}-mmedbench", False, there)] if there else []
    for kind in ("qa", "seqlab") if stage == "general" else ("qa",):
        inside = os.path.join(folder, kind, lang)
        files: dict[str, dict[str, str]] = {}
        for file in sorted(os.listdir(inside)) if os.path.isdir(inside) else ():
            match = _NAME.fullmatch(file)
            if match and (match["ending"] == "tsv") == (kind == "seqlab"):
                split = SPLITS[match["split"]]
                files.setdefault(match["set"], {})[split] = os.path.join(inside, file)
        found += [Source(name, kind == "seqlab", paths) for name, paths in files.items()]
    return found


def build(
    folder: str,
    lang: str,
    stage: str,
    *,
    seed: int = 0,
    report: Report | None = None,
    tick: Callable[[], None] = lambda: None,
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The rows of a language, as `every_row` says, by kind and split.

    A kind that lacks rows of either split is left out: training on it could not be watched.
    """
    report = report or Report()
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for kind, split, row in every_row(folder, lang, stage, seed=seed, report=report):
        rows.setdefault((kind, split), []).append(row)
        tick()
    for kind in STAGES[stage]:
        for split, other in (("train", "validation"), ("validation", "train")):
            if (kind, split) not in rows and (kind, other) in rows:
                report.other[f"{lang} {kind} rows without any for {split}"] += len(
                    rows.pop((kind, other))
                )
    return rows


def every_row(
    folder: str, lang: str, stage: str, *, seed: int = 0, report: Report | None = None
) -> Iterator[Built]:
    """The rows of a language, validation first, but for what is held out of training files.

    Args:
      folder: like MEDMT5_DATA_DIR.
      lang: a key of `TEXTS`.
      stage: a key of `STAGES`.
      seed: of wordings, of what is held out, and of which sentences without a mention are kept.
      report: counts in `other` what is left out.

    Yields:
      Rows as `formats.instructions` reads them, with `kind` and `origin`, their file.

    Raises:
      ValueError: a file cannot be read.
      BadRecord: a bad row of a training or development file, with file and line.
    """
    report = report or Report()
    every = sources(folder, lang, stage)
    tested = _names(item for source in every for item in _test_items(source, lang, report))
    # Before any training row: what is held out of a training file may stand in another set's, too.
    validated = _names(
        item
        for source in every
        for split in source.files
        if split != "test"
        for item in _items(source, split, lang, Report())
        if _goes_to(source, split, item, seed) == "validation"
    )
    seen: set[tuple[str, ...]] = set()
    makers = [_maker(source, lang, stage) for source in every]
    for split in ("validation", "train"):
        for source, rows_of in zip(every, makers, strict=True):
            if split not in source.files:
                continue
            for item in _items(source, split, lang, report):
                to = _goes_to(source, split, item, seed)
                for label, row in rows_of(item, lang, seed, report):
                    kind = row["kind"]
                    same = (kind, label, item.key)
                    # Two questions may differ in their options alone, which an open one has not.
                    name = item.question if kind == "open" else item.key
                    if name in tested:
                        report.other[IN_TEST] += 1
                    elif to == "train" and name in validated:
                        report.other[IN_VALIDATION] += 1
                    elif same in seen:
                        report.other[TWICE] += 1
                    else:
                        seen.add(same)
                        origin = os.path.relpath(source.files[split], folder)
                        own = {"id": f"{origin}/{item.id}/{label or kind}", "lang": lang}
                        yield Built(kind, to, own | row | {"origin": origin})


def _names(items: Iterable[Item]) -> set[str]:
    return {name for item in items for name in (item.key, item.question)}


def _goes_to(source: Source, split: str, item: Item, seed: int) -> str:
    held = "validation" not in source.files and not draw(seed, item.key) % HELD_OUT
    return "validation" if held else split


def _maker(source: Source, lang: str, stage: str) -> Callable[[Item, str, int, Report], Rows]:
    """What makes rows of the set's items; some of it depends on all of them."""
    if stage == "general" and not source.labelled:
        return general_rows
    contents = (
        item.content
        for split in source.files
        if split != "test"
        for item in _items(source, split, lang, Report())
    )
    if source.labelled:
        tags = {tag for sentence in contents for tag in sentence.tags}
        labels = sorted({tag[2:] for tag in tags if tag != "O"})
        return functools.partial(label_rows, labels=labels)
    several = any(record["options"] and len(record["answers"]) > 1 for record in contents)
    return functools.partial(choice_rows, several=several)


def _items(source: Source, split: str, lang: str, report: Report) -> Iterator[Item]:
    path = source.files[split]
    if source.labelled:
        for sentence in read_conll(path, report=report):
            text = folded(joined(sentence.words))
            yield Item(text, text, str(sentence.line), sentence)
        return
    for record in read_questions(path, lang=lang, report=report):
        question = "\n".join(map(folded, (record["context"], record["question"])))
        key = "\n".join((question, *map(folded, sorted(record["options"]))))
        yield Item(key, question, record["id"], record)


def _test_items(source: Source, lang: str, report: Report) -> Iterator[Item]:
    """What must not be trained on; rows of test files that cannot be read are logged."""
    if "test" in source.files:
        lenient = Report(skip_bad=True)
        yield from _items(source, "test", lang, lenient)
        report.read_bytes += lenient.read_bytes


def write_files(
    folder: str,
    output: str,
    *,
    languages: Sequence[str] = (),
    seed: int = 0,
    report: Report | None = None,
    tick: Callable[[], None] = lambda: None,
    dry_run: bool = False,
) -> Counter[tuple[str, str, str]]:
    """Write `<output>/<stage>/<lang>-<kind>-<split>.jsonl`, each whole or not at all.

    Args:
      folder: like MEDMT5_DATA_DIR.
      output: gets a folder per stage.
      languages: only these; all by default.
      seed, report: as for `build`.
      tick: called at each row, for progress.
      dry_run: count only.

    Returns:
      (language, kind, split) -> rows.

    Raises:
      ValueError: a language without wordings, no data, or what `build` raises.
    """
    if unknown := [lang for lang in languages if lang not in TEXTS]:
        raise ValueError(f"no wordings in {', '.join(unknown)}; there are {', '.join(TEXTS)}")
    counts: Counter[tuple[str, str, str]] = Counter()
    for lang in languages or TEXTS:
        for stage in STAGES:
            for (kind, split), rows in build(
                folder, lang, stage, seed=seed, report=report, tick=tick
            ).items():
                counts[lang, kind, split] = len(rows)
                name = f"{lang}-{kind}-{'dev' if split == 'validation' else split}.jsonl"
                if not dry_run:
                    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                    write_text(os.path.join(output, stage, name), "".join(lines))
    if not counts:
        raise ValueError(
            f"{folder} has no questions or labelled sentences to train on in "
            f"{', '.join(languages or TEXTS)}: qa/<lang>/, mmedbench/, seqlab/<lang>/; see medmt5 "
            "data get --help"
        )
    return counts


def table(counts: Mapping[tuple[str, str, str], int]) -> str:
    """Rows of training and validation by language and kind, as aligned text."""
    kinds = [kind for each in STAGES.values() for kind in each]
    lines = ["lang" + "".join(f"{kind:>17}" for kind in kinds)]
    for lang in sorted({lang for lang, _, _ in counts}):
        lines.append(f"{lang:4}" + "".join(_pair(counts, [lang], kind) for kind in kinds))
    every = sorted({lang for lang, _, _ in counts})
    return "\n".join([*lines, "all " + "".join(_pair(counts, every, kind) for kind in kinds)])


def _pair(counts: Mapping[tuple[str, str, str], int], langs: Sequence[str], kind: str) -> str:
    train, dev = (
        sum(counts.get((lang, kind, split), 0) for lang in langs)
        for split in ("train", "validation")
    )
    return f"{f'{train:,} + {dev:,}':>17}"
