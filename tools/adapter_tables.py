"""Tables of what tools/adapter_experiments.py collected.

    python tools/adapter_tables.py results/adapters.jsonl --svg results/forgetting.svg

Accuracy of classification, ROUGE-1 of texts, in percent: the mean over seeds and, in brackets,
their range. Runs that are not done are dashes.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

from medmt5.markdown import table

TARGET = "laptop_argument_en"
TITLES = {
    "before": "before",
    "full": "all parameters",
    "lora": "LoRA",
    "prompt": "prompt alone",
    "promot": "ProMoT",
    "joint": "prompt and model at once",
    "random-prompt": "behind a random prompt",
    "lora-promot": "LoRA, then the model",
    "lora-promot-without": "the same, LoRA left out",
}
_NAME = re.compile(r"(?P<method>.+?)(-(?P<seed>\d+))?")

# method -> step -> seed -> what was measured then
Curves = dict[str, dict[int, dict[int, dict]]]


def read(path: str) -> Curves:
    curves: Curves = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        match = _NAME.fullmatch(record["run"])
        assert match
        for at in record["steps"]:
            seeds = curves.setdefault(match["method"], {}).setdefault(at["step"], {})
            seeds[int(match["seed"] or 0)] = at
    return curves


def target(at: Mapping) -> float:
    return at["scores"][TARGET]


def others(at: Mapping) -> float:
    """The mean over the tasks that the base was trained on."""
    return statistics.fmean(score for task, score in at["scores"].items() if task != TARGET)


def captured(at: Mapping) -> float:
    """Percent of their answers that are answers of the target."""
    return statistics.fmean(share for task, share in at["captured"].items() if task != TARGET)


def shown(seeds: Mapping[int, dict], value: Callable[[Mapping], float], digits: int = 1) -> str:
    """`61.2 (60.1–62.0)`; one seed has no range, none is a dash."""
    values = [value(at) for at in seeds.values()]
    if not values:
        return "–"
    mean = f"{statistics.fmean(values):.{digits}f}"
    return (
        mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f}–{max(values):.{digits}f})"
    )


def last(curves: Curves, method: str) -> Mapping[int, dict]:
    steps = curves.get(method, {})
    return steps[max(steps)] if steps else {}


def summary(curves: Curves) -> str:
    """The end of every run."""
    rows = []
    for method, title in TITLES.items():
        seeds = last(curves, method)
        rows.append(
            [
                title,
                shown(seeds, target),
                shown(seeds, others),
                shown(seeds, lambda at: at["loss"], 2),
                shown(seeds, captured),
            ]
        )
    head = ["tuned", "target", "others", "loss on others"]
    return table([*head, "answers of the target on others, %"], rows)


def each(curves: Curves) -> str:
    """The other tasks one by one, at the end of every run."""
    ends = [at for method in curves for at in last(curves, method).values()]
    tasks = sorted({task for at in ends for task in at["scores"]} - {TARGET})
    rows = [
        [
            title,
            *(shown(last(curves, method), lambda at, t=task: at["scores"][t]) for task in tasks),
        ]
        for method, title in TITLES.items()
    ]
    return table(["tuned", *(task.removeprefix("laptop_") for task in tasks)], rows)


def forgetting(curves: Curves) -> str:
    """Target and others along the way."""
    methods = [m for m in TITLES if m in curves and len(curves[m]) > 1]
    steps = sorted({step for method in methods for step in curves[method]})
    rows = [
        [str(step), *(_pair(curves[method].get(step, {})) for method in methods)] for step in steps
    ]
    return table(["steps", *(TITLES[m] for m in methods)], rows)


def _pair(seeds: Mapping[int, dict]) -> str:
    """`target / others`, means over seeds."""
    if not seeds:
        return "–"
    means = (statistics.fmean(value(at) for at in seeds.values()) for value in (target, others))
    return " / ".join(f"{mean:.1f}" for mean in means)


# Of the figure, in pixels.
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640, 360, 48, 40, 190, 44
COLORS = ("#d55e00", "#e69f00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#5b6470")


def figure(curves: Curves) -> str:
    """What is left of the other tasks as training goes on, as SVG: means over seeds."""
    start = statistics.fmean(map(others, last(curves, "before").values()))
    lines = {
        method: [(0, start)]
        + [(step, statistics.fmean(map(others, seeds.values()))) for step, seeds in by_step]
        for method in TITLES
        # The prompt alone is not put before them: nothing of it can be seen.
        if method != "prompt" and len(by_step := sorted(curves.get(method, {}).items())) > 1
    }
    most_steps = max(step for points in lines.values() for step, _ in points)
    most = 5 * math.ceil(max(score for points in lines.values() for _, score in points) / 5)
    across, down = (WIDTH - LEFT - RIGHT) / most_steps, (HEIGHT - TOP - BOTTOM) / most
    floor = HEIGHT - BOTTOM
    parts = [f'<text x="{LEFT}" y="20" font-weight="bold">Mean score on the other tasks, %</text>']
    for score in range(0, most + 1, 5):
        y = f"{floor - score * down:.1f}"
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y}" dy=".35em" text-anchor="end">{score}</text>')
    for step in range(0, most_steps + 1, 100):
        x = f"{LEFT + step * across:.1f}"
        parts.append(f'<text x="{x}" y="{floor + 18}" text-anchor="middle">{step}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">steps</text>')
    # Names stand beside the ends of their lines, those of near ends one below the other.
    free = floor + 8.0
    ends = sorted(lines.items(), key=lambda line: line[1][-1][1])
    for color, (method, points) in zip(COLORS, ends, strict=False):
        path = "L".join(f"{LEFT + s * across:.1f} {floor - v * down:.1f}" for s, v in points)
        free = min(free - 15, floor - points[-1][1] * down)
        parts.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts.append(
            f'<text x="{WIDTH - RIGHT + 8}" y="{free:.1f}" dy=".35em" fill="{color}">'
            f"{TITLES[method]}</text>"
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-label="Mean score on the other tasks by steps of tuning">\n'
        "<style>text{font:12px sans-serif}.grid{stroke:#d9dde3}</style>\n"
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("path", help="results/adapters.jsonl")
    flags.add_argument("--svg", help="file that gets the figure")
    given = flags.parse_args()
    curves = read(given.path)
    if given.svg:
        Path(given.svg).write_text(figure(curves), encoding="utf-8")
    for title, make in (
        ("After tuning", summary),
        ("Along the way: target / others", forgetting),
        ("The other tasks one by one", each),
    ):
        print(f"### {title}\n\n{make(curves)}\n")


if __name__ == "__main__":
    main()
