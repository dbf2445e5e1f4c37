"""How fast sentences are labelled, side by side in one process: ours step by step, and others.

    python tools/bench_labelling.py --json bench.json
    python tools/bench_labelling.py --layers 2 --embed 64 --words 10 --batches 8 --repeats 3

The weights are random, of mT5-small's shape unless told otherwise, and calibrated so that a given
share of words opens a span. All methods get the same weights and sentences, and take turns within
each repeat, so a busy machine slows all of them. PyTorch's threads wait for each other where cores
are shared: there, give all methods one (`taskset -c 0 python ...`). Needs neither TensorFlow nor
SeqIO.

| method | what it is |
|---|---|
| token by token, full head | one token per pass, all rows of the output matrix multiplied |
| token by token | only the rows of the allowed tokens |
| speculative, width w | w - 1 source tokens guessed per pass |
| in turns, width w | the same, and rows that have ended make room for the next sentences |
| predictor | the same from lists to lists: sorting, padding, copies to and from the device |
| beam 4 | four beams ranked by the mean over the whole vocabulary, as the peer ranks them |
| beam 4, allowed rows | ranked by the sum among the allowed tokens |
| HF greedy, HF beam 4 | transformers' `generate`, unconstrained, made to write as many tokens |
| peer beam 1, peer beam 4 | `constrained_generation.py` from the folder given with --peer |

The peer is https://github.com/ikergarcia1996/Sequence-Labeling-LLMs; at 176d32d it needs
transformers 4.46.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.metadata
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from measuring import quartiles

from medmt5 import decoding
from medmt5.convert import huggingface
from medmt5.convert.source import flat_params
from medmt5.formats.labelling import Labelling
from medmt5.formats.tags import TagSet
from medmt5.models.t5 import T5Config
from medmt5.predictor import Predictor, bucket
from medmt5.state import Architecture, Params

EOS = 1
FIRST = "token by token, full head"  # what the others are compared with
CONSTANT = 8.0  # see `calibrated`; several times an embedding's standard deviation of 1


class Ids:
    """As much of a vocabulary as the labelling format needs for words that are ids already."""

    eos_id = EOS
    num_free_ids = 62  # mT5's

    def __init__(self, rows: int):
        self.rows = rows

    def free_ids(self, count: int) -> tuple[int, ...]:
        if count > self.num_free_ids:
            raise ValueError("more labels than spare rows for single tags")
        return tuple(range(self.rows - count, self.rows))

    def is_reserved(self, token: int) -> bool:
        return token >= self.rows - 200

    def encode_words(self, words: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
        return [tuple(word) for word in words]


def sentences(
    format_: Labelling, *, count: int, words: int, rows: int, seed: int
) -> list[dict[str, Any]]:
    """Random sentences; a word has 1 to 4 tokens, 1.5 on average, as clinical text in mT5's."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        sizes = rng.choice([1, 2, 3, 4], size=words, p=[0.68, 0.18, 0.1, 0.04])
        ids = [rng.integers(300, rows - 200, size).tolist() for size in sizes]
        examples.append(format_.example({"words": ids}, None))
    return examples


