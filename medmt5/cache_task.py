"""Tokenise a task once: `medmt5 cache TASK --output_cache_dir DIR`.

Writes what `token_cache` reads, in the order of the source, shard after shard. A whole shard has a
`.json` beside it; a run that was interrupted goes on at the first that has none.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from medmt5 import token_cache
from medmt5.files import digest, is_remote, write_text
from medmt5.progress import Clock
from medmt5.tables import Seeded
from medmt5.token_cache import INDEX, MANIFEST, MIXTURE, VOCABULARY, read_json
from medmt5.vocabulary import Vocabulary

log = logging.getLogger(__name__)

BEGUN = "begun.json"  # what an unfinished folder is of


class Shard:
    """The files of one shard, written once from start to end and checksummed on the way.

    Args:
      stem: path of the files without their suffix.
      first_byte: of its records among all records.
      format_: makes the ids.
      ids: their type.
    """

    def __init__(self, stem: str, first_byte: int, format_: Any, ids: str):
        self._stem, self._at, self._format, self._ids = stem, first_byte, format_, np.dtype(ids)
        self._files: dict[str, Any] = {}
        self._hashes: dict[str, Any] = {}
        self.counts = {"read": 0, "tokens": 0}

    @property
    def bytes(self) -> dict[str, int]:
        return {name: file.tell() for name, file in self._files.items()}

    def add(self, raw: Mapping[str, Any]) -> None:
        """Write the ids of a raw example of the source."""
        joined = hasattr(self._format, "chunks")
        self.counts["tokens"] += self._document(raw) if joined else self._example(raw)
        self.counts["read"] += 1

    def seal(self) -> dict[str, Any]:
        """Close the files; what is returned is written only when they are on disk."""
        sizes = self.bytes
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
        sums = {name: each.hexdigest() for name, each in self._hashes.items()}
        sealed = self.counts | {"bytes": sizes, "sha256": sums}
        write_text(f"{self._stem}.json", json.dumps(sealed))
        return sealed

    def _document(self, raw: Mapping[str, Any]) -> int:
        ids = self._format.tokens(raw)
        self._write("tokens", self._narrow(ids))
        return len(ids)

    def _example(self, raw: Mapping[str, Any]) -> int:
        rng = Seeded(0)
        example = self._format.example(raw, rng)
        parts = [b"", b""]
        entry = np.zeros(1, INDEX)
        entry["begin"] = self._at
        tokens = len(example["inputs"]) + len(example["targets"])
        if not rng.used:  # it is the same each time
            entry["inputs"], entry["targets"] = len(example["inputs"]), len(example["targets"])
            parts[0] = self._narrow(np.concatenate([example["inputs"], example["targets"]]))
            if (weights := example.get("target_weights")) is not None:
                entry["weights"] = len(weights)
                parts[1] = np.asarray(weights, "<f4").tobytes()
        # What is left of an array is a list.
        parts.append(json.dumps(raw, ensure_ascii=False, default=np.ndarray.tolist).encode())
        entry["raw"] = len(parts[-1])
        self._write("records", b"".join(parts))
        self._write("index", entry.tobytes())
        self._at += sum(map(len, parts))
        return tokens

    def _narrow(self, ids: Any) -> bytes:
        ids = np.asarray(ids)
        if len(ids) and not 0 <= ids.min() <= ids.max() <= np.iinfo(self._ids).max:
            raise ValueError(f"ids {ids.min()} to {ids.max()} are not of this vocabulary")
        return ids.astype(self._ids).tobytes()

    def _write(self, name: str, content: bytes) -> None:
        if name not in self._files:
            self._files[name] = open(f"{self._stem}.{name}", "wb")  # noqa: SIM115 - see seal
            self._hashes[name] = hashlib.sha256()
        self._files[name].write(content)
        self._hashes[name].update(content)


def write_split(
    folder: str,
    about: Mapping[str, Any],
    format_: Any,
    vocabulary: Vocabulary,
    raws: Iterable[Mapping[str, Any]],
    *,
    shard_bytes: int,
    progress: Callable[[int, int], None] = lambda read, tokens: None,
) -> dict[str, Any]:
    """Write a split, or what an interrupted run left of it.

    Args:
      folder: of the split.
      about: from `token_cache.describe`.
      format_: makes the ids.
      vocabulary: is copied.
      raws: all raw examples of the source, in order.
      shard_bytes: of a shard, about.
      progress: told how many raw examples are done and how many tokens this run made of them.

    Returns:
      The manifest.

    Raises:
      ValueError: the folder holds the beginning of another cache, or there are no examples.
    """
    os.makedirs(folder, exist_ok=True)
    begun = os.path.join(folder, BEGUN)
    if os.path.exists(begun):
        check_same(read_json(begun), about, folder)
    write_text(begun, json.dumps(about))
    epath.Path(vocabulary.path).copy(os.path.join(folder, VOCABULARY), overwrite=True)
    shards: list[dict[str, Any]] = []
    while os.path.exists(path := os.path.join(folder, f"{len(shards):05}.json")):
        shards.append(read_json(path))
    finished, tokens, shard, read = sum(each["read"] for each in shards), 0, None, -1
    for read, raw in enumerate(raws):
        if read < finished:
            continue
        if shard is None:
            first_byte = sum(each["bytes"].get("records", 0) for each in shards)
            stem = os.path.join(folder, f"{len(shards):05}")
            shard = Shard(stem, first_byte, format_, about["ids"])
        before = shard.counts["tokens"]
        shard.add(raw)
        tokens += shard.counts["tokens"] - before
        progress(read + 1, tokens)
        if sum(shard.bytes.values()) >= shard_bytes:
            shards.append(shard.seal())
            shard = None
    if shard is not None:
        shards.append(shard.seal())
    if read + 1 < finished:
        raise ValueError(
            f"{folder} was begun when the source had {finished:,} examples or more, now it has "
            f"{read + 1:,}; give --overwrite"
        )
    if not sum(each["tokens"] for each in shards):
        raise ValueError(f"task {about['task']} has no examples in split {about['split']!r}")
    manifest = dict(about) | {"shards": shards}
    write_text(os.path.join(folder, MANIFEST), json.dumps(manifest, indent=1))
    os.remove(begun)
    return manifest


def check_same(found: Mapping[str, Any], about: Mapping[str, Any], folder: str) -> None:
    """Raise ValueError, naming what differs, unless a cache is of what `about` says."""
    for name, value in about.items():
        if found.get(name) != value:
            raise ValueError(
                f"{folder} was begun with {name} {found.get(name)}, now it is {value}; use another "
                "folder, or --overwrite"
            )


def verify(folder: str, manifest: Mapping[str, Any]) -> None:
    """Raise ValueError unless every byte is what it was when it was written."""
    for path, _, checksum in token_cache.listed_files(folder, manifest):
        if digest(path)["sha256"] != checksum:
            raise ValueError(
                f"{path} is damaged: its bytes are not those that {MANIFEST} lists; copy it "
                "again, or write the split anew with --overwrite"
            )
    model = Vocabulary(os.path.join(folder, VOCABULARY), manifest["vocabulary"]["extra_ids"])
    if token_cache.fingerprint(model) != manifest["vocabulary"]:
        raise ValueError(f"{model.path} is damaged or another vocabulary; copy it again")


class Progress:
    """A line every ten seconds: raw examples, tokens per second, time left."""

    def __init__(self, name: str, total: int | None):
        self._name, self._total = name, total
        self._clock = Clock()
        self._first: int | None = None

    def __call__(self, read: int, tokens: int) -> None:
        self._first = read - 1 if self._first is None else self._first
        if not self._clock.due():
            return
        seconds = self._clock.now - self._clock.began
        line = f"{self._name}  {read:,} read  {tokens / seconds:,.0f} tokens/s"
        if self._total:
            eta = self._clock.eta(read - self._first, self._total - self._first)
            line += f"  {100 * read / self._total:.0f} %  {eta}"
        log.info("%s", line)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    flags = argparse.ArgumentParser(
        prog="medmt5 cache",
        description=__doc__,
        epilog="example: medmt5 cache sample_text --module medmt5.tasks.sample "
        "--output_cache_dir runs/cache; then train with --gin.USE_CACHED_TASKS=True "
        "--gin.CACHE_DIR=\"'runs/cache'\"",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument("task", help="name of a task or mixture")
    flags.add_argument("--output_cache_dir", required=True, help="a local folder")
    flags.add_argument("--module", help="Python module that registers it")
    flags.add_argument("--split", action="append", help="repeat for several; default: all")
    flags.add_argument("--vocabulary", help="SentencePiece model, instead of the task's own")
    flags.add_argument("--extra_ids", type=int, help="sentinels to append to --vocabulary")
    flags.add_argument("--inputs", type=int, default=512, help="length given to plain SeqIO tasks")
    flags.add_argument("--targets", type=int, default=512, help="length given to plain SeqIO tasks")
    flags.add_argument("--shard_mib", type=int, default=512, help="size of a shard, about")
    flags.add_argument("--overwrite", action="store_true", help="write anew what is there")
    flags.add_argument(
        "--verify", action="store_true", help="write nothing; compare all bytes with checksums"
    )
    return flags.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """The command line of `medmt5 cache`."""
    given = parse(arguments)
    from medmt5.launch import errors_to_exit, setup_logging

    setup_logging()
    with errors_to_exit():
        if is_remote(given.output_cache_dir):
            raise ValueError(
                f"{given.output_cache_dir} is remote: write to a local disk, and copy the folder"
            )
        if given.verify:
            verify_all(given.task, given.output_cache_dir, given.split)
        else:
            cache(given)


def cache(given: argparse.Namespace) -> None:
    """Write every split of every task that has not been written."""
    from medmt5 import task_modules

    task_modules.import_seqio()
    from medmt5.formats import task as task_lib

    vocabulary = Vocabulary(given.vocabulary, given.extra_ids) if given.vocabulary else None
    lengths = {"inputs": given.inputs, "targets": given.targets}
    tasks = task_lib.tasks_of(given.task, given.module)
    for task, _ in tasks:
        used = vocabulary or task_lib.task_vocabulary(task)
        for split in given.split or task.splits:
            folder = os.path.join(given.output_cache_dir, task.name, split)
            format_, raws = task_lib.open_split(task, split, lengths, vocabulary)
            about = token_cache.describe(task.name, split, format_, used, lengths)
            if given.overwrite:
                shutil.rmtree(folder, ignore_errors=True)
            if os.path.exists(os.path.join(folder, MANIFEST)):
                manifest = token_cache.read_manifest(given.output_cache_dir, task.name, split)
                check_same(manifest, about, folder)
                print(f"{folder}: there already, {account(manifest)}")
                continue
            total = None
            if isinstance(task, task_lib.Task):  # reading alone is quick beside tokenising
                total = sum(1 for _ in task.source.read(split))
            manifest = write_split(
                folder, about, format_, used, raws,
                shard_bytes=given.shard_mib * 2**20,
                progress=Progress(f"{task.name} {split}", total),
            )  # fmt: skip
            print(f"{folder}: {account(manifest)}")
    name = task_lib.get_task_or_mixture(given.task).name
    if name != given.task:
        print(f"{given.task} is cached as {name}")
    if [task.name for task, _ in tasks] != [name]:
        rates = {"tasks": {task.name: rate for task, rate in tasks}}
        path = os.path.join(given.output_cache_dir, name, MIXTURE)
        write_text(path, json.dumps(rates, indent=2))


def verify_all(name: str, root: str, splits: Sequence[str] | None) -> None:
    """Check every byte of a task or mixture, and say so per split."""
    mixture = os.path.join(root, name, MIXTURE)
    for task in read_json(mixture)["tasks"] if os.path.exists(mixture) else [name]:
        folder = os.path.join(root, task)
        there = sorted(os.listdir(folder)) if os.path.isdir(folder) else ["train"]
        for split in splits or there:
            manifest = token_cache.read_manifest(root, task, split)
            verify(os.path.join(folder, split), manifest)
            print(f"{os.path.join(folder, split)}: whole, {account(manifest)}")


def account(manifest: Mapping[str, Any]) -> str:
    """Counts of a split as text."""
    shards = manifest["shards"]
    read, tokens = (sum(shard[name] for shard in shards) for name in ("read", "tokens"))
    size = sum(sum(shard["bytes"].values()) for shard in shards)
    what = "documents" if "tokens" in shards[0]["bytes"] else "examples"
    return (
        f"{read:,} {what}, {tokens:,} tokens, {size / 2**20:,.1f} MiB, "
        f"{len(shards)} shard{'s' * (len(shards) > 1)}"
    )
