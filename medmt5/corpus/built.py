"""A built corpus as documents: its languages, its texts, and which of them are held out.

What is held out is decided by a hash of source and id. So it is the same in every build of the same
sources, whatever the steps, and a smaller share is a part of a larger one.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator

from etils import epath

from medmt5.corpus import records, shards
from medmt5.corpus.documents import Document
from medmt5.corpus.manifest import CONFIG, MANIFEST

DOCUMENTS = "documents"
HELD_OUT = 200  # of so many documents one
# What steps and readers add to ids: the parts of one document belong on one side.
_PART = re.compile(r"(?<=.)(#\d+)+$")
_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", *records.SUFFIXES)


def languages(folder: str) -> list[str]:
    """Languages of a corpus, by the folders of its documents; an empty one is of a former build.

    Raises:
      ValueError: no corpus is there, or its build has not ended.
    """
    if (epath.Path(folder) / CONFIG).exists() and not (epath.Path(folder) / MANIFEST).exists():
        raise ValueError(f"{folder} has no {MANIFEST}: its build has not ended; run it again")
    documents = epath.Path(folder) / DOCUMENTS
    inside = documents.iterdir() if documents.exists() else ()
    found = [path.name for path in inside if path.is_dir() and any(path.iterdir())]
    if not found:
        raise ValueError(
            f"{folder} holds no corpus: no {DOCUMENTS}/<language>; give a folder that "
            "`medmt5 corpus build` made"
        )
    return sorted(found)


def documents(folder: str, language: str) -> Iterator[Document]:
    """Documents of a language, shard by shard.

    Raises:
      ValueError: there are none, or a shard is broken.
    """
    if language not in (known := languages(folder)):
        raise ValueError(f"{folder} has no documents in {language!r}; it has {', '.join(known)}")
    for path in sorted((epath.Path(folder) / DOCUMENTS / language).iterdir()):
        name = os.fspath(path)
        if name.endswith(_SUFFIXES):
            yield from shards.read_documents(name)


def is_held_out(document: Document, one_in: int = HELD_OUT) -> bool:
    """Whether a document is for evaluation.

    Args:
      one_in: of so many documents one is held out.
    """
    key = f"{document.source}\0{_PART.sub('', document.id)}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(key, digest_size=8, person=b"held out").digest()
    return int.from_bytes(digest, "little") * one_in < 2**64
