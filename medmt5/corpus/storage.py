"""Files of a build: written whole or not at all, compressed so that equal text is equal bytes."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
from collections.abc import Iterator
from typing import Any

from etils import epath

from medmt5.corpus.decompression import NO_LIMITS, Decompressed, buffered
from medmt5.files import File, target


@contextlib.contextmanager
def written(path: str) -> Iterator[Any]:
    """A file to write bytes to, compressed as its name ends."""
    with target(path) as temporary, epath.Path(temporary).open("wb") as raw:
        if path.endswith(".gz"):
            # Without a name and a time, so that equal documents make equal bytes.
            with gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
                yield file
        elif path.endswith(".zst"):
            import zstandard

            with zstandard.ZstdCompressor().stream_writer(raw, closefd=False) as file:
                yield file
        else:
            yield raw


@contextlib.contextmanager
def opened(path: str) -> Iterator[io.BufferedReader]:
    """A file to read bytes from, decompressed as its name ends.

    Its reading raises `Unreadable` if it is damaged or cut off.
    """
    kind = {".gz": "gzip", ".zst": "zstd"}.get(os.path.splitext(path)[1])
    with epath.Path(path).open("rb") as raw:
        stream = buffered(File(raw))
        yield buffered(Decompressed(stream, kind, NO_LIMITS)) if kind else stream


def below(folder: str) -> Iterator[str]:
    """All files under a folder, in order."""
    path = epath.Path(folder)
    if not path.is_dir():
        return
    for inner in sorted(path.iterdir()):
        if inner.is_dir():
            yield from below(os.fspath(inner))
        else:
            yield os.fspath(inner)
