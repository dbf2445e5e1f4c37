"""JSONL: a document per line, as Hugging Face corpora, MMedC's tools and our own builds have it."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator

from medmt5.corpus.documents import Bad, Document, Reason
from medmt5.corpus.opening import Place
from medmt5.corpus.readers.lines import lines
from medmt5.corpus.readers.records import Records


@dataclasses.dataclass(frozen=True, kw_only=True)
class JSONL(Records):
    """Ids are those of the records, or `file:line`."""

    def read(self, place: Place, stream: io.BufferedReader) -> Iterator[Document | Bad]:
        # Escapes make a line up to three times as long as its text (`\u00e9` for two bytes).
        for item in lines(place, stream, 3 * self.max_document_bytes):
            if isinstance(item, Bad):
                yield item
                continue
            number, line = item
            if not line.strip():
                continue
            where = f"{place}:{number}"
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Bad(where, Reason.BROKEN_JSON, str(error))
            else:
                yield self.from_record(record, where, f"{place.name}:{number}")
