"""A training step, real sentences and greedy decoding: ours beside T5X and PyTorch, on a CPU.

    python tools/bench_train.py --t5x DIR --json bench.json
    python tools/bench_train.py --quick --only train decode --dtypes float32

Each contender is a process of its own with the same cores, sizes, parameters and batch; mT5-small
with 32,128 words unless told otherwise. All compile, then take turns while the others sleep, so a
busy machine slows all of them; CPU seconds, of all threads together, grow less than seconds there
but grow too, and PyTorch's threads spin while they wait. `taskset -c 0,1 python ...` chooses the
cores. Prints Markdown.

| part | what takes turns |
|---|---|
| train | one update with Adafactor, full rows, without dropout |
| gradients | the same without the optimiser |
| dropout | the same as train at rate 0.1, T5's own |
| sentences | updates on real sentences: packed by ours, one per row and packed by SeqIO in T5X |
| decode | greedy decoding without an end, from full rows |

T5X runs where it is given with --t5x (a folder that holds the package `t5x`), in this Python or in
that of --t5x-python; PyTorch where it and transformers are installed. What is missing is said. The
ceiling is the speed of the step's own products, forward and backward, each multiplied alone in JAX
and in PyTorch, whichever is faster; FLOPs are counted by `reporting.training_flops`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bench_train_worker import Case
from measuring import quartiles

import medmt5
from medmt5 import markdown
from medmt5.formats.conll import Sentence, read_conll
from medmt5.formats.labelling import Labelling
from medmt5.models.t5 import T5Config
from medmt5.progress import duration
from medmt5.reporting import training_flops
from medmt5.vocabulary import Vocabulary

HERE = Path(__file__).resolve().parent
SAMPLE = Path(medmt5.__file__).parent / "sample_data"
PARTS = ("train", "gradients", "dropout", "sentences", "decode")
SHUFFLE = 0  # seed of the order of sentences
QUICK = dict(
    layers=1,
    embed=32,
    heads=2,
    mlp=48,
    vocab=2048,
    rows=2,
    source=24,
    target=16,
    sentence_lengths=[64, 80],
    decode_length=4,
    rounds=2,
)


class Contender(NamedTuple):
    """Who takes turns: a name, the worker's script, its Python, its case."""

    name: str
    script: str
    python: str
    case: Case
    path: str = ""  # put before its import path


class Failed(Exception):
    """A worker ended early; the message has its last words."""


