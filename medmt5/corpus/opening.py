"""Files to streams of bytes: local or `gs://`, decompressed, archives member by member.

What a file is, its first bytes say, never its name. Damage is raised as `Unreadable` where the
bytes are read, after all bytes before it were given; read streams with `readline` or `read1`,
since `read` of a buffered stream drops what it has when it meets an error.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from medmt5 import files
from medmt5.corpus import archives
from medmt5.corpus.archives import Place
from medmt5.corpus.decompression import Decompressed, Limits, Unreadable, buffered, compression
from medmt5.corpus.documents import Bad, Reason

_HEAD = 512  # a tar's first header


def open_file(path: str) -> contextlib.AbstractContextManager[Any]:
    """What gives the file: with TensorFlow, etils opens a remote one only where it is entered."""
    return epath.Path(path).open("rb")


def unreadable(path: str, error: OSError) -> Unreadable:
    """What a failing file system means for a corpus.

    Raises:
      OSError: the file is remote and not missing. That comes from the network: it is to be tried
        again, not left out.
    """
    if files.is_remote(path) and not isinstance(error, FileNotFoundError):
        raise error
    return Unreadable(Reason.CANNOT_OPEN, error.strerror or str(error))


@contextlib.contextmanager
def reading(path: str) -> Iterator[files.File]:
    """An open file.

    Raises:
      Unreadable: it cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open_file(path))
        except OSError as error:
            raise unreadable(path, error) from error
        yield files.File(file)


def opened(
    path: str, *, limits: Limits, members: Sequence[str] = ()
) -> Iterator[tuple[Place, io.BufferedReader] | Bad]:
    """The stream of a file, or those of the members of an archive, decompressed.

    A stream is valid until the next one is asked for.

    Args:
      members: patterns with `*` for the names in an archive that are read; none: all.
    """
    place = Place(path)
    try:
        with reading(path) as file:
            yield from _parts(place, file, limits, tuple(members))
    except Unreadable as error:
        yield Bad(str(place), error.reason, error.detail)
    except OSError as error:
        failure = unreadable(path, error)
        yield Bad(str(place), failure.reason, failure.detail)


def _parts(place: Place, file: files.File, limits: Limits, members: tuple[str, ...]):
    stream = buffered(file)
    if archives.is_zip(_head(stream)):
        inside = archives.zip_members(place, file, limits, members)
    else:
        stream = _decompressed(stream, limits)
        if archives.is_zip(_head(stream)):
            raise Unreadable(Reason.NESTED_ARCHIVE, "decompress it first")
        if not archives.is_tar(_head(stream)):
            yield place, stream
            return
        inside = archives.tar_members(place, stream, members)
    found = False
    for member in inside:
        found = True
        yield member if isinstance(member, Bad) else _member(*member, limits)
    if not found:
        patterns = f"none is named {' or '.join(members)}" if members else "it holds no files"
        raise Unreadable(Reason.NO_MEMBERS, patterns)


def _member(
    place: Place, stream: io.BufferedReader, limits: Limits
) -> tuple[Place, io.BufferedReader] | Bad:
    """A member of an archive: it may be compressed, but is no archive."""
    try:
        stream = _decompressed(stream, limits)
        if archives.is_zip(_head(stream)) or archives.is_tar(_head(stream)):
            raise Unreadable(Reason.NESTED_ARCHIVE, "unpack the outer one first")
    except Unreadable as error:
        return Bad(str(place), error.reason, error.detail)
    return place, stream


def _decompressed(stream: io.BufferedReader, limits: Limits) -> io.BufferedReader:
    kind = compression(_head(stream))
    if not kind:
        return stream
    stream = buffered(Decompressed(stream, kind, limits))
    if compression(_head(stream)):
        raise Unreadable(Reason.NESTED_ARCHIVE, f"compressed within {kind}; decompress it first")
    return stream


def _head(stream: io.BufferedReader) -> bytes:
    head = stream.peek(_HEAD)
    if not head:
        raise Unreadable(Reason.EMPTY_FILE)
    return head
