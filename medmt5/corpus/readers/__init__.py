"""Readers of public sources: files in their own formats to documents, one by one.

A reader is a frozen dataclass of its settings. Called with a path, local or `gs://`, it gives each
`Document`, and `Bad` for what cannot be read, in the order of the file.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Mapping
from typing import Any

from etils import epath

from medmt5.corpus.readers.base import Reader
from medmt5.corpus.readers.clinical_trials import ClinicalTrials
from medmt5.corpus.readers.html import HTML
from medmt5.corpus.readers.jsonl import JSONL
from medmt5.corpus.readers.moses import Moses
from medmt5.corpus.readers.parquet import Parquet
from medmt5.corpus.readers.pdf import PDF
from medmt5.corpus.readers.pmc import PMC
from medmt5.corpus.readers.pubmed import PubMed
from medmt5.corpus.readers.text import Text
from medmt5.corpus.readers.tmx import TMX
from medmt5.corpus.readers.warc import WARC
from medmt5.corpus.readers.wikipedia import Wikipedia
from medmt5.corpus.settings import check_one, made

# By the name of the format in a corpus's TOML file.
READERS: dict[str, type[Reader]] = {
    "clinical_trials": ClinicalTrials,
    "html": HTML,
    "jsonl": JSONL,
    "moses": Moses,
    "parquet": Parquet,
    "pdf": PDF,
    "pmc": PMC,
    "pubmed": PubMed,
    "text": Text,
    "tmx": TMX,
    "warc": WARC,
    "wikipedia": Wikipedia,
}


def reader_of(name: str, format: str, settings: Mapping[str, Any]) -> Reader:
    """The reader of a `[[sources]]` entry, from its settings of the format.

    Raises:
      ValueError: an unknown format or setting, or a value that the format does not take.
    """
    where = f"[[sources]] {name}"
    check_one(where, "format", format, READERS)
    return made(where, READERS[format], settings, source=name)


def inputs(where: str, paths: Iterable[str]) -> list[str]:
    """The files of some paths, each once, sorted.

    Args:
      where: the paths are from, for errors.
      paths: files, folders (all files below them are meant, save those whose name begins with a
        dot), patterns with `*`, `?` and `[...]`, and `folder/**/pattern` for names anywhere below
        a folder.

    Raises:
      ValueError: a path matches nothing.
    """
    found: set[str] = set()
    for path in paths:
        files = _files(path)
        if not files:
            raise ValueError(
                f"{where}: {path!r} matches no file; give files, folders or patterns as `in/*.xml`"
            )
        found.update(files)
    return sorted(found)


def _files(path: str) -> list[str]:
    # The name of a file may hold brackets.
    if epath.Path(path).exists():
        return _below(epath.Path(path))
    folder, anywhere, name = path.rpartition("**/")
    if anywhere:
        below = _files(folder.removesuffix("/") or ("/" if folder else "."))
        return [file for file in below if fnmatch.fnmatchcase(os.path.basename(file), name)]
    parts = path.split("/")
    fixed = next((i for i, part in enumerate(parts) if any(c in part for c in "*?[")), None)
    if fixed is None:
        return []
    base = epath.Path("/".join(parts[:fixed]) or ("/" if path.startswith("/") else "."))
    matches = base.glob("/".join(parts[fixed:])) if base.exists() else []
    return [file for match in matches for file in _below(match)]


def _below(path: epath.Path) -> list[str]:
    if path.name.startswith("."):
        return []
    if not path.is_dir():
        return [os.fspath(path)]
    return [file for inner in path.iterdir() for file in _below(inner)]
