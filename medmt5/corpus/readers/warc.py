"""Web archives: WARC 1.0 and 1.1 of crawls, and Common Crawl's WET with their text.

Of responses with status 200 those in HTML or plain text are read; WET's `conversion` records are
text already. Other records are no documents.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterator
from typing import Any

from medmt5.corpus.decompression import Short, Unreadable, library
from medmt5.corpus.documents import Bad, Document, Reason
from medmt5.corpus.opening import Place
from medmt5.corpus.readers.base import Reader, too_long
from medmt5.corpus.readers.html import decoded, main_text

_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_HTML = ("text/html", "application/xhtml+xml")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WARC(Reader):
    """Ids are those of the records (`WARC-Record-ID`)."""

    members: tuple[str, ...] = ("*.warc", "*.warc.gz", "*.wet", "*.wet.gz")

    def read(self, place: Place, stream: io.BufferedReader) -> Iterator[Document | Bad]:
        archive = library("warcio.archiveiterator").ArchiveIterator(Short(stream))
        records, found, faults = iter(archive), False, 0
        while True:
            try:
                record = next(records, None)
            except (Unreadable, OSError):
                raise
            except Exception as error:  # warcio raises whatever a damaged header leads to
                raise Unreadable(Reason.BROKEN_WARC, f"{type(error).__name__}: {error}") from error
            if archive.err_count > faults:
                faults = archive.err_count
                before = f"before {_id(record)}" if record else "at the end"
                detail = f"the record {before} is not as long as it says"
                yield Bad(str(place), Reason.BROKEN_WARC, detail)
            if record is None:
                break
            found = True
            where = f"{place}#{_id(record)}"
            try:
                document = self._document(record)
                _check_end(record)
            except Unreadable as error:
                # If the file itself is at fault, asking for the next record says so again.
                yield Bad(where, error.reason, error.detail)
                continue
            if document:
                yield document
        if not found:
            raise Unreadable(Reason.NO_RECORDS, "no WARC records")

    def _document(self, record: Any) -> Document | None:
        headers = record.rec_headers
        url = headers.get_header("WARC-Target-URI", "").strip("<>")
        if record.rec_type == "conversion":
            text = decoded(self._body(record))
            # Several, by how much of the page they are.
            names = headers.get_header("WARC-Identified-Content-Language", "")
            fields = {"language": names.partition(",")[0], "url": url}
            return self.document(text, _id(record), **fields)
        if record.rec_type != "response" or record.http_headers is None:
            return None
        if record.http_headers.get_statuscode() != "200":
            return None
        kind = record.http_headers.get_header("Content-Type", "")
        media_type = kind.partition(";")[0].strip().lower()
        if media_type not in (*_HTML, "text/plain"):
            return None
        charset = _CHARSET.search(kind)
        page = decoded(self._body(record), charset[1] if charset else "")
        if media_type == "text/plain":
            return self.document(page, _id(record), url=url)
        text, fields = main_text(page, url)
        return self.document(text, _id(record), **fields)

    def _body(self, record: Any) -> bytes:
        """The content, without chunks and compression of HTTP."""
        limit = self.max_document_bytes
        pieces, size = [], 0
        stream = record.content_stream()
        while size <= limit:
            try:
                piece = stream.read(min(65536, limit + 1 - size))
            except (Unreadable, OSError):
                raise
            except Exception as error:  # of zlib, brotli and warcio
                raise Unreadable(Reason.BROKEN_WARC, f"content: {error}") from error
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            size += len(piece)
        raise Unreadable(Reason.TOO_LONG, too_long(limit))


def _id(record: Any) -> str:
    return record.rec_headers.get_header("WARC-Record-ID", "").strip("<>").removeprefix("urn:uuid:")


def _check_end(record: Any) -> None:
    """A file that ends within a record gives less than its header says."""
    while record.raw_stream.read(65536):
        pass
    if getattr(record.raw_stream, "limit", 0) > 0:
        detail = f"ends {record.raw_stream.limit} bytes before the end of a record"
        raise Unreadable(Reason.BROKEN_WARC, detail)