def calibrated(
    architecture: Architecture, format_: Labelling, *, spans_per_word: float, seed: int = 0
) -> Params:
    """Random parameters with which about this share of words opens a span.

    One coordinate of the residual stream is the same everywhere, so that a token's weight on it
    works as a bias. One pass over sentences without tags tells which bias opens how many spans.
    """
    params = jax.jit(architecture.init)(jax.random.key(seed))
    params["token_embedder"]["embedding"] = (
        params["token_embedder"]["embedding"].at[:, 0].set(CONSTANT)
    )
    for name, layer in params["decoder"].items():
        if name.startswith("layers_"):
            for part in ("self_attention", "encoder_decoder_attention"):
                layer[part]["out"]["kernel"] = layer[part]["out"]["kernel"].at[:, 0].set(0.0)
            layer["mlp"]["wo"]["kernel"] = layer["mlp"]["wo"]["kernel"].at[:, 0].set(0.0)

    rows = params["token_embedder"]["embedding"].shape[0]
    examples = sentences(format_, count=32, words=30, rows=rows, seed=seed)
    length = bucket(max(len(e["inputs"]) for e in examples))
    constraint = format_.constraint(examples, length)
    open_ids = np.array(sorted({tag[0] for tag in format_.tags.opens}))

    @jax.jit
    def margins(params: Params, source: jax.Array) -> jax.Array:
        """How far the best opening tag is above the copy, in units of the constant."""
        model = architecture.merge(params)
        inputs = jnp.pad(source, ((0, 0), (1, 0)))[:, :-1]
        hidden = model.decode(model.encode(source), source, inputs, source)
        hidden = hidden.reshape(-1, hidden.shape[-1])
        opens = jnp.broadcast_to(open_ids, (len(hidden), len(open_ids)))
        logits = model.logits_of(hidden, jnp.concatenate([source.reshape(-1, 1), opens], axis=1))
        return (logits[:, 1:].max(-1) - logits[:, 0]) / hidden[:, 0].astype(jnp.float32)

    found = np.asarray(margins(params, constraint.source)).reshape(constraint.source.shape)
    can_open = np.asarray(constraint.word_start & (constraint.source != EOS))
    bias = -np.quantile(found[can_open], 1 - spans_per_word)
    head = params["decoder"]["logits_dense"]["kernel"]
    params["decoder"]["logits_dense"]["kernel"] = head.at[0, open_ids].add(bias)
    return params


class FullHead:
    """A model that multiplies all rows of its output matrix, whatever is allowed."""

    def __init__(self, model: Any):
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def logits_of(self, hidden: jax.Array, tokens: jax.Array) -> jax.Array:
        return jnp.take_along_axis(self.model.logits(hidden), tokens, axis=1)


class Batch(NamedTuple):
    """Padded sentences, on the device."""

    source: jax.Array
    constraint: Any


class Case(NamedTuple):
    """One line of the benchmark's grid."""

    rows: int
    words: int
    batch: int


# Passes per batch, which is those of its slowest row, and per row.
Passes = tuple[float, float] | None
Method = Callable[[], tuple[list[list[int]], Passes]]


class Timing(NamedTuple):
    """Seconds of each repeat, and what the method wrote: one list of ids per sentence."""

    seconds: list[float]
    tokens: list[list[int]]
    passes: Passes


def stripped(tokens: np.ndarray) -> list[list[int]]:
    """Each row up to its end of sequence."""
    lists = np.asarray(tokens).tolist()
    return [row[: row.index(EOS) + 1] if EOS in row else row for row in lists]


