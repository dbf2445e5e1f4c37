"""How far a score can be trusted: bootstrap intervals, and paired tests of two systems.

Both resample examples through a metric's sums, so they hold for F1 and corpus BLEU as for means. A
score over several groups of records (languages, say) is the unweighted mean of theirs, and each
group is resampled by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from medmt5.metrics.metric import Metric, Record
from medmt5.metrics.records import check_same

# Numbers held at a time: 32 MB.
_AT_ONCE = 2**22

Rows = Float[np.ndarray, "examples sums"]


class Comparison(NamedTuple):
    """Two systems on the same examples: a's score minus b's, its interval, and p.

    `p` is the chance of a difference at least as large, either way, if the two were alike.
    """

    difference: float
    low: float
    high: float
    p: float


def interval(
    metric: Metric,
    records: Sequence[Record],
    *,
    level: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a score over examples.

    Args:
      metric: the score.
      records: predictions.
      level: share of resampled scores within the interval.
      samples: resamples.
      seed: of the resampling; the same for all metrics gives them the same resamples.

    Source: Efron and Tibshirani 1993, chapter 13.
    """
    return mean_interval(metric, [metric.counts(records)], level=level, samples=samples, seed=seed)


def mean_interval(
    metric: Metric, groups: Sequence[Rows], *, level: float, samples: int, seed: int
) -> tuple[float, float]:
    """`interval` of the unweighted mean over groups, given as the metric's counts."""
    _check(level, samples)
    values = [
        metric.value(sums) for sums in _bootstrap(groups, samples, np.random.default_rng(seed))
    ]
    return _percentiles(np.mean(values, axis=0), level)


def paired_test(
    metric: Metric,
    a: Sequence[Record],
    b: Sequence[Record],
    *,
    level: float = 0.95,
    samples: int = 10000,
    seed: int = 0,
) -> Comparison:
    """Whether two systems differ by more than chance: approximate randomisation, two-sided.

    Args:
      metric: the score.
      a: predictions of one system.
      b: those of the other, for the same examples in the same order.
      level: of the bootstrap interval of the difference.
      samples: random exchanges of the systems' predictions, and resamples.
      seed: of both.

    Raises:
      ValueError: the examples are not the same; the first line that differs is named.

    Source: Yeh 2000, "More accurate tests for the statistical significance of result differences";
    p counts the observed difference itself, so it is never 0.
    """
    check_same(metric.kind, a, b)
    groups = [(metric.counts(a), metric.counts(b))]
    return mean_test(metric, groups, level=level, samples=samples, seed=seed)


def mean_test(
    metric: Metric, groups: Sequence[tuple[Rows, Rows]], *, level: float, samples: int, seed: int
) -> Comparison:
    """`paired_test` of the unweighted mean over groups, given as counts of both systems."""
    _check(level, samples)
    rng = np.random.default_rng(seed)
    width = groups[0][0].shape[1]
    both = [np.concatenate(pair, axis=1) for pair in groups]

    def difference(sums: np.ndarray) -> np.ndarray:
        return metric.value(sums[..., :width]) - metric.value(sums[..., width:])

    observed = float(np.mean([difference(rows.sum(axis=0)) for rows in both]))
    exchanged = np.mean([difference(sums) for sums in _exchanges(both, samples, rng)], axis=0)
    # Sums of the same fractions in another order may differ in their last digits.
    as_large = int((np.abs(exchanged) >= abs(observed) - 1e-9).sum())
    resampled = np.mean([difference(sums) for sums in _bootstrap(both, samples, rng)], axis=0)
    low, high = _percentiles(resampled, level)
    return Comparison(observed, low, high, (as_large + 1) / (samples + 1))


def _bootstrap(
    groups: Sequence[Rows], samples: int, rng: np.random.Generator
) -> Iterator[Float[np.ndarray, "samples sums"]]:
    """Of each group the sums of as many examples, drawn with replacement."""
    for rows in groups:
        # Examples with equal counts are drawn as one: of right and wrong answers there are two.
        kinds, sizes = np.unique(rows, axis=0, return_counts=True)
        shares = sizes / len(rows)
        yield np.concatenate(
            [rng.multinomial(len(rows), shares, n) @ kinds for n in _parts(samples, len(kinds))]
        )


def _exchanges(
    groups: Sequence[Rows], samples: int, rng: np.random.Generator
) -> Iterator[Float[np.ndarray, "samples sums"]]:
    """Of each group both systems' sums, with each example's two predictions exchanged or not."""
    for rows in groups:
        a, b = np.split(rows, 2, axis=1)
        moves, sizes = np.unique(b - a, axis=0, return_counts=True)
        shift = np.concatenate(
            [rng.binomial(sizes, 0.5, (n, len(sizes))) @ moves for n in _parts(samples, len(sizes))]
        )
        yield rows.sum(axis=0) + np.concatenate([shift, -shift], axis=1)


def _parts(samples: int, size: int) -> Iterator[int]:
    """Numbers of samples to take at a time."""
    most = max(1, _AT_ONCE // max(size, 1))
    for start in range(0, samples, most):
        yield min(most, samples - start)


def _percentiles(values: Float[np.ndarray, " samples"], level: float) -> tuple[float, float]:
    tail = 50 * (1 - level)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def _check(level: float, samples: int) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it is a share between 0 and 1, such as 0.95")
    if samples < 1:
        raise ValueError(f"samples is {samples}; take 1000 or more")
