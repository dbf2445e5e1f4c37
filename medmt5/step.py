"""The loss and the step: pure functions of arrays, compiled by whoever calls them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from medmt5.partitioning import shard_rows
from medmt5.state import Params, TrainState, random_key

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
      metrics: further sums: `nll`, `z_loss`, `correct`, `weight` (all weighted), `target_tokens`,
        `source_tokens` (non-padding counts).
    """

    total: Float[Array, ""]
    metrics: dict[str, Float[Array, ""]]


LossFn = Callable[..., Loss]


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """T5X's choices of loss; the fields are its macros Z_LOSS, LABEL_SMOOTHING and so on."""

    z_loss: float = 1e-4
    label_smoothing: float = 0.0
    loss_normalizing_factor: float | str | None = None

    def __post_init__(self):
        factor = self.loss_normalizing_factor
        if isinstance(factor, str) and factor not in NORMALIZERS:
            raise ValueError(
                f"loss_normalizing_factor {factor!r} is unknown; use None (sum over tokens), a "
                f"number, or one of {', '.join(NORMALIZERS)}"
            )


def cross_entropy(
    logits: Float[Array, "batch target vocab"],
    targets: Int[Array, "batch target"],
    *,
    z_loss: float,
    label_smoothing: float,
) -> tuple[Float[Array, "batch target"], Float[Array, "batch target"]]:
    """Loss per token in nats, and the part of it that is z-loss.

    Label smoothing spreads its mass over the other words and subtracts the entropy of the smoothed
    target, so that a perfect prediction costs 0. z-loss keeps the log-partition near 0.

    Source: T5X `losses.cross_entropy_with_logits`.
    """
    vocab = logits.shape[-1]
    log_z = jax.nn.logsumexp(logits, axis=-1)
    target_logit = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    if label_smoothing:
        high, low = 1.0 - label_smoothing, label_smoothing / (vocab - 1)
        expected = (high - low) * target_logit + low * logits.sum(-1)
        entropy = -(high * jnp.log(high) + (vocab - 1) * low * jnp.log(low + 1e-20))
        loss = log_z - expected - entropy
    else:
        loss = log_z - target_logit
    z = z_loss * jnp.square(log_z)
    return loss + z, z


def seq2seq_loss(
    model: Any,
    batch: Batch,
    *,
    dropout_key: Array | None,
    z_loss: float = 1e-4,
    label_smoothing: float = 0.0,
) -> Loss:
    """Teacher-forced loss of a batch, summed over tokens with `decoder_loss_weights`.

    Args:
      model: a `Transformer`.
      batch: token ids.
      dropout_key: None switches dropout off.
      z_loss: weight of the squared log-partition.
      label_smoothing: probability mass taken from the target, in [0, 1).
    """
    rngs = None if dropout_key is None else nnx.Rngs(dropout=dropout_key)
    encoded = model.encode(
        batch.encoder_input_tokens, segment_ids=batch.encoder_segment_ids, rngs=rngs
    )
    hidden = model.decode(
        encoded,
        batch.encoder_input_tokens,
        batch.decoder_input_tokens,
        batch.decoder_target_tokens,
        source_segment_ids=batch.encoder_segment_ids,
        target_segment_ids=batch.decoder_segment_ids,
        rngs=rngs,
    )
    logits = shard_rows(model.logits(hidden))
    targets, weights = batch.decoder_target_tokens, batch.decoder_loss_weights
    loss, z = cross_entropy(logits, targets, z_loss=z_loss, label_smoothing=label_smoothing)
    correct = (logits.argmax(-1) == targets).astype(jnp.float32)
    metrics = {
        "nll": ((loss - z) * weights).sum(),
        "z_loss": (z * weights).sum(),
        "correct": (correct * weights).sum(),
        "weight": weights.sum(),
        "target_tokens": (targets > 0).sum().astype(jnp.float32),
        "source_tokens": (batch.encoder_input_tokens > 0).sum().astype(jnp.float32),
    }
    return Loss((loss * weights).sum(), metrics)


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
    loss_fn: LossFn = seq2seq_loss,
    num_microbatches: int = 1,
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """One update. Pure: the same state and batch give the same result.

    Args:
      state: donated by the caller's jit.
      batch: the global batch.
      merge: `Architecture.merge`.
      optimizer: any optax transformation.
      loss: normaliser, z-loss, label smoothing.
      loss_fn: like `seq2seq_loss`.
      num_microbatches: the batch is cut into this many parts whose gradients are added.

    Returns:
      The next state; metrics: `loss` (what was minimised), `grad_norm`, and the sums of `Loss`.
    """
    batch, denominator = normalize_weights(batch, loss.loss_normalizing_factor)
    dropout_key = random_key(state)

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
