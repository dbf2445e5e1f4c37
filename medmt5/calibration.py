"""What a span's score is worth as a probability: a correction fitted on a development split.

Fitted and judged by `tools/reliability.py`, applied by `Labeller`.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

# Scores are products of float32 probabilities, which come no nearer to 1 than this.
NEAREST = 2.0**-24


class Correction(NamedTuple):
    """sigmoid(slope * logit(score) + intercept)."""

    slope: float
    intercept: float

    def apply(self, scores: Float[np.ndarray, " spans"]) -> Float[np.ndarray, " spans"]:
        return _sigmoid(self.slope * _logit(scores) + self.intercept)

    def undo(self, score: float) -> float:
        """The score to give to --min-score for a corrected one."""
        return float(_sigmoid((_logit(np.array(score)) - self.intercept) / self.slope))


def _logit(scores: np.ndarray) -> np.ndarray:
    inner = np.clip(scores, NEAREST, 1 - NEAREST)
    return np.log(inner) - np.log1p(-inner)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(0.5 * logits)  # cannot overflow


def fit(scores: Float[np.ndarray, " spans"], correct: Bool[np.ndarray, " spans"]) -> Correction:
    """The correction of maximum likelihood, by Newton's method.

    Raises:
      ValueError: there is no maximum, or scores are higher where spans are wrong.

    Source: Platt 1999, without his smoothed targets, which are for few examples.
    """
    x = np.stack([_logit(scores), np.ones(len(scores))], axis=1)
    weights = np.zeros(2)
    for _ in range(50):  # about 6 are usual; from 0 it converges wherever there is a maximum
        p = _sigmoid(x @ weights)
        try:
            step = np.linalg.solve((x.T * (p * (1 - p))) @ x, x.T @ (correct - p))
        except np.linalg.LinAlgError:
            break
        weights += step
        if np.abs(step).max() < 1e-8:
            if weights[0] <= 0:
                raise ValueError(
                    f"higher scores are not more often right (slope {weights[0]:.3f} over "
                    f"{len(scores)} development spans): nothing to correct; fit on more spans"
                )
            return Correction(*weights.tolist())
    raise ValueError(
        f"{correct.sum()} of {len(scores)} development spans are right, and no curve "
        "fits best: fit on more spans, with right and wrong ones of overlapping scores"
    )


def read(path: str) -> Correction:
    """The correction in a file that `tools/reliability.py --fit DEV --json FILE` wrote.

    Raises:
      ValueError: no such file, or no correction in it.
    """
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)["fit"]
        return Correction(float(found["slope"]), float(found["intercept"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds no correction of scores ({type(error).__name__}: {error}); write it "
            "with tools/reliability.py TEST.jsonl --fit DEV.jsonl --json FILE"
        ) from error
