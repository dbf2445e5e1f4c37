"""OPUS in Moses format: `EMEA.en-es.es`, a segment per line, aligned with `EMEA.en-es.en`.

One language of a pair is taken. The other file is only counted: where the numbers of lines differ,
the download is not what was aligned, which is reported. OPUS gives a zip with both files.
"""

from __future__ import annotations

import dataclasses
import glob
import io
import re
from collections.abc import Iterator
from typing import ClassVar

from medmt5.corpus import opening
from medmt5.corpus.decompression import CHUNK, Unreadable
from medmt5.corpus.documents import Bad, Document, Reason
from medmt5.corpus.opening import Place
from medmt5.corpus.readers.lines import lines
from medmt5.corpus.readers.segments import Segments

_COMPRESSED = ("", ".gz", ".bz2", ".xz", ".zst")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moses(Segments):
    """Ids are `file:line`, of a document's first line.

    Attributes:
      language: the one to take; a file's name ends in `.es`, or `.es.gz` and the like.
      other_language: of the file beside it whose lines are counted; "" counts none.
    """

    other_language: str = ""

    ids_may_repeat: ClassVar[bool] = False

    def __post_init__(self):
        super().__post_init__()
        if not self.members:
            endings = tuple(f"*.{self.language}{ending}" for ending in _COMPRESSED)
            object.__setattr__(self, "members", endings)

    def read(self, place: Place, stream: io.BufferedReader) -> Iterator[Document | Bad]:
        ending = rf"\.{self.language}(?=(\.\w+)?$)"
        if not re.search(ending, place.name):
            detail = f"does not end in .{self.language}; narrow the paths"
            raise Unreadable(Reason.WRONG_NAME, detail)
        count, name = 0, place.name

        def segments():
            nonlocal count
            for item in lines(place, stream, self.max_document_bytes):
                count += 1
                if isinstance(item, Bad):
                    yield item
                elif item[1].strip():  # a blank line stands for a segment that the other has
                    yield f"{name}:{item[0]}", item[1].strip()

        yield from self.grouped(segments())
        if self.other_language:
            part = "member" if place.member else "path"
            other = re.sub(ending, f".{self.other_language}", getattr(place, part))
            yield from self._compared(place, count, dataclasses.replace(place, **{part: other}))

    def _compared(self, place: Place, count: int, other: Place) -> Iterator[Bad]:
        members = (glob.escape(other.member),) if other.member else ()
        for part in opening.opened(other.path, limits=self.limits, members=members):
            if isinstance(part, Bad):
                yield part
                continue
            _, stream = part
            there, last = 0, b"\n"
            try:
                while chunk := stream.read1(CHUNK):
                    there, last = there + chunk.count(b"\n"), chunk[-1:]
            except Unreadable as error:
                yield Bad(str(other), error.reason, error.detail)
                continue
            there += last != b"\n"
            if there != count:
                yield Bad(str(place), Reason.UNEQUAL_LINES, f"{count}; {there} in {other.name}")
