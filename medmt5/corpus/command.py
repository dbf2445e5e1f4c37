"""A corpus from public sources: `medmt5 corpus build`, `diff`, `check` and `vocabulary`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence

_BUILD_MORE = """
The same command goes on where a build was interrupted. Other flags are Apache Beam's:
  medmt5 corpus build corpus.toml --output gs://bucket/corpus --runner DataflowRunner \\
    --project P --region R --temp_location gs://bucket/tmp
  medmt5 corpus build corpus.toml --output corpus --runner DirectRunner \\
    --direct_num_workers 4 --direct_running_mode multi_processing
"""


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(prog="medmt5 corpus", description=__doc__)
    commands = flags.add_subparsers(dest="command", required=True)

    def command(name: str, about: str, run: Callable, more: str = "") -> argparse.ArgumentParser:
        made = commands.add_parser(
            name,
            help=about,
            description=about,
            epilog=more,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            # Or `--project` of Beam could be taken for one of ours.
            allow_abbrev=False,
        )
        made.set_defaults(run=run)
        return made

    build = command("build", "make a corpus, as a TOML file says", _build, _BUILD_MORE)
    build.add_argument("config", metavar="CONFIG", help="see docs/corpus.md")
    build.add_argument("--output", required=True, metavar="DIR", help="local or gs://")
    build.add_argument("--workers", type=_positive, default=1, metavar="N", help="processes")
    build.add_argument("--dry_run", action="store_true", help="say what would be read")
    build.add_argument(
        "--keep_work",
        action="store_true",
        help="leave intermediate files: a build with more files then reads only those",
    )
    build.add_argument("--runner", help="of Apache Beam; without it, processes of this machine")
    diff = command("diff", "explain what changed between two builds", _diff)
    diff.add_argument("old", metavar="A")
    diff.add_argument("new", metavar="B")
    diff.add_argument("--json", action="store_true", help="write JSON, for programs")
    check = command(
        "check", "compare a corpus with its manifest; exit code 1 if it differs", _check
    )
    check.add_argument("folder", metavar="DIR")
    about = "train a SentencePiece vocabulary, and compare vocabularies"
    _add_vocabulary_flags(command("vocabulary", about, _vocabulary))
    return flags


def _add_vocabulary_flags(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a built corpus, or text (a document per line) and JSONL files: folders and patterns "
        "too, with the language in front where files do not say it: es=notes/*.jsonl.gz",
    )
    made.add_argument(
        "--size", type=int, help="pieces in all (mT5: 250,100); without it, only compare"
    )
    made.add_argument("--output", default="sentencepiece.model", metavar="FILE")
    made.add_argument(
        "--compare",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="SentencePiece models, or folders of checkpoints that have one",
    )
    made.add_argument(
        "--alpha",
        type=float,
        default=0.3,
        help="a language with n characters has a share as n to the power of it (default: 0.3)",
    )
    made.add_argument(
        "--characters",
        type=float,
        default=2e8,
        help="to train on, about; all are held in memory (default: 2e8)",
    )
    made.add_argument("--character_coverage", type=float, default=0.99999)
    made.add_argument(
        "--held_out", type=int, default=20, help="of so many documents one is measured on"
    )
    made.add_argument("--seed", type=int, default=0, help="of the sample")
    made.add_argument(
        "--threads", type=int, default=1, help="the model depends on it in its last digits"
    )
    made.add_argument("--json", metavar="FILE", help="figures; by default OUTPUT with .json")
    made.add_argument("--dry_run", action="store_true", help="count, and train nothing")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}; use 1 or more")
    return number


def main(arguments: Sequence[str]) -> None:
    """The command line of `medmt5 corpus`; exits with 1 where files fail, 2 where it is misused."""
    flags = parser()
    given, others = flags.parse_known_args(arguments)
    if others and not getattr(given, "runner", None):
        flags.error(f"unrecognized arguments: {' '.join(others)}")
    from medmt5.launch import errors_to_exit, setup_logging

    setup_logging()
    given.beam = others
    with errors_to_exit():
        try:
            code = given.run(given)
        except OSError as error:
            print(f"medmt5 corpus: {error}", file=sys.stderr)
            code = 1
        except KeyboardInterrupt:
            more = "; the same command goes on" if given.command == "build" else ""
            print(f"medmt5 corpus: stopped{more}", file=sys.stderr)
            code = 130
    sys.exit(code)


def _build(given: argparse.Namespace) -> int:
    from medmt5.corpus import build, card
    from medmt5.corpus.config import load

    beam = [f"--runner={given.runner}", *given.beam] if given.runner else None
    manifest = build.build(
        load(given.config),
        given.output,
        workers=given.workers,
        beam=beam,
        keep_work=given.keep_work,
        dry_run=given.dry_run,
    )
    if manifest:
        print(card.summary(manifest))
        print(f"written to {given.output}")
    return 0


def _diff(given: argparse.Namespace) -> int:
    from medmt5.corpus import diff

    found = diff.difference(given.old, given.new)
    text = (
        json.dumps(found, ensure_ascii=False, indent=1) + "\n" if given.json else diff.text(found)
    )
    print(text, end="")
    return 0


def _check(given: argparse.Namespace) -> int:
    from medmt5.corpus import manifest

    problems = manifest.check(given.folder)
    for problem in problems:
        print(f"{given.folder}: {problem}")
    if not problems:
        shards = manifest.read(given.folder)["shards"]
        print(f"{given.folder}: {len(shards)} shards are as the manifest says")
    return int(bool(problems))


def _vocabulary(given: argparse.Namespace) -> int:
    from medmt5.corpus import vocabulary

    vocabulary.run(given)
    return 0


if __name__ == "__main__":
    main(sys.argv[1:])
