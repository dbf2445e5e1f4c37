"""Wikipedia dumps (`pages-articles.xml.bz2`, multistream too): articles of some categories.

Written for export schemas 0.10 and 0.11. Namespace 0 without redirects; of a page with several
revisions, the last. A page is kept if one of the categories that its own text names fits one of the
configured expressions: those that templates add, and the categories above, are not in the dump.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import re
import urllib.parse
from collections.abc import Iterator

from medmt5.corpus.documents import Bad, Document, Reason
from medmt5.corpus.opening import Place
from medmt5.corpus.readers.base import Reader
from medmt5.corpus.readers.elements import Element, find, findall, records, text_at
from medmt5.corpus.readers.wikitext import plain_text

_CATEGORY, _FILE = "14", "6"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wikipedia(Reader):
    """Ids are titles.

    Attributes:
      language: "" takes the one of the address that the dump names.
      categories: regular expressions; a category fits if one is found in it, in any case. None:
        all pages are kept.
    """

    licence: str = "CC BY-SA 4.0"
    categories: tuple[str, ...] = ()
    members: tuple[str, ...] = ("*.xml",)

    def __post_init__(self):
        super().__post_init__()
        for pattern in self.categories:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(
                    f"categories has {pattern!r}, which is no regular expression: {error}"
                ) from error

    def read(self, place: Place, stream: io.BufferedReader) -> Iterator[Document | Bad]:
        site = _Site("", {"category"}, {"file", "image"})
        wanted = re.compile("|".join(f"(?:{c})" for c in self.categories), re.IGNORECASE)
        for element in records(stream, "siteinfo", "page", max_bytes=self.max_document_bytes):
            if find(element, "namespaces") is not None:
                site = _site(element)
                continue
            if text_at(element, "ns") != "0" or find(element, "redirect") is not None:
                continue
            revisions = findall(element, "revision/text")
            wikitext = (revisions[-1].text or "") if revisions else ""
            if self.categories and not any(map(wanted.search, site.categories_of(wikitext))):
                continue
            title = text_at(element, "title")
            try:
                text = plain_text(wikitext, dropped_links=site.category_names | site.file_names)
            except RecursionError:
                yield Bad(f"{place}#{title}", Reason.WRONG_FIELDS, "wikitext nested too deeply")
                continue
            yield self.document(
                text,
                title,
                language=self.language or site.language,
                url=site.url(title),
                title=title,
            )


@dataclasses.dataclass(frozen=True)
class _Site:
    """What a dump says of its wiki: names of namespaces are those of its language."""

    host: str
    category_names: set[str]
    file_names: set[str]

    @property
    def language(self) -> str:
        # es.wikipedia.org; simple.wikipedia.org is in English.
        name = self.host.partition("//")[2].partition(".")[0]
        return "en" if name == "simple" else name

    def url(self, title: str) -> str:
        name = urllib.parse.quote(title.replace(" ", "_"), safe="/:(),")
        return f"{self.host}/wiki/{name}" if self.host else ""

    def categories_of(self, wikitext: str) -> list[str]:
        found = self._link.findall(wikitext)
        return [name.replace("_", " ").strip() for name in found]

    @functools.cached_property
    def _link(self) -> re.Pattern[str]:
        names = "|".join(map(re.escape, sorted(self.category_names)))
        return re.compile(rf"\[\[\s*(?:{names})\s*:\s*([^\]|\n]+)", re.IGNORECASE)


def _site(info: Element) -> _Site:
    base = urllib.parse.urlsplit(text_at(info, "base"))
    names = {
        space.get("key"): (space.text or "") for space in findall(info, "namespaces/namespace")
    }
    return _Site(
        f"{base.scheme}://{base.netloc}" if base.netloc else "",
        {"category", names.get(_CATEGORY, "category").lower()},
        {"file", "image", names.get(_FILE, "file").lower()},
    )
