"""What a metric is: sums over examples, and a value of those sums.

As every score is such a function, one mechanism gives scores, bootstrap intervals and paired tests
(`significance`), for ratios such as F1 and corpus BLEU as well as for plain means.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

# A line of a prediction file; `records` says what it holds.
Record = Mapping[str, Any]
Counts = Callable[[Sequence[Record]], Float[np.ndarray, "examples sums"]]
Value = Callable[[Float[np.ndarray, "*samples sums"]], Float[np.ndarray, "*samples"]]


@dataclasses.dataclass(frozen=True)
class Metric:
    """A score of predictions, in percent.

    Attributes:
      name: what users call it.
      kind: of records that it takes: "labelling", "choice" or "text".
      counts: what each example adds to the sums. Metrics that share it are counted once.
      value: the score of sums over examples; 0 where it would divide by 0.
      about: one line for users.
    """

    name: str
    kind: str
    counts: Counts
    value: Value
    about: str

    def __call__(self, records: Sequence[Record]) -> float:
        return float(self.value(self.counts(records).sum(axis=0)))


def percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """100 * part / whole; 0 where whole is 0."""
    return 100 * np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)


def mean_of(column: int) -> Value:
    """The mean of a column over the examples that count; the last column counts them."""
    return lambda sums: percent(sums[..., column], sums[..., -1])


def precision(sums: Float[np.ndarray, "*samples sums"]) -> Float[np.ndarray, "*samples"]:
    """Of sums (right, predicted, gold)."""
    return percent(sums[..., 0], sums[..., 1])


def recall(sums: Float[np.ndarray, "*samples sums"]) -> Float[np.ndarray, "*samples"]:
    """Of sums (right, predicted, gold)."""
    return percent(sums[..., 0], sums[..., 2])


def f1(sums: Float[np.ndarray, "*samples sums"]) -> Float[np.ndarray, "*samples"]:
    """Of sums (right, predicted, gold)."""
    return percent(2 * sums[..., 0], sums[..., 1] + sums[..., 2])
