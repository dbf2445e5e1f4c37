"""Span-corruption loss of a checkpoint on a split, task by task and of all: JSON on one line.

    python tools/span_loss.py --checkpoint runs/a --corpus runs/corpus --split validation

Nats per target token without dropout, every chunk once, corrupted the same way each time. What is
compared must have the same vocabulary.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from medmt5 import batches, evaluate, partitioning, restore
from medmt5.convert.source import open_source
from medmt5.launch import errors_to_exit, setup_logging
from medmt5.state import Architecture, TrainState, split_trainable


def losses(checkpoint: str, config: batches.DatasetConfig) -> dict[str, dict[str, float]]:
    """Loss and accuracy by task, and of `all` target tokens together."""
    source = open_source(checkpoint)
    tables = batches.read_tables(config, restore.vocabulary_of(source))
    architecture = Architecture.t5(source.config)
    mesh = partitioning.make_mesh(devices=jax.devices()[:1])
    params = restore.load_params(source, architecture, architecture.shardings(mesh))
    trained, frozen = split_trainable(params, ".*")
    state = TrainState(jnp.zeros((), jnp.int32), jnp.zeros(2, jnp.uint32), trained, frozen, ())
    compiled = evaluate.compile_loss(architecture)
    with jax.set_mesh(mesh):
        sums = {
            table.name: evaluate.loss_sums(compiled, state, [table], config, mesh)
            for table in tables
        }
    parts = list(sums.values())
    sums["all"] = {name: sum(part[name] for part in parts) for name in parts[0]}
    return {name: evaluate.per_token(one) for name, one in sums.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--checkpoint", required=True, help="a model directory or checkpoint")
    flags.add_argument("--task", default="corpus_words", help="or mixture")
    flags.add_argument("--corpus", help="folder, instead of MEDMT5_CORPUS_DIR")
    flags.add_argument("--split", default="validation")
    flags.add_argument("--inputs", type=int, default=128, help="row length in tokens")
    flags.add_argument("--targets", type=int, default=128, help="row length in tokens")
    flags.add_argument("--batch_size", type=int, default=16)
    given = flags.parse_args(arguments)
    setup_logging()
    if given.corpus:
        os.environ["MEDMT5_CORPUS_DIR"] = given.corpus
    lengths: dict[str, Any] = {"inputs": given.inputs, "targets": given.targets}
    config = batches.DatasetConfig(
        given.task, lengths, split=given.split, batch_size=given.batch_size, pack=True
    )
    with errors_to_exit():
        print(json.dumps(losses(given.checkpoint, config)))


if __name__ == "__main__":
    main()
