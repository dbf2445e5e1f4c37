"""T5 1.1 / mT5: encoder, decoder, and the decoder's key-value cache.

The parameter tree is T5X's, name for name. Loss and decoding strategies are left to `step` and
`decoding`; this file only turns token ids into hidden states and hidden states into logits.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from medmt5.models.attention import (
    Attend,
    Attention,
    RelativePositionBias,
    Seen,
    attend,
    attention_among,
)
from medmt5.models.layers import (
    ACTIVATIONS,
    Dense,
    Keys,
    Mlp,
    RMSNorm,
    dropout,
    matmul,
    parameter,
)
from medmt5.models.lora import LoraConfig, attach
from medmt5.models.quantized import BASE_WEIGHTS, hold_in_int8
from medmt5.models.soft_prompt import PromptConfig, SoftPrompt
from medmt5.models.stack import REMAT_POLICIES, Stack
from medmt5.partitioning import shard_rows

ATTENTIONS = ("auto", "plain", "fused")
MAX_LAYERS = 1000  # Tracing more takes minutes: a damaged configuration, not a model.


@dataclasses.dataclass(frozen=True)
class T5Config:
    """Sizes and choices of a T5 model; field names as in T5X.

    Attributes:
      vocab_size: rows of the embedding, padding rows included (mT5: 250,112).
      dtype: compute type, "float32" or "bfloat16". Parameters are always float32.
      emb_dim: width of the residual stream.
      num_heads: attention heads.
      num_encoder_layers: encoder layers.
      num_decoder_layers: decoder layers.
      head_dim: width of one head (`kv`); heads x kv need not equal emb_dim.
      mlp_dim: width of the feed-forward block.
      mlp_activations: one name for T5 1.0, two for the gated block of T5 1.1.
      dropout_rate: in [0, 1).
      logits_via_embedding: True ties the output matrix to the embedding (T5 1.0).
      relative_bias_per_layer: each layer has its own table of relative biases (umT5, and T5X's
        `scalable_t5`); otherwise a stack shares one (T5, mT5).
      float32_attention_logits: compute attention logits in float32 even when dtype is bfloat16.
      embedding_init_scale: standard deviation of the embedding at initialisation. T5X: 1.0. Small
        models trained from scratch learn faster from less.
      neighbour_bias_init: added, at initialisation, to each head's relative bias at one near
        position (previous token, next token, ...). T5X: 0. Copying needs heads that look at the
        neighbours; a small model trained from scratch finds them sooner with 6 or so.
      attention: "plain"; "fused", which never holds a row's scores in memory, where the device and
        the lengths allow it; or "auto", which is fused where that was measured to be faster. The
        same numbers up to rounding. `tools/bench_attention.py` compares them on a device.
      remat_policy: what a layer keeps for its backward pass: "none" (that is, all), "minimal"
        (its products with weights) or "full" (only its input; all else is computed again). It
        trades memory for time and changes nothing else.
      scan_layers: run the layers as a loop, which compiles in the time of one layer; parameters
        stay apart, so nothing changes on disk. Slower on a CPU.
      base_weights: "float32", or "int8" for a base that does not train: its matrices then take a
        quarter of their memory. They are rounded as a checkpoint is read; see `quantized`.
      lora: low-rank adapters of some matrices; None for none.
      prompt: soft prompts, whose ids come after those of the vocabulary; None for none.
    """

    vocab_size: int
    dtype: Any = "bfloat16"
    emb_dim: int = 512
    num_heads: int = 8
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6
    head_dim: int = 64
    mlp_dim: int = 2048
    mlp_activations: tuple[str, ...] = ("gelu", "linear")
    dropout_rate: float = 0.1
    logits_via_embedding: bool = False
    relative_bias_per_layer: bool = False
    float32_attention_logits: bool = False
    embedding_init_scale: float = 1.0
    neighbour_bias_init: float = 0.0
    attention: str = "auto"
    remat_policy: str = "none"
    scan_layers: bool = False
    base_weights: str = "float32"
    lora: LoraConfig | None = None
    prompt: PromptConfig | None = None

    def __post_init__(self):
        dtype = jnp.dtype(self.dtype)
        if dtype == jnp.float16:
            raise ValueError(
                "dtype is float16, in which mT5's activations overflow (beyond 65,504); "
                "use bfloat16, which has float32's range, or float32"
            )
        if dtype not in (jnp.float32, jnp.bfloat16):
            raise ValueError(f"dtype is {dtype}; use bfloat16 or float32")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and not (isinstance(value, int) and 0 < value < 2**31):
                raise ValueError(f"{field.name} is {value!r}; use a whole number from 1 on")
        if max(self.num_encoder_layers, self.num_decoder_layers) > MAX_LAYERS:
            raise ValueError(f"more than {MAX_LAYERS} layers; check num_encoder_layers")
        object.__setattr__(self, "dtype", dtype)
        object.__setattr__(self, "mlp_activations", tuple(self.mlp_activations))
        if isinstance(self.lora, dict):
            object.__setattr__(self, "lora", LoraConfig(**self.lora))
        if isinstance(self.prompt, dict):
            object.__setattr__(self, "prompt", PromptConfig(**self.prompt))
        for name in self.mlp_activations:
            if name not in ACTIVATIONS:
                raise ValueError(f"mlp activation {name!r} is unknown; use {sorted(ACTIVATIONS)}")
        if self.attention not in ATTENTIONS:
            raise ValueError(f"attention is {self.attention!r}; use {' or '.join(ATTENTIONS)}")
        if self.remat_policy not in REMAT_POLICIES:
            raise ValueError(
                f"remat_policy is {self.remat_policy!r}; use one of {', '.join(REMAT_POLICIES)}"
            )
        if self.base_weights not in BASE_WEIGHTS:
            raise ValueError(
                f"base_weights is {self.base_weights!r}; use {' or '.join(BASE_WEIGHTS)}"
            )
        if not 0.0 <= self.dropout_rate < 1.0:
            raise ValueError(f"dropout_rate is {self.dropout_rate}; use a number in [0, 1)")

    def to_json(self) -> dict[str, Any]:
        """Plain values, as stored beside a checkpoint; `T5Config(**values)` reads them back."""
        return dataclasses.asdict(self) | {"dtype": self.dtype.name}


class Cache(NamedTuple):
    """What decoding keeps: one array per layer in each tuple.

    The self-attention arrays are (rows, length, heads, kv), the cross-attention arrays
    (batch, source, heads, kv): rows are batch x beams, the beams of a source side by side.
    Entries at and after a row's position are stale and masked.

    The first entries are the decoder prompt's, if there is one. They are put there anew at each
    step, from (batch, prompt, heads, kv), so that a row may take another's place.
    """

    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    cross_keys: tuple[Array, ...]
    cross_values: tuple[Array, ...]
    source_mask: Bool[Array, "batch source"]
    prompt_keys: tuple[Array, ...] = ()
    prompt_values: tuple[Array, ...] = ()
    prompted: Bool[Array, " batch"] | None = None  # rows that have a decoder prompt


class EncoderLayer(nnx.Module):
    def __init__(self, config: T5Config, *, rngs: nnx.Rngs):
        norm = dict(dtype=config.dtype, rngs=rngs)
        if config.relative_bias_per_layer:
            self.relpos_bias = RelativePositionBias(config, bidirectional=True, rngs=rngs)
        self.pre_attention_layer_norm = RMSNorm(config.emb_dim, **norm)
        self.attention = Attention(config, rngs=rngs)
        self.pre_mlp_layer_norm = RMSNorm(config.emb_dim, **norm)
        self.mlp = Mlp(config, rngs=rngs)
        self.dropout_rate = config.dropout_rate

    def __call__(self, x: Array, *, attend: Attend, keys: Keys | None) -> Array:
        normed = self.pre_attention_layer_norm(x)
        key, value = self.attention.keys_values(normed, keys)
        attended = self.attention(normed, key, value, attend=attend, keys=keys)
        x = x + dropout(attended, self.dropout_rate, keys)
        y = self.mlp(self.pre_mlp_layer_norm(x), keys=keys)
        return x + dropout(y, self.dropout_rate, keys)


class DecoderLayer(nnx.Module):
    def __init__(self, config: T5Config, *, rngs: nnx.Rngs):
        norm = dict(dtype=config.dtype, rngs=rngs)
        if config.relative_bias_per_layer:
            self.relpos_bias = RelativePositionBias(config, bidirectional=False, rngs=rngs)
        self.pre_self_attention_layer_norm = RMSNorm(config.emb_dim, **norm)
        self.self_attention = Attention(config, rngs=rngs)
        self.pre_cross_attention_layer_norm = RMSNorm(config.emb_dim, **norm)
        self.encoder_decoder_attention = Attention(config, rngs=rngs)
        self.pre_mlp_layer_norm = RMSNorm(config.emb_dim, **norm)
        self.mlp = Mlp(config, rngs=rngs)
        self.dropout_rate = config.dropout_rate

    def __call__(
        self,
        x: Float[Array, "rows target embed"],
        *,
        attend: Attend,
        cross_attend: Attend,
        cross_key: Float[Array, "batch source heads kv"],
        cross_value: Float[Array, "batch source heads kv"],
        keys: Keys | None,
        merge: Callable[[Array, Array], tuple[Array, Array]] = lambda key, value: (key, value),
    ) -> tuple[Float[Array, "rows target embed"], tuple[Array, Array]]:
        """The layer's output, and the keys and values that it attended to.

        `merge` maps fresh keys and values to those to attend to: a cache puts them among its own.
        """
        normed = self.pre_self_attention_layer_norm(x)
        key, value = merge(*self.self_attention.keys_values(normed, keys))
        attended = self.self_attention(normed, key, value, attend=attend, keys=keys)
        x = x + dropout(attended, self.dropout_rate, keys)
        # Several rows may share one source (beams): they are so many queries to it.
        normed = self.pre_cross_attention_layer_norm(x)
        attended = self.encoder_decoder_attention(
            normed.reshape(cross_key.shape[0], -1, x.shape[-1]),
            cross_key,
            cross_value,
            attend=cross_attend,
            keys=keys,
        ).reshape(x.shape)
        x = x + dropout(attended, self.dropout_rate, keys)
        y = self.mlp(self.pre_mlp_layer_norm(x), keys=keys)
        return x + dropout(y, self.dropout_rate, keys), (key, value)


class Encoder(Stack):
    def __init__(self, config: T5Config, *, rngs: nnx.Rngs):
        if not config.relative_bias_per_layer:
            self.relpos_bias = RelativePositionBias(config, bidirectional=True, rngs=rngs)
        for i in range(config.num_encoder_layers):
            setattr(self, f"layers_{i}", EncoderLayer(config, rngs=rngs))
        self.encoder_norm = RMSNorm(config.emb_dim, dtype=config.dtype, rngs=rngs)
        self.config, self.num_layers = config, config.num_encoder_layers

    def __call__(self, x: Array, *, seen: Seen, keys: Keys | None) -> Array:
        attention = self.attention_of(lambda bias: attention_among(seen, bias, self.config))
        x = dropout(x, self.config.dropout_rate, keys)
        x = self.run(
            x,
            lambda layer, x, keys: layer(x, attend=attention(layer), keys=keys),
            keys=keys,
        )
        return dropout(self.encoder_norm(x), self.config.dropout_rate, keys)


class Decoder(Stack):
    def __init__(self, config: T5Config, *, rngs: nnx.Rngs):
        if not config.relative_bias_per_layer:
            self.relpos_bias = RelativePositionBias(config, bidirectional=False, rngs=rngs)
        for i in range(config.num_decoder_layers):
            setattr(self, f"layers_{i}", DecoderLayer(config, rngs=rngs))
        self.decoder_norm = RMSNorm(config.emb_dim, dtype=config.dtype, rngs=rngs)
        if not config.logits_via_embedding:
            self.logits_dense = Dense(
                (config.emb_dim, config.vocab_size),
                ("embed", "vocab"),
                init=nnx.initializers.variance_scaling(1.0, "fan_in", "truncated_normal"),
                dtype=config.dtype,
                rngs=rngs,
            )
        self.config, self.num_layers = config, config.num_decoder_layers

    def __call__(
        self, x: Array, encoded: Array, *, seen: Seen, cross_seen: Seen, keys: Keys | None
    ) -> Array:
        """All target positions at once."""
        attention = self.attention_of(lambda bias: attention_among(seen, bias, self.config))
        cross_attend = attention_among(cross_seen, None, self.config)

        def apply(layer: DecoderLayer, x: Array, keys: Keys | None) -> Array:
            cross_key, cross_value = layer.encoder_decoder_attention.keys_values(encoded, keys)
            return layer(
                x,
                attend=attention(layer),
                cross_attend=cross_attend,
                cross_key=cross_key,
                cross_value=cross_value,
                keys=keys,
            )[0]

        x = self.run(dropout(x, self.config.dropout_rate, keys), apply, keys=keys)
        return dropout(self.decoder_norm(x), self.config.dropout_rate, keys)

    def cross_keys_values(self, encoded: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Cross-attention keys and values of every layer; they depend on the source alone."""
        pairs = [
            self.layer(i).encoder_decoder_attention.keys_values(encoded)
            for i in range(self.num_layers)
        ]
        return tuple(k for k, _ in pairs), tuple(v for _, v in pairs)


