"""TMX 1.4, and 1.1 as OPUS has it: the segments of one language of a translation memory."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from typing import ClassVar

from medmt5.corpus.decompression import Unreadable
from medmt5.corpus.documents import Bad, Document, Reason
from medmt5.corpus.opening import Place
from medmt5.corpus.readers.elements import Element, find, findall, records, text_of
from medmt5.corpus.readers.languages import iso_639_1
from medmt5.corpus.readers.segments import Segments

# Codes of the program that a segment is from.
_CODES = {"bpt", "ept", "it", "ph", "ut"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TMX(Segments):
    """Ids are `file:unit`, by the number of a document's first translation unit."""

    members: tuple[str, ...] = ("*.tmx", "*.tmx.gz")

    ids_may_repeat: ClassVar[bool] = False

    def read(self, place: Place, stream: io.BufferedReader) -> Iterator[Document | Bad]:
        seen: set[str] = set()

        def segments():
            units = records(stream, "tu", max_bytes=self.max_document_bytes)
            for number, unit in enumerate(units, 1):
                for variant in findall(unit, "tuv"):
                    name = _language(variant)
                    if iso_639_1(name) != self.language:
                        if len(seen) < 10:
                            seen.add(name)
                        continue
                    segment = find(variant, "seg")
                    text = "" if segment is None else text_of(segment, leave_out=_CODES)
                    if text:
                        yield f"{place.name}:{number}", text

        nothing = True
        for item in self.grouped(segments()):
            nothing = False
            yield item
        if nothing:
            detail = f"no {self.language!r} in it, but {', '.join(sorted(seen)) or 'nothing'}"
            raise Unreadable(Reason.NO_RECORDS, detail)


def _language(variant: Element) -> str:
    name = variant.get("{http://www.w3.org/XML/1998/namespace}lang")
    return name or variant.get("lang", "")
