"""From nothing to the files that tasks read: `medmt5 data get`.

Downloads what `sources` names, or takes it from clones of the repositories, and writes
`seqlab/<lang>/<lang>-<file>-<split>.tsv` and `qa/<lang>/<lang>-<file>-<split>.jsonl`, each whole or
not at all, and `sources/<name>.md`: origin, licence, whom to cite, checksums.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medmt5.data.sources import SETS, Set
from medmt5.files import digest, write_text
from medmt5.formats.conll import Sentence
from medmt5.formats.spans import spans_of

log = logging.getLogger(__name__)

TIMEOUT = 60.0  # seconds without an answer


def write_set(
    name: str, output: str, *, manual_dir: str | None = None, languages: Sequence[str] | None = None
) -> list[str]:
    """Write the files of a data set.

    Args:
      name: in `SETS`.
      output: the folder for MEDMT5_DATA_DIR. Downloads stay in its `downloads/`, so that a call
        that was interrupted goes on.
      manual_dir: holds clones of the repositories, named as they are; nothing is downloaded.
      languages: only these; all by default.

    Returns:
      Paths of the files.

    Raises:
      ValueError: a language that the set has not, or a file that cannot be had.
    """
    source = SETS[name]
    chosen = list(languages or source.files)
    if unknown := [lang for lang in chosen if lang not in source.files]:
        raise ValueError(f"{name} has no {', '.join(unknown)}; it has {', '.join(source.files)}")
    written, used, notes = [], {}, []
    for lang in chosen:
        for split, paths in source.files[lang].items():
            local = {
                path: find(source, path, manual_dir) or download(source, path, output)
                for path in paths
            }
            used.update(local)
            items = list(source.read(list(local.values()), lang, split))
            note = _counted(source, lang, split, items)
            if "expected" in note:
                log.warning("%s %s %s: %s", name, lang, split, note)
            target = os.path.join(output, source.folder(), lang, source.name(lang, split))
            write_text(target, "".join(map(to_text, items)))
            notes.append(
                f"* `{os.path.relpath(target, output)}`: {note}; sha256 {digest(target)['sha256']}"
            )
            written.append(target)
    write_text(os.path.join(output, "sources", f"{name}.md"), _account(name, source, used, notes))
    return written


def find(source: Set, path: str, manual_dir: str | None) -> str | None:
    """A file in a clone of the repository under `manual_dir`; None without a `manual_dir`.

    Raises:
      ValueError: it is not there; says how to get it.
    """
    if manual_dir is None:
        return None
    local = os.path.join(manual_dir, source.repository.split("/")[1], path)
    if not os.path.isfile(local):
        raise ValueError(
            f"{local} does not exist; clone https://github.com/{source.repository} into "
            f"{manual_dir} and check out {source.commit}"
        )
    return local


def download(source: Set, path: str, output: str) -> str:
    """A file of the repository at its commit, downloaded unless it is there already.

    Raises:
      ValueError: no network, or no such file.
    """
    folder = f"{source.repository.split('/')[1]}@{source.commit[:7]}"
    local = os.path.join(output, "downloads", folder, path)
    if os.path.exists(local):
        return local
    url = source.url(path)
    log.info("downloading %s", url)
    os.makedirs(os.path.dirname(local), exist_ok=True)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            with open(f"{local}.part", "wb") as file:
                shutil.copyfileobj(answer, file)
            length = answer.headers.get("Content-Length")
        # urllib takes a connection that broke for the end of the file.
        if length and int(length) != os.path.getsize(f"{local}.part"):
            raise ConnectionError(f"broke off before {int(length):,} bytes were there")
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise ValueError(
            f"{url} cannot be downloaded ({error}); try again, or clone "
            f"https://github.com/{source.repository} into a folder, check out {source.commit} and "
            "give --manual_dir FOLDER"
        ) from error
    os.replace(f"{local}.part", local)
    return local


def to_text(item: Sentence | Mapping[str, Any]) -> str:
    """A sentence as CoNLL, or a question as a line of JSON, as `formats` read them."""
    if isinstance(item, Sentence):
        rows = zip(item.words, item.tags, strict=True)
        return "".join(f"{word}\t{tag}\n" for word, tag in rows) + "\n"
    line = {
        "id": item["id"],
        "question": item["question"],
        "context": item["context"],
        "options": dict(zip(item["letters"], item["options"], strict=True)),
        "answer_idx": ",".join(item["answers"]),
        "rationale": item["rationale"],
    }
    return json.dumps(line, ensure_ascii=False) + "\n"


def count(items: Iterable[Sentence | Mapping[str, Any]]) -> tuple[int, int]:
    """Items and, of sentences, their spans; of questions, those with several right answers."""
    total = special = 0
    for item in items:
        total += 1
        if isinstance(item, Sentence):
            special += len(spans_of(item.tags))
        else:
            special += len(item["answers"]) > 1
    return total, special


def _counted(source: Set, lang: str, split: str, items: Sequence[Any]) -> str:
    words = ("sentences", "spans") if source.kind == "labelling" else ("questions", "multi-answer")
    found, expected = count(items), source.counts[lang, split]
    note = ", ".join(f"{number:,} {word}" for number, word in zip(found, words, strict=True))
    if found != expected:
        note += f" (expected {expected[0]:,} and {expected[1]:,}: not {source.commit[:7]}'s files?)"
    return note


def _account(name: str, source: Set, used: Mapping[str, str], notes: Sequence[str]) -> str:
    lines = [
        f"# {name}: {source.about}",
        "",
        f"From {source.url()}; written by `medmt5 data get {name}`.",
        f"Licence: {source.licence}. Read it before you share the data or what was made of it.",
        "",
        *notes,
        "",
        "Made of:",
        "",
        *(f"* `{path}`: sha256 {digest(local)['sha256']}" for path, local in used.items()),
        "",
        "```bibtex",
        source.citation,
        "```",
        "",
    ]
    return "\n".join(lines)
