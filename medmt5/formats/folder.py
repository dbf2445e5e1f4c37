"""Tasks without code: files `<lang>-<set>-<split>.tsv` or `.jsonl`, named by their path.

`data/en-mine` is the task of data/en-mine-train.tsv, data/en-mine-dev.tsv, data/en-mine-test.tsv
(splits train, validation, test; whichever are there), `data/*-mine` the mixture of its languages
and `data/` that of all sets in the folder, at equal rates. TSV files are labelled, with the labels
of the set's training files in all languages; JSONL files hold questions or instructions. A mixture
of nothing but instructions has each row of training as often as any other.
"""

from __future__ import annotations

import fnmatch
import functools
import itertools
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

import seqio

from medmt5.formats import task
from medmt5.formats.conll import read_conll
from medmt5.formats.instructions import holds_instructions, read_instructions
from medmt5.formats.instructions_tasks import register_instructions
from medmt5.formats.labelling import Labelling
from medmt5.formats.questions import read_questions
from medmt5.formats.text_tasks import register_questions

_FILE = re.compile(
    r"(?P<lang>[a-z]{2,3})-(?P<set>.+)-(?P<split>train|dev|test)\.(?P<ending>tsv|jsonl)"
)
_SPLITS = {"train": "train", "dev": "validation", "test": "test"}
# SeqIO's names have neither dashes nor slashes.
_NOT_IN_NAMES = re.compile(r"[^\w.]")
_made: dict[str, str] = {}  # path that a user gave -> the name it was registered under


def registered(path: str) -> str:
    """The name of the task or mixture that a path stands for, registered at first use.

    Raises:
      ValueError: no such files, none to train on, or what reading them raises.
    """
    key = os.path.abspath(path) + ("/" if path.endswith("/") else "")
    if key not in _made:
        _made[key] = _register(key)
    return _made[key]


def _register(path: str) -> str:
    folder, wanted = os.path.split(path)
    files: dict[tuple[str, str, str], dict[str, str]] = {}
    for file in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if match := _FILE.fullmatch(file):
            key = (match["set"], match["lang"], match["ending"])
            files.setdefault(key, {})[_SPLITS[match["split"]]] = os.path.join(folder, file)
    chosen = [key for key in files if fnmatch.fnmatch(f"{key[1]}-{key[0]}", wanted or "*")]
    if not chosen:
        there = sorted({f"{lang}-{name}" for name, lang, _ in files}) or ["none"]
        if os.path.isdir(path):
            raise ValueError(f"{path} is a folder; all its sets are {path}/, one is {path}/en-name")
        raise ValueError(
            f"no files {path}-{{train,dev,test}}.tsv or .jsonl; in that folder there are "
            f"{', '.join(there)}"
        )
    labelled = [key for key in chosen if key[2] == "tsv"]
    labels = {
        name: _labels(
            name, [paths["train"] for key, paths in files.items() if _trains(key, name, paths)]
        )
        for name in {name for name, _, _ in labelled}
    }
    inventory = sorted(set(itertools.chain(*labels.values())))
    rates: dict[str, float] = {}
    sizes: dict[str, int] = {}  # of sets of instructions
    for key in chosen:
        name, lang, ending = key
        own = _free_name(f"{name}_{lang}", folder)
        paths = {split: functools.partial(str, file) for split, file in files[key].items()}
        if ending == "jsonl" and holds_instructions(next(iter(files[key].values()))):
            sizes[own] = _instructions(own, paths, lang)
        elif ending == "jsonl":
            _questions(own, paths, lang)
        else:
            make = functools.partial(Labelling, labels=labels[name], inventory=inventory)
            task.register_conll(own, paths, make_format=make)
        rates[own] = 1.0
    if wanted and len(rates) == 1:
        return next(iter(rates))
    if len(sizes) == len(rates):
        rates |= sizes
    mixture = _free_name(wanted.replace("*", "all") or "all", folder)
    seqio.MixtureRegistry.add(mixture, list(rates.items()))
    return mixture


def _trains(key: tuple[str, str, str], name: str, paths: dict[str, str]) -> bool:
    return key[0] == name and key[2] == "tsv" and "train" in paths


def _labels(name: str, paths: Sequence[str]) -> tuple[str, ...]:
    """Labels of training files: those of a test must not be known."""
    if not paths:
        raise ValueError(
            f"labels come from training files, and there is no <lang>-{name}-train.tsv; leave the "
            "set out, as 'folder/*-name' does"
        )
    tags: Iterable[str] = (
        tag for path in paths for sentence in read_conll(path) for tag in sentence.tags
    )
    labels = sorted({tag[2:] for tag in tags if tag != "O"})
    if not labels:
        raise ValueError(f"no word is tagged in {', '.join(paths)}; all tags are O")
    return tuple(labels)


def _questions(name: str, paths: dict[str, Any], lang: str) -> None:
    """Multiple choice where one has options, else open questions."""
    rows = [row for path in paths.values() for row in read_questions(path(), lang=lang)]
    choices = any(row["options"] for row in rows)
    several = choices and any(len(row["answers"]) > 1 for row in rows)
    prompt = "plain" if choices else "plain_open"
    register_questions(name, paths, prompt=prompt, lang=lang, several=several)


def _instructions(name: str, paths: dict[str, Any], lang: str) -> int:
    """Answered with letters where all rows are; returns the rows of training, at least 1."""

    def read(split: str) -> list[dict[str, Any]]:
        return list(read_instructions(paths[split](), lang=lang))

    rows = {split: read(split) for split in paths}
    closed = all(row["letters"] for each in rows.values() for row in each)
    register_instructions(name, read, list(paths), closed=closed)
    return max(len(rows.get("train", ())), 1)


def _free_name(name: str, folder: str) -> str:
    """A name for SeqIO; with the folder's, then a number, where another task has it."""
    short = _NOT_IN_NAMES.sub("_", name)
    longer = _NOT_IN_NAMES.sub("_", f"{os.path.basename(folder)}.{name}")
    taken = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
    numbered = (f"{longer}.{i}" for i in itertools.count(2))
    return next(n for n in itertools.chain([short, longer], numbered) if n not in taken)
