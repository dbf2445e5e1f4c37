"""Text of PDF files, by pypdf: a document per file, its pages' lines joined into paragraphs.

A scan has no text until somebody runs OCR on it; it is reported.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterator

from medmt5.corpus.decompression import Unreadable, library
from medmt5.corpus.documents import Bad, Document, Reason
from medmt5.corpus.opening import Place
from medmt5.corpus.readers.base import Reader
from medmt5.corpus.steps.unicode import whole_words

# A line goes on if it does not end a sentence and the next does not begin one.
_WRAPPED = re.compile(r"(?<=[^\s.!?:;。！？])\n(?=[^\W\d_A-ZÀ-ÖØ-ÞА-ЯЁ])")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PDF(Reader):
    """Ids are names of files. The file is held in memory, so its limit is a larger one."""

    max_document_bytes: int = 200_000_000
    members: tuple[str, ...] = ("*.pdf",)

    def read(self, place: Place, stream: io.BufferedReader) -> Iterator[Document | Bad]:
        raw = self.whole(stream)
        if b"%PDF-" not in raw[:1024]:
            raise Unreadable(Reason.BROKEN_PDF, f"begins with {raw[:8]!r}")
        try:
            file = library("pypdf").PdfReader(io.BytesIO(raw))
            if file.is_encrypted and not file.decrypt(""):  # many need no password to be read
                raise Unreadable(Reason.ENCRYPTED_PDF, "save it without its password")
            title = (file.metadata and file.metadata.title) or ""
            count = len(file.pages)
        except Unreadable:
            raise
        except Exception as error:  # pypdf raises whatever the damage leads to
            raise Unreadable(Reason.BROKEN_PDF, f"{type(error).__name__}: {error}") from error
        pages = []
        for number in range(count):
            try:
                pages.append(file.pages[number].extract_text().strip())
            except Exception as error:  # likewise, of one page
                detail = f"{type(error).__name__}: {error}"
                yield Bad(f"{place}#page {number + 1}", Reason.BROKEN_PDF, detail)
        text = joined("\n".join(pages))
        if not text.strip():
            raise Unreadable(Reason.NO_TEXT, f"{count} pages without text: a scan needs OCR")
        yield self.document(text, place.name, title=str(title).strip())


def joined(text: str) -> str:
    """Lines of a page as paragraphs: words that were hyphenated are whole again."""
    text = "\n".join(line.strip() for line in text.splitlines())
    return _WRAPPED.sub(" ", whole_words(text))
