"""How files of documents are written: line by line, at the end, or several files per document.

What a record of a format looks like is left to the formats; which writer a format takes, to
`exchange`.
"""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from medmt5.formats import brat, docbin, offsets, page
from medmt5.formats.documents import Document, Entity, check


class Writer:
    """Takes documents one by one; `close`, or leaving a `with` block, finishes the output."""

    def write(self, document: Document) -> None:
        raise NotImplementedError

    def skip(self, count: int) -> bool:
        """Whether the next documents are all there and more after them; then they are passed over.

        Of those that are there, the last stay for `write`, which compares.
        """
        del count
        return False

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        """Leave what was written as it is, complete documents only."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self.abandon() if kind else self.close()


class Lines(Writer):
    """Writes each document as it comes, as one record: text that ends in a line feed.

    Args:
      destination: stream or path.
      record: document and its number, from 1, to text.
      ends: whether a line, given as bytes, ends a record.
      resume: keep the records that the file has.
    """

    def __init__(
        self,
        destination: Any,
        *,
        record: Callable[[Document, int], str],
        ends: Callable[[bytes], bool] = lambda line: True,
        head: str = "",
        tail: str = "",
        between: str = "",
        resume: bool = False,
    ) -> None:
        self._record, self._ends = record, ends
        self._tail, self._between = tail, between
        self._count = self._there = 0
        self._old: Any = None
        self._owned = isinstance(destination, str | os.PathLike)
        self._path = str(destination) if self._owned else "the output"
        self._stream: Any
        if self._owned and resume and os.path.exists(destination):
            self._there, size = self._complete(destination)
            os.truncate(destination, size)  # a torn last record
            self._old = open(destination, "rb")
            self._stream = open(destination, "ab")
        else:
            self._stream = open(destination, "wb") if self._owned else destination
            self._put(head)

    def _complete(self, path: Any) -> tuple[int, int]:
        """Records that are complete, and their bytes."""
        count = size = at = 0
        with open(path, "rb") as file:
            for line in file:
                at += len(line)
                if line.endswith(b"\n") and self._ends(line):
                    count, size = count + 1, at
        return count, size

    def _put(self, text: str) -> None:
        try:
            self._stream.write(text.encode("utf-8") if self._owned else text)
        except UnicodeEncodeError as error:
            raise ValueError(
                f"document {self._count} has half a surrogate pair, which UTF-8 has no form for; "
                "write jsonl or bioc, or correct the text"
            ) from error

    def _next_old(self) -> bytes:
        lines: list[bytes] = []
        while not lines or not self._ends(lines[-1]):
            lines.append(self._old.readline())
        return b"".join(lines)

    def skip(self, count: int) -> bool:
        if self._count + count >= self._there:
            return False
        for _ in range(count):
            self._next_old()
        self._count += count
        return True

    def write(self, document: Document) -> None:
        self._count += 1
        record = self._record(document, self._count)
        if self._count == 1 and record.startswith("\ufeff"):
            record = f"\ufeff{record}"  # readers take the first for a byte order mark
        if self._count <= self._there:
            if _unscored(self._next_old()) != _unscored(record.encode("utf-8", "replace")):
                raise ValueError(
                    f"{self._path}: document {self._count} is not what is written now, so it was "
                    "made from another input, model or with other options; give those, or "
                    "another output"
                )
            return
        self._put(self._between + record if self._count > 1 else record)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        self._put(self._tail)
        self.abandon()
        if self._count < self._there:
            raise ValueError(_too_many(self._path, self._there, self._count))

    def abandon(self) -> None:
        if self._old:
            self._old.close()
        self._stream.close() if self._owned else self._stream.flush()


class Spooled(Writer):
    """Keeps all documents in a temporary file until the last has come."""

    def __init__(self, destination: Any, finish: Callable[[Any, Iterable[Document]], None]) -> None:
        self._destination, self._finish = destination, finish
        self._owned = isinstance(destination, str | os.PathLike)
        # Opened now, so that a path that cannot be written is noticed before the work.
        self._stream = open(destination, "wb") if self._owned else destination
        self._spool = tempfile.TemporaryFile("w+", encoding="utf-8")

    def write(self, document: Document) -> None:
        check(document)
        self._spool.write(json.dumps(document[:5]) + "\n")  # the rest is JSONL's alone

    def __iter__(self) -> Iterator[Document]:
        self._spool.seek(0)
        for line in self._spool:
            text, entities, words, splits, id = json.loads(line)
            found = tuple(Entity(*entity) for entity in entities)
            yield Document(text, found, tuple(map(tuple, words)), tuple(splits), id)

    def close(self) -> None:
        self._finish(self._stream, self)
        self.abandon()

    def abandon(self) -> None:
        self._spool.close()
        self._stream.close() if self._owned else self._stream.flush()


def finish_html(stream: Any, documents: Iterable[Document]) -> None:
    binary = not isinstance(stream, io.TextIOBase)
    for part in page.html_parts(documents):
        stream.write(part.encode("utf-8") if binary else part)


def finish_docbin(stream: Any, documents: Iterable[Document]) -> None:
    stream.write(docbin.to_docbin(documents))


class _Folder(Writer):
    """Writes files named by the documents' ids or, where those are no names, by their numbers."""

    def __init__(self, folder: Path, *, resume: bool) -> None:
        self.folder, self.resume = folder, resume
        self.count = self.there = 0

    def name(self, document: Document) -> str:
        parts = document.id.split("/")
        named = all(re.fullmatch(r"\w[\w .-]*", part) for part in parts) and len(document.id) < 200
        return document.id if named else f"{self.count:05d}"

    def skip(self, count: int) -> bool:
        if self.count + count >= self.there:
            return False
        self.count += count
        return True

    def put(self, path: Path, content: str) -> None:
        """Write a file whole or not at all; compare one that is there."""
        data = content.encode("utf-8")
        if path.exists() or self.count <= self.there:
            if not path.exists() or path.read_bytes() != data:
                raise ValueError(
                    f"{path} is not what is written now: another document has its name, it was "
                    "corrected by hand, or made with other options; give another output"
                )
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_bytes(data)  # bytes: a translated \r\n would shift every offset after it
        temporary.replace(path)

    def close(self) -> None:
        if self.count < self.there:
            raise ValueError(_too_many(str(self.folder), self.there, self.count))

    def abandon(self) -> None:
        pass


