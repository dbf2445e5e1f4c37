"""A plan on paper for a large corpus, from what `bench_corpus` measured on one core.

    python tools/bench_corpus.py --json corpus.jsonl
    python tools/corpus_scale.py corpus.jsonl --gigabytes 100 10000

Sizes are of text in UTF-8. What is measured: seconds per MB of reading, cleaning, finding
duplicates and writing, and bytes that are left on disk. All else is `Assumptions`, of which each
can be set (`--vcpu_dollars 0.03`): they are to be replaced by the reader's own. Prints Markdown.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from medmt5.corpus.build import partitions

SOURCES = ("jsonl", "pubmed", "pmc", "wikipedia", "warc", "pdf")
# Held at once by the job of a partition: rows as read, the same joined, a tenth for their order.
COPIES = 2.2
# A partition takes of the keys of a file, of two kinds: the end, the index, and one block or a few.
# Then every file looks into what was found in every partition.
READS = 2 * 3 + 3


@dataclasses.dataclass(frozen=True)
class Assumptions:
    """What was not measured.

    Attributes:
      vcpus: of a machine.
      vcpu_speed: of a measured core, that a hardware thread gives which shares its core.
      busy: share of the time; the rest is start, stragglers, failures.
      hours: in which the build is to end.
      vcpu_dollars: of an hour.
      gb_dollars: of a month of object storage.
      days: that intermediate files are kept.
      file_gigabytes: of text in an input file.
      read_seconds: of a small read from object storage.
      read_dollars: of 10,000 of them.
    """

    vcpus: int = 16
    vcpu_speed: float = 0.6
    busy: float = 0.8
    hours: float = 24.0
    vcpu_dollars: float = 0.05
    gb_dollars: float = 0.02
    days: float = 7.0
    file_gigabytes: float = 1.0
    read_seconds: float = 0.03
    read_dollars: float = 0.004


def plan(
    records: Mapping[str, Mapping[str, Any]],
    source: str,
    gigabytes: float,
    assumed: Assumptions = Assumptions(),
) -> dict[str, Any]:
    """Machines, time, storage and cost.

    Args:
      records: of the benchmark, by case; the last of each counts.
      source: format that all of the text comes in.
      gigabytes: of text.
    """
    build, reading = records["build"], records[f"read {source}"]
    megabytes = 1000 * gigabytes
    # The build that was measured read JSONL.
    per_mb = 1 / _speed(build) + 1 / _speed(reading) - 1 / _speed(records["read jsonl"])
    core_hours = megabytes * per_mb / 3600
    share = {kind: size / 1e6 / build["megabytes"] for kind, size in build["bytes"].items()}
    files = math.ceil(gigabytes / assumed.file_gigabytes)
    in_files = gigabytes * reading.get("file_bytes_per_byte", 1.0)
    parts = partitions(math.ceil(in_files * 1e9))
    reads = files * parts * READS
    vcpu_hours = core_hours / assumed.vcpu_speed + reads * assumed.read_seconds / 3600
    vcpu_hours /= assumed.busy
    machines = math.ceil(vcpu_hours / assumed.vcpus / assumed.hours)
    between = gigabytes * (share["keys"] + share["cleaned"] + share["found"])
    storage = between * assumed.gb_dollars * assumed.days / 30
    return {
        "source": source,
        "gigabytes": gigabytes,
        "core_hours": core_hours,
        "machines": machines,
        "hours": vcpu_hours / assumed.vcpus / machines,
        "files": files,
        "file_hours": assumed.file_gigabytes * 1000 * per_mb / 3600 / assumed.vcpu_speed,
        "between_gigabytes": between,
        "output_gigabytes": gigabytes * share["output"],
        "partitions": parts,
        "partition_gib": COPIES * gigabytes * 1e9 * share["keys"] / parts / 2**30,
        "reads": reads,
        "dollars": vcpu_hours * assumed.vcpu_dollars + storage + reads / 1e4 * assumed.read_dollars,
    }


def _speed(record: Mapping[str, Any]) -> float:
    return record["mb_per_second"][1]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Plans as Markdown."""
    lines = [
        "| text | as | core-hours | machines | hours | files, hours each | between, TB "
        "| output, TB | partitions, GiB each | small reads | $ |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        lines.append(
            f"| {_size(row['gigabytes'])} | {row['source']} | {row['core_hours']:,.0f} "
            f"| {row['machines']:,} | {row['hours']:.1f} "
            f"| {row['files']:,}, {row['file_hours']:.1f} | {row['between_gigabytes'] / 1000:.2f} "
            f"| {row['output_gigabytes'] / 1000:.2f} "
            f"| {row['partitions']:,}, {row['partition_gib']:.1f} | {row['reads'] / 1e6:,.1f} M "
            f"| {row['dollars']:,.0f} |"
        )
    return "\n".join(lines)


def _size(gigabytes: float) -> str:
    return f"{gigabytes / 1000:g} TB" if gigabytes >= 1000 else f"{gigabytes:g} GB"


def read(path: str) -> dict[str, dict[str, Any]]:
    """Records of the benchmark's file by case.

    Raises:
      ValueError: a case that a plan needs is missing.
    """
    with open(path, encoding="utf-8") as file:
        records = {record["case"]: record for record in map(json.loads, file)}
    for case in ("build", "read jsonl"):
        if case not in records:
            raise ValueError(f"{path} has no case {case!r}; run tools/bench_corpus.py with all")
    return records


def main(arguments: Sequence[str]) -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("path", help="what bench_corpus.py --json wrote")
    flags.add_argument("--gigabytes", type=float, nargs="+", default=[100.0, 10_000.0])
    for field in dataclasses.fields(Assumptions):
        flags.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    given = flags.parse_args(arguments)
    names = [field.name for field in dataclasses.fields(Assumptions)]
    assumed = Assumptions(**{name: getattr(given, name) for name in names})
    try:
        records = read(given.path)
    except (ValueError, OSError) as error:
        flags.exit(1, f"corpus_scale: {error}\n")
    commits = {(record["commit"], record["machine"]["processor"]) for record in records.values()}
    print("; ".join(f"measured at {commit} on {processor}" for commit, processor in commits))
    print(f"assumed: {dataclasses.asdict(assumed)}\n")
    rows = [
        plan(records, source, gigabytes, assumed)
        for gigabytes in given.gigabytes
        for source in SOURCES
        if f"read {source}" in records
    ]
    print(table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
