"""Data sets, before anything is trained: `medmt5 data check`, `stats`, `get` and `instructions`.

What is wrong is said by `check`, what there is by `stats`; `get` makes the files that tasks read,
and `instructions` makes instructions of them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence

from medmt5.progress import Clock

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> None:
    """The command line of `medmt5 data`; exits with 1 if files have errors, 2 if misused."""
    flags = parser()
    given = flags.parse_args(arguments)
    from medmt5.launch import setup_logging

    setup_logging()
    try:
        commands = {"check": check, "stats": stats, "get": get, "instructions": instructions}
        code = commands[given.command](given)
    except FileNotFoundError as error:
        flags.error(str(error))
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (ValueError, OSError) as error:
        print(f"medmt5 data: {error}", file=sys.stderr)
        code = 1
    sys.exit(code)


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(prog="medmt5 data", description=__doc__)
    commands = flags.add_subparsers(dest="command", required=True)
    for name, about in (
        ("check", "find every malformed row; exit code 1 if there is one"),
        ("stats", "count sentences, labels, lengths, and what test sets share with training"),
    ):
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument(
            "paths",
            nargs="+",
            metavar="PATH",
            help="a CoNLL file, a .jsonl or .json file of questions, or a folder of "
            "<lang>-<dataset>-<split>.tsv and .jsonl files",
        )
        command.add_argument("--json", action="store_true", help="write JSON, for programs")
        if name == "check":
            command.add_argument(
                "--max-errors",
                type=int,
                default=20,
                metavar="N",
                help="show so many of a kind per file (default 20; 0 for all); all are counted",
            )
        else:
            command.add_argument("--vocabulary", help="SentencePiece model, to count tokens")
            command.add_argument("--inputs", type=int, help="longer inputs are counted, in tokens")
            command.add_argument("--targets", type=int, help="longer targets are counted")
    from medmt5.data.sources import SETS

    about = "download a data set and write the files that the tasks read"
    command = commands.add_parser("get", help=about, description=about)
    command.add_argument("names", nargs="+", metavar="NAME", choices=[*SETS], help=", ".join(SETS))
    command.add_argument("--output", required=True, help="the folder for MEDMT5_DATA_DIR")
    command.add_argument("--languages", nargs="+", help="only these, such as en es")
    command.add_argument(
        "--manual_dir", help="folder with clones of the repositories, instead of downloading"
    )
    about = "turn questions and labelled sentences into instructions, for two stages of training"
    command = commands.add_parser("instructions", help=about, description=about)
    command.add_argument(
        "--data", metavar="FOLDER", help="laid out as MEDMT5_DATA_DIR, which it is by default"
    )
    command.add_argument(
        "--output", required=True, help="gets general/ and choice/, each a mixture by its path"
    )
    command.add_argument("--languages", nargs="+", help="only these, such as en es")
    command.add_argument("--seed", type=int, default=0, help="of wordings and validation")
    command.add_argument("--dry-run", action="store_true", help="count, and write nothing")
    return flags


class Progress:
    """Says now and then how much of the files is read, and how long the rest will take."""

    def __init__(self, report, paths: Sequence[str]):
        self.report, self.size = report, sum(map(os.path.getsize, paths))
        self.clock = Clock()
        self.ticks = 0

    def __call__(self) -> None:
        self.ticks += 1
        # The clock is dearer than the rest.
        if self.ticks % 1000 or not self.clock.due():
            return
        done = max(self.report.read_bytes, 1)
        share = min(100 * done // max(self.size, 1), 100)
        log.info("%d%% read  %s", share, self.clock.eta(done, self.size))


def check(given: argparse.Namespace) -> int:
    """`medmt5 data check`."""
    from medmt5.data.check import check_files, data_files
    from medmt5.data.findings import Findings

    paths = data_files(given.paths)
    findings = Findings(given.max_errors or None)
    items = check_files(paths, findings, Progress(findings, paths))
    if given.json:
        print(json.dumps(findings.as_json() | {"items": items}, ensure_ascii=False, indent=1))
    else:
        for line in findings.lines():
            print(line)
        for path, count in items.items():
            errors, warnings = findings.total("error", path), findings.total("warning", path)
            print(f"{path}: {count:,} read, {errors:,} errors, {warnings:,} warnings")
        print(f"{len(paths)} files: {findings.total('error'):,} errors")
    return int(findings.total("error") > 0)


def stats(given: argparse.Namespace) -> int:
    """`medmt5 data stats`."""
    from medmt5.data.check import data_files
    from medmt5.data.stats import describe, table

    if (given.inputs or given.targets) and not given.vocabulary:
        raise ValueError("--inputs and --targets count tokens; give --vocabulary MODEL too")
    vocabulary = None
    if given.vocabulary:
        from medmt5.vocabulary import Vocabulary

        vocabulary = Vocabulary(given.vocabulary)
    lengths = {"inputs": given.inputs, "targets": given.targets}
    files = describe(data_files(given.paths), vocabulary, lengths)
    print(json.dumps(files, ensure_ascii=False, indent=1) if given.json else table(files))
    return 0


def get(given: argparse.Namespace) -> int:
    """`medmt5 data get`."""
    from medmt5.data.get import write_set

    for name in given.names:
        for path in write_set(
            name, given.output, manual_dir=given.manual_dir, languages=given.languages
        ):
            print(path)
    return 0


def instructions(given: argparse.Namespace) -> int:
    """`medmt5 data instructions`."""
    from medmt5.data.instruction_texts import TEXTS
    from medmt5.data.instructions import STAGES, sources, table, write_files
    from medmt5.formats.gold import Report

    folder = given.data or os.environ.get("MEDMT5_DATA_DIR")
    if not folder:
        raise ValueError("MEDMT5_DATA_DIR is not set; set it, or give --data FOLDER")
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder} is no folder; give one laid out as MEDMT5_DATA_DIR")
    paths = [
        path
        for lang in given.languages or TEXTS
        for stage in STAGES
        for source in sources(folder, lang, stage)
        for path in source.files.values()
    ]
    report = Report()
    counts = write_files(
        folder,
        given.output,
        languages=given.languages or (),
        seed=given.seed,
        report=report,
        tick=Progress(report, paths),
        dry_run=given.dry_run,
    )
    print("rows of training + validation")
    print(table(counts))
    for what, number in report.other.most_common():
        print(f"left out: {number:,} {what}")
    print("dry run: nothing was written" if given.dry_run else f"written to {given.output}")
    return 0
