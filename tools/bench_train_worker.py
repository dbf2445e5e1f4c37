"""What the processes of bench_train.py share: a case, the same numbers to start from, and turns.

A worker reads its case as the first line of its input, builds and compiles it, and answers with one
line of facts. Every further line gives it one turn, which it answers with seconds and results. It
sleeps in between, so that workers take turns on the same cores. Needs NumPy alone, as `measuring`
does: T5X may live in an environment of its own.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from measuring import peak_mib

LEARNING_RATE = 1e-3  # constant, as Medical mT5 was trained
HEAD_DIM = 64
SENTENCE_BATCHES = 8  # made before the first turn, so that no input pipeline is timed


@dataclasses.dataclass(frozen=True)
class Case:
    """What one worker is to do.

    Attributes:
      part: "train" (with Adafactor), "gradients" (without), "sentences" (train on `examples`),
        "decode", or "products" (multiply `products` and nothing else).
      dtype: "float32" or "bfloat16"; parameters are float32 always.
      layers: of encoder and decoder each.
      embed, heads, mlp, vocab: further sizes of the model.
      rows: of a batch.
      source, target: tokens per row, padding included; in "decode" target counts decoded tokens.
      dropout: rate.
      packed: several examples share a row; only in "sentences".
      unrolled: layers written out, all activations kept; ours alone, which scans otherwise, as the
        gin files of models do.
      examples: a JSON file with a list of {"inputs": ids, "targets": ids}.
      products: (batch, m, k, n) of each product.
      threads: cores that all workers have.
    """

    part: str
    dtype: str
    layers: int
    embed: int
    heads: int
    mlp: int
    vocab: int
    rows: int
    source: int
    target: int
    dropout: float = 0.0
    packed: bool = False
    unrolled: bool = False
    examples: str = ""
    products: Sequence[Sequence[int]] = ()
    threads: int = 1

    def sizes(self) -> dict[str, Any]:
        """Fields of `T5Config`, ours and T5X's alike."""
        return dict(
            vocab_size=self.vocab,
            dtype=self.dtype,
            emb_dim=self.embed,
            num_heads=self.heads,
            num_encoder_layers=self.layers,
            num_decoder_layers=self.layers,
            head_dim=HEAD_DIM,
            mlp_dim=self.mlp,
            mlp_activations=("gelu", "linear"),
            dropout_rate=self.dropout,
            logits_via_embedding=False,
        )


class Job(NamedTuple):
    """A case that is ready.

    Attributes:
      run: one turn, which ends when its results are there; turn 0 is not counted.
      facts: JSON; `compile_seconds` and `temporary_mib` where a compiler says so.
    """

    run: Callable[[int], dict[str, Any]]
    facts: dict[str, Any]


def compiled(jitted: Any, *arguments: Any) -> tuple[Any, dict[str, Any]]:
    """A program of JAX, and what compiling it took and says."""
    began = time.perf_counter()
    program = jitted.lower(*arguments).compile()
    memory = program.memory_analysis()
    facts = {
        "compile_seconds": time.perf_counter() - began,
        "temporary_mib": memory.temp_size_in_bytes / 2**20,
    }
    return program, facts


def serve(make: Callable[[Case], Job]) -> None:
    """Answer the parent until it closes the pipe."""
    # Libraries print; the parent's pipe is for answers alone.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(content: Mapping[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    job = make(Case(**json.loads(sys.stdin.readline())))
    answer(job.facts)
    for line in sys.stdin:
        began, cpu_began = time.perf_counter(), time.process_time()
        result = job.run(int(line))
        times = {
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu_began,
        }
        answer({**times, "peak_rss_mib": peak_mib(), **result})


def parameters(shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """Parameters by T5X's names, the same in every process, as large as T5X's initial ones."""
    made = {}
    for name, shape in shapes.items():
        if name.endswith("/scale"):
            made[name] = np.ones(shape, np.float32)
            continue
        if name == "token_embedder/embedding":
            deviation = 1.0
        elif name.endswith("/rel_embedding"):
            deviation = (2 / sum(shape)) ** 0.5
        else:
            deviation = shape[0] ** -0.5
            if name.endswith("/query/kernel"):
                deviation *= HEAD_DIM**-0.5
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        made[name] = rng.standard_normal(shape, np.float32) * np.float32(deviation)
    return made


def full_batch(case: Case) -> dict[str, np.ndarray]:
    """Random tokens without padding; names as in SeqIO."""
    rng = np.random.default_rng(0)
    source = rng.integers(3, case.vocab, (case.rows, case.source)).astype(np.int32)
    target = rng.integers(3, case.vocab, (case.rows, case.target)).astype(np.int32)
    return {
        "encoder_input_tokens": source,
        "decoder_input_tokens": np.pad(target[:, :-1], ((0, 0), (1, 0))),
        "decoder_target_tokens": target,
        "decoder_loss_weights": np.ones(target.shape, np.float32),
    }


def real_tokens(batch: Mapping[str, np.ndarray]) -> int:
    names = ("encoder_input_tokens", "decoder_target_tokens")
    return int(sum((np.asarray(batch[name]) > 0).sum() for name in names))
