"""The fused attention kernels beside plain attention: first equality, then time, on this device.

    python tools/bench_attention.py --json attention.json
    python tools/bench_attention.py --sizes large --batch 16 --repeats 20
    python tools/bench_attention.py --interpret

The three attentions of mT5 as it is pre-trained (rows of 1,024 tokens, targets of 256), on packed
rows in bfloat16. Results and gradients of a few rows are compared with float32: where the kernels'
errors are larger than those of plain attention, or not numbers, it says so, times nothing and exits
with 1. Methods take turns within each repeat. MFU counts the products of the scores that a mask
leaves, twice as many in the backward pass as in the forward pass, and none that are made again.

`--interpret` runs the kernels of all devices as plain operations, on this one, at a tiny size, for
equality alone. Needs neither TensorFlow nor SeqIO.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medmt5.models.attention import Seen, attend, toeplitz
from medmt5.models.fused_attention import PLATFORMS, fused_attend, supports
from medmt5.plan.chips import CHIPS

HEADS = {"small": 6, "base": 12, "large": 16}
KV = 64

# As JAX names devices, where that is not as their makers do.
KINDS = {"TPU v5 lite": "v5e", "TPU v5": "v5p", "TPU v6 lite": "v6e"}

# Calls per measurement: they queue up, so that starting one from Python costs nothing.
CALLS = 10


class Case(NamedTuple):
    name: str
    query: int
    key: int
    biased: bool
    causal: bool

    def flops(self, batch: int, heads: int) -> float:
        """Of the forward pass: two products, each a multiplication and an addition."""
        pairs = self.query * (self.query + 1) // 2 if self.causal else self.query * self.key
        return 4.0 * batch * heads * pairs * KV


CASES = (
    Case("encoder", 1024, 1024, biased=True, causal=False),
    Case("decoder", 256, 256, biased=True, causal=True),
    Case("cross", 256, 1024, biased=False, causal=False),
)
TINY = (
    Case("encoder", 160, 160, biased=True, causal=False),
    Case("decoder", 100, 100, biased=True, causal=True),
    Case("cross", 100, 160, biased=False, causal=False),
)


class Inputs(NamedTuple):
    """What has gradients (query, key, value, bias), segments, and the gradient of the result."""

    arrays: list[Any]
    seen: list[jax.Array]
    of_out: jax.Array


def example(case: Case, batch: int, heads: int) -> Inputs:
    """Three segments in a row; a tenth is padding, which has no gradient, as in a loss."""
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = [(batch, length, heads, KV) for length in (case.query, case.key, case.key)]
    arrays: list[Any] = [
        jax.random.normal(key, shape).astype(jnp.bfloat16)
        for key, shape in zip(keys, shapes, strict=False)
    ]
    arrays[0] = arrays[0] * KV**-0.5
    distances = (heads, case.query + case.key - 1)
    arrays.append(jax.random.normal(keys[3], distances) if case.biased else None)

    def segments(length: int) -> jax.Array:
        end = length * 9 // 10
        position = jnp.arange(length)
        one = jnp.where(position < end, 1 + position * 3 // end, 0)
        return jnp.broadcast_to(one, (batch, length))

    seen = [segments(case.query), segments(case.key)]
    of_out = jax.random.normal(jax.random.key(1), shapes[0]) * (seen[0] > 0)[:, :, None, None]
    return Inputs(arrays, seen, of_out.astype(jnp.bfloat16))


def methods(case: Case, platform: str, interpret: bool) -> dict[str, Callable[..., jax.Array]]:
    """Plain attention, as the model without kernels has it, and the kernels."""

    def plain(query, key, value, bias, *seen):
        bias = None if bias is None else toeplitz(bias, query.shape[1]).astype(query.dtype)
        return attend(query, key, value, bias=bias, mask=Seen(*seen, case.causal).mask())

    def fused(query, key, value, bias, *seen):
        return fused_attend(
            query, key, value, distance_bias=bias, query_segments=seen[0], key_segments=seen[1],
            causal=case.causal, platform=platform, interpret=interpret,
        )  # fmt: skip

    return {"plain": plain, "fused": fused}


def with_gradients(method: Callable[..., jax.Array]) -> Callable[..., Any]:
    def run(arrays: list[Any], seen: list[jax.Array], of_out: jax.Array) -> Any:
        out, pull = jax.vjp(lambda *arrays: method(*arrays, *seen), *arrays)
        return out, pull(of_out.astype(out.dtype))

    return run


def without_gradients(method: Callable[..., jax.Array], arrays, seen, of_out) -> jax.Array:
    del of_out
    return method(*arrays, *seen)


def errors(case: Case, rows: int, heads: int, platform: str, interpret: bool) -> dict[str, Any]:
    """Of each method, for result and gradients: the norm of the error, relative to the norm."""
    inputs = example(case, rows, heads)
    both = methods(case, platform, interpret)

    def results(method: Callable[..., jax.Array], arrays: list[Any]) -> list[jax.Array]:
        run = jax.jit(with_gradients(method))
        out, gradients = run(arrays, inputs.seen, inputs.of_out)
        real = (inputs.seen[0] > 0)[:, :, None, None]  # what padding sees is nobody's business
        return [out * real, *jax.tree.leaves(gradients)]

    with jax.default_matmul_precision("highest"):
        wide = jax.tree.map(lambda x: x.astype(jnp.float32), inputs.arrays)
        exact = results(both["plain"], wide)

    def error(x: jax.Array, expected: jax.Array) -> float:
        difference = jnp.linalg.norm(x.astype(jnp.float32) - expected)
        return float(difference / jnp.linalg.norm(expected))

    return {
        name: [error(*pair) for pair in zip(results(method, inputs.arrays), exact, strict=True)]
        for name, method in both.items()
    }


def equal(found: dict[str, list[float]]) -> bool:
    """Whether no error of the kernels is larger than that of plain attention."""
    # A quarter more for chance; what is wrong is wrong by far more. NaN compares as false.
    return all(a <= 1.25 * b for a, b in zip(found["fused"], found["plain"], strict=True))


def measure(
    case: Case, batch: int, heads: int, platform: str, interpret: bool, repeats: int
) -> dict[str, Any]:
    """Temporary bytes, and seconds per call, of each method and pass."""
    inputs = example(case, batch, heads)
    programs, records = {}, {}
    for name, method in methods(case, platform, interpret).items():
        forward = functools.partial(without_gradients, method)
        for part, run in (("forward", forward), ("both", with_gradients(method))):
            began = time.perf_counter()
            compiled = jax.jit(run).lower(*inputs).compile()
            jax.block_until_ready(compiled(*inputs))  # warms up
            programs[name, part] = compiled
            records[name, part] = {
                "compile_seconds": time.perf_counter() - began,
                "temporary_mib": compiled.memory_analysis().temp_size_in_bytes / 2**20,
                "seconds": [],
            }
    for _ in range(repeats):
        for key, compiled in programs.items():
            began = time.perf_counter()
            for _ in range(CALLS):
                results = compiled(*inputs)
            jax.block_until_ready(results)
            records[key]["seconds"].append((time.perf_counter() - began) / CALLS)
    return {f"{name} {part}": record for (name, part), record in records.items()}


def peak_flops(kind: str) -> float | None:
    """Peak bfloat16 FLOP/s of a device, by JAX's name for it; None if it is not known."""
    if kind in KINDS:
        return CHIPS[KINDS[kind]].flops
    return next((chip.flops for chip in CHIPS.values() if kind.startswith(chip.kind)), None)


