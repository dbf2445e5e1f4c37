"""The loss and the step: pure functions of arrays.

The cross-entropy itself is in `losses`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from medmt5 import losses
from medmt5.models.layers import Keys
from medmt5.partitioning import shard_rows
from medmt5.state import Architecture, Params, TrainState, random_key

NORMALIZERS = ("NUM_REAL_TARGET_TOKENS", "NUM_TOTAL_TARGET_TOKENS", "AVERAGE_PER_SEQUENCE")


class Batch(NamedTuple):
    """One batch of token ids, 0 for padding; field names as in SeqIO.

    Segment ids number the packed examples of a row from 1 (0 for padding); None if not packed.
    Positions are not needed: T5's relative bias depends on distances alone.
    """

    encoder_input_tokens: Int[Array, "batch source"]
    decoder_input_tokens: Int[Array, "batch target"]
    decoder_target_tokens: Int[Array, "batch target"]
    decoder_loss_weights: Float[Array, "batch target"]
    encoder_segment_ids: Int[Array, "batch source"] | None = None
    decoder_segment_ids: Int[Array, "batch target"] | None = None


class Loss(NamedTuple):
    """Sums over tokens, so that microbatches add exactly.

    Attributes:
      total: weighted negative log-likelihood in nats, z-loss included.
      metrics: further sums, without gradients: `nll`, `z_loss`, `correct`, `weight` (all weighted),
        `target_tokens`, `source_tokens` (non-padding counts).
    """

    total: Float[Array, ""]
    metrics: dict[str, Float[Array, ""]]


LossFn = Callable[..., Loss]


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """T5X's choices of loss; the fields are its macros Z_LOSS, LABEL_SMOOTHING and so on.

    Attributes:
      chunk_tokens: not T5X's: the largest number of tokens per device whose logits exist at a
        time; None for all of them. It changes memory and, by rounding, last bits.
    """

    z_loss: float = 1e-4
    label_smoothing: float = 0.0
    loss_normalizing_factor: float | str | None = None
    chunk_tokens: int | None = losses.CHUNK_TOKENS

    def __post_init__(self):
        if self.chunk_tokens is not None and self.chunk_tokens < 1:
            raise ValueError(
                f"chunk_tokens is {self.chunk_tokens}; use a number of tokens, such as "
                f"{losses.CHUNK_TOKENS}, or None for the plain loss"
            )
        factor = self.loss_normalizing_factor
        if isinstance(factor, str) and factor not in NORMALIZERS:
            raise ValueError(
                f"loss_normalizing_factor {factor!r} is unknown; use None (sum over tokens), a "
                f"number, or one of {', '.join(NORMALIZERS)}"
            )


def seq2seq_loss(
    model: Any,
    batch: Batch,
    *,
    dropout_key: Array | None,
    z_loss: float = 1e-4,
    label_smoothing: float = 0.0,
    chunk_tokens: int | None = losses.CHUNK_TOKENS,
) -> Loss:
    """Teacher-forced loss of a batch, summed over tokens with `decoder_loss_weights`.

    Args:
      model: a `Transformer`.
      batch: token ids.
      dropout_key: None switches dropout off.
      z_loss: weight of the squared log-partition.
      label_smoothing: probability mass taken from the target, in [0, 1).
      chunk_tokens: as in `LossConfig`. Where there are few logits they are made at once anyway.
    """
    keys = None if dropout_key is None else Keys(dropout_key)
    encoded = model.encode(
        batch.encoder_input_tokens, segment_ids=batch.encoder_segment_ids, keys=keys
    )
    hidden = model.decode(
        encoded,
        batch.encoder_input_tokens,
        batch.decoder_input_tokens,
        batch.decoder_target_tokens,
        source_segment_ids=batch.encoder_segment_ids,
        target_segment_ids=batch.decoder_segment_ids,
        keys=keys,
    )
    targets, weights = batch.decoder_target_tokens, batch.decoder_loss_weights
    options = dict(z_loss=z_loss, label_smoothing=label_smoothing)
    if chunk_tokens is None or losses.few_logits(targets.size, model.config.vocab_size):
        logits = shard_rows(model.logits(hidden))
        sums = losses.plain_sums(logits, targets, weights, **options)
    else:
        sums = losses.chunked_sums(
            *model.factors(hidden), targets, weights, chunk_tokens=chunk_tokens, **options
        )
    metrics = {
        "nll": sums.nll,
        "z_loss": sums.z_loss,
        "correct": sums.correct,
        "weight": weights.sum(),
        "target_tokens": (targets > 0).sum().astype(jnp.float32),
        "source_tokens": (batch.encoder_input_tokens > 0).sum().astype(jnp.float32),
    }
    # Chunks make the gradient of the total only; the plain loss is not to promise more.
    return Loss(sums.total, jax.lax.stop_gradient(metrics))


def normalize_weights(
    batch: Batch, factor: float | str | None
) -> tuple[Batch, Float[Array, ""] | float]:
    """The batch with the loss weights of T5X's normaliser `factor`, and what to divide by.

    It looks at the whole batch, so that the number of microbatches does not change the loss.

    Source: T5X `losses.get_loss_normalizing_factor_and_weights`.
    """
    weights = batch.decoder_loss_weights
    if factor is None:
        return batch, 1.0
    if factor == "NUM_REAL_TARGET_TOKENS":
        return batch, jnp.maximum(weights.sum(), 1.0)
    if factor == "NUM_TOTAL_TARGET_TOKENS":
        return batch, float(weights.size)
    if factor == "AVERAGE_PER_SEQUENCE":
        segments = batch.decoder_segment_ids
        if segments is None:
            segments = (batch.decoder_target_tokens > 0).astype(jnp.int32)
        same = (segments[:, :, None] == segments[:, None, :]) & (segments > 0)[:, None, :]
        per_sequence = jnp.einsum("bts,bs->bt", same.astype(jnp.float32), weights)
        weights = jnp.where(per_sequence > 0, weights / jnp.maximum(per_sequence, 1e-9), 0.0)
        return batch._replace(decoder_loss_weights=weights), jnp.maximum(weights.sum(), 1.0)
    return batch, float(factor)


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    merge: Callable[[Params, Params], Any],
    optimizer: optax.GradientTransformation,
    loss: LossConfig = LossConfig(),
    loss_fn: LossFn | None = None,
    num_microbatches: int = 1,
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """One update. Pure: the same state and batch give the same result.

    Args:
      state: donated by the caller's jit.
      batch: the global batch.
      merge: `Architecture.merge`.
      optimizer: any optax transformation.
      loss: normaliser, z-loss, label smoothing, chunks.
      loss_fn: takes `model, batch, *, dropout_key, z_loss, label_smoothing`; None is
        `seq2seq_loss`, with the chunks of `loss`.
      num_microbatches: the batch is cut into this many parts whose gradients are added.

    Returns:
      The next state; metrics: `loss` (what was minimised), `grad_norm`, and the sums of `Loss`.
    """
    batch, denominator = normalize_weights(batch, loss.loss_normalizing_factor)
    dropout_key = random_key(state)
    if loss_fn is None:
        loss_fn = functools.partial(seq2seq_loss, chunk_tokens=loss.chunk_tokens)

    def objective(params: Params, part: Batch, index) -> tuple[Array, dict[str, Array]]:
        result = loss_fn(
            merge(params, state.frozen),
            part,
            dropout_key=jax.random.fold_in(dropout_key, index),
            z_loss=loss.z_loss,
            label_smoothing=loss.label_smoothing,
        )
        return result.total / denominator, result.metrics

    value_and_grad = jax.value_and_grad(objective, has_aux=True)
    if num_microbatches == 1:
        (value, metrics), grads = value_and_grad(state.params, batch, 0)
    else:
        parts = jax.tree.map(lambda x: _split_rows(x, num_microbatches), batch)

        def accumulate(sums, part_index):
            part, index = part_index
            return jax.tree.map(jnp.add, sums, value_and_grad(state.params, part, index)), None

        first = jax.tree.map(lambda x: x[0], parts)
        rest = (
            jax.tree.map(lambda x: x[1:], parts),
            jnp.arange(1, num_microbatches),
        )
        sums, _ = jax.lax.scan(accumulate, value_and_grad(state.params, first, 0), rest)
        (value, metrics), grads = sums
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics |= {"loss": value, "grad_norm": optax.global_norm(grads)}
    return state._replace(step=state.step + 1, params=params, opt_state=opt_state), metrics


def jitted_train_step(
    architecture: Architecture,
    optimizer: optax.GradientTransformation,
    loss: LossConfig = LossConfig(),
    *,
    num_microbatches: int = 1,
    shardings: TrainState,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Float[Array, ""]]]]:
    """`train_step`, compiled at its first call and never again.

    The state is donated, and the next one lies where it lay: left to choose, the compiler may split
    an array in another way, for which the second step would be compiled anew.

    Args:
      architecture: the model.
      optimizer: any optax transformation.
      loss: as for `train_step`.
      num_microbatches: as for `train_step`.
      shardings: of the state, from `state.state_shardings`.
    """
    return jax.jit(
        functools.partial(
            train_step,
            merge=architecture.merge,
            optimizer=optimizer,
            loss=loss,
            num_microbatches=num_microbatches,
        ),
        donate_argnums=0,
        out_shardings=(shardings, None),
    )


def eval_step(
    params: Params,
    frozen: Params,
    batch: Batch,
    *,
    merge: Callable[[Params, Params], Any],
    loss_fn: LossFn = seq2seq_loss,
) -> dict[str, Float[Array, ""]]:
    """The sums of `Loss.metrics`, without dropout."""
    return loss_fn(merge(params, frozen), batch, dropout_key=None).metrics


def _split_rows(x: Array, parts: int) -> Array:
    """(batch, ...) -> (parts, batch / parts, ...); part i takes rows i, i + parts, ...

    Strided, so that every device's rows are spread over all parts and none has to move.
    """
    if x.shape[0] % parts:
        raise ValueError(
            f"batch of {x.shape[0]} rows does not divide into {parts} microbatches; "
            "change BATCH_SIZE or num_microbatches"
        )
    return jnp.moveaxis(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 1, 0)
