"""What flows through a corpus build: documents, and what could not be read or was not kept."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any


class Reason(enum.StrEnum):
    """Why something could not be read: the whole list, so that counts of it can be compared."""

    CANNOT_OPEN = "cannot be opened"
    EMPTY_FILE = "empty file"
    WRONG_NAME = "wrong file name"
    # Compression and archives.
    TRUNCATED_GZIP = "truncated gzip"
    TRUNCATED_BZ2 = "truncated bz2"
    TRUNCATED_XZ = "truncated xz"
    TRUNCATED_ZSTD = "truncated zstd"
    TRUNCATED_TAR = "truncated tar"
    BROKEN_GZIP = "broken gzip"
    BROKEN_BZ2 = "broken bz2"
    BROKEN_XZ = "broken xz"
    BROKEN_ZSTD = "broken zstd"
    BROKEN_TAR = "broken tar"
    BROKEN_ZIP = "broken zip"
    ENCRYPTED_ZIP = "encrypted zip"
    BOMB = "decompresses to too much"
    NESTED_ARCHIVE = "archive in an archive"
    UNSAFE_NAME = "name that leaves the archive"
    NOT_A_FILE = "link or device in an archive"
    NO_MEMBERS = "no such member in the archive"
    # Text.
    NOT_UTF8 = "not UTF-8"
    BROKEN_UTF16 = "broken UTF-16"
    WRONG_ENCODING = "wrong encoding"
    BINARY = "binary file"
    TOO_LONG = "document too long"
    NO_TEXT = "no text"
    UNKNOWN_LANGUAGE = "unknown language code"
    UNEQUAL_LINES = "unequal line counts"
    # Formats.
    BROKEN_XML = "broken XML"
    ENTITIES = "XML that declares entities"
    BROKEN_JSON = "broken JSON"
    WRONG_FIELDS = "wrong fields"
    BROKEN_PARQUET = "broken Parquet"
    BROKEN_PDF = "broken PDF"
    ENCRYPTED_PDF = "encrypted PDF"
    BROKEN_WARC = "broken WARC"
    BROKEN_HTML = "broken HTML"
    NO_RECORDS = "no records of this format"


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """One text of a corpus and where it is from.

    Attributes:
      id: unique within its file; a PMID, a page's title, `file:line`.
      source: the name of the `[[sources]]` entry.
      language: ISO 639-1, lower case; "" if it is not known yet.
    """

    text: str
    id: str
    source: str
    language: str = ""
    url: str = ""
    licence: str = ""
    title: str = ""

    def to_json(self) -> dict[str, str]:
        """The fields that are not empty."""
        fields = ((name, getattr(self, name)) for name in _FIELDS)
        return {name: value for name, value in fields if value}

    @classmethod
    def from_json(cls, record: Mapping[str, Any], where: str) -> Document:
        """The inverse of `to_json`.

        Args:
          where: names the record in errors, such as `path:line`.

        Raises:
          ValueError: a field is missing, unknown, or not a string.
        """
        if not isinstance(record, Mapping):
            raise ValueError(f"{where}: a document is a JSON object, not {type(record).__name__}")
        missing = [name for name in _FIELDS[:3] if not record.get(name)]
        if missing:
            raise ValueError(f"{where}: a document needs text, id and source; no {missing[0]} here")
        unknown = sorted(set(record) - set(_FIELDS))
        if unknown:
            raise ValueError(
                f"{where}: {unknown[0]!r} is no field of a document; they are {', '.join(_FIELDS)}"
            )
        for name, value in record.items():
            if not isinstance(value, str):
                raise ValueError(f"{where}: {name} is {value!r}; it must be a string")
        return cls(**record)


_FIELDS = tuple(field.name for field in dataclasses.fields(Document))


@dataclasses.dataclass(frozen=True, slots=True)
class Bad:
    """Something that could not be read: a file, an archive's member, a record.

    Attributes:
      where: `path`, `path!member`, `path:line` or `path#id`.
      reason: one of `Reason`.
      detail: what came, and what to do about it where that is known.
    """

    where: str
    reason: str
    detail: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Removed:
    """A step's answer for a document that is not kept.

    Attributes:
      reason: from the step's closed list, such as "too short".
      detail: the measured value.
    """

    reason: str
    detail: str = ""