def table(title: str, records: dict[str, Any], flops: float, peak: float | None) -> str:
    lines = [
        title,
        f"  {'method':16} {'milliseconds (quartiles)':>26} {'times plain':>12} {'TFLOP/s':>8} "
        f"{'MFU':>5} {'temporary MiB':>14}",
    ]
    for name, record in records.items():
        part = name.split()[-1]
        low, middle, high = np.quantile(record["seconds"], [0.25, 0.5, 0.75]) * 1e3
        ratio = middle / 1e3 / np.median(records[f"plain {part}"]["seconds"])
        rate = (3 if part == "both" else 1) * flops / middle * 1e3
        mfu = f"{rate / peak:.0%}" if peak else "?"
        record["mfu"] = rate / peak if peak else None
        lines.append(
            f"  {name:16} {f'{middle:.3f} ({low:.3f}-{high:.3f})':>26} {ratio:12.2f} "
            f"{rate / 1e12:8.1f} {mfu:>5} {record['temporary_mib']:14.0f}"
        )
    return "\n".join(lines)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--sizes", choices=list(HEADS), nargs="+", default=list(HEADS))
    flags.add_argument("--batch", type=int, default=8, help="rows that are timed")
    flags.add_argument("--repeats", type=int, default=20)
    flags.add_argument("--peak", type=float, help="TFLOP/s of the device, for MFU")
    flags.add_argument("--interpret", action="store_true", help="equality alone, on any device")
    flags.add_argument("--json", metavar="FILE", help="write all figures")
    return flags.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    given = parse(arguments)
    device = jax.devices()[0]
    backend = jax.default_backend()
    peak = given.peak * 1e12 if given.peak else peak_flops(device.device_kind)
    report: dict[str, Any] = {
        "device": device.device_kind,
        "jax": jax.__version__,
        "flags": vars(given),
        "results": {},
    }
    if not given.interpret and backend not in PLATFORMS:
        print(
            f"{backend} has no fused attention: the plain one is used; --interpret checks kernels"
        )
        return 0
    work = (
        [(f"{platform} {case.name}", platform, case, 2) for platform in PLATFORMS for case in TINY]
        if given.interpret
        else [
            (f"{size} {case.name}", backend, case, HEADS[size])
            for size in given.sizes
            for case in CASES
        ]
    )
    wrong = []
    for name, platform, case, heads in work:
        shape = f"{name}: {case.query} x {case.key}, {heads} heads"
        if not supports(
            platform, query_length=case.query, key_length=case.key, heads=heads, kv=KV,
            dtype=jnp.bfloat16,
        ):  # fmt: skip
            print(f"{shape}: no kernel takes it", flush=True)
            continue
        found = errors(case, min(2, given.batch), heads, platform, given.interpret)
        report["results"][name] = {"errors": found}
        as_text = {key: " ".join(f"{x:.1e}" for x in values) for key, values in found.items()}
        verdict = "equal" if equal(found) else "NOT EQUAL"
        print(
            f"{shape}: {verdict}; errors {as_text['fused']}, plain {as_text['plain']}", flush=True
        )
        if not equal(found):
            wrong.append(name)
        elif not given.interpret:
            records = measure(case, given.batch, heads, platform, False, given.repeats)
            title = f"{shape}, {given.batch} rows"
            print(table(title, records, case.flops(given.batch, heads), peak), flush=True)
            report["results"][name] |= {"times": records}
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
