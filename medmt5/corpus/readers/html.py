"""HTML files to the main text of their page, by trafilatura: no menus, comments or tables."""

from __future__ import annotations

import codecs
import dataclasses
import io
import re
from collections.abc import Iterator

from medmt5.corpus.decompression import Unreadable, library
from medmt5.corpus.documents import Document, Reason
from medmt5.corpus.opening import Place
from medmt5.corpus.readers.base import Reader

_META = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_LANGUAGE = re.compile(r"<html\b[^>]{0,500}?\blang\s*=\s*[\"']?([A-Za-z]{2,3})\b", re.IGNORECASE)
_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
# What browsers take for these names (WHATWG Encoding), since pages mean that.
_MEANT = {
    "iso8859-1": "cp1252",
    "ascii": "cp1252",
    "iso8859-9": "cp1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
# Python also has codecs such as punycode, which a page could slow us down with.
_OF_TEXT = re.compile(
    r"utf-?(8|16|32)|ascii|iso8859|cp\d|koi8|mac|gb|big5|euc|shift_jis|iso2022_jp"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HTML(Reader):
    """Ids are names of files."""

    members: tuple[str, ...] = ("*.html", "*.htm", "*.xhtml")

    def read(self, place: Place, stream: io.BufferedReader) -> Iterator[Document]:
        text, fields = main_text(decoded(self.whole(stream)))
        yield self.document(text, place.name, **fields)


def decoded(raw: bytes, declared: str = "") -> str:
    """A page's text: by byte order mark, as UTF-8 if it is that, else as it declares.

    UTF-8 comes first, because text in another encoding is never valid UTF-8 by chance, while pages
    in UTF-8 that declare Latin-1 are common.

    Args:
      declared: the charset of the HTTP header.

    Raises:
      Unreadable: it is not what it declares, or declares nothing and is not UTF-8.
    """
    for mark, name in _BOMS.items():
        if raw.startswith(mark):
            return _strictly(raw[len(mark) :], name)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        pass
    meta = _META.search(raw[:4096])
    name = declared or (meta[1].decode("ascii", "replace") if meta else "")
    if not name:
        raise Unreadable(Reason.NOT_UTF8, "and no charset is declared")
    return _strictly(raw, name)


def _strictly(raw: bytes, name: str) -> str:
    try:
        codec = codecs.lookup(name).name
        if not _OF_TEXT.match(codec):
            raise LookupError(f"unknown encoding: {name}")
        return raw.decode(_MEANT.get(codec, codec))
    except (LookupError, UnicodeError, ValueError) as error:
        raise Unreadable(Reason.WRONG_ENCODING, f"declared {name[:40]!r}: {error}") from error


def main_text(page: str, url: str = "") -> tuple[str, dict[str, str]]:
    """The main text of a page, and what it says of title, language, licence and address.

    Raises:
      Unreadable: a page that cannot be parsed, or without main text.
    """
    trafilatura = library("trafilatura")
    try:
        found = trafilatura.bare_extraction(
            page.replace("\0", ""),
            url=url or None,
            include_comments=False,
            include_tables=False,
            with_metadata=True,
            date_extraction_params={"extensive_search": False},
        )
    except Exception as error:  # pages of any kind reach many libraries there
        raise Unreadable(Reason.BROKEN_HTML, f"{type(error).__name__}: {error}") from error
    if found is None or not found.text:
        raise Unreadable(Reason.NO_TEXT, "no main text in the page")
    language = _LANGUAGE.search(page[:4096])
    return found.text, {
        "title": found.title or "",
        "language": language[1] if language else "",
        "licence": found.license or "",
        "url": url or found.url or "",
    }
