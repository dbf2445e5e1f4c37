"""Labelled documents as a web page: coloured spans, a legend, nothing to download.

The spans are also what `medmt5.report` shows. The plain-text forms are in `documents`.
"""

import html
from collections import Counter
from collections.abc import Iterable, Mapping

from medmt5.formats.documents import Document, check

# Lightness keeps text on any hue above 7:1 (WCAG AAA). The label is drawn by CSS, so copying a
# sentence copies the original text; touch screens and paper, which cannot hover, show the score.
SPAN_CSS = """
mark { background: hsl(var(--hue) 85% 88%); color: #14161a; border-radius: .3em;
  padding: .1em .3em; box-shadow: inset 0 -.12em hsl(var(--hue) 60% 55%);
  -webkit-box-decoration-break: clone; box-decoration-break: clone;
  -webkit-print-color-adjust: exact; print-color-adjust: exact; }
mark[data-label]::after { content: attr(data-label); font: 600 .68em/1 system-ui, sans-serif;
  margin-inline-start: .5em; unicode-bidi: isolate; }
.document { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.9; margin: 0;
  padding: .7rem 0; border-bottom: 1px solid var(--rule); break-inside: avoid; }
.legend { display: flex; flex-wrap: wrap; gap: .4rem .6rem; list-style: none; padding: 0; }
@media (hover: none) { mark[data-score]::after { content: attr(data-label) " " attr(data-score); } }
@media print { mark[data-score]::after { content: attr(data-label) " " attr(data-score); } }
@media screen and (prefers-color-scheme: dark) {
  mark { background: hsl(var(--hue) 55% 22%); color: #f6f7f9; } }
"""

_PAGE_CSS = """
:root { color-scheme: light dark; --rule: #8884; }
body { max-width: 50rem; margin: 0 auto; padding: 1rem; font: 1.05rem/1.6 system-ui, sans-serif;
  background: #fff; color: #14161a; }
.legend { position: sticky; top: 0; margin: 0; padding: .6rem 0; background: inherit; }
@media screen and (prefers-color-scheme: dark) { body { background: #15171b; color: #e8eaee; } }
"""


def label_hues(documents: Iterable[Document]) -> dict[str, int]:
    """A hue in degrees for each label, by alphabetical order of the labels.

    Steps of the golden angle keep neighbours far apart, however many labels there are.
    """
    labels = sorted({entity.label for document in documents for entity in document.entities})
    return {label: round(212 + index * 137.508) % 360 for index, label in enumerate(labels)}


def render_spans(document: Document, hues: Mapping[str, int]) -> str:
    """The document as an HTML paragraph with coloured entities; style it with `SPAN_CSS`.

    Args:
      document: what to show.
      hues: from `label_hues`, over every document of the page.
    """
    check(document)
    parts, reached = [], 0
    for entity in document.entities:
        label, score = html.escape(entity.label), f"{entity.score:.2f}"
        parts.append(html.escape(document.text[reached : entity.start]))
        parts.append(
            f'<mark style="--hue:{hues[entity.label]}" data-label="{label}" data-score="{score}" '
            f'title="{label} {score}">{html.escape(entity.text)}</mark>'
        )
        reached = entity.end
    parts.append(html.escape(document.text[reached:]))
    # The text may be in any language and direction: dir=auto decides by its first strong letter.
    return f'<p class="document" dir="auto" lang="">{"".join(parts)}</p>\n'


def render_legend(documents: Iterable[Document], hues: Mapping[str, int]) -> str:
    """The labels in their colours, each with how often it occurs, as an HTML list."""
    counts = Counter(entity.label for document in documents for entity in document.entities)
    items = (
        f'<li><mark style="--hue:{hue}">{html.escape(label)}</mark> {counts[label]}</li>'
        for label, hue in hues.items()
    )
    return f'<ul class="legend">{"".join(items)}</ul>\n'


def to_html(documents: Iterable[Document], *, title: str = "medmt5") -> str:
    """One page with every document: no scripts, nothing to download, no words of its own."""
    documents = tuple(documents)
    hues = label_hues(documents)
    body = "".join(render_spans(document, hues) for document in documents)
    return (
        '<!doctype html>\n<html lang="">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{SPAN_CSS}{_PAGE_CSS}</style>\n</head>\n<body>\n"
        f"{render_legend(documents, hues)}<main>\n{body}</main>\n</body>\n</html>\n"
    )
