"""Records with named fields, of JSONL and Parquet, to documents."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from medmt5.corpus.documents import Bad, Document, Reason
from medmt5.corpus.readers.base import Reader
from medmt5.corpus.readers.languages import iso_639_1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Records(Reader):
    """Which field holds what; a record may lack all but the text.

    Attributes:
      language_key: "" reads none, so that all documents have the language of the source; "lang"
        reads a code in `language`, as our shards have it, where there is none.
      source_key: where records say what they are from: documents then carry `source/value`.
    """

    text_key: str = "text"
    id_key: str = "id"
    language_key: str = "lang"
    url_key: str = "url"
    licence_key: str = "licence"
    title_key: str = "title"
    source_key: str = ""

    @property
    def keys(self) -> dict[str, str]:
        """The field's name for each part of a document."""
        return {
            "text": self.text_key,
            "id": self.id_key,
            "language": self.language_key,
            "url": self.url_key,
            "licence": self.licence_key,
            "title": self.title_key,
            "source": self.source_key,
        }

    def from_record(self, record: Any, where: str, id: str) -> Document | Bad:
        """A document.

        Args:
          id: for a record that has none.
        """
        if not isinstance(record, Mapping):
            detail = f"{type(record).__name__}, not an object with fields"
            return Bad(where, Reason.WRONG_FIELDS, detail)
        if self.text_key not in record:
            there = ", ".join(map(str, record))[:200]
            detail = f"no {self.text_key!r} among {there}; set text_key"
            return Bad(where, Reason.WRONG_FIELDS, detail)
        found = {"id": id}
        for part, key in self.keys.items():
            value = record.get(key) if key else None
            if value is None and key == "lang" and iso_639_1(str(record.get("language", ""))):
                value = record["language"]  # as our shards have it; others may write `English`
            if value is None or value == "":
                continue
            if isinstance(value, int) and part == "id":
                value = str(value)
            if not isinstance(value, str):
                detail = f"{key!r} is {str(value)[:40]!r}, not a string"
                return Bad(where, Reason.WRONG_FIELDS, detail)
            found[part] = value
        found["source"] = "/".join(filter(None, (self.source, found.get("source"))))
        return Document(**{"text": "", **found})
