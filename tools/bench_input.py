"""How fast batches come out of a cache, how full they are, and what a training step consumes.

    python tools/bench_input.py raw_text_en --cache_dir runs/cache --lengths 1024x229 512x114
    python tools/bench_input.py ncbi_disease --cache_dir runs/cache --lengths 128x132 --hosts 8

For each pair of row lengths: tokens per CPU-second, from files to finished packed arrays, in one
thread; the time to plan a window, which every host does for all rows; the share of real tokens in
the rows; and the growth of the process's memory. Tokens are those of the text for span corruption,
where sentinels do not count, and those of inputs and targets otherwise. `--hosts` makes the rows of
one host out of so many. `--demand` adds what steps of mT5's sizes consume, from their FLOPs.
Needs neither TensorFlow nor SeqIO.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from medmt5 import batches, packing
from medmt5.models.t5 import T5Config
from medmt5.predictor import TURNS, bucket
from medmt5.reporting import PEAK_FLOPS, training_flops

# emb_dim, num_heads, layers of each side, mlp_dim, as in gin_configs/models/mt5; heads have 64.
SIZES = {
    "small": (512, 6, 8, 1024),
    "base": (768, 12, 12, 2048),
    "large": (1024, 16, 24, 2816),
    "xl": (2048, 32, 24, 5120),
    "xxl": (4096, 64, 24, 10240),
}
CHIPS = ("NVIDIA H100", "TPU v5", "TPU v5 lite")
MFU = 0.4  # of the peak: more than T5 reaches on most chips, so demand is not understated


def demand(source: int, target: int, raw: float) -> dict[str, dict[str, float]]:
    """Tokens of text that one chip consumes per second, by chip and size.

    Args:
      source, target: row lengths in tokens.
      raw: tokens of text that a row stands for.
    """
    flops = {
        name: training_flops(
            T5Config(
                vocab_size=250_112,
                emb_dim=emb,
                num_heads=heads,
                head_dim=64,
                num_encoder_layers=layers,
                num_decoder_layers=layers,
                mlp_dim=mlp,
            ),
            rows=1,
            source=source,
            target=target,
        )
        for name, (emb, heads, layers, mlp) in SIZES.items()
    }
    return {
        chip: {name: MFU * PEAK_FLOPS[chip] * raw / each for name, each in flops.items()}
        for chip in CHIPS
    }


def resident_mib() -> float:
    """The process's memory now; its greatest where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(
    tables: Sequence[batches.Table], config: batches.DatasetConfig, seconds: float, hosts: int
) -> dict[str, Any]:
    """Figures of one pair of row lengths."""
    size = config.batch_size
    share = batches.Share(np.arange(size // hosts), size)
    stream = batches.Stream(tables, config, share=share)
    next(stream)  # opens files
    stream.filled[:] = 0
    began, memory = time.process_time(), resident_mib()
    count = tokens = 0
    while (spent := time.process_time() - began) < seconds or count < 2:
        tokens += _tokens(tables, next(stream))
        count += 1
    grown = resident_mib() - memory
    began = time.process_time()
    plans = [stream._window() for _ in range(5)]  # noqa: SLF001 - what is planned, not made
    planning = (time.process_time() - began) / len(plans)
    inputs, targets = stream.filled / count
    lengths = config.task_feature_lengths
    places = [lengths["inputs"], lengths["targets"]]
    return {
        "lengths": dict(lengths),
        "hosts": hosts,
        "tokens_per_cpu_second": tokens / spent,
        "plan_ms": 1000 * planning,
        "fill_inputs": inputs,
        "fill_targets": targets,
        "fill": float(np.average([inputs, targets], weights=places)),
        "suggested_targets": packing.suggested_targets(plans[0].size, lengths["inputs"]),
        "batches": count,
        "memory_mib": resident_mib(),
        "memory_grown_mib": grown,
    }


def _tokens(tables: Sequence[batches.Table], batch: batches.Batch) -> int:
    chunks = [getattr(table.raws, "size", None) for table in tables]
    copies = any(getattr(table.format, "copy_rate", 0) for table in tables)
    if chunks[0] is None or copies:
        return int((batch.encoder_input_tokens > 0).sum() + (batch.decoder_target_tokens > 0).sum())
    # All chunks but the last of a table have the same length.
    return int(batch.encoder_segment_ids.max(axis=1).sum()) * chunks[0]


def decoding_fill(tables: Sequence[batches.Table], batch_size: int) -> float:
    """Real tokens among those of the encoder when all examples are decoded, sorted by length."""
    real = padded = 0
    for table in tables:
        indices = np.arange(len(table.raws))
        lengths = np.sort(table.sizes(indices, indices.astype(np.uint64))[:, 0])
        at = 0
        while at < len(lengths):
            longest = bucket(int(lengths[at : at + batch_size][-1]))
            group = lengths[at : at + TURNS * batch_size]
            group = group[group <= longest]
            real += int(group.sum())
            padded += longest * len(group)
            at += len(group)
    return real / padded


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("task", help="a task or mixture of the cache")
    flags.add_argument("--cache_dir", required=True)
    flags.add_argument("--split", default="train")
    flags.add_argument("--lengths", nargs="+", default=["1024x229"], metavar="INPUTSxTARGETS")
    flags.add_argument("--batch_size", type=int, default=128, help="rows of the global batch")
    flags.add_argument("--hosts", type=int, default=1)
    flags.add_argument("--seconds", type=float, default=5.0, help="CPU time per pair of lengths")
    flags.add_argument("--demand", action="store_true", help="what steps of mT5 consume")
    flags.add_argument("--json", metavar="FILE", help="write all figures")
    return flags.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    given = parse(arguments)
    report: dict[str, Any] = {"flags": vars(given), "results": []}
    print(f"{given.task} {given.split}, batch {given.batch_size}, one of {given.hosts} hosts")
    print(
        f"{'lengths':>10} {'Mtokens/CPU-s':>14} {'plan, ms':>9} {'inputs':>8} {'targets':>8} "
        f"{'real':>8} {'suggested':>10} {'MiB':>6} {'grown':>6}"
    )
    for pair in given.lengths:
        inputs, targets = map(int, pair.split("x"))
        config = batches.DatasetConfig(
            given.task,
            {"inputs": inputs, "targets": targets},
            split=given.split,
            batch_size=given.batch_size,
            pack=True,
            use_cached=True,
            cache_dir=given.cache_dir,
        )
        tables = batches.read_tables(config, None)
        row = measure(tables, config, given.seconds, given.hosts)
        report["results"].append(row)
        print(
            f"{pair:>10} {row['tokens_per_cpu_second'] / 1e6:14.2f} {row['plan_ms']:9.1f} "
            f"{row['fill_inputs']:8.1%} {row['fill_targets']:8.1%} {row['fill']:8.1%} "
            f"{row['suggested_targets']:10} {row['memory_mib']:6.0f} "
            f"{row['memory_grown_mib']:6.1f}",
            flush=True,
        )
    if not hasattr(tables[0].format, "examples"):
        report["decoding_fill"] = decoding_fill(tables, 32)
        print(f"decoding {given.split}, 32 rows: {report['decoding_fill']:.1%} real source tokens")
    if given.demand:
        size = getattr(tables[0].raws, "size", inputs + targets)
        report["demand"] = demand(inputs, targets, size)
        for chip, sizes in report["demand"].items():
            each = "  ".join(f"{name} {rate / 1e6:.3f}" for name, rate in sizes.items())
            print(f"{chip} at {MFU:.0%} of its peak consumes, Mtokens/s: {each}")
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main(sys.argv[1:])
