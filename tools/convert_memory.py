"""How much memory a conversion takes: a model of full size, made up, through every kind.

    python tools/convert_memory.py --size xl --folder /tmp/xl

Makes a T5X checkpoint of that size (numbers of few bits, so that it packs fast), converts it
T5X -> Hugging Face -> medmt5 -> T5X, each in a process of its own, and prints each one's peak of
resident memory beside what is allowed: 1.5 times the largest array, and 2 GiB.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time

import numpy as np

from medmt5.convert import t5x
from medmt5.convert.source import expected_shapes
from medmt5.models.t5 import T5Config

GIB = 2**30
SIZES = {  # emb, heads, layers, mlp
    "small": (512, 6, 8, 1024),
    "base": (768, 12, 12, 2048),
    "large": (1024, 16, 24, 2816),
    "xl": (2048, 32, 24, 5120),
}
ROUTE = ("t5x", "hf", "medmt5", "t5x_again")


def config_of(size: str) -> T5Config:
    emb, heads, layers, mlp = SIZES[size]
    return T5Config(
        vocab_size=250_112,
        dtype="float32",
        emb_dim=emb,
        num_heads=heads,
        num_encoder_layers=layers,
        num_decoder_layers=layers,
        mlp_dim=mlp,
        dropout_rate=0.0,
    )


def make(folder: str, config: T5Config) -> None:
    """A T5X checkpoint with made-up parameters of about the scale of real ones."""
    shapes = expected_shapes(config)
    writer = t5x.Writer(folder, config, [f"params/{name}" for name in shapes], dtype=np.float32)
    rng = np.random.default_rng(0)
    few = (rng.integers(-8, 9, 2**20) / 8).astype(np.float32)
    for name, shape in shapes.items():
        count = math.prod(shape)
        start = int(rng.integers(len(few)))
        array = np.resize(np.roll(few, start), count).reshape(shape)
        fan_in = 1 if len(shape) == 1 else shape[0] if name.endswith("kernel") else 16
        fan_in *= config.head_dim if "/query/" in name else 1
        array *= np.float32(2 ** round(math.log2(1 / math.sqrt(fan_in))))
        array += np.float32(len(shape) == 1)  # norms are about 1
        writer.write(f"params/{name}", array)
    writer.close()


def peak_of(command: list[str]) -> tuple[float, float]:
    """Seconds, and the peak of resident memory in GiB, of a child process."""
    began = time.monotonic()
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed with status {status}")
    return time.monotonic() - began, usage.ru_maxrss * 1024 / GIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--folder", required=True, help="scratch folder; emptied step by step")
    given = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    config = config_of(given.size)
    shapes = expected_shapes(config)
    largest = max(math.prod(shape) for shape in shapes.values()) * 4 / GIB
    total = sum(math.prod(shape) for shape in shapes.values()) * 4 / GIB
    os.makedirs(given.folder, exist_ok=True)
    paths = [os.path.join(given.folder, name) for name in ROUTE]
    if not os.path.exists(os.path.join(paths[0], t5x.INDEX)):
        shutil.rmtree(paths[0], ignore_errors=True)
        make(paths[0], config)
    limit = 1.5 * largest + 2
    print(f"mT5 {given.size}: {total:.2f} GiB, largest array {largest:.2f}, limit {limit:.2f}")
    for source, target in zip(paths, paths[1:], strict=False):
        kind = os.path.basename(target).removesuffix("_again")
        arguments = ["--source", source, "--target", target, "--to", kind, "--overwrite"]
        seconds, peak = peak_of([sys.executable, "-m", "medmt5.cli", "convert", *arguments])
        result = {
            "from": os.path.basename(source),
            "to": kind,
            "seconds": round(seconds),
            "peak_gib": round(peak, 2),
            "limit_gib": round(limit, 2),
        }
        print(json.dumps(result), flush=True)
        if source != paths[0]:
            shutil.rmtree(source)


if __name__ == "__main__":
    main()
