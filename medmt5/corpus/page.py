"""The report of a built corpus: one HTML page with charts, tables and samples of what was removed.

It needs no network and no scripts.
"""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from medmt5.corpus import card, charts
from medmt5.report import render_page, table_html

NAME = "report.html"
# Of removed documents that are shown, per step and reason; and characters of each.
SAMPLES, EXCERPT = 5, 300
# Sources with a colour of their own; the others are one.
_MOST_SOURCES = 11
_CSS = """
.sample { border-inline-start: 3px solid var(--rule); padding-inline-start: .8rem; margin: .6rem 0;
  overflow-wrap: anywhere; }
.sample small { color: var(--soft); display: block; }
"""


def text(manifest: Mapping[str, Any], samples: Sequence[Mapping[str, str]]) -> str:
    """The page.

    Args:
      samples: of removed documents, with a `mark` that says which ones to take.
    """
    sections = [("Composition", _composition(manifest)), ("Lengths", _lengths(manifest))]
    sections.append(("What the steps removed", _removals(manifest)))
    for table in card.tables(manifest):
        sections.append((table.title, table_html(table.columns, table.rows)))
    sections.append(("Samples of what was removed", _samples(manifest["stages"], samples)))
    return render_page(f"Corpus {manifest['name']}", sections, css=charts.CSS + _CSS)


def _composition(manifest: Mapping[str, Any]) -> str:
    last = manifest["stages"][-1]
    sizes = {
        name: {
            language: counts.get("words", 0)
            for language, counts in tally["counts"].get(last, {}).items()
        }
        for name, tally in manifest["sources"].items()
    }
    order = sorted(sizes, key=lambda name: -sum(sizes[name].values()))
    rows: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for place, name in enumerate(order):
        for language, words in sizes[name].items():
            rows[language][name if place < _MOST_SOURCES else "other sources"] += words
    return charts.stacked("Words by language and source", dict(sorted(rows.items())), unit="words")


def _lengths(manifest: Mapping[str, Any]) -> str:
    figures = []
    for language, bins in manifest["total"]["lengths"].items():
        largest = max(map(int, bins))
        ordered = [0, *(1 << power for power in range(largest.bit_length()))]
        least = min(map(int, bins))
        shown = {str(n): bins.get(str(n), 0) for n in ordered if n >= least}
        title = f"{language}: documents by words, from each number to the next"
        figures.append(charts.histogram(title, shown, unit="documents"))
    return figures and f'<div class="figures">\n{"".join(figures)}</div>\n' or ""


def _removals(manifest: Mapping[str, Any]) -> str:
    last, total = manifest["stages"][-1], manifest["total"]
    kept = {
        language: counts["documents"] for language, counts in total["counts"].get(last, {}).items()
    }
    languages = set(kept).union(*map(set, total["removed"].values()))
    rows = {}
    for language in sorted(languages):
        rows[language] = {"kept": kept.get(language, 0)}
        for stage in manifest["stages"]:
            if any(total["removed"].get(stage, {}).values()):
                reasons = total["removed"][stage].get(language, {})
                rows[language][stage] = sum(reasons.values())
    return charts.stacked("Documents kept, and removed by each step", rows, unit="documents")


def _samples(stages: Sequence[str], samples: Sequence[Mapping[str, str]]) -> str:
    groups: dict[tuple[int, str], list[Mapping[str, str]]] = defaultdict(list)
    for sample in samples:
        groups[stages.index(sample["step"]), sample["reason"]].append(sample)
    parts = []
    for (stage, reason), found in sorted(groups.items(), key=lambda group: group[0]):
        parts.append(f"<h3>{html.escape(f'{stages[stage]}: {reason}')}</h3>\n")
        found.sort(key=lambda sample: (sample["mark"], sample["source"]))
        for sample in found[:SAMPLES]:
            where = " · ".join(
                filter(None, (sample["source"], sample["id"], sample["language"], sample["detail"]))
            )
            words = sample["text"][:EXCERPT] + ("…" if len(sample["text"]) > EXCERPT else "")
            parts.append(
                f'<div class="sample"><small>{html.escape(where)}</small>'
                f"{html.escape(words)}</div>\n"
            )
    return "".join(parts)
