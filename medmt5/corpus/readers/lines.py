"""Lines of text in UTF-8, or in UTF-16 with a byte order mark, in memory for one line at a time."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import Any

from medmt5.corpus.decompression import CHUNK, Unreadable, buffered
from medmt5.corpus.documents import Bad, Reason
from medmt5.corpus.opening import Place

_HEAD = 8192
CONVERT = "convert the file to UTF-8, as with iconv"


def lines(
    place: Place, stream: io.BufferedReader, max_bytes: int
) -> Iterator[tuple[int, str] | Bad]:
    """Numbered lines without their ends; Bad for one that is too long or not UTF-8.

    Only a line feed ends a line; a carriage return before it goes with it.

    Raises:
      Unreadable: a binary file, or damage further on.
    """
    stream = utf8(stream)
    number = 0
    while raw := stream.readline(max_bytes + 1):
        number += 1
        if len(raw) > max_bytes and not raw.endswith(b"\n"):
            size = len(raw)
            while raw and not raw.endswith(b"\n"):
                raw = stream.readline(CHUNK)
                size += len(raw)
            detail = f"a line of {size} bytes; max_document_bytes is {max_bytes}"
            yield Bad(f"{place}:{number}", Reason.TOO_LONG, detail)
            continue
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            yield Bad(f"{place}:{number}", Reason.NOT_UTF8, _fault(error))
        else:
            yield number, text.removesuffix("\n").removesuffix("\r")


def decoded(raw: bytes) -> str:
    """A whole text.

    Raises:
      Unreadable: it is not UTF-8.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(Reason.NOT_UTF8, _fault(error)) from error


def _fault(error: UnicodeDecodeError) -> str:
    return f"byte {error.object[error.start]:#x} at {error.start}; {CONVERT}"


def utf8(stream: io.BufferedReader) -> io.BufferedReader:
    """The stream without byte order mark, in UTF-8 if that says UTF-16.

    Raises:
      Unreadable: a binary file.
    """
    head = stream.peek(_HEAD)[:_HEAD]
    if head.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    elif head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return buffered(_FromUtf16(stream))
    elif b"\0" in head:
        raise Unreadable(Reason.BINARY, f"begins with {head[:8]!r}")
    return stream


class _FromUtf16(io.RawIOBase):
    def __init__(self, stream: io.BufferedReader):
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-16")()
        self._given = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._given:
            data = self._stream.read1(CHUNK)
            try:
                self._given = self._decoder.decode(data, final=not data).encode()
            except UnicodeDecodeError as error:
                raise Unreadable(Reason.BROKEN_UTF16, str(error)) from error
            if not data:
                break
        piece = self._given[: len(buffer)]
        self._given = self._given[len(piece) :]
        buffer[: len(piece)] = piece
        return len(piece)
