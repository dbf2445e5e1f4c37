"""What a corpus is, as JSON: its configuration, its inputs, what every step did, its shards.

Equal builds have equal manifests: there is no time in it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from medmt5 import __version__
from medmt5.corpus import shards
from medmt5.corpus.config import CorpusConfig
from medmt5.corpus.storage import below
from medmt5.corpus.tally import total
from medmt5.files import digest

MANIFEST, CONFIG, BAD = "manifest.json", "config.toml", "bad.jsonl"
# Whose versions decide about texts and about what is removed.
LIBRARIES = (
    *("ftfy", "lxml", "mwparserfromhell", "numpy", "pyahocorasick", "pyarrow", "py3langid"),
    *("pypdf", "sentencepiece", "trafilatura", "warcio"),
)


def make(
    config: CorpusConfig,
    jobs: Sequence[shards.FileJob],
    cleaned: Sequence[Mapping[str, Any]],
    finished: Sequence[Mapping[str, Any]],
    others: Sequence[Mapping[str, Any]],
    sizes: Sequence[int],
) -> dict[str, Any]:
    """The manifest of a build, from the results of its jobs.

    Its `sources` hold for each source a tally, as of `Tally`, and the licences of its documents;
    `total` is their sum.
    """
    tallies = [total((a["tally"], b["tally"])) for a, b in zip(cleaned, finished, strict=True)]
    sources = {
        source.name: total(
            tally for job, tally in zip(jobs, tallies, strict=True) if job.source == source
        )
        for source in config.sources
    }
    return {
        "name": config.name,
        "medmt5": __version__,
        "libraries": dict(versions()),
        "config": json.loads(config.text),
        "config_sha256": hashlib.sha256(config.text.encode()).hexdigest(),
        "stages": shards.stages(config),
        "files": [
            {
                "source": job.source.name,
                "path": config.shown(job.path),
                "name": job.name,
                "bytes": size,
                "sha256": one["sha256"],
            }
            for job, one, size in zip(jobs, cleaned, sizes, strict=True)
        ],
        "other_files": list(others),
        "sources": sources,
        "total": total(sources.values()),
        "shards": [
            {"source": job.source.name, **shard}
            for job, one in zip(jobs, finished, strict=True)
            for shard in one["shards"]
        ],
    }


def versions() -> Iterator[tuple[str, str]]:
    """Name and version of each of `LIBRARIES` that is installed."""
    for name in LIBRARIES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def text(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, ensure_ascii=False, indent=1) + "\n"


def read(folder: str) -> dict[str, Any]:
    """The manifest of a corpus.

    Raises:
      ValueError: there is none, or it is not one.
    """
    path = epath.Path(os.path.join(folder, MANIFEST))
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder} has no {MANIFEST}: it is no corpus, or its build has not ended"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path} is broken: {error}") from error
    if not isinstance(manifest, dict) or "shards" not in manifest:
        raise ValueError(f"{path} is not the manifest of a corpus")
    return manifest


def check_folder(folder: str, config: CorpusConfig) -> None:
    """Whether a corpus may be built in a folder: one that is new, empty, or of the same config.

    Raises:
      ValueError: it has other files, or a corpus of another configuration; with what differs.
    """
    path = epath.Path(folder)
    if not path.exists() or all(file.name.startswith(f"{CONFIG}.tmp") for file in path.iterdir()):
        return
    if not (path / CONFIG).exists():
        raise ValueError(f"{folder} has other files; give an empty folder or one that is not there")
    old = tomllib.loads((path / CONFIG).read_text(encoding="utf-8"))
    if differences := config_differences(old, config.given):
        listed = "\n  ".join(differences)
        raise ValueError(
            f"{folder} was built with another configuration; give another folder, or remove this "
            f"one. What differs:\n  {listed}"
        )


def config_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two configurations, a line each: `key: old -> new`."""
    before, after = dict(_flat(old)), dict(_flat(new))
    return [
        f"{key}: {_value(before, key)} -> {_value(after, key)}"
        for key in dict.fromkeys((*before, *after))
        if before.get(key, _value) != after.get(key, _value)
    ]


def _flat(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Settings by the path of their keys; sources by name, steps by name and order."""
    for key, value in config.items():
        if key not in ("sources", "steps"):
            yield from _leaves(key, value)
            continue
        names = [str(table.get("name")) for table in value]
        yield f"{key} (order)", names
        for number, (name, table) in enumerate(zip(names, value, strict=True)):
            again = names[:number].count(name)
            where = f"{key}.{name}" if not again else f"{key}.{name} {again + 1}"
            for inner, setting in table.items():
                if inner != "name":
                    yield from _leaves(f"{where}.{inner}", setting)


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for inner, leaf in value.items():
            yield from _leaves(f"{key}.{inner}", leaf)
    else:
        yield key, value


def _value(table: Mapping[str, Any], key: str) -> str:
    return json.dumps(table[key], ensure_ascii=False, default=str) if key in table else "nothing"


def check(folder: str) -> list[str]:
    """What of a built corpus is not as its manifest says; empty if all is.

    Raises:
      ValueError: there is no manifest.
    """
    manifest = read(folder)
    problems = []
    counted = dict.fromkeys(manifest["total"]["counts"].get(shards.DUPLICATES, ()), 0)
    for shard in manifest["shards"]:
        path = os.path.join(folder, shard["path"])
        counted[shard["language"]] = counted.get(shard["language"], 0) + shard["documents"]
        if not epath.Path(path).exists():
            problems.append(f"{shard['path']} is missing")
            continue
        found = digest(path)
        if found["bytes"] != shard["bytes"] or found["sha256"] != shard["sha256"]:
            problems.append(f"{shard['path']} has other bytes than were written")
            continue
        documents = sum(1 for _ in shards.read_documents(path))
        if documents != shard["documents"]:
            problems.append(f"{shard['path']} has {documents} documents, not {shard['documents']}")
    for language, documents in counted.items():
        said = manifest["total"]["counts"][shards.DUPLICATES].get(language, {}).get("documents", 0)
        if documents != said:
            problems.append(f"the shards of {language} have {documents} documents, not {said}")
    listed = {os.path.join(folder, shard["path"]) for shard in manifest["shards"]}
    for path in below(os.path.join(folder, "documents")):
        if path not in listed:
            problems.append(f"{os.path.relpath(path, folder)} is not in {MANIFEST}")
    return problems
