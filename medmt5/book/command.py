"""`medmt5 report RUNS...`: the scores of runs beside each other and beside published ones.

Reads what `medmt5 eval` wrote; needs neither a model nor the data.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from medmt5.book import sections
from medmt5.files import write_text

_ABOUT = """
Tables of the scores of runs, data set by data set: labelling in the order of Medical mT5's table,
MMedBench, other multiple choice, rationales, ProMoT's general tasks, other text; with averages, and
with what others published as reference columns, sources included. Without RUNS: the published
numbers alone.
"""
_MORE = """
runs:
  runs/a              the scores.json at or under it; the run is named "a". With several under it,
                      each is a run, named by its folder. Evaluations from within training
                      (eval/step_N) are passed over.
  NAME=runs/a         one run under this name, also if several scores.json hold its tasks
  NAME=PATH,PATH      seeds of one model, shown as mean ± standard deviation with n; also as a
                      pattern in quotes: 'NAME=runs/a-seed*'

averages are over the rows that every shown column has; their titles say how many. Where a source
prints an average that its own rows do not give, both are shown.

examples:
  medmt5 report runs/ncbi runs/e3c
  medmt5 report base=runs/base 'ours=runs/ours-seed*' --baseline base --output results/book
  medmt5 report runs/a --published "Medical mT5-XL (multi-task),MMedLM 2 7B" --metric choice=hamming
"""


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="medmt5 report",
        description=_ABOUT,
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = flags.add_argument
    add("runs", nargs="*", metavar="RUN", help="PATH, NAME=PATH or NAME=PATH,PATH; see below")
    add(
        "-o",
        "--output",
        metavar="BOOK",
        help="write BOOK.md, BOOK.csv (a line per cell) and BOOK.html (tables and plots in one "
        "file, no scripts); else Markdown is printed",
    )
    add(
        "--published",
        metavar="all|none|NAME,NAME",
        help="reference columns: all, with the rows that no run has; none; or some by name. "
        "Default: those that share a row",
    )
    add(
        "--mode",
        default="",
        help="of decoding: constrained, ranked, unconstrained, or all for a column each. Default: "
        "the first of these that a task has",
    )
    add("--baseline", default="", metavar="NAME", help="column that differences are shown to")
    add(
        "--metric",
        action="append",
        default=[],
        metavar="FAMILY=NAME",
        help="instead of the main metric (f1, accuracy, rationale_rouge1, rouge1 or bleu) of a "
        f"family: {', '.join(sections.FAMILIES)}; may be repeated",
    )
    return flags


def report(
    runs: Sequence[str],
    *,
    output: str = "",
    show: Sequence[str] | None = None,
    mode: str = "",
    metrics: Sequence[str] = (),
    baseline: str = "",
) -> str:
    """Make a book, and return it as Markdown.

    Args:
      runs: as on the command line.
      output: path without ending; gets `.md`, `.csv` and `.html`. "" writes nothing.
      show, mode, baseline: as of `tables.tables`.
      metrics: such as "labelling=precision".

    Raises:
      ValueError: runs cannot be read, or what is asked for is not there.
    """
    from medmt5.book import pages
    from medmt5.book.runs import read_runs
    from medmt5.book.tables import tables

    read = read_runs(runs)
    book = tables(read, show=show, mode=mode, metrics=_metrics(metrics), baseline=baseline)
    text = pages.markdown(book, read)
    if output:
        stem = _stem(output)
        write_text(f"{stem}.md", text)
        write_text(f"{stem}.csv", pages.comma_separated(book))
        write_text(f"{stem}.html", pages.page(book, read))
    return text


def _stem(output: str) -> str:
    return re.sub(r"\.(md|csv|html)$", "", output)


def _metrics(given: Sequence[str]) -> dict[str, str]:
    chosen = {}
    for text in given:
        family, _, metric = text.partition("=")
        if family not in sections.FAMILIES or not metric:
            raise ValueError(
                f"--metric {text}: use FAMILY=NAME with a family of "
                f"{', '.join(sections.FAMILIES)}, such as labelling=precision"
            )
        chosen[family] = metric
    return chosen


def main(arguments: Sequence[str]) -> None:
    """The command line of `medmt5 report`."""
    flags = parser().parse_args(arguments)
    from medmt5.launch import errors_to_exit

    with errors_to_exit():
        show = None if flags.published is None else _names(flags.published)
        text = report(
            flags.runs,
            output=flags.output or "",
            show=show,
            mode=flags.mode,
            metrics=flags.metric,
            baseline=flags.baseline,
        )
        if flags.output:
            stem = _stem(flags.output)
            print("\n".join(f"{stem}.{ending}" for ending in ("md", "csv", "html")))
        else:
            print(text, end="")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
