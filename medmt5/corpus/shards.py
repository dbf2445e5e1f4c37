"""The jobs of a build that read and write documents: clean a file, and finish it.

A job reads files and writes files, local or `gs://`, whose names and bytes depend on its input
alone. Its result is JSON; `engine` keeps it once all else is written, so a job without one is done
again. In memory is one document, and keys of the latest ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

from medmt5.corpus import matching, opening, records
from medmt5.corpus.config import CorpusConfig, Source
from medmt5.corpus.decompression import Unreadable
from medmt5.corpus.documents import Bad, Document, Removed
from medmt5.corpus.storage import opened, written
from medmt5.corpus.tally import Tally, language_of
from medmt5.files import digest, is_file_error, target

READ, DUPLICATES = "read", "duplicates"  # stages beside the steps
EXCERPT = 500  # characters of a removed document that are kept to look at
SAMPLES = 2  # removed documents per step and reason that a file gives to the report


@dataclasses.dataclass(frozen=True)
class FileJob:
    """One input file.

    Attributes:
      config: of the build.
      work: folder of intermediate files.
      output: folder of the corpus.
      name: of what is made of the file.
      index: of the file among all.
      partitions: into which the keys of duplicates are split.
    """

    config: CorpusConfig
    work: str
    output: str
    name: str
    index: int
    source: Source
    path: str
    partitions: int

    def of_work(self, kind: str) -> str:
        return os.path.join(self.work, kind, f"{self.name}.jsonl.gz")


def removed_path(job: FileJob) -> str:
    return os.path.join(job.output, "removed", f"{job.name}.jsonl.gz")


def stages(config: CorpusConfig) -> list[str]:
    """Names of what happens to a document, in order: steps that come twice are numbered."""
    seen: Counter[str] = Counter()
    steps = []
    for step in config.steps:
        seen[step.name] += 1
        steps.append(step.name if seen[step.name] == 1 else f"{step.name} {seen[step.name]}")
    return [READ, *steps, DUPLICATES]


def clean(job: FileJob) -> dict[str, Any]:
    """Read a file and run the steps on every document.

    Returns:
      `tally`, as of `Tally.to_json`; `sha256` of the input, "" if it cannot be read.

    Raises:
      OSError: a file system fails; the file is to be tried again.
    """
    names = stages(job.config)[1:-1]
    with contextlib.ExitStack() as files:
        cleaning = _Cleaning(
            job,
            steps=[
                (name, step.made() if step.is_for(job.source.name) else _unchanged)
                for name, step in zip(names, job.config.steps, strict=True)
            ],
            tally=Tally(job.config.output.vocabulary),
            kept=files.enter_context(written(job.of_work("cleaned"))),
            removed=files.enter_context(written(job.of_work("removed"))),
            bad=files.enter_context(written(job.of_work("bad"))),
            keys=files.enter_context(
                matching.Keys(job.config, job.work, job.name, job.partitions, job.source.priority)
            ),
        )
        cleaning.read()
    return {"tally": cleaning.tally.to_json(), "sha256": _sha256(job.path)}


def _unchanged(document: Document) -> Document:
    return document


def _sha256(path: str) -> str:
    try:
        return digest(path)["sha256"]
    except OSError as error:
        opening.unreadable(path, error)  # raises what is to be tried again; the rest is told as bad
        return ""


@dataclasses.dataclass
class _Cleaning:
    """What happens to the documents of one file."""

    job: FileJob
    steps: list[tuple[str, Any]]
    tally: Tally
    kept: Any
    removed: Any
    bad: Any
    keys: matching.Keys

    def read(self) -> None:
        items = self.job.source.reader()(self.job.path)
        while True:
            try:
                item = next(items, None)
            except Exception as error:  # whatever a file can do to a library
                if _is_general(error):
                    raise
                item = Bad(self.job.path, "reader failed", _told(error))
                items = iter(())
            if item is None:
                return
            if isinstance(item, Bad):
                self.report(item)
                continue
            self.tally.add(READ, item)
            for document in self.run(item, 0):
                self.kept.write(line(document.to_json()))
                self.keys.add(document)

    def report(self, bad: Bad) -> None:
        self.tally.bad[str(bad.reason)] += 1
        where = bad.where
        if where.startswith(self.job.path):
            where = self.job.config.shown(self.job.path) + where.removeprefix(self.job.path)
        self.bad.write(line({"where": where, "reason": str(bad.reason), "detail": bad.detail}))

    def run(self, document: Document, first: int) -> Iterator[Document]:
        """What is left of a document after the steps from the first: none, one, or its parts."""
        for number, (name, step) in enumerate(self.steps[first:], first):
            try:
                result = step(document)
            except Exception as error:
                if _is_general(error):
                    raise
                where = f"{self.job.path}#{document.id}"
                self.report(Bad(where, f"step {name} failed", _told(error)))
                return
            if isinstance(result, Removed):
                self.tally.remove(name, document, result)
                self.removed.write(line(_removal(document, name, result)))
                return
            if isinstance(result, list):
                self.tally.changed[name]["split"] += 1
                for part in result:
                    self.tally.add(name, part)
                    yield from self.run(part, number + 1)
                return
            if result != document:
                self.tally.changed[name]["documents"] += 1
                if hasattr(step, "report"):
                    self.tally.changed[name].update(step.report(document, result))
            document = result
            self.tally.add(name, document)
        yield document


def finish(job: FileJob) -> dict[str, Any]:
    """Write a file's documents, without duplicates, one shard per language.

    Returns:
      `tally`, as of `clean`; `shards`: [{path, language, documents, bytes, sha256}]; `samples` of
      what was removed.
    """
    duplicates = matching.going(job.work, job.index, job.partitions)
    tally, samples = Tally(job.config.output.vocabulary), _Samples()
    with contextlib.ExitStack() as files:
        removed = files.enter_context(written(removed_path(job)))
        with opened(job.of_work("removed")) as before:
            for raw in before:
                removed.write(raw)
                samples.add(json.loads(raw))
        shards = _Shards(job, files)
        for number, document in enumerate(read_documents(job.of_work("cleaned"))):
            if number in duplicates:
                answer = Removed(*duplicates[number])
                tally.remove(DUPLICATES, document, answer)
                record = _removal(document, DUPLICATES, answer)
                removed.write(line(record))
                samples.add(record)
                continue
            tally.add(DUPLICATES, document)
            tally.stay(document)
            shards.add(document)
    made = []
    for language, path in sorted(shards.paths.items()):
        sizes = digest(os.path.join(job.output, path))
        documents = tally.counts[DUPLICATES][language]["documents"]
        made.append({"path": path, "language": language, "documents": documents, **sizes})
    return {"tally": tally.to_json(), "shards": made, "samples": samples.best()}


class _Shards:
    """The shards of a file, opened when their language comes."""

    def __init__(self, job: FileJob, files: contextlib.ExitStack):
        self._job, self._files, self._open = job, files, {}
        self.paths: dict[str, str] = {}

    def add(self, document: Document) -> None:
        language = language_of(document)
        if language not in self._open:
            name = f"{self._job.name}{self._job.config.output.suffix}"
            self.paths[language] = os.path.join("documents", language, name)
            path = os.path.join(self._job.output, self.paths[language])
            self._open[language] = self._files.enter_context(documents_written(path))
        self._open[language](document)


class _Samples:
    """For every step and reason the documents with the least hashes: any, but always the same."""

    def __init__(self):
        self._best: dict[tuple[str, str], list[tuple[str, dict[str, str]]]] = {}

    def add(self, record: dict[str, str]) -> None:
        name = f"{record['source']}\0{record['id']}"
        mark = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
        best = self._best.setdefault((record["step"], record["reason"]), [])
        best.append((mark, record))
        best.sort(key=lambda pair: pair[0])
        del best[SAMPLES:]

    def best(self) -> list[dict[str, str]]:
        return [
            {"mark": mark, **record}
            for _, pairs in sorted(self._best.items())
            for mark, record in pairs
        ]


@contextlib.contextmanager
def documents_written(path: str) -> Iterator[Any]:
    """A function that takes documents and writes them, in the format of the file's name."""
    if path.endswith(records.SUFFIXES):
        with target(path) as temporary, records.RecordWriter(temporary, path) as writer:
            yield writer.write
        return
    with written(path) as file:
        yield lambda document: file.write(line(document.to_json()))


