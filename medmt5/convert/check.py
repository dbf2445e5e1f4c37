"""Proof that what was written computes what was read: logits of both, layer by layer.

The left side runs our model's own layers. For a Hugging Face directory the right side is a second
implementation, in numpy, by Hugging Face's names and conventions, so that a wrong name or a
missing transposition shows; for the other kinds it is ours again, on the numbers read back.
"""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.traverse_util import unflatten_dict

from medmt5.convert import huggingface, safetensors
from medmt5.convert.source import Source
from medmt5.models import t5
from medmt5.models.attention import Attend, RelativePositionBias, Seen, attention_among
from medmt5.models.layers import RMSNorm

# Two float32 programs differ by rounding, which a model may amplify: how much is measured by moving
# the embeddings by their last bit. Ten times that is allowed, and 1e-5 of the largest logit at
# least; a wrong name or a transposed matrix changes the first digit, another GELU the third.
LEAST, TIMES = 1e-5, 10
LAST_BIT = 2.0**-24


def example(vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sources, one with padding, and decoder inputs that begin with 0."""
    rng = np.random.default_rng(0)
    source = rng.integers(2, min(vocab_size, 32_000), (2, 12))
    source[1, 7:] = 0
    target = rng.integers(2, min(vocab_size, 32_000), (2, 5))
    target[:, 0] = 0
    return source, target


def our_logits(source: Source, tokens: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Logits (batch, target, vocab) by our layers, in float32.

    Args:
      source: any checkpoint.
      tokens: encoder ids, 0 is padding.
      inputs: decoder input ids.
    """
    config = source.config
    embedding = source.read("params/token_embedder/embedding")
    x, y = embedding[tokens], embedding[inputs]
    tied = embedding if config.logits_via_embedding else None
    del embedding
    source_segments = jnp.asarray(tokens > 0, jnp.int32)
    target_segments = jnp.ones(inputs.shape, jnp.int32)
    load = functools.partial(_layer, source)
    attention = functools.partial(
        _attention, load, "encoder", Seen(source_segments, source_segments)
    )
    shared = None if config.relative_bias_per_layer else attention(None)
    for i in range(config.num_encoder_layers):
        layer = load(f"encoder/layers_{i}", t5.EncoderLayer, config)
        x = layer(jnp.asarray(x), attend=shared or attention(i), keys=None)
    encoded = _norm(load, "encoder", config)(x)
    attention = functools.partial(
        _attention, load, "decoder", Seen(target_segments, target_segments, causal=True)
    )
    shared = None if config.relative_bias_per_layer else attention(None)
    cross_attend = attention_among(Seen(target_segments, source_segments), None, config)
    for i in range(config.num_decoder_layers):
        layer = load(f"decoder/layers_{i}", t5.DecoderLayer, config)
        cross_key, cross_value = layer.encoder_decoder_attention.keys_values(encoded)
        y, _ = layer(
            jnp.asarray(y),
            attend=shared or attention(i),
            cross_attend=cross_attend,
            cross_key=cross_key,
            cross_value=cross_value,
            keys=None,
        )
    y = np.asarray(_norm(load, "decoder", config)(y))
    if tied is not None:
        return y / math.sqrt(config.emb_dim) @ tied.T
    return y @ source.read("params/decoder/logits_dense/kernel")


def _layer(source: Source, prefix: str, kind: Callable[..., Any], *args, **kwargs) -> Any:
    """A module of our model with the source's numbers."""
    abstract = nnx.eval_shape(lambda: kind(*args, rngs=nnx.Rngs(0), **kwargs))
    graph, state = nnx.split(abstract)
    numbers = {}
    for path, _ in nnx.to_flat_state(state):
        name = "/".join(map(str, path))
        numbers[name] = jnp.asarray(source.read(f"params/{prefix}/{name}"))
    return nnx.merge(graph, unflatten_dict(numbers, sep="/"))


def _norm(load: Callable[..., Any], stack: str, config: t5.T5Config) -> Any:
    return load(f"{stack}/{stack}_norm", RMSNorm, config.emb_dim, dtype=config.dtype)


def _attention(load: Callable[..., Any], stack: str, seen: Seen, layer: int | None) -> Attend:
    config = load.args[0].config
    prefix = stack if layer is None else f"{stack}/layers_{layer}"
    bias = load(
        f"{prefix}/relpos_bias", RelativePositionBias, config, bidirectional=stack == "encoder"
    )
    return attention_among(seen, bias, config)


def their_logits(
    folder: str, tokens: np.ndarray, inputs: np.ndarray, *, wobble: np.ndarray | float = 0.0
) -> np.ndarray:
    """The same from a Hugging Face directory, in numpy: what `transformers` computes.

    `wobble`, per row or for all, moves the embeddings at random by that part of their size.

    Written from the formulas of T5 (Raffel et al. 2020) with Hugging Face's names: `x @ W.T`, a
    bias table of (buckets, heads), the first block's bias for all blocks unless the model is umT5.
    """
    with open(os.path.join(folder, huggingface.CONFIG), encoding="utf-8") as file:
        given = json.load(file)
    tensors = huggingface.read_headers(folder)
    heads = given["num_heads"]

    def read(name: str) -> np.ndarray:
        return safetensors.read(tensors[name])

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ read(f"{name}.weight").T

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        scale = np.sqrt(np.mean(x**2, -1, keepdims=True) + given["layer_norm_epsilon"])
        return x / scale * read(f"{name}.weight")

    def split(x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    def attention(x, memory, name: str, bias) -> np.ndarray:
        q, k, v = split(linear(x, f"{name}.q")), split(linear(memory, f"{name}.k")), None
        scores = q @ k.transpose(0, 1, 3, 2) + bias
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        v = split(linear(memory, f"{name}.v"))
        joined = (weights @ v).transpose(0, 2, 1, 3)
        return linear(joined.reshape(*x.shape[:2], -1), f"{name}.o")

    def activation(x: np.ndarray, name: str) -> np.ndarray:
        if name == "relu":
            return np.maximum(x, 0)
        if name == "silu":
            return x / (1 + np.exp(-x))
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    def feed_forward(x: np.ndarray, name: str) -> np.ndarray:
        gated, _, act = given["feed_forward_proj"].rpartition("-")
        if not gated:
            return linear(activation(linear(x, f"{name}.wi"), act), f"{name}.wo")
        hidden = activation(linear(x, f"{name}.wi_0"), act) * linear(x, f"{name}.wi_1")
        return linear(hidden, f"{name}.wo")

    def bias(stack: str, block: int, length: int) -> np.ndarray:
        table = read(f"{stack}.block.{block}.layer.0.SelfAttention.relative_attention_bias.weight")
        out = np.empty((heads, length, length), np.float32)
        for q in range(length):
            for k in range(length):
                out[:, q, k] = table[_bucket(k - q, stack == "encoder", given)]
        return out[None]

    def run(stack: str, x: np.ndarray, mask: np.ndarray, memory=None, memory_mask=None):
        positions = None
        blocks = given["num_layers"] if stack == "encoder" else given["num_decoder_layers"]
        for i in range(blocks):
            name = f"{stack}.block.{i}.layer"
            if positions is None or given["model_type"] == "umt5":
                positions = bias(stack, i, x.shape[1])
            y = norm(x, f"{name}.0.layer_norm")
            x = x + attention(y, y, f"{name}.0.SelfAttention", positions + mask)
            last = 1
            if memory is not None:
                y = norm(x, f"{name}.1.layer_norm")
                x = x + attention(y, memory, f"{name}.1.EncDecAttention", memory_mask)
                last = 2
            y = norm(x, f"{name}.{last}.layer_norm")
            x = x + feed_forward(y, f"{name}.{last}.DenseReluDense")
        return norm(x, f"{stack}.final_layer_norm")

    shared = read("shared.weight")
    rng = np.random.default_rng(0)
    x, y = (
        (shared[ids] * (1 + wobble * rng.normal(size=(*ids.shape, 1)))).astype(np.float32)
        for ids in (tokens, inputs)
    )
    tied = shared if given["tie_word_embeddings"] else None
    del shared
    far = np.float32(-1e9)
    padding = np.where(tokens > 0, 0, far)[:, None, None, :].astype(np.float32)
    future = np.triu(np.full((inputs.shape[1],) * 2, far), 1)[None, None]
    encoded = run("encoder", x, padding)
    y = run("decoder", y, future, encoded, padding)
    if tied is not None:
        return y * given["d_model"] ** -0.5 @ tied.T
    return linear(y, "lm_head")


def _bucket(distance: int, bidirectional: bool, given: dict[str, Any]) -> int:
    """The bucket of a distance (key minus query), by integers where those are exact."""
    buckets, farthest = (
        given["relative_attention_num_buckets"],
        given["relative_attention_max_distance"],
    )
    first = 0
    if bidirectional:
        buckets //= 2
        first = buckets if distance > 0 else 0
        distance = abs(distance)
    else:
        distance = max(0, -distance)
    near = buckets // 2
    if distance < near:
        return first + distance
    grown = near + math.log(distance / near) / math.log(farthest / near) * (buckets - near)
    return first + min(buckets - 1, int(grown))


def compare(source: Source, written: Source) -> float:
    """The largest difference of logits, relative to the largest logit.

    Raises:
      ValueError: they differ by more than rounding, or are no numbers.
    """
    tokens, inputs = example(source.config.vocab_size)
    left = our_logits(source, tokens, inputs)
    if not np.isfinite(left).all():
        raise ValueError(f"{source.path} gives logits that are not finite: its numbers are damaged")
    largest = np.abs(left).max()
    if written.kind == "hf":
        twice = np.concatenate([tokens, tokens]), np.concatenate([inputs, inputs])
        wobble = np.repeat([0.0, LAST_BIT], len(tokens))[:, None, None]
        right, moved = np.split(their_logits(written.path, *twice, wobble=wobble), 2)
        allowed = max(LEAST, TIMES * float(np.abs(right - moved).max() / largest))
    else:
        right, allowed = our_logits(written, tokens, inputs), 0.0  # one program, the same numbers
    difference = float(np.abs(left - right).max() / largest)
    if not difference <= allowed:
        raise ValueError(
            f"what was written gives other logits than {source.path}: {difference:.1e} of the "
            f"largest, where {allowed:.0e} would be rounding"
        )
    return difference
