"""What all readers share: settings, languages, ids, and that damage ends a file but not the run."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Iterable, Iterator
from typing import ClassVar

from medmt5.corpus import opening
from medmt5.corpus.decompression import Limits, Unreadable
from medmt5.corpus.documents import Bad, Document, Reason
from medmt5.corpus.opening import Place
from medmt5.corpus.readers.languages import iso_639_1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reader:
    """Settings of a source; calling it reads one file, or every member of an archive.

    Attributes:
      source: the name that its documents carry.
      language: of documents that do not say theirs; a code of ISO 639.
      licence: of documents that do not say theirs.
      members: patterns (`*.xml`) for the names in an archive that are read; none: all.
      max_document_bytes: a longer one is reported, not read.
      max_decompressed_bytes: of one file, as a guard against bombs.
      max_ratio: likewise, decompressed to compressed bytes; of text it is 3 to 30.
    """

    source: str
    language: str = ""
    licence: str = ""
    members: tuple[str, ...] = ()
    max_document_bytes: int = 20_000_000
    max_decompressed_bytes: int = 10**12
    max_ratio: int = 200

    # Whether ids come from the file, where they may be given twice.
    ids_may_repeat: ClassVar[bool] = True

    def __post_init__(self):
        code = iso_639_1(self.language)
        if code is None:
            raise ValueError(
                f"language {self.language!r} is not a code of ISO 639-1 such as en, es or eu"
            )
        object.__setattr__(self, "language", code)
        for name in ("max_document_bytes", "max_decompressed_bytes", "max_ratio"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")

    @property
    def limits(self) -> Limits:
        return Limits(self.max_ratio, self.max_decompressed_bytes)

    def __call__(self, path: str) -> Iterator[Document | Bad]:
        """The documents of a file in its order, and what of it could not be read.

        Raises:
          ValueError: a library is not installed.
          OSError: a remote file system fails; the file is to be tried again.
        """
        checked = Checked(self)
        for part in opening.opened(path, limits=self.limits, members=self.members):
            if isinstance(part, Bad):
                yield part
                continue
            place, stream = part
            try:
                for item in self.read(place, stream):
                    yield from checked(place, item)
            except Unreadable as error:
                yield Bad(str(place), error.reason, error.detail)
            except OSError as error:
                failure = opening.unreadable(path, error)
                yield Bad(str(place), failure.reason, failure.detail)

    def read(self, place: Place, stream: io.BufferedReader) -> Iterable[Document | Bad]:
        """The documents of one decompressed stream.

        Raises:
          Unreadable: damage; what came before was given.
        """
        raise NotImplementedError

    def document(self, text: str, id: str, **fields: str) -> Document:
        return Document(text, id, self.source, **fields)

    def whole(self, stream: io.BufferedReader) -> bytes:
        """All bytes of a file that is one document.

        Raises:
          Unreadable: it is longer than max_document_bytes.
        """
        raw = stream.read(self.max_document_bytes + 1)
        if len(raw) > self.max_document_bytes:
            raise Unreadable(Reason.TOO_LONG, too_long(self.max_document_bytes))
        return raw


def too_long(limit: int) -> str:
    return f"more than {limit} bytes (max_document_bytes)"


class Checked:
    """Documents of one file as a corpus wants them: defaults, known languages, ids that differ.

    A language code that is not known is reported once, and its documents are kept without one. A
    document without an id gets `file:number`; an id that was there before in the file gets `#` and
    the number of the document.
    """

    def __init__(self, reader: Reader):
        self._reader = reader
        self._codes: set[str] = set()
        self._ids = _Ids() if reader.ids_may_repeat else None
        self._number = 0

    def __call__(self, place: Place, item: Document | Bad) -> Iterator[Document | Bad]:
        if isinstance(item, Bad):
            yield item
            return
        self._number += 1
        id = item.id or f"{place.name}:{self._number}"
        text = item.text.strip()
        language = iso_639_1(item.language)
        if not text:
            yield Bad(f"{place}#{id}", Reason.NO_TEXT)
            return
        if language is None and item.language not in self._codes:
            self._codes.add(item.language)
            kept = "documents of the file with it are kept without language"
            detail = f"{item.language[:40]!r}; {kept}"
            yield Bad(f"{place}#{id}", Reason.UNKNOWN_LANGUAGE, detail)
        document = _encodable(
            Document(
                text,
                self._ids.unique(id, self._number) if self._ids else id,
                item.source,
                "" if language is None else language or self._reader.language,
                item.url,
                item.licence or self._reader.licence,
                item.title,
            )
        )
        # A character has four bytes at most.
        if len(text) > self._reader.max_document_bytes // 4:
            size = len(document.text.encode())
            if size > self._reader.max_document_bytes:
                detail = f"{size} bytes; max_document_bytes is {self._reader.max_document_bytes}"
                yield Bad(f"{place}#{id}", Reason.TOO_LONG, detail)
                return
        yield document


def _encodable(document: Document) -> Document:
    """Half surrogate pairs, which JSON can escape and UTF-8 cannot hold, become U+FFFD."""
    d = document
    try:
        "".join((d.text, d.id, d.source, d.language, d.url, d.licence, d.title)).encode()
    except UnicodeEncodeError:
        fields = document.to_json()
        for name, value in fields.items():
            fields[name] = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return Document(**fields)
    return document


class _Ids:
    """Makes ids differ within a file of any length, in 16 MiB: a Bloom filter.

    With ten million ids one in 500 is taken for a repeated one at the end, and gets a suffix that
    it did not need; a repeated one is never missed.
    """

    _BITS = 1 << 27

    def __init__(self):
        self._bits = bytearray(self._BITS // 8)

    def unique(self, id: str, number: int) -> str:
        while self._was_there(id):
            id = f"{id}#{number}"
        return id

    def _was_there(self, id: str) -> bool:
        # Six hashes: near the best number for ten million ids and as many bits.
        digest = hashlib.blake2b(id.encode("utf-8", "replace"), digest_size=24).digest()
        there = True
        for start in range(0, 24, 4):
            bit = int.from_bytes(digest[start : start + 4], "little") % self._BITS
            if not self._bits[bit >> 3] >> (bit & 7) & 1:
                self._bits[bit >> 3] |= 1 << (bit & 7)
                there = False
        return there
