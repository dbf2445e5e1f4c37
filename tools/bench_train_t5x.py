"""The worker of bench_train.py for T5X; needs T5X and what it needs, and nothing of medmt5."""

from __future__ import annotations

import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import seqio
import tensorflow as tf
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
from flax import traverse_util
from t5x import adafactor, decoding, models, train_state, trainer
from t5x.examples.t5 import network


def make(case: Case) -> Job:
    # No token is -1: every decoded row is as long as can be.
    vocabulary = seqio.PassThroughVocabulary(case.vocab, eos_id=-1)
    model = models.EncoderDecoderModel(
        module=network.Transformer(network.T5Config(**case.sizes())),
        input_vocabulary=vocabulary,
        output_vocabulary=vocabulary,
        optimizer_def=adafactor.Adafactor(
            decay_rate=0.8,
            step_offset=0,
            logical_factor_rules=adafactor.standard_logical_factor_rules(),
        ),
        decode_fn=decoding.temperature_sample,
        z_loss=0.0,  # PyTorch's model has no z-loss
    )
    variables = initial_variables(model, case)
    if case.part == "decode":
        return decode(case, model, variables["params"])
    if case.part == "gradients":
        return gradients(case, model, variables["params"])
    return training(case, model, variables)


def initial_variables(model: Any, case: Case) -> Any:
    """The model's own variables, with the parameters that all start from."""
    lengths = {"encoder_input_tokens": case.source, "decoder_input_tokens": case.target}
    shapes = {name: (case.rows, length) for name, length in lengths.items()}
    variables = jax.eval_shape(
        functools.partial(model.get_initial_variables, input_shapes=shapes), jax.random.key(0)
    )
    flat = traverse_util.flatten_dict(variables["params"], sep="/")
    arrays = parameters({name: leaf.shape for name, leaf in flat.items()})
    params = {name: jnp.asarray(array) for name, array in arrays.items()}
    return {**variables, "params": traverse_util.unflatten_dict(params, sep="/")}


def sentences(case: Case) -> list[dict[str, np.ndarray]]:
    """Batches from SeqIO's feature converter."""
    with open(case.examples, encoding="utf-8") as file:
        examples = json.load(file)
    ids = tf.TensorSpec([None], tf.int32)
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(examples), output_signature={"inputs": ids, "targets": ids}
    )
    convert = seqio.EncDecFeatureConverter(pack=case.packed)
    lengths = {"inputs": case.source, "targets": case.target}
    dataset = convert(dataset.repeat(), task_feature_lengths=lengths)
    dataset = dataset.batch(case.rows, drop_remainder=True).take(SENTENCE_BATCHES)
    return list(dataset.as_numpy_iterator())


def training(case: Case, model: Any, variables: Any) -> Job:
    """The step of T5X's trainer."""
    state = train_state.FlaxOptimTrainState.create(model.optimizer_def, variables)
    turns = sentences(case) if case.part == "sentences" else [full_batch(case)]
    step = functools.partial(trainer.train_with_lr, model=model, num_microbatches=None)
    program, facts = compiled(
        jax.jit(step, donate_argnums=0), state, turns[0], LEARNING_RATE, jax.random.PRNGKey(0)
    )

    def run(turn: int) -> dict[str, Any]:
        nonlocal state
        batch = turns[turn % len(turns)]
        key = jax.random.PRNGKey(turn)
        state, metrics = jax.block_until_ready(program(state, batch, LEARNING_RATE, key))
        weight = batch["decoder_loss_weights"].sum()
        loss = float(metrics["loss"].compute()) / float(weight)
        return {"loss": loss, "real_tokens": real_tokens(batch)}

    return Job(run, facts)


def gradients(case: Case, model: Any, params: Any) -> Job:
    batch = full_batch(case)
    loss_fn = functools.partial(model.loss_fn, dropout_rng=None)
    jitted = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    program, facts = compiled(jitted, params, batch)

    def run(turn: int) -> dict[str, Any]:
        del turn
        (loss, _), _ = jax.block_until_ready(program(params, batch))
        return {"loss": float(loss) / batch["decoder_target_tokens"].size}

    return Job(run, facts)


def decode(case: Case, model: Any, params: Any) -> Job:
    batch = {
        "encoder_input_tokens": full_batch(case)["encoder_input_tokens"],
        "decoder_input_tokens": np.zeros((case.rows, case.target), np.int32),
    }

    def greedy(params: Any, batch: Any) -> Any:
        return model.predict_batch_with_aux(
            params, batch, decoder_params={"temperature": 0.0}, num_decodes=1
        )[0]

    program, facts = compiled(jax.jit(greedy), params, batch)

    def run(turn: int) -> dict[str, Any]:
        del turn
        return {"tokens": np.asarray(program(params, batch)).tolist()}

    return Job(run, facts)


if __name__ == "__main__":
    serve(make)
