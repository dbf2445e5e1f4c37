"""Wikitext to plain text: templates, tables, references, galleries and files are left out.

mwparserfromhell reads the markup; this decides what of it is text.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from medmt5.corpus.decompression import library

# Templates within sentences whose arguments are read aloud: the names are those of the wikis of
# our languages. `last` of a language template is its text; `all` are number and unit.
_SPOKEN = {
    "last": {"lang", "nowrap", "nobr", "nobreak", "audio", "transl", "abbr", "fr"},
    "all": {"unité", "unidad", "unit", "val", "nb"},
}
_DROPPED_TAGS = {
    *("chem", "ce", "code", "gallery", "graph", "hiero", "imagemap", "mapframe", "math", "pre"),
    *("ref", "references", "score", "source", "style", "syntaxhighlight", "table"),
    *("templatedata", "timeline"),
}
_MAGIC_WORD = re.compile(r"__[A-Z]+__")
_LANGUAGE_LINK = re.compile(r"[a-z]{2,3}(-[a-z]+)?:")
# Marks a heading and its level until it is known whether text follows.
_HEADING = "\0"


def plain_text(wikitext: str, *, dropped_links: Collection[str] = ("category", "file")) -> str:
    """A paragraph, heading or item per line; headings that nothing follows are left out.

    Args:
      dropped_links: namespaces, in lower case, whose links are no text.
    """
    parse = library("mwparserfromhell").parse
    # Style tags (bold, italic) are stripped here too: their text is their contents.
    code = parse(wikitext.replace(_HEADING, ""))
    text = _MAGIC_WORD.sub("", "".join(_pieces(code, frozenset(dropped_links))))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return "\n".join(_with_text([line for line in lines if line]))


def _pieces(code: Any, dropped: frozenset[str]):
    nodes = library("mwparserfromhell").nodes
    for node in code.nodes:
        if isinstance(node, nodes.Text):
            yield node.value
        elif isinstance(node, nodes.HTMLEntity):
            yield node.normalize() or ""
        elif isinstance(node, nodes.Wikilink):
            yield from _link(node, dropped)
        elif isinstance(node, nodes.ExternalLink):
            if node.title is not None:
                yield from _pieces(node.title, dropped)
        elif isinstance(node, nodes.Heading):
            title = "".join(_pieces(node.title, dropped)).strip()
            yield f"\n{_HEADING}{node.level}{title}\n"
        elif isinstance(node, nodes.Tag):
            yield from _tag(node, dropped)
        elif isinstance(node, nodes.Template):
            yield from _template(node, dropped)


def _link(node: Any, dropped: frozenset[str]):
    title = str(node.title).strip()
    namespace = title.partition(":")[0].strip().lower() if ":" in title else ""
    if namespace in dropped or _LANGUAGE_LINK.match(title):
        return
    if node.text is not None:
        yield from _pieces(node.text, dropped)
    else:
        yield title.removeprefix(":")


def _tag(node: Any, dropped: frozenset[str]):
    name = str(node.tag).strip().lower()
    if name in _DROPPED_TAGS:
        return
    if name in ("br", "hr", "p", "div", "blockquote", "li", "dd", "dt"):
        yield "\n" if name != "br" else " "
    if node.contents is not None:
        yield from _pieces(node.contents, dropped)
    if name in ("p", "div", "blockquote"):
        yield "\n"


def _template(node: Any, dropped: frozenset[str]):
    name = str(node.name).strip().lower()
    arguments = [p.value for p in node.params if not p.showkey]
    if not arguments:
        return
    if name in _SPOKEN["all"]:
        yield " ".join("".join(_pieces(a, dropped)).strip() for a in arguments)
    elif name in _SPOKEN["last"] or name.startswith("lang-"):
        yield from _pieces(arguments[-1], dropped)


def _with_text(lines: list[str]) -> list[str]:
    """Without marks, and without headings of sections that hold nothing."""
    kept: list[str] = []
    following: int | None = 0  # the level of the heading that comes next, 0: the end, None: text
    for line in reversed(lines):
        if not line.startswith(_HEADING):
            kept.append(line)
            following = None
            continue
        level, title = int(line[1]), line[2:].strip()
        if following is None or following > level:
            kept.append(title)
            following = level
    return kept[::-1]
