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


def parser(*, vocabulary: bool = False) -> argparse.ArgumentParser:
    """The flags; those of `vocabulary`, which are another module's, only if they are wanted."""
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
    made = command("vocabulary", about, _vocabulary)
    if vocabulary:
        from medmt5.corpus.vocabulary import add_arguments

        add_arguments(made)
    return flags


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}; use 1 or more")
    return number


def main(arguments: Sequence[str]) -> None:
    """The command line of `medmt5 corpus`; exits with 1 where files fail, 2 where it is misused."""
    flags = parser(vocabulary=list(arguments[:1]) == ["vocabulary"])
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
            print("medmt5 corpus: stopped; the same command goes on", file=sys.stderr)
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