class BratFolder(_Folder):
    def __init__(self, folder: Path, *, resume: bool) -> None:
        super().__init__(folder, resume=resume)
        folder.mkdir(parents=True, exist_ok=True)
        self.there = sum(1 for _ in folder.rglob("*.ann"))
        if self.there and not resume:
            # Someone may have corrected them by hand since.
            raise ValueError(f"{folder} already holds .ann files; give a new or empty folder")

    def write(self, document: Document) -> None:
        annotations = brat.to_brat(document)
        self.count += 1
        base = self.folder / self.name(document)
        text, notes = (base.with_name(f"{base.name}.{ending}") for ending in ("txt", "ann"))
        if self.count > self.there and notes.exists():
            raise ValueError(f"two documents are named {base.name}; give them different ids")
        self.put(text, document.text)
        self.put(notes, annotations)  # last: a document without it is not complete


class OffsetsFolder(_Folder):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, resume=False)
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / offsets.TABLE).exists() or (folder / offsets.TEXTS).exists():
            raise ValueError(f"{folder} already holds a table; give a new or empty folder")
        (folder / offsets.TEXTS).mkdir()
        self.table = open(folder / offsets.TABLE, "wb")
        self.table.write("\t".join(offsets.COLUMNS).encode() + b"\n")

    def write(self, document: Document) -> None:
        self.count += 1
        name = self.name(document).replace("/", "_")
        rows = offsets.to_offsets(document, name)
        path = self.folder / offsets.TEXTS / f"{name}.txt"
        if path.exists():
            raise ValueError(f"two documents are named {name}; give them different ids")
        self.put(path, document.text)
        self.table.write(rows.encode("utf-8"))

    def flush(self) -> None:
        self.table.flush()

    def close(self) -> None:
        self.table.close()

    abandon = close


def _unscored(record: bytes) -> bytes:
    # On some devices the last digit may differ from run to run.
    return re.sub(rb'"score": [-+.e0-9]+', b"", record)


def _too_many(path: str, there: int, count: int) -> str:
    return (
        f"{path} has {there} documents, and the input only {count}; give the same input, or "
        "another output"
    )