class Embedding(nnx.Module):
    def __init__(self, config: T5Config, *, rngs: nnx.Rngs):
        self.embedding = parameter(
            rngs,
            (config.vocab_size, config.emb_dim),
            ("vocab", "embed"),
            nnx.initializers.normal(config.embedding_init_scale),
        )
        self.embedding_scale: nnx.Param | None = nnx.data(None)
        self.dtype = config.dtype

    def __call__(self, tokens: Int[Array, "rows length"]) -> Float[Array, "rows length embed"]:
        rows = jnp.take(self.embedding[...], tokens, axis=0)
        if self.embedding_scale is not None:
            rows = rows * jnp.take(self.embedding_scale[...], tokens, axis=0)
        return shard_rows(rows.astype(self.dtype))


class Transformer(nnx.Module):
    """The encoder-decoder. Padding is id 0; segment ids, where given, keep packed examples apart.

    Source: Raffel et al. 2020 and Xue et al. 2021; parameter names as in T5X's
    `examples/t5/network.py`.
    """

    def __init__(self, config: T5Config, *, rngs: nnx.Rngs):
        self.token_embedder = Embedding(config, rngs=rngs)
        self.encoder = Encoder(config, rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)
        self.config = config
        if config.base_weights == "int8":
            hold_in_int8(self)
        self._ahead = 0  # positions of a decoder prompt
        if config.prompt is not None:
            self.encoder.prompt = SoftPrompt(config, config.prompt.length, rngs=rngs)
            self._ahead = config.prompt.decoder_length
        if self._ahead:
            self.decoder.prompt = SoftPrompt(config, self._ahead, rngs=rngs)
        if config.lora is not None:
            attach(self, config.lora, rngs=rngs)

    def encode(
        self,
        tokens: Int[Array, "batch source"],
        *,
        segment_ids: Int[Array, "batch source"] | None = None,
        keys: Keys | None = None,
    ) -> Float[Array, "batch source embed"]:
        """Hidden states of the source; ids beyond the vocabulary are those of soft prompts."""
        segments = _segments(tokens, segment_ids)
        if self.config.prompt is None:
            embedded = self.token_embedder(tokens)
        else:
            row = tokens - self.config.vocab_size
            words = self.token_embedder(jnp.where(row < 0, tokens, 0))
            embedded = jnp.where((row < 0)[..., None], words, self.encoder.prompt(row))
        return self.encoder(embedded, seen=Seen(segments, segments), keys=keys)

    def _decoder_prompt(
        self, source_tokens: Int[Array, "batch source"]
    ) -> tuple[Float[Array, "batch prompt embed"], Bool[Array, " batch"]]:
        """The decoder's part of the prompt that each source carries, and which do carry one."""
        assert self.config.prompt is not None
        number = (source_tokens[:, 0] - self.config.vocab_size) // self.config.prompt.length
        rows = number[:, None] * self._ahead + jnp.arange(self._ahead)
        return self.decoder.prompt(rows), number >= 0

    def decode(
        self,
        encoded: Float[Array, "batch source embed"],
        source_tokens: Int[Array, "batch source"],
        input_tokens: Int[Array, "batch target"],
        target_tokens: Int[Array, "batch target"],
        *,
        source_segment_ids: Int[Array, "batch source"] | None = None,
        target_segment_ids: Int[Array, "batch target"] | None = None,
        keys: Keys | None = None,
    ) -> Float[Array, "batch target embed"]:
        """Teacher-forced hidden states for all target positions; `logits` turns them into scores.

        Args:
          encoded: what `encode` returned.
          source_tokens: the encoder's tokens; 0 is padding.
          input_tokens: targets shifted right (a 0 first).
          target_tokens: the tokens to predict; 0 is padding and is not attended to.
          source_segment_ids: 1, 2, ... per packed example, 0 for padding; None if not packed.
          target_segment_ids: the same for the targets.
          keys: dropout keys; None when evaluating.

        Raises:
          ValueError: packed rows, and the model has a decoder prompt.
        """
        source = _segments(source_tokens, source_segment_ids)
        target = _segments(target_tokens, target_segment_ids)
        embedded = self.token_embedder(input_tokens)
        if self._ahead:
            if target_segment_ids is not None:
                raise ValueError(
                    "a decoder prompt stands before one example a row; set PACK = False"
                )
            prompt, prompted = self._decoder_prompt(source_tokens)
            embedded = jnp.concatenate([prompt, embedded], axis=1)
            # Segment 0 is padding: who has no prompt sees none.
            before = jnp.broadcast_to(prompted[:, None], prompt.shape[:2]).astype(target.dtype)
            target = jnp.concatenate([before, target], axis=1)
        hidden = self.decoder(
            embedded,
            encoded,
            seen=Seen(target, target, causal=True),
            cross_seen=Seen(target, source),
            keys=keys,
        )
        return hidden[:, self._ahead :]

    def init_cache(
        self,
        encoded: Float[Array, "rows source embed"],
        source_tokens: Int[Array, "rows source"],
        *,
        length: int,
    ) -> Cache:
        """A cache for at most `length` decoder positions, empty but for the decoder prompt."""
        config = self.config
        cross_keys, cross_values = self.decoder.cross_keys_values(encoded)

        def empty(length: int) -> Cache:
            shape = (encoded.shape[0], length, config.num_heads, config.head_dim)
            zeros = (jnp.zeros(shape, config.dtype),) * config.num_decoder_layers
            return Cache(zeros, zeros, cross_keys, cross_values, source_tokens > 0)

        if not self._ahead:
            return empty(length)
        prompt, prompted = self._decoder_prompt(source_tokens)
        start = jnp.zeros(prompt.shape[0], jnp.int32)
        _, filled = self._feed(prompt, start, empty(self._ahead))
        return empty(self._ahead + length)._replace(
            prompt_keys=filled.keys, prompt_values=filled.values, prompted=prompted
        )

    def decode_step(
        self,
        tokens: Int[Array, "rows width"],
        position: Int[Array, " rows"],
        cache: Cache,
    ) -> tuple[Float[Array, "rows width embed"], Cache]:
        """Feed `width` tokens per row at the row's own position; equal to the full forward pass.

        Args:
          tokens: decoder input tokens (the shifted ones: 0 comes first).
          position: where each row's first token goes; what the cache holds from there on is
            overwritten. position + width must not exceed the cache's length.
          cache: from `init_cache` or the previous step.
        """
        return self._feed(self.token_embedder(tokens), position + self._ahead, cache)

    def _feed(
        self, x: Float[Array, "rows width embed"], position: Int[Array, " rows"], cache: Cache
    ) -> tuple[Float[Array, "rows width embed"], Cache]:
        """`decode_step` of what is embedded, at positions that count a decoder prompt's."""
        queries = position[:, None] + jnp.arange(x.shape[1])
        keys_at = jnp.broadcast_to(
            jnp.arange(cache.keys[0].shape[1]), (x.shape[0], cache.keys[0].shape[1])
        )
        write = jax.vmap(
            lambda old, new, at: jax.lax.dynamic_update_slice_in_dim(old, new, at, axis=0)
        )
        beams = x.shape[0] // cache.source_mask.shape[0]

        def merged(old: Array, prompts: tuple[Array, ...], new: Array, i: int) -> Array:
            if prompts:
                old = old.at[:, : self._ahead].set(jnp.repeat(prompts[i], beams, axis=0))
            return write(old, new, position)

        config, decoder = self.config, self.decoder
        plain = functools.partial(attend, float32_logits=config.float32_attention_logits)
        mask = (keys_at[:, None, :] <= queries[:, :, None])[:, None]
        if cache.prompted is not None:
            with_prompt = jnp.repeat(cache.prompted, beams)[:, None]
            mask &= (with_prompt | (keys_at >= self._ahead))[:, None, None, :]
        attention = decoder.attention_of(
            lambda bias: functools.partial(plain, bias=bias(queries, keys_at), mask=mask)
        )
        cross_attend = functools.partial(plain, bias=None, mask=cache.source_mask[:, None, None, :])
        kept = []
        for i in range(config.num_decoder_layers):

            def merge(key: Array, value: Array, i: int = i) -> tuple[Array, Array]:
                return (
                    merged(cache.keys[i], cache.prompt_keys, key, i),
                    merged(cache.values[i], cache.prompt_values, value, i),
                )

            layer = decoder.layer(i)
            x, key_value = layer(
                x,
                attend=attention(layer),
                cross_attend=cross_attend,
                cross_key=cache.cross_keys[i],
                cross_value=cache.cross_values[i],
                keys=None,
                merge=merge,
            )
            kept.append(key_value)
        keys, values = tuple(k for k, _ in kept), tuple(v for _, v in kept)
        return decoder.decoder_norm(x), cache._replace(keys=keys, values=values)

    def logits(self, hidden: Float[Array, "*rows embed"]) -> Float[Array, "*rows vocab"]:
        """Scores of all words of the vocabulary, accumulated and returned in float32."""
        hidden, kernel = self.factors(hidden)
        kernel = kernel.astype(self.config.dtype)
        return matmul(hidden, kernel, preferred_element_type=jnp.float32)

    def logits_of(
        self, hidden: Float[Array, "rows embed"], tokens: Int[Array, "rows choices"]
    ) -> Float[Array, "rows choices"]:
        """Scores of a few words only: their rows of the output matrix are gathered."""
        hidden, kernel, scale = self._head(hidden)
        if scale is None:
            columns = jnp.take(kernel.astype(self.config.dtype).T, tokens, axis=0)
        else:
            columns = jnp.take(kernel.T, tokens, axis=0) * jnp.take(scale.T, tokens, axis=0)
            columns = columns.astype(self.config.dtype)
        return jnp.einsum("re,rce->rc", hidden, columns, preferred_element_type=jnp.float32)

    def factors(
        self, hidden: Float[Array, "*rows embed"]
    ) -> tuple[Float[Array, "*rows embed"], Float[Array, "embed vocab"]]:
        """What `logits` multiplies: hidden states, scaled where the embedding is the output matrix
        too, and that matrix in float32.
        """
        hidden, kernel, scale = self._head(hidden)
        return hidden, kernel if scale is None else kernel * scale

    def _head(self, hidden: Array) -> tuple[Array, Array, Array | None]:
        """`factors` with the matrix as it is held, and its scales if that is in int8."""
        if self.config.logits_via_embedding:
            table = self.token_embedder
            scale = None if table.embedding_scale is None else table.embedding_scale[...].T
            return hidden / math.sqrt(self.config.emb_dim), table.embedding[...].T, scale
        head = self.decoder.logits_dense
        scale = None if head.kernel_scale is None else head.kernel_scale[...]
        return hidden, head.kernel[...], scale


def _segments(tokens: Array, segment_ids: Array | None) -> Array:
    return (tokens > 0).astype(jnp.int32) if segment_ids is None else segment_ids