def our_methods(
    architecture: Architecture,
    params: Params,
    format_: Labelling,
    examples: Sequence[dict[str, Any]],
    *,
    batch: int,
    widths: Sequence[int],
    beams: int,
) -> dict[str, Method]:
    """Ours, from plain to fast."""
    length = bucket(max(len(e["inputs"]) for e in examples))
    limit = bucket(max(map(format_.max_target_length, examples)))
    batches = []
    for i in range(0, len(examples), batch):
        constraint = format_.constraint(examples[i : i + batch], length)
        batches.append(Batch(constraint.source, constraint))

    @functools.partial(jax.jit, static_argnames=("width", "full", "slots"))
    def decode(
        params: Params, batch: Batch, *, width: int, full: bool = False, slots: int | None = None
    ) -> Any:
        model = architecture.merge(params)
        return decoding.greedy(
            FullHead(model) if full else model,
            batch.source,
            max_length=limit,
            eos_id=EOS,
            constraint=batch.constraint,
            width=width,
            slots=slots,
        )

    def run(**options: Any) -> tuple[list[list[int]], Passes]:
        decoded = [jax.device_get(decode(params, batch, **options)) for batch in batches]
        tokens = [row for part in decoded for row in stripped(part.tokens)]
        longest = float(np.mean([part.passes.max() for part in decoded]))
        return tokens, (longest, float(np.mean([part.passes.mean() for part in decoded])))

    methods: dict[str, Method] = {
        FIRST: lambda: run(width=1, full=True),
        "token by token": lambda: run(width=1),
    }
    for width in widths:
        methods[f"speculative, width {width}"] = lambda width=width: run(width=width)
    predictor = Predictor(architecture, params, eos_id=EOS, batch_size=batch)

    def predict() -> tuple[list[list[int]], None]:
        found = predictor.predict(examples, format_=format_)
        return [prediction.tokens.tolist() for prediction in found], None

    if len(batches) > 1:
        everything = format_.constraint(sorted(examples, key=lambda e: len(e["inputs"])), length)
        together = Batch(everything.source, everything)
        order = sorted(range(len(examples)), key=lambda i: len(examples[i]["inputs"]))

        def turns() -> tuple[list[list[int]], Passes]:
            found = jax.device_get(decode(params, together, width=predictor.width, slots=batch))
            tokens = dict(zip(order, stripped(found.tokens), strict=True))
            passes = (float(found.steps) / len(batches), float(found.passes.mean()))
            return [tokens[i] for i in range(len(examples))], passes

        methods[f"in turns, width {predictor.width}"] = turns
    methods[f"predictor (width {predictor.width})"] = predict
    if not beams:
        return methods

    @functools.partial(jax.jit, static_argnames="allowed")
    def search(params: Params, batch: Batch, *, allowed: bool) -> Any:
        return decoding.beam_search(
            architecture.merge(params),
            batch.source,
            num_beams=beams,
            max_length=limit,
            eos_id=EOS,
            constraint=batch.constraint,
            alpha=0.0 if allowed else None,
            renormalise=allowed,
        )

    def run_beams(allowed: bool) -> tuple[list[list[int]], None]:
        found = [jax.device_get(search(params, batch, allowed=allowed)) for batch in batches]
        return [row for part in found for row in stripped(part.tokens[:, 0])], None

    methods[f"beam {beams}"] = lambda: run_beams(False)
    methods[f"beam {beams}, allowed rows"] = lambda: run_beams(True)
    return methods


@contextlib.contextmanager
def hugging_face(config: T5Config, params: Params) -> Iterator[Any | None]:
    """The same weights in transformers; None where that or PyTorch is not installed."""
    try:
        os.environ.setdefault("USE_TF", "0")  # transformers 4 imports TensorFlow where it is
        import torch
        import transformers
    except ImportError:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model")
        writer = huggingface.Writer(path, config, "mt5", dtype=np.float32)
        for name, array in flat_params(params).items():
            writer.write(f"params/{name}", np.asarray(array))
        writer.close()
        model = transformers.AutoModelForSeq2SeqLM.from_pretrained(path)
    device = "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"
    dtype = getattr(torch, config.dtype.name)
    yield model.to(device=device, dtype=dtype).eval()


def padded(examples: Sequence[dict[str, Any]]) -> np.ndarray:
    """Sentences of a batch, as others want them: no longer than the longest."""
    source = np.zeros((len(examples), max(len(e["inputs"]) for e in examples)), np.int64)
    for row, example in enumerate(examples):
        source[row, : len(example["inputs"])] = example["inputs"]
    return source