def read_documents(path: str) -> Iterator[Document]:
    """Documents of a shard.

    Raises:
      ValueError: the shard is broken.
    """
    if path.endswith(records.SUFFIXES):
        yield from records.read_records(path)
        return
    number = 0
    try:
        with opened(path) as file:
            for number, raw in enumerate(file, 1):
                yield Document.from_json(_parsed(raw, path, number), f"{path}:{number}")
    except Unreadable as error:
        told = f"{error.reason}; {error.detail}"
        raise ValueError(f"{path} is broken after line {number}: {told}") from error


def _parsed(raw: bytes, path: str, number: int) -> Any:
    try:
        return json.loads(raw)
    except ValueError as error:
        raise ValueError(f"{path}:{number} is not JSON: {error}") from error


def line(record: dict[str, Any]) -> bytes:
    return (json.dumps(record, ensure_ascii=False) + "\n").encode()


def _is_general(error: Exception) -> bool:
    """Whether the machine or what is installed is at fault, and not a document."""
    general = isinstance(error, (ImportError, MemoryError)) or is_file_error(error)
    return general or isinstance(error.__cause__, ImportError)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _removal(document: Document, step: str, removed: Removed) -> dict[str, str]:
    fields = document.to_json()
    record = {"step": step, "reason": removed.reason, "detail": removed.detail}
    for name in ("source", "id", "language"):
        record[name] = fields.get(name, "")
    return {**record, "text": document.text[:EXCERPT]}
