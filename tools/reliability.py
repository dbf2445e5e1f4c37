"""How far the probabilities of predicted spans can be trusted: a reliability table and plot.

    python tools/reliability.py runs/b/test/ncbi_disease-constrained.jsonl
    python tools/reliability.py TEST.jsonl --fit DEV.jsonl --svg plot.svg --json figures.json

Reads what `medmt5 eval` writes. Spans of similar score are put into bins, and the share of right
ones in each (exact match of start, end and label) is held against their mean score. Then: what is
left when only spans with a score from a threshold upwards are kept (`medmt5 label --min-score`).
Spans that the model did not predict have no score and count in recall only.

`--fit` learns on a development file what a score is worth, sigmoid(slope * logit(score) +
intercept), and reports the test file once more with the scores so corrected. The order of spans
stays, so the same precision and recall are had at other thresholds. The slope alone (temperature
scaling) cannot say that a span scored 1/2 is mostly wrong: see results/calibration.md.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from medmt5.calibration import fit
from medmt5.files import write_text
from medmt5.launch import errors_to_exit
from medmt5.metrics import precision_recall_f1

THRESHOLDS = (*(i / 10 for i in range(10)), 0.95, 0.99, 0.999, 0.9999)
Z = 1.959964  # two-sided 95 % of a normal distribution


class Spans(NamedTuple):
    """Predicted spans of some sentences, and how many gold spans these have."""

    scores: Float[np.ndarray, " spans"]
    correct: Bool[np.ndarray, " spans"]
    gold: int


def read(paths: Sequence[str]) -> Spans:
    """The spans of prediction files, pooled.

    Raises:
      ValueError: a file cannot be read, a line is not what `medmt5 eval` writes for constrained
        decoding (with file and line), or no spans were predicted at all.
    """
    scores: list[float] = []
    correct: list[bool] = []
    gold = 0
    for path in paths:
        for golds, predicted in _sentences(path):
            gold += len(golds)
            scores += predicted.values()
            correct += [span in golds for span in predicted]
    if not scores:
        raise ValueError(f"{', '.join(paths)}: no predicted spans, so there is nothing to measure")
    return Spans(np.array(scores, float), np.array(correct, bool), gold)


def _sentences(path: str) -> Iterator[tuple[set[tuple], dict[tuple, float]]]:
    """Gold spans, and predicted spans with their scores, of each line."""
    try:
        with open(path, "rb") as file:
            lines = list(file)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        where, shown = f"{path}:{number}", repr(line[:60].decode("utf-8", "replace").rstrip())
        try:
            record = json.loads(line)
        except ValueError as error:  # of UTF-8 as well as of JSON
            raise ValueError(f"{where}: {shown} is not JSON ({error})") from error
        gold, predicted = (
            [record.get(key) for key in ("gold", "predicted")]
            if isinstance(record, dict)
            else (None, None)
        )
        if not (_are_spans(gold) and _are_spans(predicted)):
            raise ValueError(
                f'{where}: {shown} is not as `medmt5 eval` writes: {{"words": [...], '
                '"gold": [[start, end, label], ...], "predicted": [[start, end, label, score], '
                "...]}"
            )
        for span in predicted:
            if len(span) < 4:
                raise ValueError(
                    f"{where}: predicted span {span} has no score; take the file of constrained "
                    "decoding, <task>-constrained.jsonl"
                )
            # NaN is JSON to Python; it fails the comparison.
            if type(span[3]) not in (int, float) or not 0 <= span[3] <= 1:
                raise ValueError(f"{where}: score {span[3]!r} is not a number from 0 to 1")
        yield {tuple(span[:3]) for span in gold}, {tuple(span[:3]): span[3] for span in predicted}


def _are_spans(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(span, list) and [type(field) for field in span[:3]] == [int, int, str]
        for span in value
    )


def wilson(correct: int, count: int) -> tuple[float, float]:
    """95 % interval of a share, of independent cases. Source: Wilson 1927."""
    share, spread = correct / count, Z**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)  # beyond by rounding only


def bin_spans(spans: Spans, edges: Float[np.ndarray, " edges"]) -> list[dict[str, Any]]:
    """What each bin holds; a score on an edge belongs to the bin above, an empty bin is left out.

    Args:
      spans: the predicted spans.
      edges: between the bins, ascending.
    """
    number = np.searchsorted(edges, spans.scores, side="right")
    bins = []
    for i in np.unique(number):
        scores = spans.scores[number == i]
        right = int(spans.correct[number == i].sum())
        low, high = wilson(right, len(scores))
        bins.append(
            {
                "bin": int(i),
                "spans": len(scores),
                "lowest_score": float(scores.min()),
                "highest_score": float(scores.max()),
                "mean_score": float(scores.mean()),
                "correct": right,
                "precision": right / len(scores),
                "interval": [low, high],
                # A sum of n yes/no draws lies sqrt(2/pi) standard deviations from its mean on
                # average (normal approximation): what chance leaves of a true score.
                "chance": math.sqrt(2 / math.pi * (scores * (1 - scores)).sum()) / len(scores),
            }
        )
    return bins


def equal_mass(scores: Float[np.ndarray, " spans"], bins: int) -> Float[np.ndarray, " edges"]:
    """Edges with about as many spans between any two. Equal scores stay together."""
    return np.sort(scores)[np.arange(1, bins) * len(scores) // bins]


def equal_width(bins: int) -> Float[np.ndarray, " edges"]:
    return np.arange(1, bins) / bins


def thresholds(spans: Spans, undo: Callable[[float], float]) -> list[dict[str, Any]]:
    """What is left of the spans with at least a score; up to the last that leaves any."""
    rows = []
    for threshold in THRESHOLDS:
        kept = spans.scores >= threshold
        if kept.any():
            row = {"threshold": threshold, "min_score": undo(threshold), "kept": int(kept.sum())}
            right = int(spans.correct[kept].sum())
            rows.append(row | precision_recall_f1(right, row["kept"], spans.gold))
    return rows


def measure(
    spans: Spans, bins: int, undo: Callable[[float], float] = lambda score: score
) -> dict[str, Any]:
    """All figures of one set of scores; plain JSON.

    Args:
      spans: with the scores to judge.
      bins: how many, of either kind.
      undo: from such a score to what `medmt5 label --min-score` takes.

    Returns:
      `equal_mass` and `equal_width` bins, each with `ece`, the expected calibration error (mean
      distance of precision and score, weighted by spans), and `ece_by_chance`, what would be
      expected of it if the scores were the true probabilities; `brier` score, and `brier_constant`
      if every span had the overall precision as its score; `thresholds`.
    """
    total = len(spans.scores)
    precision = float(spans.correct.mean())
    result: dict[str, Any] = {
        "spans": total,
        "gold": spans.gold,
        "mean_score": float(spans.scores.mean()),
        "precision": precision,
        "brier": float(np.mean((spans.scores - spans.correct) ** 2)),
        "brier_constant": precision * (1 - precision),
        "thresholds": thresholds(spans, undo),
    }
    for name, edges in (
        ("equal_mass", equal_mass(spans.scores, bins)),
        ("equal_width", equal_width(bins)),
    ):
        found = bin_spans(spans, edges)
        ece = sum(b["spans"] * abs(b["precision"] - b["mean_score"]) for b in found) / total
        chance = sum(b["spans"] * b["chance"] for b in found) / total
        result[name] = {"bins": found, "ece": ece, "ece_by_chance": chance}
    return result


def report(title: str, result: dict[str, Any]) -> str:
    """The figures as aligned text."""
    mass, width = result["equal_mass"], result["equal_width"]
    lines = [
        f"{title} scores: {result['spans']} spans, mean score {result['mean_score']:.4f}, "
        f"precision {result['precision']:.4f}",
        "",
        f"{'scores':>18} {'spans':>6} {'mean score':>11} {'precision':>10} {'95 % interval':>14}",
    ]
    for b in mass["bins"]:
        scores = f"{b['lowest_score']:.5f}-{b['highest_score']:.5f}"
        interval = "{:.3f}-{:.3f}".format(*b["interval"])
        lines.append(
            f"{scores:>18} {b['spans']:6d} {b['mean_score']:11.4f} {b['precision']:10.4f} "
            f"{interval:>14}"
        )
    lines += [
        "",
        f"expected calibration error {mass['ece']:.4f} in {len(mass['bins'])} equal-mass bins "
        f"({mass['ece_by_chance']:.4f} is chance)",
        f"{width['ece']:.4f} in {len(width['bins'])} equal-width bins, not counting empty ones "
        f"({width['ece_by_chance']:.4f} is chance)",
        f"Brier score {result['brier']:.4f} ({result['brier_constant']:.4f} with the precision as "
        "every score)",
        "",
        f"{'score >=':>9} {'--min-score':>12} {'kept':>6} {'P %':>7} {'R %':>7} {'F1 %':>7}",
    ]
    for row in result["thresholds"]:
        lines.append(
            f"{row['threshold']:9g} {row['min_score']:12.6f} {row['kept']:6d} "
            f"{row['precision']:7.2f} {row['recall']:7.2f} {row['f1']:7.2f}"
        )
    return "\n".join(lines) + "\n"


SIDE, BAND = 280, 70  # of the square of the plot; height of the histogram below
LEFT, TOP, GAP = 52, 34, 34
WIDTH, HEIGHT = LEFT + SIDE + 18, TOP + SIDE + GAP + BAND + 44  # of one panel
STYLE = (
    "text{font:12px sans-serif;fill:#1b1f24}.title{font-size:13px;font-weight:bold}"
    ".count{font-size:9px;fill:#5b6470}.grid{stroke:#d9dde3}.frame{stroke:#5b6470;fill:none}"
    ".diagonal{stroke:#5b6470;stroke-dasharray:5 4}.mark{stroke:#0072b2;stroke-width:2}"
    ".dot{fill:#0072b2}.bar{fill:#7fb8d8}"
)


def plot(results: dict[str, dict[str, Any]], bins: int) -> str:
    """Reliability diagrams as SVG, one panel per title.

    The bins have equal width here, so that points keep apart however the scores are spread.
    """
    panels = "".join(
        f'<g transform="translate({i * WIDTH} 0)">\n{_panel(title, result, bins)}</g>\n'
        for i, (title, result) in enumerate(results.items())
    )
    width = WIDTH * len(results)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" '
        f'viewBox="0 0 {width} {HEIGHT}" role="img" '
        'aria-label="Observed precision of spans by predicted probability">\n'
        f"<style>{STYLE}</style>\n"
        f'<rect width="{width}" height="{HEIGHT}" fill="#fff"/>\n{panels}</svg>\n'
    )


def _panel(title: str, result: dict[str, Any], bins: int) -> str:
    found = result["equal_width"]["bins"]
    floor, base = TOP + SIDE, TOP + SIDE + GAP + BAND
    most, step = max(b["spans"] for b in found), SIDE / bins
    parts = [
        f'<text class="title" x="{LEFT}" y="20">{title}: calibration error '
        f"{result['equal_mass']['ece']:.3f}</text>"
    ]
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        x, y = f"{LEFT + tick * SIDE:.1f}", f"{floor - tick * SIDE:.1f}"
        parts += [
            f'<path class="grid" d="M{LEFT} {y}h{SIDE}M{x} {TOP}v{SIDE}M{x} {base}v-{BAND}"/>',
            f'<text x="{LEFT - 7}" y="{y}" dy=".35em" text-anchor="end">{tick:g}</text>',
            f'<text x="{x}" y="{base + 16}" text-anchor="middle">{tick:g}</text>',
        ]
    parts += [
        f'<path class="diagonal" d="M{LEFT} {floor}l{SIDE} -{SIDE}"/>',
        f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}"/>',
        f'<path class="frame" d="M{LEFT} {base}h{SIDE}"/>',
    ]
    for b in found:
        left = LEFT + b["bin"] * step
        top = base - b["spans"] / most * (BAND - 12)  # 12 pixels for the count above
        x = f"{LEFT + b['mean_score'] * SIDE:.1f}"
        low, high = (f"{floor - share * SIDE:.1f}" for share in b["interval"])
        parts += [
            f'<path class="mark" d="M{x} {low}V{high}"/>',
            f'<circle class="dot" cx="{x}" cy="{floor - b["precision"] * SIDE:.1f}" r="4"/>',
            f'<rect class="bar" x="{left + 1:.1f}" y="{top:.1f}" width="{step - 2:.1f}" '
            f'height="{base - top:.1f}"/>',
            f'<text class="count" x="{left + step / 2:.1f}" y="{top - 3:.1f}" '
            f'text-anchor="middle">{b["spans"]}</text>',
        ]
    for text, y in (("observed precision", TOP + SIDE / 2), ("spans", base - BAND / 2)):
        parts.append(
            f'<text transform="translate(14 {y}) rotate(-90)" text-anchor="middle">{text}</text>'
        )
    parts.append(
        f'<text x="{LEFT + SIDE / 2}" y="{base + 36}" text-anchor="middle">'
        f"{title} probability</text>"
    )
    return "\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument(
        "predictions", nargs="+", help="<task>-constrained.jsonl of medmt5 eval; several are pooled"
    )
    flags.add_argument("--fit", nargs="+", metavar="DEV", help="learn a correction on these files")
    flags.add_argument("--bins", type=int, default=10, help="number of bins (10)")
    flags.add_argument("--json", help="write all figures to this file")
    flags.add_argument("--svg", help="write the plot to this file")
    given = flags.parse_args(arguments)
    with errors_to_exit():
        if given.bins < 1:
            raise ValueError(f"--bins {given.bins} is too few; 10 is usual")
        spans = read(given.predictions)
        print(f"{', '.join(given.predictions)}: {spans.gold} gold spans\n")
        results = {"predicted": measure(spans, given.bins)}
        figures = {"predictions": given.predictions, "bins": given.bins} | results
        if given.fit:
            learnt_from = read(given.fit)
            correction = fit(learnt_from.scores, learnt_from.correct)
            corrected = spans._replace(scores=correction.apply(spans.scores))
            results["corrected"] = measure(corrected, given.bins, correction.undo)
            source = {"files": given.fit, "spans": len(learnt_from.scores)}
            figures |= {"fit": source | correction._asdict()} | results
        for title, result in results.items():
            print(report(title, result))
        if given.fit:
            print(
                f"corrected = sigmoid({correction.slope:.4f} * logit(predicted) "
                f"{correction.intercept:+.4f}), from {source['spans']} spans of "
                f"{', '.join(given.fit)}"
            )
        if given.json:
            write_text(given.json, json.dumps(figures, indent=2) + "\n")
        if given.svg:
            write_text(given.svg, plot(results, given.bins))


if __name__ == "__main__":
    main()
