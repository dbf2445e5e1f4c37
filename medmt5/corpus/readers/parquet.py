"""Parquet: CulturaX (`text`, `url`, `source`) and other Hugging Face corpora; not in archives.

A few rows at a time are in memory, and the pages that they are on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from medmt5.corpus.decompression import Unreadable, library
from medmt5.corpus.documents import Bad, Document, Reason
from medmt5.corpus.opening import Place, reading, unreadable
from medmt5.corpus.readers.base import Checked
from medmt5.corpus.readers.records import Records
from medmt5.files import File

_ROWS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parquet(Records):
    """Ids are those of the rows, or `file:row`."""

    def __call__(self, path: str) -> Iterator[Document | Bad]:
        # Its directory stands at the end, so that it is read from the file, not from a stream.
        place, checked = Place(path), Checked(self)
        try:
            with reading(path) as file:
                for item in self._rows(place, file):
                    yield from checked(place, item)
        except Unreadable as error:
            yield Bad(str(place), error.reason, error.detail)

    def _rows(self, place: Place, file: File) -> Iterator[Document | Bad]:
        arrow = library("pyarrow")
        try:
            if not file.read(1):
                raise Unreadable(Reason.EMPTY_FILE)
            file.seek(0)
            table = library("pyarrow.parquet").ParquetFile(
                file, pre_buffer=False, buffer_size=1 << 20
            )
            names = table.schema_arrow.names
            if self.text_key not in names:
                detail = f"no column {self.text_key!r} among {', '.join(names)}; set text_key"
                raise Unreadable(Reason.WRONG_FIELDS, detail)
            columns = [key for key in self.keys.values() if key in names]
            number = 0
            for batch in table.iter_batches(_ROWS, columns=columns):
                for row in range(len(batch)):
                    number += 1
                    record = {key: batch[key][row].as_py() for key in columns}
                    where = f"{place}:{number}"
                    yield self.from_record(record, where, f"{place.name}:{number}")
        # Strings that are not UTF-8 are told by as_py.
        except (arrow.ArrowException, UnicodeDecodeError, OSError) as error:
            if file.failed and isinstance(error, OSError):
                raise unreadable(place.path, error) from error
            raise Unreadable(Reason.BROKEN_PARQUET, str(error)) from error
