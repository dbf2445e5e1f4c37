"""Boilerplate: remains of HTML and wiki markup, lines of navigation, copyright and references.

Works on lines and on the end of a text; main text of web pages is what the readers give. The
patterns, each with its reason, are in `boilerplate_patterns`.
"""

from __future__ import annotations

import dataclasses
import html
import re
from collections import Counter

from medmt5.corpus.documents import Document, Removed
from medmt5.corpus.steps import boilerplate_patterns as patterns
from medmt5.corpus.steps.unicode import without_oddities

_INLINE = "a|abbr|b|big|cite|code|em|font|i|italic|bold|img|q|s|small|span|strong|tt|u|ref|nowiki"
_BLOCKS = (
    "address|article|aside|blockquote|body|br|center|dd|div|dl|dt|figure|footer|form|h[1-6]|head"
    "|header|hr|html|input|label|li|main|nav|ol|option|p|pre|references|section|select|table|tbody"
    "|tfoot|thead|title|tr|ul"
)
# Only names of HTML with well-formed attributes: `p < 0.05`, `<Disease>` and `a <b and c>` stay.
_ATTRIBUTES = r"(?:\s+[\w:-]+\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'<>]+))*\s*/?"
_TAG = re.compile(rf"</?(?:(?P<block>{_BLOCKS})|(?P<cell>t[dh])|{_INLINE}){_ATTRIBUTES}>", re.I)
_RAISED = re.compile(rf"<(su[bp]){_ATTRIBUTES}>([^<>]{{1,20}})</\1>", re.I)
_RAISED_TAG = re.compile(r"</?su[bp]>", re.I)
# Bounded, so that a thousand openings without an end stay linear.
_UNSEEN = re.compile(
    r"<!--.{0,5000}?-->|<(script|style|noscript)\b[^<>]{0,500}>.{0,20000}?</\1>", re.I | re.S
)
_SUPER = str.maketrans("0123456789+-=()n−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿ⁻")
_SUB = str.maketrans("0123456789+-=()−", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎₋")
# Tags in entities in tags: so deep, and no deeper, that hostile nesting costs a few passes.
_PASSES = 5


def _raised(match: re.Match[str]) -> str:
    """`10<sup>9</sup>/L` is 10⁹/L, not 109/L; a letter is set down as it is."""
    kind, content = match.groups()
    table = _SUPER if kind.lower() == "sup" else _SUB
    return content.translate(table) if all(ord(char) in table for char in content) else content


def _blank(match: re.Match[str]) -> str:
    if match["block"]:
        return "\n"
    return "\t" if match["cell"] else ""


def without_markup(text: str) -> str:
    """Text without HTML comments, scripts, tags and entities; blocks end lines, cells are tabs."""
    for _ in range(_PASSES):
        before = text
        if "&" in text:
            # Entities bring what the step `unicode` has put right: `&#61538;` is a β of Symbol.
            text = without_oddities(html.unescape(text))
        if "<" in text:
            # Without an end there is nothing to look for from each beginning.
            if "-->" in text or "</" in text:
                text = _RAISED.sub(_raised, _UNSEEN.sub(" ", text))
            text = _TAG.sub(_blank, _RAISED_TAG.sub("", text))
        if text == before:
            break
    return text


def _is_reference(line: str) -> bool:
    return bool(patterns.REFERENCE.search(line))


def without_references(lines: list[str]) -> list[str]:
    """Lines without reference lists: a heading and what follows it, while it looks like that.

    Two lines that do not look like references may stand between such that do (a title that is
    broken over lines); three end the list. A heading without references after it stays.
    """
    kept: list[str] = []
    position = 0
    while position < len(lines):
        line = lines[position]
        end = position
        if len(line) <= patterns.HEADING_LENGTH and patterns.REFERENCES_HEADING.fullmatch(line):
            misses = 0
            for i in range(position + 1, len(lines)):
                if _is_reference(lines[i]):
                    end, misses = i + 1, 0
                elif lines[i] and (misses := misses + 1) == 3:
                    break
        if end == position:
            kept.append(line)
            position += 1
        else:
            position = end
    return kept


@dataclasses.dataclass(frozen=True)
class Boilerplate:
    """Takes boilerplate out of a text.

    Args:
      markup: whether tags, comments and entities of HTML are taken out.
      navigation: whether lines of cookie banners, menus, sharing buttons and page numbers are.
      copyright: whether a copyright notice at the end of a text is.
      references: whether reference lists under their heading are.
      min_repeats: a line that occurs so often in a document is kept once; 0 keeps all. Headers
        and footers of PDF pages are such lines. Our choice.
      min_characters: shorter lines may repeat: `Normal.`, `Yes`, cells of tables. Our choice.
    """

    markup: bool = True
    navigation: bool = True
    copyright: bool = True
    references: bool = True
    min_repeats: int = 3
    min_characters: int = 25

    def __call__(self, document: Document) -> Document | Removed:
        text = self.clean(document.text)
        if not text:
            return Removed("only boilerplate")
        if text == document.text:
            return document
        return dataclasses.replace(document, text=text)

    def clean(self, text: str) -> str:
        # What has gone may bring lines together, or to the end: a second pass is rarely needed.
        for _ in range(_PASSES):
            before = text
            text = self._pass(text)
            if text == before:
                break
        return text

    def _pass(self, text: str) -> str:
        if self.markup:
            text = without_markup(text)
        lines = [line.rstrip() for line in text.split("\n")]
        if self.navigation:
            lines = [line for line in lines if not patterns.is_navigation(line)]
        if self.min_repeats:
            lines = self._without_repeats(lines)
        if self.references:
            lines = without_references(lines)
        text = re.sub("\n{3,}", "\n\n", "\n".join(lines)).strip()
        return patterns.without_notice(text) if self.copyright else text

    def _without_repeats(self, lines: list[str]) -> list[str]:
        counts = Counter(line for line in lines if len(line) >= self.min_characters)
        seen: set[str] = set()
        kept: list[str] = []
        for line in lines:
            if counts[line] < self.min_repeats or line not in seen:
                kept.append(line)
            seen.add(line)
        return kept
