"""Labelled documents as a web page: coloured spans, a legend, nothing to download.

The spans are also what `medmt5.report` shows. A page reads back, its scores with two digits. Its
legend comes first, so all documents must be known before it can be written.
"""

import html
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from html.parser import HTMLParser

from medmt5.formats.documents import Document, check
from medmt5.formats.gold import Annotation, Report, flat
from medmt5.formats.lines import name_of, read_lines

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
        parts.append(_escape(document.text[reached : entity.start]))
        parts.append(
            f'<mark style="--hue:{hues[entity.label]}" data-label="{label}" data-score="{score}" '
            f'title="{label} {score}">{_escape(entity.text)}</mark>'
        )
        reached = entity.end
    parts.append(_escape(document.text[reached:]))
    name = f' data-id="{html.escape(document.id)}"' if document.id else ""
    # The text may be in any language and direction: dir=auto decides by its first strong letter.
    return f'<p class="document"{name} dir="auto" lang="">{"".join(parts)}</p>\n'


def _escape(text: str) -> str:
    # A parser would make a line feed of a carriage return.
    return html.escape(text).replace("\r", "&#13;")


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
    return "".join(html_parts(tuple(documents), title=title))


def html_parts(documents: Iterable[Document], *, title: str = "medmt5") -> Iterator[str]:
    """The page piece by piece; goes through the documents three times."""
    hues = label_hues(documents)
    yield (
        '<!doctype html>\n<html lang="">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{SPAN_CSS}{_PAGE_CSS}</style>\n</head>\n<body>\n"
        f"{render_legend(documents, hues)}<main>\n"
    )
    for document in documents:
        yield render_spans(document, hues)
    yield "</main>\n</body>\n</html>\n"


class _Reader(HTMLParser):
    """Collects the paragraphs of class `document` and their marks."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, list[tuple[str, int, int, float]]]] = []
        self.text: list[str] | None = None
        self.id, self.length = "", 0
        self.marks: list[tuple[str, int, int, float]] = []
        self.opened: tuple[str, int, float] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "p" and given.get("class") == "document":
            self.text, self.id, self.length, self.marks = [], given.get("data-id") or "", 0, []
        elif tag == "mark" and self.text is not None and given.get("data-label"):
            score = float(given.get("data-score") or 1)
            self.opened = (given["data-label"] or "", self.length, score)

    def handle_endtag(self, tag: str) -> None:
        if tag == "mark" and self.opened:
            label, start, score = self.opened
            self.marks.append((label, start, self.length, score))
            self.opened = None
        elif tag == "p" and self.text is not None:
            self.found.append((self.id, "".join(self.text), self.marks))
            self.text = None

    def handle_data(self, data: str) -> None:
        if self.text is not None:
            self.text.append(data)
            self.length += len(data)


def read_html(path: str, report: Report) -> Iterator[Document]:
    """Documents of a page that `to_html` wrote."""
    reader, count = _Reader(), 0
    for number, line in read_lines(path, report):
        try:
            # Only "\n" was taken off: to_html writes no other line end.
            reader.feed(f"{line}\n")
        except ValueError as error:
            report.bad(f"{name_of(path)}:{number}", f"not a page of medmt5 ({error})")
        for id, text, marks in reader.found:
            place = f"{name_of(path)}:{number}"
            yield flat(
                text,
                [Annotation(label, ((a, b),), None, place, score) for label, a, b, score in marks],
                report,
                id=id,
            )
        count += len(reader.found)
        reader.found.clear()
    if not count:
        raise ValueError(f"{name_of(path)} has no documents; give a page that medmt5 wrote")
