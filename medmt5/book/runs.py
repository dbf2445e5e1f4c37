"""The runs of a results book: which `scores.json` belong to which name, and what is in them.

A run has one set of scores, or one for each of its seeds. What is shown of them is left to
`command`.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath

FILE = "scores.json"
# `train` leaves one of these at every evaluation, mostly of some validation examples.
_WITHIN_TRAINING = re.compile(r"(^|/)eval/step_\d+$")

# task -> mode -> metrics, as `evaluate` writes them
Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]


class Run(NamedTuple):
    """A name, the scores of each seed, and the files that they were read from."""

    name: str
    seeds: tuple[Scores, ...]
    files: tuple[str, ...]


def read_runs(arguments: Sequence[str]) -> list[Run]:
    """Read runs named as on the command line: PATH, NAME=PATH or NAME=PATH,PATH.

    Raises:
      ValueError: a path without scores, a broken file, two runs of one name.
    """
    runs: list[Run] = []
    for argument in arguments:
        for run in _read_argument(argument):
            for other in runs:
                if other.name == run.name:
                    raise ValueError(
                        f"two runs are named {run.name!r}: {other.files[0]} and {run.files[0]}; "
                        "name them: NAME=PATH (several seeds of one model: NAME=PATH,PATH)"
                    )
            runs.append(run)
    return runs


def read_scores(path: str) -> Scores:
    """Read a `scores.json`.

    Raises:
      ValueError: it is not task -> mode -> metrics; with the file and what is wrong.
    """
    try:
        content = json.loads(epath.Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); evaluate again") from error
    for task, modes in _mapping(path, content, "the file").items():
        for mode, metrics in _mapping(path, modes, f"task {task!r}").items():
            place = f"task {task!r}, mode {mode!r}"
            for name, value in _mapping(path, metrics, place).items():
                if name == "intervals":
                    intervals = _mapping(path, value, f"{place}, intervals").items()
                    for metric, pair in intervals:
                        if not (
                            isinstance(pair, list) and len(pair) == 2 and all(map(_real, pair))
                        ):
                            raise ValueError(
                                f"{path}: {place}: the interval of {metric!r} is {pair!r}, not "
                                "[low, high]; evaluate again"
                            )
                elif not (value is None or isinstance(value, dict) or _real(value)):
                    raise ValueError(
                        f"{path}: {place}: {name!r} is {value!r}, not a number; evaluate again"
                    )
    return content


def _real(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _mapping(path: str, value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(
            f"{path}: {place} is {str(value)[:60]!r}, not an object; a {FILE} is "
            "{task: {mode: {metric: number}}}, as `medmt5 eval` writes it"
        )
    return value


def _read_argument(argument: str) -> list[Run]:
    name, equals, rest = argument.partition("=")
    if not equals or epath.Path(argument).exists():
        return _read_folder(argument)
    if not name:
        raise ValueError(f"{argument!r} names no run; use NAME=PATH")
    paths = [rest] if epath.Path(rest).exists() else rest.split(",")
    seeds, files = [], []
    for path in itertools.chain.from_iterable(map(_matches, paths)):
        found = _files(path)
        seeds.append(_merge(found))
        files += found
    return [Run(name, tuple(seeds), tuple(files))]


def _matches(pattern: str) -> list[str]:
    """The paths that a pattern such as `runs/seed*` names; a plain path is its own."""
    if not any(mark in pattern for mark in "*?[") or epath.Path(pattern).exists():
        return [pattern]
    start = pattern.split("*")[0].split("?")[0].split("[")[0].rpartition("/")[0]
    folder = epath.Path(start or ("/" if pattern.startswith("/") else "."))
    rest = pattern[len(start) :].lstrip("/")
    found = sorted(str(path) for path in folder.glob(rest)) if folder.exists() else []
    if not found:
        raise ValueError(f"nothing matches {pattern!r}")
    return found


def _read_folder(path: str) -> list[Run]:
    files = _files(path)
    top = epath.Path(path).resolve() if path in (".", "..") else epath.Path(path)
    top = top.parent if top.name == FILE else top
    if len(files) == 1:
        return [Run(top.name or str(top), (read_scores(files[0]),), tuple(files))]
    runs = []
    for file in files:
        inner = str(epath.Path(file).parent)[len(str(epath.Path(path))) :].strip("/")
        runs.append(Run(inner or top.name, (read_scores(file),), (file,)))
    return runs


def _files(path: str) -> list[str]:
    """The `scores.json` at or under a path."""
    place = epath.Path(path)
    if place.is_file():
        return [str(place)]
    found = sorted(str(folder / FILE) for folder, _, names in place.walk() if FILE in names)
    kept = [file for file in found if not _WITHIN_TRAINING.search(file[: -len(FILE) - 1])]
    if kept:
        return kept
    if found == [str(place / FILE)]:  # asked for by name
        return found
    if found:
        raise ValueError(
            f"{path} holds only evaluations from within training; evaluate the model with "
            f"`medmt5 eval`, or give one of them, such as {found[-1]}"
        )
    why = f"holds no {FILE}" if place.is_dir() else "is not there"
    raise ValueError(
        f"{path} {why}; give a folder that `medmt5 eval` wrote to (EVAL_OUTPUT_DIR), or one above "
        "several, or NAME=PATH"
    )


def _merge(files: Sequence[str]) -> Scores:
    """The scores of several evaluations of one model as one."""
    merged: dict[str, dict[str, Mapping[str, Any]]] = {}
    origin: dict[tuple[str, str], str] = {}
    for file in files:
        for task, modes in read_scores(file).items():
            for mode, metrics in modes.items():
                if (task, mode) in origin:
                    raise ValueError(
                        f"{origin[task, mode]} and {file} both score {task} ({mode}); seeds of one "
                        "model are NAME=PATH,PATH, different models have names of their own"
                    )
                origin[task, mode] = file
                merged.setdefault(task, {})[mode] = metrics
    return merged
