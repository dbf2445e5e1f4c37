"""Files of a build: written whole or not at all, compressed so that equal text is equal bytes."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import uuid
from collections.abc import Iterator
from typing import Any

from etils import epath

from medmt5.files import is_remote


@contextlib.contextmanager
def target(path: str) -> Iterator[str]:
    """Where to write a file that then gets its name.

    A remote file appears when it is closed, so it is written under its own name.
    """
    folder = epath.Path(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    if is_remote(path):
        yield path
        return
    # Not one name for all: a job may run twice at once, as in Dataflow.
    temporary = f"{path}.tmp-{uuid.uuid4().hex[:8]}"
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


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
def opened(path: str) -> Iterator[Any]:
    """A file to read bytes from, decompressed as its name ends."""
    with epath.Path(path).open("rb") as raw:
        if path.endswith(".gz"):
            with gzip.open(raw) as file:
                yield file
        elif path.endswith(".zst"):
            import zstandard

            with zstandard.ZstdDecompressor().stream_reader(raw) as stream:
                yield io.BufferedReader(stream)
        else:
            yield raw


def digest(path: str) -> dict[str, Any]:
    """`bytes` and `sha256` of a file."""
    size, digest = 0, hashlib.sha256()
    with epath.Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            size += len(block)
            digest.update(block)
    return {"bytes": size, "sha256": digest.hexdigest()}


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
