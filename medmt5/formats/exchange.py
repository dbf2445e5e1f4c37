"""Files of labelled documents by the name of their format: `reader` and `writer`.

Both stream, as far as the format allows: only a page (its legend comes first), a DocBin and a BioC
collection that is read are held as a whole. A writer of lines or of brat's pairs can go on where
an interrupted one stopped.
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO

from medmt5.formats import bioc, brat, conll, docbin, inline, jsonl, offsets, page, pubtator
from medmt5.formats.documents import Document
from medmt5.formats.gold import Report, flat
from medmt5.formats.lines import read_lines
from medmt5.formats.writers import (
    BratFolder,
    Lines,
    OffsetsFolder,
    Spooled,
    Writer,
    finish_docbin,
    finish_html,
)

# sys.stdout is declared as TextIO and is, like io.StringIO, a TextIOBase: checkers ask for either.
Destination = TextIO | io.TextIOBase | str | os.PathLike[str]


def read_plain(path: str, report: Report) -> Iterator[Document]:
    """One document per line, without entities."""
    for _, line in read_lines(path, report):
        yield flat(line, (), report)


READERS: dict[str, Callable[[str, Report], Iterator[Document]]] = {
    "text": read_plain,
    "jsonl": jsonl.read_jsonl,
    "conll": conll.read_documents,
    "brat": brat.read_brat,
    "inline": inline.read_inline,
    "html": page.read_html,
    "offsets": offsets.read_offsets,
    "bioc": bioc.read_bioc,
    "pubtator": pubtator.read_pubtator,
    "docbin": docbin.read_docbin,
}


def reader(format: str) -> Callable[[str, Report], Iterator[Document]]:
    """The reader of a format: path and `Report` -> documents.

    The path is a folder for brat and, if you like, for offsets; `-` is standard input elsewhere.

    Raises:
      ValueError: the format is unknown.
    """
    if format not in READERS:
        raise ValueError(f"format {format!r} is unknown; use one of {', '.join(READERS)}")
    return READERS[format]


def read_documents(format: str, path: str) -> tuple[list[Document], Report]:
    """All documents of a file, and what could not be kept of their annotations."""
    report = Report()
    return list(reader(format)(path, report)), report


def _blank(line: bytes) -> bool:
    return line == b"\n"


_WRITERS: dict[str, Callable[..., Writer]] = {
    "jsonl": functools.partial(Lines, record=lambda d, _: jsonl.to_jsonl(d) + "\n"),
    "conll": functools.partial(Lines, record=lambda d, _: conll.to_conll(d), ends=_blank),
    "brat": lambda path, *, resume=False: BratFolder(Path(path), resume=resume),
    "inline": functools.partial(Lines, record=lambda d, _: inline.to_inline(d) + "\n"),
    "html": functools.partial(Spooled, finish=finish_html),
    "offsets": lambda path: OffsetsFolder(Path(path)),
    "bioc": functools.partial(
        Lines, record=bioc.to_bioc, head=bioc.HEAD, between=",\n", tail=bioc.TAIL
    ),
    "pubtator": functools.partial(Lines, record=pubtator.to_pubtator, ends=_blank),
    "docbin": functools.partial(Spooled, finish=finish_docbin),
}
FORMATS = tuple(_WRITERS)
# What these write is several files, or bytes.
NEED_PATH = {"brat": "folder", "offsets": "folder", "docbin": "file"}
RESUMABLE = ("jsonl", "conll", "brat", "inline", "pubtator")


def writer(format: str, destination: Destination, *, resume: bool = False) -> Writer:
    """Open a writer of labelled documents.

    Args:
      format: one of `FORMATS`.
      destination: an open text stream, which is left open, or a path to write. For brat and
        offsets a folder; a document's files are named by its id, or 00001, 00002 and so on.
      resume: keep the complete documents at the path, drop a torn last one. Give all documents
        again: those that are there are compared, not written, or passed over by `skip`.

    Raises:
      ValueError: the format is unknown or cannot be resumed, the path cannot be written, a
        stream where a path is needed, or a folder with annotations.
    """
    if format not in _WRITERS:
        raise ValueError(f"format {format!r} is unknown; use one of {', '.join(FORMATS)}")
    is_path = isinstance(destination, str | os.PathLike)
    if format in NEED_PATH and not is_path:
        what = "two files per document" if format == "brat" else f"a {NEED_PATH[format]}"
        raise ValueError(
            f"{format} writes {what} and got one stream; give a {NEED_PATH[format]} instead"
        )
    if resume and (format not in RESUMABLE or not is_path):
        raise ValueError(
            f"{format} output cannot be resumed; {', '.join(RESUMABLE)} to a file or folder can"
        )
    try:
        make = _WRITERS[format]
        return make(destination, resume=True) if resume else make(destination)
    except OSError as error:
        raise ValueError(f"{destination}: cannot be written ({error.strerror})") from error


def write_documents(documents: Iterable[Document], format: str, destination: Destination) -> int:
    """Write all documents with a `writer` of that format and return how many there were."""
    count = 0
    with writer(format, destination) as out:
        for document in documents:
            out.write(document)
            count += 1
    return count
