"""The `medmt5` command. Imports late: `--help` answers at once, `label` never loads TensorFlow."""

from __future__ import annotations

import importlib
import sys

COMMANDS = {
    "quickstart": ("medmt5.quickstart", "the main job at laptop size, on the sample data"),
    "train": ("medmt5.launch", "pre-train or fine-tune, configured by gin"),
    "eval": ("medmt5.launch", "score a checkpoint on a task, configured by gin"),
    "score": ("medmt5.score", "scores of prediction files, with intervals and paired tests"),
    "report": ("medmt5.book.command", "runs and published results beside each other"),
    "data": ("medmt5.data.command", "check, count, get data sets; make instructions of them"),
    "corpus": ("medmt5.corpus.command", "build, compare and check corpora; train vocabularies"),
    "label": ("medmt5.label", "label text: one document per line in, spans out"),
    "convert": ("medmt5.convert.command", "T5X and Hugging Face checkpoints, in and out"),
    "adapter": ("medmt5.adapters.command", "save what a run trained beside its base alone"),
    "plan": ("medmt5.plan.command", "what a recipe takes on chips that need not be here"),
    "cache": ("medmt5.cache_task", "tokenise a task once, for training without TensorFlow"),
    "inspect": (
        "medmt5.inspect_task",
        "show a task's examples, lengths and labels; check its data",
    ),
}


def usage() -> str:
    lines = ["usage: medmt5 COMMAND [options]   (medmt5 COMMAND --help says more)", "", "commands:"]
    lines += [f"  {name:12} {about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(lines)


def main() -> None:
    """Entry point of the console command."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return
    if arguments[0] == "--version":
        from medmt5 import __version__

        print(__version__)
        return
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"medmt5: no command {name!r}\n\n{usage()}", file=sys.stderr)
        sys.exit(2)
    module = importlib.import_module(COMMANDS[name][0])
    if COMMANDS[name][0] == "medmt5.launch":
        module.main(name, rest)
    else:
        module.main(rest)


if __name__ == "__main__":
    main()
