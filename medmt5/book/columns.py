"""The columns of a results book: runs and published models, and the cell of each for a task."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from medmt5.book import published
from medmt5.book.runs import Run, Scores
from medmt5.book.sections import plain_names

# Of a task that was decoded in several ways, the first of these is shown.
MODES = ("constrained", "ranked", "unconstrained")
_SHOTS = re.compile(r"_\d+shot_")


class Cell(NamedTuple):
    """A score, or one for each seed.

    Attributes:
      seeds: seed -> score.
      interval: low and high, as `scores.json` has them.
      mode: how it was decoded; "" for published numbers.
      digits: after the decimal point.
      sure: the metric is the row's; False where the source does not say its metric.
      recomputed: of an average as printed that is not the mean of its rows, that mean.
    """

    seeds: Mapping[int, float]
    interval: tuple[float, float] | None = None
    mode: str = ""
    digits: int = 2
    sure: bool = True
    recomputed: float | None = None

    @property
    def value(self) -> float:
        return statistics.fmean(self.seeds.values())

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation over seeds."""
        return statistics.stdev(self.seeds.values()) if len(self.seeds) > 1 else None


class Column(NamedTuple):
    """A run, in one mode of decoding, or a published model.

    Attributes:
      name: heads the column.
      seeds: scores of each seed by the names of rows; empty for a published model.
      mode: of decoding; "" for the first of MODES that a task has.
      reference: the published model.
    """

    name: str
    seeds: tuple[Scores, ...]
    mode: str
    reference: published.Column | None = None

    def cell(self, task: str, metric: str, *, is_main: bool) -> Cell | None:
        """What it has for a task; `is_main` says that the metric is the usual one of the task."""
        if self.reference:
            scores = self.reference.scores
            # Where a source does not say its metric, it stands beside the usual one, marked.
            sure = (task, metric) in scores or not is_main
            value = scores.get((task, metric if sure else ""))
            if value is None:
                return None
            return Cell({0: value}, digits=self.reference.digits, sure=sure and metric != "")
        seeds, modes, interval = {}, [], None
        for number, scores in enumerate(self.seeds):
            mode, metrics = shown_mode(task, scores.get(task, {}), self.mode)
            if metrics.get(metric) is None:
                continue
            seeds[number] = float(metrics[metric])
            modes += [mode] if mode not in modes else []
            interval = metrics.get("intervals", {}).get(metric)
        if not seeds:
            return None
        bounds = interval if len(self.seeds) == 1 else None
        return Cell(seeds, (bounds[0], bounds[1]) if bounds else None, ", ".join(modes))


def run_columns(runs: Sequence[Run], mode: str) -> list[Column]:
    """A column for each run; with mode "all", for each mode of decoding of each run.

    Raises:
      ValueError: nothing was decoded in this mode.
    """
    columns = []
    for run in runs:
        seeds = tuple(_by_row(scores) for scores in run.seeds)
        found = {mode for scores in seeds for modes in scores.values() for mode in modes}
        wanted = sorted(found, key=_rank) if mode == "all" else [mode]
        for mode_ in wanted:
            name = f"{run.name} ({mode_})" if mode == "all" else run.name
            columns.append(Column(name, seeds, mode_))
    there = {m for column in columns for s in column.seeds for modes in s.values() for m in modes}
    if columns and mode not in ("", "all", *there):
        raise ValueError(
            f"--mode {mode}: no task was decoded so; there is: {', '.join(sorted(there))}"
        )
    return columns


def _by_row(scores: Scores) -> Scores:
    names = plain_names(scores)
    return {names[task]: modes for task, modes in scores.items()}


def _rank(mode: str) -> tuple[int, str]:
    return (MODES.index(mode) if mode in MODES else len(MODES), mode)


def shown_mode(task: str, modes: Mapping[str, Any], mode: str) -> tuple[str, Mapping[str, Any]]:
    """The mode to show of a task, and its metrics.

    After examples it is the free one, in which answers in context are published.
    """
    ranked = sorted(modes, key=_rank, reverse=_SHOTS.search(task) is not None)
    chosen = mode or next(iter(ranked), "")
    return chosen, modes.get(chosen, {})


def scored_tasks(columns: Sequence[Column]) -> dict[str, dict[str, Any]]:
    """Task -> all its metrics in any run."""
    tasks: dict[str, dict[str, Any]] = {}
    for column in columns:
        for scores in column.seeds:
            for task, modes in scores.items():
                tasks.setdefault(task, {}).update(shown_mode(task, modes, column.mode)[1])
    return {task: metrics for task, metrics in tasks.items() if metrics}