def other_methods(
    model: Any,
    format_: Labelling,
    examples: Sequence[dict[str, Any]],
    expected: Sequence[Sequence[int]],
    *,
    batch: int,
    beams: int,
    peer: str | None,
) -> dict[str, Method]:
    """transformers, and the peer where its folder was given.

    Args:
      model: of transformers.
      format_: has the tags.
      examples: sentences.
      expected: what our methods wrote; `generate` is made to write as many tokens.
      batch: sentences at once.
      beams: of beam search; 0 for none.
      peer: folder of `constrained_generation.py`.
    """
    import torch

    parts = [slice(i, i + batch) for i in range(0, len(examples), batch)]

    def inputs(part: slice) -> Any:
        return torch.from_numpy(padded(examples[part])).to(model.device)

    def generate(beams: int) -> tuple[list[list[int]], None]:
        tokens = []
        for part in parts:
            source = inputs(part)
            count = max(map(len, expected[part]))
            with torch.no_grad():
                found = model.generate(
                    input_ids=source,
                    attention_mask=(source > 0).long(),
                    num_beams=beams,
                    do_sample=False,
                    min_new_tokens=count,
                    max_new_tokens=count,
                )
            tokens += found[:, 1:].tolist()
        return tokens, None

    methods: dict[str, Method] = {"HF greedy": lambda: generate(1)}
    if beams:
        methods[f"HF beam {beams}"] = lambda: generate(beams)
    if peer is None:
        return methods
    sys.path.insert(0, peer)
    import constrained_generation
    from transformers import BatchEncoding

    def label(beams: int) -> tuple[list[list[int]], None]:
        tokens = []
        for part in parts:
            source = inputs(part)
            # -1 marks padding; the end of sequence belongs to no word, and the peer adds it.
            words = np.full(source.shape, -1)
            for row, example in enumerate(examples[part]):
                ids = np.repeat(np.arange(len(example["words"])), [*map(len, example["words"])])
                words[row, : len(ids)] = ids
            given = dict(
                input_ids=source,
                attention_mask=(source > 0).long(),
                original_sentence_ids=torch.where(source == EOS, 0, source),
                words_ids=torch.from_numpy(words),
            )
            found = constrained_generation.constrained_beam_search(
                BatchEncoding(given),
                model,
                [list(tag) for tag in format_.tags.opens],
                [list(tag) for tag in format_.tags.closes],
                list(range(len(format_.labels))),
                list(range(len(format_.labels))),
                pad_token_id=0,
                eos_token_id=EOS,
                num_beams=beams,
            )
            # It may or may not begin with the decoder's first token, by its version.
            tokens += [[i for i in row if i] for row in stripped(found.cpu().numpy())]
        return tokens, None

    methods["peer beam 1"] = lambda: label(1)
    if beams:
        methods[f"peer beam {beams}"] = lambda: label(beams)
    return methods


def measure(methods: dict[str, Method], repeats: int) -> dict[str, Timing]:
    """Time all methods, once each per repeat and in turn; the first round is not counted."""
    timings = {}
    for name, method in methods.items():
        began = time.perf_counter()
        tokens, passes = method()
        timings[name] = Timing([], tokens, passes)
        print(f"  {name}: first time {time.perf_counter() - began:.1f} s", file=sys.stderr)
    for _ in range(repeats):
        for name, method in methods.items():
            began = time.perf_counter()
            method()
            timings[name].seconds.append(time.perf_counter() - began)
    return timings


def summary(case: Case, timings: dict[str, Timing], tags: TagSet) -> list[dict[str, Any]]:
    """One record per method: milliseconds per sentence, times faster than the first, equality."""
    first = timings[FIRST]
    count = len(first.tokens)
    per_span = len(tags.opens[0]) + len(tags.closes[0])
    written = sum(i in tags.ids for tokens in first.tokens for i in tokens) / per_span
    records = []
    for name, timing in timings.items():
        # Ratios within a repeat: what slows the machine for a while slows both.
        ratios = [a / b for a, b in zip(first.seconds, timing.seconds, strict=True)]
        comparable = not name.startswith(("HF", "beam"))
        same = sum(a == b for a, b in zip(first.tokens, timing.tokens, strict=True))
        records.append(
            {
                **case._asdict(),
                "method": name,
                "ms_per_sentence": quartiles([1000 * s / count for s in timing.seconds]),
                "times_faster": quartiles(ratios),
                "passes_per_batch_and_row": timing.passes,
                "sentences": count,
                "same_as_first": same if comparable else None,
                "tokens_per_sentence": float(np.mean([len(t) for t in first.tokens])),
                "spans_per_sentence": written / count,
                "seconds": timing.seconds,
            }
        )
    return records


def table(records: Sequence[dict[str, Any]]) -> str:
    """The records of one case as aligned text."""
    first = records[0]
    lines = [
        f"vocabulary {first['rows']:,}, {first['words']} words, batch {first['batch']}: "
        f"{first['tokens_per_sentence']:.1f} tokens and {first['spans_per_sentence']:.2f} spans "
        f"per sentence, {first['sentences']} sentences",
        f"  {'method':28} {'ms/sentence (quartiles)':>26} {'times faster':>22} "
        f"{'passes batch/row':>14} {'same':>6}",
    ]
    for record in records:
        low, middle, high = record["ms_per_sentence"]
        slow, ratio, fast = record["times_faster"]
        passes = record["passes_per_batch_and_row"]
        same = record["same_as_first"]
        lines.append(
            f"  {record['method']:28} {middle:9.2f} ({low:.2f}-{high:.2f})".ljust(57)
            + f" {ratio:7.2f} ({slow:.2f}-{fast:.2f})".ljust(23)
            + f" {'' if passes is None else '{:.1f}/{:.1f}'.format(*passes):>14}"
            + f" {'' if same is None else same:>6}"
        )
    return "\n".join(lines)


