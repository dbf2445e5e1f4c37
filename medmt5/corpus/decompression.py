"""gzip, bz2, xz and zstd as streams of bytes, told by their first bytes; bombs are refused."""

from __future__ import annotations

import bz2
import dataclasses
import importlib
import io
import lzma
import re
import sys
import tarfile
import zipfile
import zlib
from typing import Any

from medmt5.corpus.documents import Reason

CHUNK = 65536
# A decoder gives this much at a time, and what one call gives is lost when it meets damage.
_PIECE = 16384
# A ratio says nothing about a small file: a few blank pages compress well too.
_RATIO_FROM = 64 << 20


class Unreadable(Exception):
    """Damage or danger in a stream; a reader reports it as `Bad` and goes on with the next file.

    Not an OSError or EOFError: libraries that read from the stream take those for its end.
    """

    def __init__(self, reason: Reason, detail: str = ""):
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """How far a compressed file may grow.

    Attributes:
      ratio: bytes out for each byte in, once 64 MiB are out.
      total_bytes: bytes out of one file.
    """

    ratio: int
    total_bytes: int


NO_LIMITS = Limits(sys.maxsize, sys.maxsize)


class Meter:
    """Compares what came out with what went in."""

    def __init__(self, limits: Limits, bytes_in: int = 0):
        self._limits = limits
        self.bytes_in = bytes_in
        self._out = 0

    def out(self, count: int) -> None:
        """Count bytes that came out.

        Raises:
          Unreadable: they are too many.
        """
        self._out += count
        if self._out > self._limits.total_bytes:
            raise Unreadable(
                Reason.BOMB, f"more than {self._limits.total_bytes} bytes (max_decompressed_bytes)"
            )
        if self._out > max(_RATIO_FROM, self._limits.ratio * self.bytes_in):
            raise Unreadable(
                Reason.BOMB,
                f"{self._out} bytes from {self.bytes_in}; max_ratio is {self._limits.ratio}",
            )


def library(name: str) -> Any:
    """Import a library of the extra `corpus`.

    Raises:
      ValueError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f'{error}; pip install "medmt5[corpus]"') from error


def buffered(raw: io.RawIOBase) -> io.BufferedReader:
    return io.BufferedReader(raw, CHUNK)


class Bytes(io.RawIOBase):
    """Whatever has `read`, as a raw stream; errors of archives come as `Unreadable`."""

    def __init__(self, file: Any, meter: Meter | None = None):
        self._file = file
        self._meter = meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except tarfile.TarError as error:
            raise Unreadable(Reason.TRUNCATED_TAR, str(error)) from error
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
            raise Unreadable(Reason.BROKEN_ZIP, str(error)) from error
        if self._meter:
            self._meter.out(len(data))
        buffer[: len(data)] = data
        return len(data)


class Short:
    """A stream that gives what there is, so that damage further on does not take it along."""

    def __init__(self, stream: io.BufferedReader):
        self.read = stream.read1


_MAGIC = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    # The second is that of an empty stream.
    "bz2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
    # The second is a frame without data, with which seekable files begin or end.
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
}


def compression(head: bytes) -> str:
    """What a file that begins so is compressed with; "" for none."""
    return next((kind for kind, magic in _MAGIC.items() if magic.match(head)), "")


class Decompressed(io.RawIOBase):
    """One or several compressed streams, one after the other, as one stream of bytes."""

    def __init__(self, stream: io.BufferedReader, kind: str, limits: Limits):
        self._stream = stream
        self._kind = kind
        self._decoder = _DECODERS[kind]()
        self._meter = Meter(limits)
        self._given = b""
        self._failure: Unreadable | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; a failure waits until what came before it was taken."""
        filled = 0
        while filled < len(buffer):
            if not self._given and not self._failure:
                try:
                    self._given = self._next()
                except Unreadable as error:
                    self._failure = error
            if not self._given:
                break
            piece = self._given[: len(buffer) - filled]
            buffer[filled : filled + len(piece)] = piece
            self._given = self._given[len(piece) :]
            filled += len(piece)
        if self._failure and not filled:
            raise self._failure
        return filled

    def _next(self) -> bytes:
        """Some decompressed bytes; none at the end."""
        while True:
            data, ended = b"", False
            if self._decoder.eof:
                data = self._next_stream()
                if not data:
                    return b""
                self._decoder = _DECODERS[self._kind]()
            elif self._decoder.needs_input:
                data = self._read()
                ended = not data
            try:
                given = self._decoder.decompress(data, _PIECE)
            except Exception as error:  # each library has its own, and OSError and ValueError too
                raise Unreadable(Reason(f"broken {self._kind}"), str(error)) from error
            if given:
                self._meter.out(len(given))
                return given
            if ended and not self._decoder.eof:
                raise Unreadable(Reason(f"truncated {self._kind}"), "fetch the file again")

    def _next_stream(self) -> bytes:
        """The beginning of the stream that follows; padding with zeros is passed over."""
        data = self._decoder.unused_data.lstrip(b"\0")
        while len(data) < 16 and (more := self._read()):
            data = (data + more).lstrip(b"\0")
        if data and not _MAGIC[self._kind].match(data):
            raise Unreadable(Reason(f"broken {self._kind}"), f"bytes after its end: {data[:8]!r}")
        return data

    def _read(self) -> bytes:
        data = self._stream.read1(CHUNK)
        self._meter.bytes_in += len(data)
        return data


class _Gzip:
    """zlib with the interface of bz2 and lzma."""

    def __init__(self):
        self._decoder = zlib.decompressobj(wbits=31)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)

    needs_input = property(lambda self: not self._decoder.unconsumed_tail)
    eof = property(lambda self: self._decoder.eof)
    unused_data = property(lambda self: self._decoder.unused_data)


class _Zstd:
    """zstandard with the interface of bz2 and lzma.

    Its decoder cannot be told how much to give, and its stream takes truncation for the end. 1 KiB
    in is 32 MiB out at most: a block of 4 bytes can stand for 128 KiB.
    """

    def __init__(self):
        self._decoder = library("zstandard").ZstdDecompressor().decompressobj()
        self._waiting = memoryview(b"")

    def decompress(self, data: bytes, max_length: int) -> bytes:
        del max_length
        waiting = memoryview(data) if data else self._waiting
        self._waiting = waiting[1024:]
        return self._decoder.decompress(waiting[:1024])

    needs_input = property(lambda self: not self._waiting)
    eof = property(lambda self: self._decoder.eof)
    unused_data = property(lambda self: self._decoder.unused_data + bytes(self._waiting))


_DECODERS = {
    "gzip": _Gzip,
    "bz2": bz2.BZ2Decompressor,
    # xz -9 needs 65 MB; a header may ask for 4 GB.
    "xz": lambda: lzma.LZMADecompressor(memlimit=256 << 20),
    "zstd": _Zstd,
}