class Worker:
    """A contender's process."""

    def __init__(self, contender: Contender):
        self.contender = contender
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        paths = [contender.path, os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [contender.python, str(HERE / contender.script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )

    def ask(self, line: str) -> dict[str, Any]:
        """Send a line, and wait for the answer.

        Raises:
          Failed: there is none.
        """
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            code = self._process.wait()
            self._errors.seek(0)
            said = [line for line in self._errors.read().splitlines() if line.strip()]
            raise Failed(f"ended with code {code}: {said[-1] if said else 'no message'}")
        return json.loads(answer)

    def prepare(self) -> dict[str, Any]:
        return self.ask(json.dumps(dataclasses.asdict(self.contender.case)))

    def turn(self, number: int) -> dict[str, Any]:
        return self.ask(str(number))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(BrokenPipeError):
                file.close()


def step_products(case: Case, head_dim: int = 64) -> list[tuple[tuple[int, int, int, int], int]]:
    """The matrix products of a training step, (batch, m, k, n), and how often each is made.

    Their FLOPs add up to `reporting.training_flops`.
    """
    source, target = case.rows * case.source, case.rows * case.target
    joined, pairs = case.heads * head_dim, case.rows * case.heads

    def feed_forward(tokens: int) -> list[tuple[int, int, int, int]]:
        return 2 * [(1, tokens, case.embed, case.mlp)] + [(1, tokens, case.mlp, case.embed)]

    def attention(queries: int, keys: int) -> list[tuple[int, int, int, int]]:
        query, key = case.rows * queries, case.rows * keys
        into = [(1, tokens, case.embed, joined) for tokens in (query, key, key)]
        scores = [(pairs, queries, head_dim, keys), (pairs, queries, keys, head_dim)]
        return [*into, *scores, (1, query, joined, case.embed)]

    layer = [
        *attention(case.source, case.source),
        *feed_forward(source),
        *attention(case.target, case.target),
        *attention(case.target, case.source),
        *feed_forward(target),
    ]
    counts: dict[tuple[int, int, int, int], int] = {}
    for size, m, k, n in [*case.layers * layer, (1, target, case.embed, case.vocab)]:
        for shape in ((size, m, k, n), (size, m, n, k), (size, k, m, n)):
            counts[shape] = counts.get(shape, 0) + 1
    return list(counts.items())


def contenders(part: str, dtype: str, given: argparse.Namespace, examples: str) -> list[Contender]:
    """Ours first: the others are compared with it."""
    case = Case(
        part="train" if part == "dropout" else part,
        dtype=dtype,
        layers=given.layers,
        embed=given.embed,
        heads=given.heads,
        mlp=given.mlp,
        vocab=given.vocab,
        rows=given.rows,
        source=given.source,
        target=given.target,
        dropout=0.1 if part == "dropout" else 0.0,
        threads=cores(),
    )
    ours = ("bench_train_ours.py", sys.executable)
    torch = ("bench_train_torch.py", sys.executable)
    t5x = ("bench_train_t5x.py", given.t5x_python)
    if part == "sentences":
        source, target = given.sentence_lengths
        case = dataclasses.replace(case, examples=examples, source=source, target=target)
        packed = dataclasses.replace(case, packed=True)
        found = [Contender("ours, packed", *ours, packed)]
        if given.t5x:
            found.append(Contender("T5X, one per row", *t5x, case, given.t5x))
            found.append(Contender("T5X, packed", *t5x, packed, given.t5x))
        return found
    if part == "decode":
        case = dataclasses.replace(case, target=given.decode_length)
    found = [Contender("ours", *ours, case)]
    if part == "train":
        found.append(Contender("ours, unrolled", *ours, dataclasses.replace(case, unrolled=True)))
    if given.t5x:
        found.append(Contender("T5X", *t5x, case, given.t5x))
    if given.torch:
        found.append(Contender("PyTorch", *torch, case))
    if part in ("train", "gradients"):
        shapes = [shape for shape, _ in step_products(case)]
        alone = dataclasses.replace(case, part="products", products=shapes)
        found.append(Contender("products in JAX", *ours, alone))
        if given.torch:
            found.append(Contender("products in PyTorch", *torch, alone))
    return found


def measure(title: str, entrants: Sequence[Contender], rounds: int) -> list[dict[str, Any]]:
    """Records of those that get through: facts, and the answers to each turn.

    Raises:
      Failed: the first, with which the others are compared, does not.
    """
    running: list[tuple[Worker, dict[str, Any]]] = []

    def left_out(contender: Contender, error: Failed) -> None:
        if contender is entrants[0]:
            raise error
        say(f"{title}: {contender.name} is left out: {error}")

    with contextlib.ExitStack() as stack:
        for contender in entrants:
            worker = Worker(contender)
            stack.callback(worker.close)
            began = time.monotonic()
            try:
                record = worker.prepare()
                record |= {"contender": contender.name, "first": worker.turn(0), "turns": []}
            except Failed as error:
                left_out(contender, error)
                continue
            say(f"{title}: {contender.name} ready after {duration(time.monotonic() - began)}")
            running.append((worker, record))
        began = time.monotonic()
        for number in range(1, rounds + 1):
            for worker, record in list(running):
                try:
                    record["turns"].append(worker.turn(number))
                except Failed as error:
                    left_out(worker.contender, error)
                    running.remove((worker, record))
            left = (time.monotonic() - began) / number * (rounds - number)
            say(f"{title}: round {number} of {rounds}, {duration(left)} left")
    return [record for _, record in running]


def seconds_of(record: dict[str, Any]) -> np.ndarray:
    return np.array([turn["seconds"] for turn in record["turns"]])


def ceiling(records: Sequence[dict[str, Any]], case: Case) -> np.ndarray | None:
    """FLOP/s of the products alone in each round, each by the faster library; None unmeasured."""
    alone = [
        np.array([turn["products"] for turn in record["turns"]])
        for record in records
        if record["contender"].startswith("products")
    ]
    if not alone:
        return None
    shapes, counts = zip(*step_products(case), strict=True)
    flops = 2.0 * np.prod(np.array(shapes, float), axis=1)
    return (flops @ counts) / (np.min(alone, axis=0) @ counts)


def summarise(part: str, records: list[dict[str, Any]], case: Case) -> list[dict[str, Any]]:
    """Adds to each record what the table shows; leaves the products out."""
    limit = ceiling(records, case)
    racing = [record for record in records if not record["contender"].startswith("products")]
    flops = training_flops(
        T5Config(**case.sizes()), rows=case.rows, source=case.source, target=case.target
    )
    for record in racing:
        seconds = seconds_of(record)
        record["seconds"] = quartiles(seconds)
        record["cpu_seconds"] = float(np.median([t["cpu_seconds"] for t in record["turns"]]))
        record["peak_rss_mib"] = record["turns"][-1]["peak_rss_mib"]
        # Ratios within a round: what slows the machine for a while slows all.
        record["times_ours"] = quartiles(seconds / seconds_of(racing[0]))
        if part == "decode":
            tokens = record["turns"][-1].pop("tokens")
            record["tokens_per_second"] = quartiles(case.rows * case.target / seconds)
            record["tokens"] = tokens
            same = np.array(tokens) == np.array(racing[0]["tokens"])
            record["same_tokens"] = float(same.mean())
            continue
        answers = [record["first"], *record["turns"]]
        record["losses"] = [answer["loss"] for answer in answers]
        tokens = np.array(
            [
                turn.get("real_tokens", case.rows * (case.source + case.target))
                for turn in record["turns"]
            ]
        )
        record["tokens_per_second"] = quartiles(tokens / seconds)
        record["filled"] = float(tokens.mean() / (case.rows * (case.source + case.target)))
        if limit is not None:
            record["ceiling_gflops"] = quartiles(limit / 1e9)
            record["share_of_ceiling"] = quartiles(flops / seconds / limit)
    for record in racing:
        for turn in [record["first"], *record["turns"]]:
            turn.pop("tokens", None)
        record.pop("tokens", None)
    return racing


def spread(values: Sequence[float] | None, digits: int = 2, scale: float = 1.0) -> str:
    """`1.02 (0.98-1.05)`: median and quartiles."""
    if values is None:
        return ""
    low, middle, high = (f"{scale * value:,.{digits}f}" for value in values)
    return f"{middle} ({low}-{high})"


def number(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def table(title: str, part: str, records: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    columns = {
        "": [record["contender"] for record in records],
        "seconds": [spread(record["seconds"], 3) for record in records],
        "CPU seconds": [number(record["cpu_seconds"], 3) for record in records],
        "times ours": [spread(record["times_ours"]) for record in records],
        "tokens/s": [spread(record["tokens_per_second"], 0) for record in records],
    }
    if part == "sentences":
        columns["filled %"] = [number(100 * record["filled"]) for record in records]
    if part in ("train", "gradients"):
        columns["% of the ceiling"] = [
            spread(record.get("share_of_ceiling"), 0, 100) for record in records
        ]
    columns["compiled in s"] = [number(record.get("compile_seconds"), 1) for record in records]
    columns["temporary MiB"] = [number(record.get("temporary_mib")) for record in records]
    columns["peak RSS MiB"] = [number(record["peak_rss_mib"]) for record in records]
    if part == "decode":
        columns["same tokens %"] = [number(100 * r["same_tokens"], 1) for r in records]
    else:
        columns["losses"] = [
            ", ".join(f"{loss:.4f}" for loss in record["losses"][:3]) for record in records
        ]
    rows = zip(*columns.values(), strict=True)
    lines = [markdown.table(list(columns), rows, right=range(1, len(columns)))]
    if "ceiling_gflops" in records[0]:
        lines.append(f"\nCeiling: {spread(records[0]['ceiling_gflops'], 0)} GFLOP/s.")
    return "\n".join([f"\n### {title}\n", *lines, ""])


def read_sentences(path: Path) -> Iterator[Sentence]:
    """Sentences of a file with `word<TAB>tag` lines, or with a text per line."""
    with open(path, encoding="utf-8") as file:
        first = next((line for line in file if line.strip()), "")
        if "\t" in first:
            yield from read_conll(str(path))
            return
        for line in itertools.chain([first], file):
            if words := line.split():
                yield Sentence(tuple(words), ("O",) * len(words))


def make_examples(given: argparse.Namespace) -> list[dict[str, list[int]]]:
    """Sentences as labelling examples: the source, and its copy with tags.

    Raises:
      ValueError: the vocabulary has more rows than the model, or a sentence is longer than a row.
    """
    paths = [Path(path) for path in given.data] or sorted(SAMPLE.glob("labelled/*-train.tsv"))
    found = [sentence for path in paths for sentence in read_sentences(path)]
    labels = sorted({tag[2:] for sentence in found for tag in sentence.tags if tag != "O"})
    vocabulary = Vocabulary(given.vocabulary)
    if vocabulary.rows > given.vocab:
        raise ValueError(
            f"{given.vocabulary} has {vocabulary.rows} rows, the model {given.vocab}; use "
            f"--vocab {vocabulary.rows}"
        )
    format_ = Labelling(vocabulary, labels or ["Entity"])
    examples = []
    for i in np.random.default_rng(SHUFFLE).permutation(len(found)):
        made = format_.example({"words": found[i].words, "tags": found[i].tags}, None)
        examples.append({key: made[key].tolist() for key in ("inputs", "targets")})
    lengths = np.array([[len(e["inputs"]), len(e["targets"])] for e in examples])
    fits = (lengths <= given.sentence_lengths).all(axis=1)
    say(
        f"{len(examples)} sentences of {lengths[:, 0].mean():.1f} and {lengths[:, 1].mean():.1f} "
        f"tokens on average; {len(examples) - fits.sum()} are longer than a row and left out"
    )
    return [example for example, fit in zip(examples, fits, strict=True) if fit]


def cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--t5x", metavar="DIR", help="folder with T5X's package")
    flags.add_argument("--t5x-python", metavar="FILE", default=sys.executable)
    flags.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    dtypes = ["float32", "bfloat16"]
    flags.add_argument("--dtypes", nargs="+", choices=dtypes, default=dtypes)
    flags.add_argument("--rounds", type=int, default=7)
    flags.add_argument("--layers", type=int, default=8, help="of encoder and decoder each")
    flags.add_argument("--embed", type=int, default=512)
    flags.add_argument("--heads", type=int, default=6)
    flags.add_argument("--mlp", type=int, default=1024)
    flags.add_argument("--vocab", type=int, default=32_128)
    flags.add_argument("--rows", type=int, default=8)
    flags.add_argument("--source", type=int, default=512, help="tokens per row")
    flags.add_argument("--target", type=int, default=114, help="tokens per row")
    flags.add_argument(
        "--sentence-lengths",
        type=int,
        nargs=2,
        default=[256, 320],
        metavar=("SOURCE", "TARGET"),
        help="row lengths of the part sentences",
    )
    flags.add_argument("--decode-length", type=int, default=128)
    flags.add_argument(
        "--data",
        nargs="+",
        default=[],
        metavar="FILE",
        help="word<TAB>tag lines or a sentence per line; by default the sample data",
    )
    flags.add_argument(
        "--vocabulary",
        metavar="FILE",
        default=str(SAMPLE / "vocabulary" / "sentencepiece.model"),
        help="SentencePiece model; by default the sample data's",
    )
    flags.add_argument("--json", metavar="FILE", help="write all figures")
    flags.add_argument("--quick", action="store_true", help="tiny sizes, to see that all runs")
    given = flags.parse_args(arguments)
    if given.quick:
        flags.set_defaults(**QUICK)
        given = flags.parse_args(arguments)
    return given


def main(arguments: Sequence[str]) -> dict[str, Any]:
    given = parse(arguments)
    given.torch = all(map(importlib.util.find_spec, ("torch", "transformers")))
    if not given.t5x:
        say("T5X is left out: --t5x DIR names its folder")
    if not given.torch:
        say("PyTorch is left out: pip install torch transformers")
    report: dict[str, Any] = {"cores": cores(), "flags": vars(given), "results": []}
    with tempfile.TemporaryDirectory() as folder:
        examples = os.path.join(folder, "examples.json")
        if "sentences" in given.only:
            with open(examples, "w", encoding="utf-8") as file:
                json.dump(make_examples(given), file)
        for part, dtype in itertools.product(given.only, given.dtypes):
            title = f"{part}, {dtype}"
            entrants = contenders(part, dtype, given, examples)
            case = entrants[0].case
            records = summarise(part, measure(title, entrants, given.rounds), case)
            title += f", {case.rows} x {case.source}/{case.target}"
            print(table(title, part, records), flush=True)
            report["results"].append({"part": part, "dtype": dtype, "contenders": records})
            if given.json:
                with open(given.json, "w", encoding="utf-8") as file:
                    json.dump(report, file, indent=1)
    return report


if __name__ == "__main__":
    main(sys.argv[1:])
