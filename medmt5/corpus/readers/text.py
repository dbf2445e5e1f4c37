"""Plain text in UTF-8, or UTF-16 with a byte order mark: a document per file, paragraph or line."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from typing import ClassVar

from medmt5.corpus.documents import Bad, Document, Reason
from medmt5.corpus.opening import Place
from medmt5.corpus.readers.base import Reader, too_long
from medmt5.corpus.readers.lines import decoded, lines, utf8

UNITS = ("file", "paragraph", "line")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Text(Reader):
    """Ids are names of files, with `:line` where a file has several documents.

    Attributes:
      unit: what one document is: "file", "paragraph" (blank lines part them) or "line".
    """

    unit: str = "file"

    ids_may_repeat: ClassVar[bool] = False

    def __post_init__(self):
        super().__post_init__()
        if self.unit not in UNITS:
            raise ValueError(f"unit {self.unit!r} is not one of {', '.join(UNITS)}")

    def read(self, place: Place, stream: io.BufferedReader) -> Iterator[Document | Bad]:
        name = place.name
        if self.unit == "file":
            text = decoded(self.whole(utf8(stream)))
            yield self.document(text.replace("\r\n", "\n"), name)
            return
        for item in self._blocks(lines(place, stream, self.max_document_bytes), place):
            if isinstance(item, Bad):
                yield item
            else:
                number, text = item
                yield self.document(text, f"{name}:{number}")

    def _blocks(self, items: Iterator[tuple[int, str] | Bad], place: Place):
        """Lines or paragraphs with the number of their first line.

        A line that cannot be read parts paragraphs, like a blank one.
        """
        block, first, size = [], 0, 0

        def finished():
            if size > self.max_document_bytes:
                yield Bad(f"{place}:{first}", Reason.TOO_LONG, too_long(self.max_document_bytes))
            elif block:
                yield first, "\n".join(block)

        for item in items:
            if isinstance(item, Bad):
                yield item
            elif item[1].strip():
                number, line = item
                first = first or number
                size += len(line.encode()) + 1
                if size > self.max_document_bytes:
                    block.clear()
                else:
                    block.append(line)
                if self.unit == "paragraph":
                    continue
            yield from finished()
            block, first, size = [], 0, 0
        yield from finished()
