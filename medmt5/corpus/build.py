"""A corpus from its configuration: clean every file, find duplicates, finish every shard.

The output folder gets

    documents/<language>/<source>-00000.jsonl.gz   what is kept, a shard per input file
    removed/<source>-00000.jsonl.gz                what is not: step, reason, value, 500 characters
    bad.jsonl                                      what could not be read, and why
    manifest.json, README.md, report.html          counts; see `manifest`, `card`, `page`
    config.toml                                    the configuration
    work/                                          until the end
"""

from __future__ import annotations

import collections
import hashlib
import logging
import os
import shutil
from collections.abc import Sequence
from typing import Any

from etils import epath

from medmt5 import __version__
from medmt5.corpus import (
    card,
    engine,
    manifest,
    matching,
    page,
    records,
    sentencepiece_model,
    shards,
)
from medmt5.corpus.config import CorpusConfig
from medmt5.corpus.decompression import library
from medmt5.corpus.documents import Document
from medmt5.corpus.steps.language import LANGUAGES
from medmt5.corpus.storage import below, opened, written
from medmt5.files import absolute, digest, write_text

log = logging.getLogger(__name__)

# Of the input per partition of the keys: one is held in memory, and is about as large.
PARTITION_BYTES = 2**27
# More would be many small reads; of 10 TB a partition is 2.5 GB.
MOST_PARTITIONS = 4096


