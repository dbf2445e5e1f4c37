"""All metrics by name, scores of records by any of them, and averages over languages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from medmt5.metrics import answers, bleu, choices, rationales, rouge, spans
from medmt5.metrics.metric import Counts, Metric, Record
from medmt5.metrics.records import KINDS, kind_of
from medmt5.metrics.significance import mean_interval

METRICS: dict[str, Metric] = {
    metric.name: metric
    for module in (spans, choices, rationales, bleu, rouge, answers)
    for metric in module.METRICS
}
DEFAULTS = {
    "labelling": (
        *("f1", "precision", "recall", "partial_f1", "type_f1", "boundary_f1"),
        *("support", "per_label", "per_length"),
    ),
    "choice": ("accuracy", "unanswered", "hamming"),
    "text": ("rouge1", "rouge2", "rougeL", "bleu1", "bleu", "exact_match", "token_f1"),
}
# Of choice records that hold rationales, beside the others.
RATIONALE_DEFAULTS = ("rationale_bleu1", "rationale_rouge1")


def default_names(records: Sequence[Record]) -> tuple[str, ...]:
    """What `score` computes where no names are given."""
    kind = kind_of(records)
    extra = any(record.get("rationale") for record in records) and kind == "choice"
    return DEFAULTS[kind] + (RATIONALE_DEFAULTS if extra else ())


def metrics_for(kind: str, names: Iterable[str | Metric]) -> list[Metric]:
    """Metrics by name; tables (`spans.TABLES`) are passed over.

    Raises:
      ValueError: an unknown name, or one for another kind of records.
    """
    fitting = sorted(name for name, metric in METRICS.items() if metric.kind == kind)
    if kind == "labelling":
        fitting += sorted(spans.TABLES)
    found = []
    for name in names:
        metric = name if isinstance(name, Metric) else METRICS.get(name)
        known = KINDS[0] if name in spans.TABLES else metric and metric.kind
        if not known:
            near = difflib.get_close_matches(str(name), [*METRICS, *spans.TABLES], n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"{kind}: {', '.join(fitting)}"
            raise ValueError(f"no metric {name!r}; {hint}")
        if known != kind:
            label = metric.name if metric else name
            raise ValueError(
                f"metric {label} is for {known} records, and these are {kind}; "
                f"what fits: {', '.join(fitting)}"
            )
        if metric:
            found.append(metric)
    return found


def count(metrics: Iterable[Metric], records: Sequence[Record]) -> dict[str, np.ndarray]:
    """Each metric's counts, made once where several share them."""
    made: dict[Counts, np.ndarray] = {}
    counts = {}
    for metric in metrics:
        if metric.counts not in made:
            made[metric.counts] = metric.counts(records)
        counts[metric.name] = made[metric.counts]
    return counts


def score(records: Sequence[Record], names: Sequence[str | Metric] | None = None) -> dict[str, Any]:
    """Scores of predictions in percent.

    Args:
      records: of one kind, as in prediction files.
      names: metrics, and for labelling also "support", "per_label" and "per_length"; by default the
        usual ones for the kind.

    Returns:
      name -> score; tables are mappings.

    Raises:
      ValueError: no records, a broken one, an unknown metric, or one for another kind.
    """
    kind = kind_of(records)
    names = default_names(records) if names is None else names
    metrics = {metric.name: metric for metric in metrics_for(kind, names)}
    counts = count(metrics.values(), records)
    scores: dict[str, Any] = {}
    for name in (name if isinstance(name, str) else name.name for name in names):
        if name in metrics:
            scores[name] = float(metrics[name].value(counts[name].sum(axis=0)))
        else:
            scores[name] = spans.TABLES[name](records)
    return scores


def intervals(
    records: Sequence[Record],
    names: Sequence[str | Metric] | None = None,
    *,
    level: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """`significance.interval` of each metric that `score` gives for the same arguments."""
    kind = kind_of(records)
    metrics = metrics_for(kind, default_names(records) if names is None else names)
    counts = count(metrics, records)
    return {
        metric.name: mean_interval(
            metric, [counts[metric.name]], level=level, samples=samples, seed=seed
        )
        for metric in metrics
    }


def macro(values: Mapping[str, float]) -> float:
    """The unweighted mean over languages, as MMedBench's leaderboard averages.

    Args:
      values: language -> score.
    """
    if not values:
        raise ValueError("no scores to average")
    return sum(values.values()) / len(values)


def micro(metric: Metric, records: Mapping[str, Sequence[Record]]) -> float:
    """The score of all languages' records together, so that each example counts the same.

    Args:
      metric: the score.
      records: language -> predictions.
    """
    return metric([record for each in records.values() for record in each])
