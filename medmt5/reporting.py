"""What a run tells: progress lines with an ETA, scalars as JSONL and TensorBoard events."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath

from medmt5.files import is_remote, write_text
from medmt5.models.t5 import T5Config
from medmt5.progress import duration

log = logging.getLogger(__name__)

# Peak bf16 FLOP/s per chip, from the makers' data sheets; MFU is shown where the chip is listed.
PEAK_FLOPS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,  # v5p
    "TPU v6 lite": 918e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
}


def peak_flops() -> float | None:
    """Peak of all devices together in FLOP/s, or None if the chip is unknown."""
    kind = jax.devices()[0].device_kind
    for name, flops in PEAK_FLOPS.items():
        if kind.startswith(name):
            return flops * jax.device_count()
    return None


def training_flops(config: T5Config, *, rows: int, source: int, target: int) -> float:
    """FLOPs of the matrix products of one training step, forward and backward.

    Args:
      config: of the model.
      rows: sequences in the batch.
      source: encoder tokens per row, padding included.
      target: decoder tokens per row, padding included; those of a decoder prompt are added.
    """
    head = target * config.emb_dim * config.vocab_size
    target += config.prompt.decoder_length if config.prompt else 0
    joined = config.num_heads * config.head_dim
    attention = 4 * config.emb_dim * joined
    mlp = (len(config.mlp_activations) + 1) * config.emb_dim * config.mlp_dim
    encoder = config.num_encoder_layers * (source * (attention + mlp) + 2 * source**2 * joined)
    decoder = config.num_decoder_layers * (
        target * (attention + mlp)
        + 2 * target**2 * joined
        + (2 * target + 2 * source) * config.emb_dim * joined
        + 2 * target * source * joined
    )
    return 3 * 2 * rows * (encoder + decoder + head)


def is_chief() -> bool:
    return jax.process_index() == 0


class Scalars:
    """Writes scalars to `scalars.jsonl` and as TensorBoard events; only on the first process."""

    def __init__(self, directory: str):
        self._path = os.path.join(directory, "scalars.jsonl")
        self._lines: list[str] = []
        self._events = None
        if is_chief():
            from tensorboardX import SummaryWriter

            if is_remote(directory) and epath.Path(self._path).exists():
                self._lines = [epath.Path(self._path).read_text(encoding="utf-8")]
            self._events = SummaryWriter(directory, flush_secs=30)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if self._events is None:
            return
        line = {"step": step} | {name: float(value) for name, value in values.items()}
        text = json.dumps(line) + "\n"
        if is_remote(self._path):  # remote objects cannot be appended to
            self._lines.append(text)
            write_text(self._path, "".join(self._lines))
        else:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(text)
        for name, value in values.items():
            self._events.add_scalar(name, float(value), step)

    def close(self) -> None:
        if self._events is not None:
            self._events.close()


class Progress:
    """Turns summed step metrics into progress lines.

    Args:
      total_steps: the last step.
      start_step: the step this process began with.
      flops: per step, for MFU; None if not to be shown.
    """

    def __init__(self, total_steps: int, start_step: int, flops: float | None = None):
        self.total_steps, self.step = total_steps, start_step
        self.flops = flops
        self._began = self._since = time.monotonic()
        self._begin_step = start_step
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, metrics: Mapping[str, Any]) -> None:
        """Add one step's metrics, as fetched from the device."""
        self.step += 1
        self._count += 1
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        if self.step == self._begin_step + 1:
            # The first step's time is compilation; the ETA is counted from the second on.
            self._began = time.monotonic()

    def restart_clock(self) -> None:
        """Leave out of the speed what just took time but was no step (an evaluation)."""
        self._since = time.monotonic()

    def report(self) -> dict[str, float]:
        """Log a line for the steps since the last one, and return its values."""
        now = time.monotonic()
        elapsed = max(now - self._since, 1e-9)
        sums, count = self._sums, max(self._count, 1)
        weight = max(sums.get("weight", 0.0), 1e-9)
        values = {
            "loss": sums.get("nll", 0.0) / weight,
            "z_loss": sums.get("z_loss", 0.0) / weight,
            "accuracy": sums.get("correct", 0.0) / weight,
            "grad_norm": sums.get("grad_norm", 0.0) / count,
            "target_tokens_per_second": sums.get("target_tokens", 0.0) / elapsed,
            "source_tokens_per_second": sums.get("source_tokens", 0.0) / elapsed,
            "seconds_per_step": elapsed / count,
        }
        parts = [
            f"step {self.step}/{self.total_steps}",
            f"loss {values['loss']:.4f}",
            f"accuracy {values['accuracy']:.3f}",
            f"{values['source_tokens_per_second'] + values['target_tokens_per_second']:,.0f} "
            "tokens/s",
        ]
        peak = peak_flops()
        if self.flops and peak:
            values["mfu"] = self.flops * count / elapsed / peak
            parts.append(f"MFU {100 * values['mfu']:.1f} %")
        done = self.step - self._begin_step - 1
        if done > 0:
            left = (self.total_steps - self.step) * (now - self._began) / done
            parts.append(f"ETA {duration(left)}")
        log.info("  ".join(parts))
        self._since, self._sums, self._count = now, {}, 0
        return values