def build(
    config: CorpusConfig,
    output: str,
    *,
    workers: int = 1,
    beam: Sequence[str] | None = None,
    keep_work: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Make a corpus, or go on where an interrupted build of the same configuration stopped.

    Args:
      config: sources, steps, output.
      output: folder, made; local or `gs://`.
      workers: processes.
      beam: as for `engine.results`.
      keep_work: leave intermediate files: a later build with more files reads only those.
      dry_run: say what would be done.

    Returns:
      The manifest; empty after a dry run.

    Raises:
      ValueError: paths that match nothing, a library that is missing, or a folder with another
        corpus or other files.
      OSError: a file system failed; what was done is kept.
    """
    output = absolute(output)
    files = config.files()
    stats = [epath.Path(path).stat() for _, path in files]
    sizes = [stat.length for stat in stats]
    log.info(
        "%s: %d files of %d sources, %.1f MB; %s",
        config.name,
        len(files),
        len(config.sources),
        sum(sizes) / 1e6,
        " -> ".join(shards.stages(config)),
    )
    manifest.check_folder(output, config)
    records.check(config.output.format, output)
    if config.output.suffix.endswith(".zst"):
        library("zstandard")
    if dry_run:
        for (source, path), size in zip(files, sizes, strict=True):
            log.info("would read %s (%s, %.1f MB)", path, source.name, size / 1e6)
        return {}
    work = os.path.join(output, "work")
    others = [
        {"for": what, "path": config.shown(path), **digest(path)}
        for what, path in config.other_files()
    ]
    if there := _built(config, output, files, sizes, others):
        _remove_work(work, keep_work)
        return there
    if config.output.vocabulary:
        sentencepiece_model.load(config.output.vocabulary)
    _try_steps(config)
    jobs = _jobs(config, output, work, files, sum(sizes))
    write_text(os.path.join(output, manifest.CONFIG), config.toml)
    # Without it the folder is one that is being built.
    epath.Path(os.path.join(output, manifest.MANIFEST)).unlink(missing_ok=True)
    common = f"{__version__}\0{dict(manifest.versions())}\0{config.text}\0{others}"
    keys = [
        _hash(common, job.path, job.name, job.partitions, stat.length, stat.mtime)
        for job, stat in zip(jobs, stats, strict=True)
    ]

    def run(what: str, function: Any, stage: Sequence[Any], keys: Sequence[str], sizes: Any):
        tasks = list(map(engine.Task, (job.name for job in stage), keys, stage, sizes))
        folder = os.path.join(work, "results", what.replace(" ", "-"))
        options: dict[str, Any] = {"workers": workers, "beam": beam}
        return engine.results(tasks, function, what=what, folder=folder, **options)

    cleaned = run("cleaning files", shards.clean, jobs, keys, sizes)
    matching.write_names(work, [job.name for job in jobs])
    all_keys = _hash(*keys)
    count = jobs[0].partitions
    finding = [matching.PartitionJob(config, work, number) for number in range(count)]
    run("finding duplicates", matching.find, finding, [all_keys] * count, [1] * count)
    last_keys = [_hash(all_keys, key) for key in keys]
    finished = run("writing shards", shards.finish, jobs, last_keys, sizes)
    _write_bad(jobs, output)
    _remove_strays(output, jobs, finished)
    result = manifest.make(config, jobs, cleaned, finished, others, sizes)
    samples = [sample for one in finished for sample in one["samples"]]
    for name, text in (
        (card.NAME, card.text(result)),
        (page.NAME, page.text(result, samples)),
        (manifest.MANIFEST, manifest.text(result)),
    ):
        write_text(os.path.join(output, name), text)
    _remove_work(work, keep_work)
    return result


def _remove_work(work: str, keep: bool) -> None:
    if not keep and epath.Path(work).exists():
        epath.Path(work).rmtree()


def _built(
    config: CorpusConfig,
    output: str,
    files: Sequence[Any],
    sizes: Sequence[int],
    others: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """The manifest of a corpus that is there, of files with the same names and sizes.

    Args:
      others: files that the steps use, which are compared by their contents.
    """
    path = os.path.join(output, manifest.MANIFEST)
    if not epath.Path(path).exists():
        return {}
    there = manifest.read(output)
    old = [(file["path"], file["bytes"]) for file in there["files"]]
    new = [(config.shown(path), size) for (_, path), size in zip(files, sizes, strict=True)]
    if old != new or there["other_files"] != others or there["medmt5"] != __version__:
        return {}
    log.info(
        "%s is built, of files of these names and sizes; if their contents have changed, remove %s",
        output,
        path,
    )
    return there


def _try_steps(config: CorpusConfig) -> None:
    """Run every step once, so that what is not installed or not readable shows at the beginning.

    Raises:
      ValueError: a step does not work here.
    """
    for given in config.steps:
        step = given.made()
        for language in ("", *LANGUAGES):
            try:
                # Not ASCII, or nothing would be to repair.
                step(Document("téxt", "trial", "trial", language=language))
            except (ImportError, ValueError, OSError) as error:
                raise ValueError(f"[[steps]] {given.name}: {error}") from error


def partitions(size: int) -> int:
    """How many parts the keys of so many bytes of input are split into.

    A power of two, so that some more files do not change what the others' keys are written for.
    """
    return min(1 << max(0, -(-size // PARTITION_BYTES) - 1).bit_length(), MOST_PARTITIONS)


def _jobs(
    config: CorpusConfig, output: str, work: str, files: Sequence[Any], size: int
) -> list[shards.FileJob]:
    parts = partitions(size)
    numbers: collections.Counter[str] = collections.Counter()
    jobs = []
    for index, (source, path) in enumerate(files):
        name = f"{source.name}-{numbers[source.name]:05d}"
        numbers[source.name] += 1
        jobs.append(shards.FileJob(config, work, output, name, index, source, path, parts))
    return jobs


def _hash(*parts: Any) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32]


def _write_bad(jobs: Sequence[shards.FileJob], output: str) -> None:
    with written(os.path.join(output, manifest.BAD)) as file:
        for job in jobs:
            with opened(job.of_work("bad")) as part:
                shutil.copyfileobj(part, file)


def _remove_strays(
    output: str, jobs: Sequence[shards.FileJob], finished: Sequence[dict[str, Any]]
) -> None:
    """Remove what a killed job left, and shards of files that are no longer there."""
    made = {os.path.join(output, shard["path"]) for one in finished for shard in one["shards"]}
    made |= {shards.removed_path(job) for job in jobs}
    for folder in ("documents", "removed"):
        for path in below(os.path.join(output, folder)):
            if path not in made:
                epath.Path(path).unlink()
    for path in epath.Path(output).iterdir():
        if ".tmp" in path.name:
            path.unlink()
