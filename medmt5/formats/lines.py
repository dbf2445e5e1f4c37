"""Bytes of a file to numbered lines or whole texts of UTF-8; what is not text is named as such."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from medmt5.formats.gold import BadRecord, Report

# What begins a file that people take for text.
_SIGNATURES = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a zip archive or an office document",
    b"%PDF": "a PDF",
}
_HEAD = 8192


def name_of(path: str) -> str:
    return "standard input" if path == "-" else path


def read_lines(path: str, report: Report | None = None) -> Iterator[tuple[int, str]]:
    """Numbered lines of a UTF-8 file, without line ends and byte order mark.

    Only a line feed ends a line; a carriage return before it goes with it.

    Args:
      path: `-` is standard input.
      report: whether lines of invalid UTF-8 are skipped; counts bytes.

    Raises:
      ValueError: no such file, or not a text.
      BadRecord: invalid UTF-8, with the line number.
    """
    report = report or Report()
    try:
        file = sys.stdin.buffer if path == "-" else open(path, "rb")
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        _check_text(path, file.peek(_HEAD)[:_HEAD])  # type: ignore[union-attr]
        for number, raw in enumerate(file, 1):
            report.read_bytes += len(raw)
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                fault = f"invalid UTF-8 at byte {error.start + 1} of the line ({error.reason})"
                report.bad(f"{name_of(path)}:{number}", f"{fault}; convert the file to UTF-8")
                continue
            if number == 1:
                line = line.removeprefix("\ufeff")
            yield number, line.removesuffix("\n").removesuffix("\r")


def read_text(path: str, report: Report | None = None) -> str:
    """A whole UTF-8 file as it is: line ends and a byte order mark count in its offsets.

    Raises:
      ValueError: no such file, or not a text.
      BadRecord: invalid UTF-8; not skipped here, because the caller knows what goes with it.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except OSError as error:
        raise _unreadable(path, error) from error
    if report:
        report.read_bytes += len(raw)
    _check_text(path, raw[:_HEAD])
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BadRecord(
            f"invalid UTF-8 at byte {error.start + 1} of the file ({error.reason}); convert the "
            "file to UTF-8",
            f"{path}:{line}",
        ) from error


def size_of(paths: list[str]) -> int | None:
    """Bytes of all files and folders together; None if one is a pipe or a terminal."""
    total = 0
    for path in paths:
        if path == "-":
            path = "/dev/stdin"
        if os.path.isdir(path):
            total += sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())
        elif os.path.isfile(path):
            total += os.path.getsize(path)
        else:
            return None
    return total


def _unreadable(path: str, error: OSError) -> ValueError:
    return ValueError(f"{path}: cannot be read ({error.strerror})")


def _check_text(path: str, head: bytes) -> None:
    """Refuse a binary file by how it begins. A few NUL characters alone make none."""
    kind = next((kind for start, kind in _SIGNATURES.items() if head.startswith(start)), None)
    nuls = head.count(0)
    if kind is None and nuls:
        try:
            head[: head.rfind(b"\n") + 1 or None].decode("utf-8")
            kind = "UTF-16" if nuls > 16 and nuls * 10 > len(head) else None
        except UnicodeDecodeError:
            kind = "a binary file"
    if kind:
        raise ValueError(f"{name_of(path)} is {kind}, not UTF-8 text; convert it first")
