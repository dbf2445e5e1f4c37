"""What changed between two builds: configuration, inputs, counts, and documents by id.

Of documents only hashes are in memory, 20 bytes each; shards that are equal in both are not read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from medmt5.corpus import shards
from medmt5.corpus.documents import Document
from medmt5.corpus.manifest import config_differences, read
from medmt5.corpus.tally import language_of

EXAMPLES = 10  # ids that are named, of each kind of change
_ROW = np.dtype([("id", "<u8"), ("all", "<u8"), ("group", "<u4")])


def difference(old: str, new: str) -> dict[str, Any]:
    """What changed from one corpus to another.

    Returns:
      `medmt5` and `libraries`: versions that differ, [old, new]; `config`: lines; `files`: input
      files and those that steps use, `added`, `removed`, `changed`; `counts`: lines of source,
      language, stage, documents and words in both; `removed`: lines of source, step, language,
      reason, documents in both; `documents`: of `added`, `removed` and `changed` ones `count`,
      `by` (source, language, number), `examples`.

    Raises:
      ValueError: one of the folders holds no corpus.
    """
    a, b = read(old), read(new)
    return {
        "medmt5": [a["medmt5"], b["medmt5"]] if a["medmt5"] != b["medmt5"] else [],
        "libraries": {
            name: [a["libraries"].get(name), b["libraries"].get(name)]
            for name in sorted({**a["libraries"], **b["libraries"]})
            if a["libraries"].get(name) != b["libraries"].get(name)
        },
        "config": config_differences(a["config"], b["config"]),
        "files": _files(a, b),
        "counts": _counts(a, b),
        "removed": _removed(a, b),
        "documents": _documents(old, new, a, b),
    }


def _files(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[str]]:
    before, after = (
        {
            f"{file.get('source') or file['for']}: {file['path']}": file["sha256"]
            for file in (*manifest["files"], *manifest["other_files"])
        }
        for manifest in (a, b)
    )
    both = [name for name in before if name in after]
    return {
        "added": [name for name in after if name not in before],
        "removed": [name for name in before if name not in after],
        "changed": [name for name in both if before[name] != after[name]],
    }


def _lines(a: Mapping[tuple, Any], b: Mapping[tuple, Any], none: Any) -> list[list[Any]]:
    return [
        [*key, a.get(key, none), b.get(key, none)]
        for key in dict.fromkeys((*a, *b))
        if a.get(key, none) != b.get(key, none)
    ]


def _counts(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[list[Any]]:
    def flat(manifest: Mapping[str, Any]) -> dict[tuple, list[int]]:
        return {
            (source, language, stage): [counts["documents"], counts["words"]]
            for source, tally in manifest["sources"].items()
            for stage in manifest["stages"]
            for language, counts in tally["counts"].get(stage, {}).items()
        }

    return _lines(flat(a), flat(b), [0, 0])


def _removed(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[list[Any]]:
    def flat(manifest: Mapping[str, Any]) -> dict[tuple, int]:
        return {
            (source, step, language, reason): number
            for source, tally in manifest["sources"].items()
            for step, languages in tally["removed"].items()
            for language, reasons in languages.items()
            for reason, number in reasons.items()
        }

    return _lines(flat(a), flat(b), 0)


def _documents(
    old: str, new: str, a: Mapping[str, Any], b: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    equal = {shard["sha256"] for shard in a["shards"]} & {shard["sha256"] for shard in b["shards"]}
    paths_old, paths_new = (
        [os.path.join(folder, s["path"]) for s in manifest["shards"] if s["sha256"] not in equal]
        for folder, manifest in ((old, a), (new, b))
    )
    groups: dict[tuple[str, str], int] = {}
    before, after = _rows(paths_old, groups), _rows(paths_new, groups)
    gone = before[~np.isin(before["all"], after["all"])]
    come = after[~np.isin(after["all"], before["all"])]
    changed = np.isin(come["id"], gone["id"])
    kinds = {
        "added": come[~changed],
        "removed": gone[~np.isin(gone["id"], come["id"])],
        "changed": come[changed],
    }
    shown = {kind: np.unique(rows["id"])[:EXAMPLES].tolist() for kind, rows in kinds.items()}
    in_old = _named(paths_old, set(shown["removed"]))
    in_new = _named(paths_new, {*shown["added"], *shown["changed"]})
    named = {"added": in_new, "removed": in_old, "changed": in_new}
    names = list(groups)
    return {
        kind: {
            "count": len(rows),
            "by": [
                [*names[group], number]
                for group, number in sorted(Counter(rows["group"].tolist()).items())
            ],
            "examples": sorted(named[kind][id] for id in shown[kind]),
        }
        for kind, rows in kinds.items()
    }


def _hash(*parts: str) -> int:
    raw = "\0".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little")


def _id(document: Document) -> int:
    return _hash(document.source, document.id)


def _all(paths: Sequence[str]) -> Iterator[Document]:
    for path in paths:
        yield from shards.read_documents(path)


def _rows(paths: Sequence[str], groups: dict[tuple[str, str], int]) -> np.ndarray:
    """A row per document; `groups` numbers pairs of source and language as they come."""

    def rows() -> Iterator[tuple[int, int, int]]:
        for document in _all(paths):
            group = groups.setdefault((document.source, language_of(document)), len(groups))
            content = json.dumps(document.to_json(), sort_keys=True)
            yield _id(document), _hash(content), group

    return np.fromiter(rows(), _ROW)


def _named(paths: Sequence[str], ids: set[int]) -> dict[int, str]:
    """The names of some documents, by the hashes of their ids."""
    return {
        id: f"{document.source} {document.id}"
        for document in (_all(paths) if ids else ())
        if (id := _id(document)) in ids
    }


def text(found: Mapping[str, Any]) -> str:
    """A difference for reading."""
    parts: list[str] = []

    def section(title: str, lines: Sequence[str]) -> None:
        if lines:
            parts.append("\n".join([f"{title}:", *(f"  {line}" for line in lines)]))

    versions = {"medmt5": found["medmt5"]} if found["medmt5"] else {}
    versions |= found["libraries"]
    section("versions", [f"{name}: {old} -> {new}" for name, (old, new) in versions.items()])
    section("configuration", found["config"])
    files = found["files"]
    section("files", [f"{kind}: {name}" for kind in files for name in files[kind]])
    section(
        "documents (words) after each stage",
        [
            f"{source} {language} {stage}: {old[0]:,} ({old[1]:,}) -> {new[0]:,} ({new[1]:,})"
            for source, language, stage, old, new in found["counts"]
        ],
    )
    section(
        "documents removed",
        [
            f"{source} {language} {step}, {reason}: {old:,} -> {new:,}"
            for source, step, language, reason, old, new in found["removed"]
        ],
    )
    for kind, documents in found["documents"].items():
        if documents["count"]:
            by = [
                f"{source} {language}: {number:,}" for source, language, number in documents["by"]
            ]
            names = [f"such as {name}" for name in documents["examples"]]
            section(f"documents {kind}: {documents['count']:,}", [*by, *names])
    return "\n".join(parts) + "\n" if parts else "no difference\n"
