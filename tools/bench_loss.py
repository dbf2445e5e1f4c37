"""Time and memory of the plain and the chunked cross-entropy, side by side in one process.

    python tools/bench_loss.py --json loss.json
    python tools/bench_loss.py --tokens 16384 --embed 1024 --vocab 250112 --chunks 2048 4096

Loss and both gradients of random hidden states and output matrix, of T5-small's width and
vocabulary unless told otherwise. The methods take turns within each repeat, so a busy machine slows
all of them. Temporary memory is what the compiler says; it holds neither inputs nor gradients.
Needs neither TensorFlow nor SeqIO.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from measuring import quartiles

from medmt5 import losses

OPTIONS = dict(z_loss=1e-4, label_smoothing=0.0)


def plain(hidden: jax.Array, kernel: jax.Array, targets: jax.Array, weights: jax.Array):
    """The mean loss as `step.seq2seq_loss` makes it of few logits."""
    matrix = kernel.astype(hidden.dtype)
    logits = jnp.dot(hidden, matrix, preferred_element_type=jnp.float32)
    return losses.plain_sums(logits, targets, weights, **OPTIONS).total / weights.sum()


def chunked(*arrays: jax.Array, chunk_tokens: int):
    sums = losses.chunked_sums(*arrays, chunk_tokens=chunk_tokens, **OPTIONS)
    return sums.total / arrays[-1].sum()


def example(tokens: int, embed: int, vocab: int, dtype: str) -> tuple[jax.Array, ...]:
    """One row of hidden states, an output matrix, targets, and weights: a tenth is padding."""
    keys = jax.random.split(jax.random.key(0), 4)
    hidden = jax.random.normal(keys[0], (1, tokens, embed)).astype(dtype)
    kernel = jax.random.normal(keys[1], (embed, vocab)) * embed**-0.5
    targets = jax.random.randint(keys[2], (1, tokens), 0, vocab)
    return hidden, kernel, targets, jax.random.bernoulli(keys[3], 0.9, (1, tokens)) * 1.0


def difference(gradients: Sequence[jax.Array], expected: Sequence[jax.Array]) -> float:
    """The larger of both gradients' differences, relative to the expected one's norm."""

    def norm(x: jax.Array) -> float:
        return float(jnp.linalg.norm(x.astype(jnp.float32)))

    return max(norm(a - b) / norm(b) for a, b in zip(gradients, expected, strict=True))


def measure(
    methods: dict[str, Callable[..., jax.Array]], arrays: tuple[jax.Array, ...], repeats: int
) -> list[dict[str, Any]]:
    """One record per method; the first is what the others are compared with."""
    compiled, records = {}, []
    for name, method in methods.items():
        gradient = jax.jit(jax.value_and_grad(method, argnums=(0, 1)))
        compiled[name] = gradient.lower(*arrays).compile()
        loss, gradients = jax.block_until_ready(compiled[name](*arrays))  # warms up
        if not records:
            expected = gradients
        temporary = compiled[name].memory_analysis().temp_size_in_bytes / 2**20
        records.append(
            {
                "method": name,
                "loss": float(loss),
                "temporary_mib": temporary,
                "gradient_difference": difference(gradients, expected),
                "seconds": [],
            }
        )
        del gradients
    del expected
    for _ in range(repeats):
        for record in records:
            began = time.perf_counter()
            jax.block_until_ready(compiled[record["method"]](*arrays))
            record["seconds"].append(time.perf_counter() - began)
    for record in records:
        # Ratios within a repeat: what slows the machine for a while slows both.
        pairs = zip(record["seconds"], records[0]["seconds"], strict=True)
        record["quartiles"] = quartiles(record["seconds"])
        record["times_plain"] = quartiles([ours / plain for ours, plain in pairs])
    return records


def table(title: str, records: Sequence[dict[str, Any]]) -> str:
    lines = [
        title,
        f"  {'method':14} {'seconds (quartiles)':>24} {'times plain':>18} {'temporary MiB':>14} "
        f"{'gradients differ':>17}",
    ]
    for record in records:
        low, middle, high = record["quartiles"]
        least, ratio, most = record["times_plain"]
        lines.append(
            f"  {record['method']:14} {f'{middle:.3f} ({low:.3f}-{high:.3f})':>24} "
            f"{f'{ratio:.2f} ({least:.2f}-{most:.2f})':>18} {record['temporary_mib']:14.0f} "
            f"{record['gradient_difference']:17.1e}"
        )
    return "\n".join(lines)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--tokens", type=int, default=2048, help="batch x target")
    flags.add_argument("--embed", type=int, default=512)
    flags.add_argument("--vocab", type=int, default=32_128)
    flags.add_argument("--chunks", type=int, nargs="+", default=[512], help="tokens per chunk")
    kinds = ["float32", "bfloat16"]
    flags.add_argument("--dtypes", choices=kinds, nargs="+", default=kinds)
    flags.add_argument("--repeats", type=int, default=5)
    flags.add_argument("--json", metavar="FILE", help="write all figures")
    return flags.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    given = parse(arguments)
    report = {
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "jax": jax.__version__,
        "flags": vars(given),
        "results": {},
    }
    methods = {"plain": plain} | {
        f"chunks of {size}": functools.partial(chunked, chunk_tokens=size) for size in given.chunks
    }
    for dtype in given.dtypes:
        arrays = example(given.tokens, given.embed, given.vocab, dtype)
        records = measure(methods, arrays, given.repeats)
        title = f"{given.tokens} tokens x {given.embed} x {given.vocab:,} words, {dtype}"
        print(table(title, records), flush=True)
        report["results"][dtype] = records
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main(sys.argv[1:])
