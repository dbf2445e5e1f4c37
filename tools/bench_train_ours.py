"""The worker of bench_train.py for medmt5, and for matrix products in JAX."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bench_train_worker import (
    LEARNING_RATE,
    SENTENCE_BATCHES,
    Case,
    Job,
    compiled,
    full_batch,
    parameters,
    real_tokens,
    serve,
)
from flax.traverse_util import unflatten_dict

from medmt5 import batches, decoding, step
from medmt5.adafactor import adafactor
from medmt5.models.t5 import T5Config
from medmt5.state import Architecture, TrainState, flat_params

LOSS = step.LossConfig(z_loss=0.0)  # PyTorch's model has no z-loss


def make(case: Case) -> Job:
    if case.part == "products":
        return products(case)
    layers = {} if case.unrolled else dict(scan_layers=True, remat_policy="minimal")
    architecture = Architecture.t5(T5Config(**case.sizes(), **layers))
    shapes = {name: leaf.shape for name, leaf in flat_params(architecture.shapes).items()}
    arrays = {name: jnp.asarray(array) for name, array in parameters(shapes).items()}
    params = unflatten_dict(arrays, sep="/")
    if case.part == "decode":
        return decode(case, architecture, params)
    if case.part == "gradients":
        return gradients(case, architecture, params)
    return training(case, architecture, params)


class Ready:
    """The format of examples that are ids already."""

    def example(self, raw: dict[str, np.ndarray], rng: Any) -> dict[str, np.ndarray]:
        del rng
        return raw


def sentences(case: Case) -> list[step.Batch]:
    """Batches as a run with PACK = True draws them."""
    with open(case.examples, encoding="utf-8") as file:
        raws = [
            {name: np.array(ids, np.int32) for name, ids in example.items()}
            for example in json.load(file)
        ]
    config = batches.DatasetConfig(
        "sentences",
        {"inputs": case.source, "targets": case.target},
        batch_size=case.rows,
        pack=case.packed,
    )
    stream = batches.Stream([batches.Table("sentences", 1.0, Ready(), raws)], config)
    return list(itertools.islice(stream, SENTENCE_BATCHES))


def training(case: Case, architecture: Architecture, params: Any) -> Job:
    """The step as `train.train` compiles it."""
    optimizer = adafactor(LEARNING_RATE)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key_data(jax.random.key(0)),
        params=params,
        frozen={},
        opt_state=optimizer.init(params),
    )
    if case.part == "sentences":
        turns = sentences(case)
    else:
        turns = [step.Batch(**full_batch(case))]
    places = jax.tree.map(lambda array: array.sharding, state)
    jitted = step.jitted_train_step(architecture, optimizer, LOSS, shardings=places)
    program, facts = compiled(jitted, state, turns[0])

    def run(turn: int) -> dict[str, Any]:
        nonlocal state
        batch = turns[turn % len(turns)]
        state, metrics = jax.block_until_ready(program(state, batch))
        loss = float(metrics["nll"] / metrics["weight"])
        return {"loss": loss, "real_tokens": real_tokens(batch._asdict())}

    return Job(run, facts)


def gradients(case: Case, architecture: Architecture, params: Any) -> Job:
    batch = step.Batch(**full_batch(case))

    def total(params: Any, batch: step.Batch) -> jax.Array:
        model = architecture.merge(params)
        # Rate 0 where a case has no dropout: the key is not used.
        return step.seq2seq_loss(model, batch, dropout_key=jax.random.key(0), z_loss=0.0).total

    program, facts = compiled(jax.jit(jax.value_and_grad(total)), params, batch)

    def run(turn: int) -> dict[str, Any]:
        del turn
        loss, _ = jax.block_until_ready(program(params, batch))
        return {"loss": float(loss) / batch.decoder_target_tokens.size}

    return Job(run, facts)


def decode(case: Case, architecture: Architecture, params: Any) -> Job:
    source = full_batch(case)["encoder_input_tokens"]

    def greedy(params: Any, source: jax.Array) -> decoding.Decoded:
        model = architecture.merge(params)
        # No token is -1: every row is as long as can be.
        return decoding.greedy(model, source, max_length=case.target, eos_id=-1)

    program, facts = compiled(jax.jit(greedy), params, source)

    def run(turn: int) -> dict[str, Any]:
        del turn
        return {"tokens": np.asarray(program(params, source).tokens).tolist()}

    return Job(run, facts)


def products(case: Case) -> Job:
    """Each product alone; the seconds of each are the turn's result."""
    multiply = jax.jit(jnp.matmul)
    rng = np.random.default_rng(0)
    pairs = []
    for size, m, k, n in case.products:
        left = rng.standard_normal((size, m, k), np.float32)
        right = rng.standard_normal((size, k, n), np.float32)
        if size == 1:
            left, right = left[0], right[0]
        pairs.append((jnp.asarray(left, case.dtype), jnp.asarray(right, case.dtype)))

    def run(turn: int) -> dict[str, Any]:
        del turn
        seconds = []
        for pair in pairs:
            began = time.perf_counter()
            jax.block_until_ready(multiply(*pair))
            seconds.append(time.perf_counter() - began)
        return {"products": seconds}

    return Job(run, {})


if __name__ == "__main__":
    serve(make)
