"""Scores of the rationales that go with choices: text scores, and those of MMedBench's code.

A question without a reference rationale is left out; by MMedBench's scores also one whose rationale
no person has passed, where persons looked at some ("human_check").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from medmt5.metrics import bleu, mmedbench, rouge
from medmt5.metrics.metric import Counts, Metric, Record


def of_rationales(counts: Counts, *, checked: bool = False) -> Counts:
    """Counts for text records, of choice records; zeros where there is no rationale to compare."""

    def of_choices(records: Sequence[Record]) -> np.ndarray:
        there = [i for i, record in enumerate(records) if record.get("rationale")]
        if checked and any(records[i].get("human_check") for i in there):
            there = [i for i in there if records[i].get("human_check") == "passed"]
        if not there:
            raise ValueError(
                "no record has a rationale to compare with: scores of rationales need "
                '"rationale" and "predicted_rationale"'
            )
        found = counts([_as_text(records[i]) for i in there])
        rows = np.zeros((len(records), found.shape[1]))
        rows[there] = found
        return rows

    return of_choices


def _as_text(record: Record) -> Record:
    return {
        "references": [record["rationale"]],
        "predicted": record["predicted_rationale"],
        "lang": record.get("lang", ""),
    }


def on_rationales(
    metrics: Iterable[Metric], prefix: str = "rationale_", *, checked: bool = False
) -> list[Metric]:
    """Text metrics as metrics of choice records; those that shared counts still do."""
    made: dict[Counts, Counts] = {}
    return [
        Metric(
            prefix + metric.name,
            "choice",
            made.setdefault(metric.counts, of_rationales(metric.counts, checked=checked)),
            metric.value,
            f"rationales: {metric.about}",
        )
        for metric in metrics
    ]


# MMedBench's tables give means over questions, so BLEU-1 is here that of sentences.
METRICS = on_rationales(
    Metric(
        metric.name.removeprefix("sentence_"), "text", metric.counts, metric.value, metric.about
    )
    for metric in (*bleu.METRICS, *rouge.METRICS)
    if metric.name.startswith(("sentence_", "rouge"))
)  # fmt: skip
METRICS += on_rationales(mmedbench.METRICS, prefix="", checked=True)
