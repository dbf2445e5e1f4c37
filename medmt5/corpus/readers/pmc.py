"""Full texts in JATS: PMC's Open Access subset, one article per file or archives of them.

Written for JATS 1.0 to 1.3 (Archiving and Publishing) and NLM 2.3 and 3.0, which PMC's older
articles have; OAI-PMH answers, whose elements are in a namespace, are read too.

Kept are title, abstracts, headings and paragraphs of the body. References, citations in the text,
tables, figures, formulas, footnotes, supplements and appendices are left out.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterator

from medmt5.corpus.documents import Document
from medmt5.corpus.opening import Place
from medmt5.corpus.readers.base import Reader
from medmt5.corpus.readers.elements import (
    Element,
    find,
    findall,
    local_name,
    records,
    text_at,
    text_of,
)

_BLOCKS = {"p", "title", "term", "verse-line", "attrib"}
_LEFT_OUT = {
    "alternatives",
    "array",
    "boxed-text",
    "chem-struct-wrap",
    "code",
    "disp-formula",
    "disp-formula-group",
    "fig",
    "fig-group",
    "fn",
    "fn-group",
    "graphic",
    "inline-formula",
    "inline-graphic",
    "label",
    "math",
    "media",
    "object-id",
    "preformat",
    "ref-list",
    "supplementary-material",
    "table",
    "table-wrap",
    "table-wrap-group",
    "tex-math",
}
# Lists and quotations stand within paragraphs.
_WITHIN = {"list", "def-list", "disp-quote", "statement", "speech", "verse-group"}
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_LINK = "{http://www.w3.org/1999/xlink}href"
# What numbers and stars in the text point to, apart from figures and tables.
_NOTES = {"author-notes", "bibr", "corresp", "fn", "table-fn"}
# Brackets that held only citations.
_EMPTY_BRACKETS = re.compile(r"\s*[\[(][\s,;–—-]*[\])]")
_BEFORE_POINT = re.compile(r"\s+([.,;:])(?!\d)")
_CREATIVE_COMMONS = re.compile(
    r"creativecommons\.org/(?:licenses|publicdomain)/([a-z-]+)/(\d\.\d)", re.I
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PMC(Reader):
    """Ids are `PMC...`, or else the PMID, DOI or name of the file; `PMC...-es` for a translation.

    A translation is a `trans-abstract`, or a `sub-article` of that type; other sub-articles
    (letters, reviews) are left out.
    """

    members: tuple[str, ...] = ("*.xml", "*.nxml")

    def read(self, place: Place, stream: io.BufferedReader) -> Iterator[Document]:
        for article in records(stream, "article", max_bytes=self.max_document_bytes):
            yield from self._documents(article, place.name)

    def _documents(self, article: Element, name: str) -> Iterator[Document]:
        meta = _meta(article)
        id = ("" if meta is None else _id(meta)) or name
        licence = "" if meta is None else _licence(meta)
        shared = {"licence": licence}
        if id.startswith("PMC"):
            shared["url"] = f"https://pmc.ncbi.nlm.nih.gov/articles/{id}/"

        def document(language: str, title: Element | None, parts: list[Element], id: str):
            heading = "" if title is None else _block(title)
            blocks = [block for part in parts for block in _blocks(part)]
            # A title alone is no text: of scans there is no more.
            text = "\n".join([heading, *blocks] if blocks else [])
            return self.document(text, id, language=language, title=heading, **shared)

        def texts(part: Element, head: Element | None) -> tuple[Element | None, list[Element]]:
            body = findall(part, "body")
            if head is None:
                return None, body
            return find(head, "title-group/article-title"), findall(head, "abstract") + body

        yield document(article.get(_LANGUAGE, ""), *texts(article, meta), id)
        for abstract in [] if meta is None else findall(meta, "trans-abstract"):
            language = abstract.get(_LANGUAGE, "")
            titles = findall(meta, "title-group/trans-title-group")
            title = next((t for t in titles if t.get(_LANGUAGE, "") == language), None)
            title = None if title is None else find(title, "trans-title")
            yield document(language, title, [abstract], f"{id}-{language or 'other'}")
        for part in findall(article, "sub-article"):
            if part.get("article-type") == "translation":
                language = part.get(_LANGUAGE, "")
                head = find(part, "front-stub")
                head = _meta(part) if head is None else head
                yield document(language, *texts(part, head), f"{id}-{language or 'other'}")


def _meta(article: Element) -> Element | None:
    return find(article, "front/article-meta")


def _id(meta: Element) -> str:
    ids = {e.get("pub-id-type", ""): text_of(e) for e in findall(meta, "article-id")}
    number = ids.get("pmcid") or ids.get("pmc") or ids.get("pmc-uid") or ""
    if number:
        return number if number.upper().startswith("PMC") else f"PMC{number}"
    return ids.get("pmid") or ids.get("doi") or ""


def _licence(meta: Element) -> str:
    """`CC BY 4.0` if a link says so, else the words of the licence."""
    licence = find(meta, "permissions/license")
    if licence is None:
        return text_at(meta, "permissions/copyright-statement")
    links = [licence.get(_LINK, ""), text_at(licence, "license_ref")]
    links += [e.get(_LINK, "") for e in licence.iter() if isinstance(e.tag, str)]
    for link in [*links, text_of(licence)]:
        if match := _CREATIVE_COMMONS.search(link):
            kind = {"zero": "CC0", "mark": "public domain"}.get(match[1].lower())
            return f"{kind or 'CC ' + match[1].upper()} {match[2]}"
    return text_of(licence)[:300]


def _blocks(element: Element) -> Iterator[str]:
    """Headings and paragraphs in their order."""
    for child in element:
        if not isinstance(child.tag, str) or local_name(child) in _LEFT_OUT:
            continue
        if local_name(child) not in _BLOCKS:
            yield from _blocks(child)
            continue
        if block := _block(child):
            yield block
        for inner in child:
            if isinstance(inner.tag, str) and local_name(inner) in _WITHIN:
                yield from _blocks(inner)


def _block(element: Element) -> str:
    for xref in element.iter("{*}xref"):
        if xref.get("ref-type") in _NOTES:
            xref.text = None
            del xref[:]
    text = text_of(element, leave_out=_LEFT_OUT | _WITHIN)
    return _BEFORE_POINT.sub(r"\1", _EMPTY_BRACKETS.sub("", text)).strip()
