"""Look at a task before training on it: `medmt5 inspect TASK`.

Shows examples as text and ids, lengths, what would be cut, how full packed rows are, label counts;
reading the data checks it, and an error names the file and line.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from medmt5.packing import fill, pack, suggested_targets


def main(arguments: Sequence[str]) -> None:
    """The command line of `medmt5 inspect`."""
    flags = argparse.ArgumentParser(
        prog="medmt5 inspect",
        description=__doc__,
        epilog="example: medmt5 inspect sample_clinical_en",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument("task", nargs="?", help="a task or mixture, or the path of your own files")
    flags.add_argument("--list", action="store_true", help="names of all tasks and mixtures")
    flags.add_argument("--module", help="Python module that registers it")
    flags.add_argument("--split", default="train")
    flags.add_argument("--vocabulary", help="SentencePiece model, instead of the task's own")
    flags.add_argument("--inputs", type=int, default=512, help="row length in tokens")
    flags.add_argument("--targets", type=int, default=512, help="row length in tokens")
    flags.add_argument("--examples", type=int, default=3, help="how many to show")
    given = flags.parse_args(arguments)
    if bool(given.task) == given.list:
        flags.error("give the name of a task, or --list")
    from medmt5 import batches
    from medmt5.launch import errors_to_exit, setup_logging
    from medmt5.vocabulary import Vocabulary

    setup_logging()
    with errors_to_exit():
        if given.list:
            from medmt5.formats.task import all_names

            print("\n".join(all_names(given.module)))
            return
        lengths = {"inputs": given.inputs, "targets": given.targets}
        config = batches.DatasetConfig(given.task, lengths, split=given.split, module=given.module)
        vocabulary = Vocabulary(given.vocabulary) if given.vocabulary else None
        for table in batches.read_tables(config, vocabulary):
            print(describe(table, lengths, given.examples))


def describe(table, lengths, count: int) -> str:
    """A readable account of one task's split.

    Args:
      table: from `batches.read_tables`.
      lengths: row lengths in tokens; longer examples are counted as cut.
      count: examples to show.
    """
    sizes = {"inputs": [], "targets": []}
    labels: Counter[str] = Counter()
    lines = [f"{table.name}: {len(table.raws):,} examples, format {table.format.kind}"]
    vocabulary = getattr(table.format, "vocabulary", None)
    for i, raw in enumerate(table.raws):
        example = table.format.example(raw, np.random.default_rng([0, i]))
        for key, values in sizes.items():
            values.append(len(example[key]))
        labels.update(span.label for span in example.get("spans", ()))
        if i < count:
            for key in sizes:
                lines.append(f"  {key} {i}: {example[key].tolist()}")
                if vocabulary:
                    lines.append(f"    {vocabulary.decode(example[key])}")
            lines += [f"    {tuple(span)}" for span in example.get("spans", ())]
    both = np.array([sizes["inputs"], sizes["targets"]]).T
    for key, values in sizes.items():
        values = np.array(values)
        over = int((values > lengths[key]).sum())
        lines.append(
            f"  {key} tokens: mean {values.mean():.1f}, median {np.median(values):.0f}, 99 % below "
            f"{np.percentile(values, 99):.0f}, longest {values.max()}; "
            f"{over} longer than {lengths[key]} would be cut"
        )
    lines.append(f"  {advice(both, lengths)}")
    for label, number in labels.most_common():
        lines.append(f"  label {label}: {number:,} spans")
    return "\n".join(lines)


def advice(sizes: Int[np.ndarray, "examples 2"], lengths: Mapping[str, int]) -> str:
    """How full packed rows are, and the length of targets that would fill them best.

    Args:
      sizes: tokens of inputs and targets of each example.
      lengths: row lengths in tokens.
    """
    from medmt5.batches import WINDOW

    limits = [lengths["inputs"], lengths["targets"]]
    some = sizes[np.random.default_rng(0).permutation(len(sizes))[:WINDOW]]
    line = f"packed: {_fill(np.minimum(some, limits), lengths):.1f} % real tokens"
    if (some[:, 0] > lengths["inputs"]).all():
        return line
    best = dict(lengths) | {"targets": suggested_targets(some, lengths["inputs"])}
    fitting = some[(some <= list(best.values())).all(axis=1)]
    return f"{line}; TASK_FEATURE_LENGTHS = {best}: {_fill(fitting, best):.1f} %"


def _fill(sizes: Int[np.ndarray, "examples 2"], lengths: Mapping[str, int]) -> float:
    return 100 * fill(sizes, len(pack(sizes, lengths)), lengths)[1]