def environment() -> dict[str, Any]:
    """What the figures depend on besides the flags."""
    found = {
        "device": jax.devices()[0].device_kind,
        "backend": jax.default_backend(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "jax": jax.__version__,
    }
    for name in ("torch", "transformers"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    many = dict(type=int, nargs="+")
    flags.add_argument("--vocabularies", **many, default=[32_128, 250_112], help="rows")
    flags.add_argument("--words", **many, default=[10, 30, 80], help="per sentence")
    flags.add_argument("--batches", **many, default=[1, 8, 64], help="sentences at once")
    flags.add_argument("--widths", **many, default=[4, 8, 16], help="of speculative copying")
    flags.add_argument("--beams", type=int, default=4, help="of beam search; 0 leaves it out")
    flags.add_argument("--labels", type=int, default=4, help="how many")
    flags.add_argument("--sentences", type=int, default=8, help="at least; whole batches")
    flags.add_argument("--layers", type=int, default=8, help="of encoder and decoder each")
    flags.add_argument("--embed", type=int, default=512)
    flags.add_argument("--heads", type=int, default=6)
    flags.add_argument("--mlp", type=int, default=1024)
    flags.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    flags.add_argument("--spans-per-word", type=float, default=0.04, help="share that opens one")
    flags.add_argument("--repeats", type=int, default=5)
    flags.add_argument("--no-hf", action="store_true", help="leave transformers out")
    flags.add_argument("--peer", metavar="DIR", help="folder of the peer's source code")
    flags.add_argument("--json", metavar="FILE", help="write all figures")
    given = flags.parse_args(arguments)
    if given.peer and given.no_hf:
        flags.error("--peer runs on transformers' model; leave --no-hf out")
    return given


def main(arguments: Sequence[str]) -> list[dict[str, Any]]:
    given = parse(arguments)
    report = {"environment": environment(), "flags": vars(given), "results": []}
    print(json.dumps(report["environment"]), flush=True)
    for rows in given.vocabularies:
        config = T5Config(
            vocab_size=rows,
            dtype=given.dtype,
            emb_dim=given.embed,
            num_heads=given.heads,
            num_encoder_layers=given.layers,
            num_decoder_layers=given.layers,
            mlp_dim=given.mlp,
            dropout_rate=0.0,
        )
        architecture, format_ = (
            Architecture.t5(config),
            Labelling(Ids(rows), [f"Label{i}" for i in range(given.labels)]),
        )
        params = calibrated(architecture, format_, spans_per_word=given.spans_per_word)
        with contextlib.ExitStack() as stack:
            hf = None if given.no_hf else stack.enter_context(hugging_face(config, params))
            for words in given.words:
                for batch in given.batches:
                    count = -(-max(given.sentences, batch) // batch) * batch
                    examples = sentences(format_, count=count, words=words, rows=rows, seed=words)
                    methods = our_methods(
                        architecture,
                        params,
                        format_,
                        examples,
                        batch=batch,
                        widths=given.widths,
                        beams=given.beams,
                    )
                    if hf is not None:
                        expected, _ = methods["token by token"]()
                        methods |= other_methods(
                            hf,
                            format_,
                            examples,
                            expected,
                            batch=batch,
                            beams=given.beams,
                            peer=given.peer,
                        )
                    records = summary(
                        Case(rows, words, batch), measure(methods, given.repeats), format_.tags
                    )
                    report["results"] += records
                    print(table(records), flush=True)
                    if given.json:
                        with open(given.json, "w", encoding="utf-8") as file:
                            json.dump(report, file, indent=1)
    return report["results"]


if __name__ == "__main__":
    main(sys.argv[1:])
