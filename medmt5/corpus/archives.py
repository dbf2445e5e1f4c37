"""Members of tar and zip archives as streams, one after the other.

Nothing is unpacked to disk, so a member can overwrite nothing; one whose name would leave its
folder is still refused, because such an archive was made to do harm. So are links and devices.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import io
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from typing import Any

from medmt5.corpus.decompression import Bytes, Limits, Meter, Short, Unreadable, buffered
from medmt5.corpus.documents import Bad, Reason
from medmt5.files import File

# Long names and extended headers: tarfile holds them in memory.
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_LARGEST_HEADER = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A file, or a member of an archive."""

    path: str
    member: str = ""

    def __str__(self) -> str:
        return _text(f"{self.path}!{self.member}" if self.member else self.path)

    @property
    def name(self) -> str:
        """Without the folder, so that ids are the same wherever a corpus is built."""
        base = os.path.basename(self.path)
        return _text(f"{base}!{self.member}" if self.member else base)


def _text(name: str) -> str:
    # Names that are not UTF-8 arrive with lone surrogates, which cannot be written.
    return name.encode("utf-8", "backslashreplace").decode()


Member = tuple[Place, io.BufferedReader] | Bad


def is_zip(head: bytes) -> bool:
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def is_tar(head: bytes) -> bool:
    # By the checksum of its header: old files have no magic number.
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def tar_members(
    place: Place, stream: io.BufferedReader, patterns: tuple[str, ...]
) -> Iterator[Member]:
    """The files of a tar whose names fit one of the patterns.

    Raises:
      Unreadable: it is damaged; the members before that were given.
    """
    try:
        file: Any = Short(stream)  # all that tarfile needs of a stream is `read`
        with tarfile.open(fileobj=file, mode="r|", tarinfo=_TarInfo) as archive:
            while info := archive.next():
                # It keeps all of them otherwise. (No stub has the attribute.)
                archive.members.clear()  # type: ignore[attr-defined]
                inner = dataclasses.replace(place, member=info.name)
                if info.isdir() or not _wanted(info.name, patterns):
                    continue
                if _leaves(info.name):
                    yield Bad(str(inner), Reason.UNSAFE_NAME, "not read")
                elif not info.isreg() or info.issparse():
                    yield Bad(str(inner), Reason.NOT_A_FILE, _text(info.linkname))
                else:
                    yield inner, buffered(Bytes(archive.extractfile(info)))
    except tarfile.TarError as error:
        raise Unreadable(Reason.TRUNCATED_TAR, str(error)) from error
    except RecursionError as error:
        raise Unreadable(Reason.BROKEN_TAR, "too many extended headers in a row") from error


def zip_members(
    place: Place, file: File, limits: Limits, patterns: tuple[str, ...]
) -> Iterator[Member]:
    """The files of a zip whose names fit one of the patterns.

    Raises:
      Unreadable: its list of members, which stands at its end, is damaged or missing.
    """
    # Members may share bytes, so that all of them count against the size of the file.
    meter = Meter(limits, bytes_in=file.seek(0, os.SEEK_END))
    try:
        archive = zipfile.ZipFile(file)
    except OSError:
        raise
    except Exception as error:  # damage raises struct.error, ValueError and others too
        raise Unreadable(Reason.BROKEN_ZIP, f"{error}; fetch the file again") from error
    with archive:
        for info in archive.infolist():
            inner = dataclasses.replace(place, member=info.filename)
            if info.is_dir() or not _wanted(info.filename, patterns):
                continue
            if _leaves(info.filename):
                yield Bad(str(inner), Reason.UNSAFE_NAME, "not read")
            elif stat.S_ISLNK(info.external_attr >> 16):
                yield Bad(str(inner), Reason.NOT_A_FILE)
            elif info.flag_bits & 1:
                yield Bad(str(inner), Reason.ENCRYPTED_ZIP)
            else:
                try:
                    member = archive.open(info)
                except OSError:
                    raise
                except Exception as error:  # as above, and methods that are not known
                    yield Bad(str(inner), Reason.BROKEN_ZIP, str(error))
                    continue
                with member:
                    yield inner, buffered(Bytes(member, meter))


def _leaves(name: str) -> bool:
    parts = re.split(r"[\\/]", name)
    return not parts[0] or ".." in parts or bool(re.match("[A-Za-z]:", name))


def _wanted(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


class _TarInfo(tarfile.TarInfo):
    """Says of a broken header that it is so; `tarfile` takes most of them for the end."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined] - not in the stubs
            raise  # a block of zeros, as it should end
        except tarfile.HeaderError as error:
            short = len(buf) < tarfile.BLOCKSIZE
            reason = Reason.TRUNCATED_TAR if short else Reason.BROKEN_TAR
            raise Unreadable(reason, str(error)) from error
        if info.type in _HEADERS and info.size > _LARGEST_HEADER:
            raise Unreadable(Reason.BROKEN_TAR, f"a header of {info.size} bytes")
        return info
