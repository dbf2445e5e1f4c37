"""Hugging Face directories of T5, mT5 and umT5: config.json, safetensors, tokenizer files.

One name table serves both directions; matrices are transposed. Whether what was written gives the
same logits is checked by `check`.
"""

from __future__ import annotations

import json
import logging
import math
import os
from typing import Any, NamedTuple

import numpy as np

from medmt5.convert import safetensors
from medmt5.convert.source import (
    Source,
    check_parameters,
    checked_formats,
    expected_shapes,
    vocabulary_beside,
)
from medmt5.convert.tokenizer import read_added
from medmt5.files import is_remote, read_json_object
from medmt5.models.t5 import T5Config

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
log = logging.getLogger(__name__)

FORMATS = "medmt5.json"  # what our labeller needs; other programs pass over it
LENGTH = 256  # tokens, with which the published labelling models were tuned
MAX_SHARD_BYTES = 5 * 10**9  # as `save_pretrained` has it

ARCHITECTURES = {
    "t5": "T5ForConditionalGeneration",
    "mt5": "MT5ForConditionalGeneration",
    "umt5": "UMT5ForConditionalGeneration",
}
# Hugging Face's "gelu" alone is the exact one, which T5 never had; after "gated-" it is tanh's.
ACTIVATIONS = {
    "gated-gelu": ("gelu", "linear"),
    "gated-gelu_new": ("gelu", "linear"),
    "gated-silu": ("silu", "linear"),
    "gated-relu": ("relu", "linear"),
    "relu": ("relu",),
    "gelu_new": ("gelu",),
    "silu": ("silu",),
}
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


class Name(NamedTuple):
    """A tensor's name there, and whether its axes are swapped."""

    tensor: str
    transpose: bool


def names(config: T5Config) -> dict[str, Name]:
    """For every parameter of ours, the tensor that holds it."""
    table = {"token_embedder/embedding": Name("shared.weight", False)}
    if not config.logits_via_embedding:
        table["decoder/logits_dense/kernel"] = Name("lm_head.weight", True)
    for stack in ("encoder", "decoder"):
        table[f"{stack}/{stack}_norm/scale"] = Name(f"{stack}.final_layer_norm.weight", False)
        # Sub-layers in the order of Hugging Face's numbers; both parts of a layer keep its name.
        blocks = [("attention", "pre_attention_layer_norm", "SelfAttention")]
        if stack == "decoder":
            blocks = [
                ("self_attention", "pre_self_attention_layer_norm", "SelfAttention"),
                ("encoder_decoder_attention", "pre_cross_attention_layer_norm", "EncDecAttention"),
            ]
        gated = len(config.mlp_activations) == 2
        for i in range(getattr(config, f"num_{stack}_layers")):
            ours, theirs = f"{stack}/layers_{i}", f"{stack}.block.{i}.layer"
            for j, (attention, norm, module) in enumerate(blocks):
                table[f"{ours}/{norm}/scale"] = Name(f"{theirs}.{j}.layer_norm.weight", False)
                for kernel, letter in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "o")):
                    tensor = f"{theirs}.{j}.{module}.{letter}.weight"
                    table[f"{ours}/{attention}/{kernel}/kernel"] = Name(tensor, True)
            j = len(blocks)
            table[f"{ours}/pre_mlp_layer_norm/scale"] = Name(
                f"{theirs}.{j}.layer_norm.weight", False
            )
            for kernel in ("wi_0", "wi_1", "wo") if gated else ("wi", "wo"):
                tensor = f"{theirs}.{j}.DenseReluDense.{kernel}.weight"
                table[f"{ours}/mlp/{kernel}/kernel"] = Name(tensor, True)
            bias = f"{theirs}.0.SelfAttention.relative_attention_bias.weight"
            if config.relative_bias_per_layer:
                table[f"{ours}/relpos_bias/rel_embedding"] = Name(bias, True)
            elif i == 0:
                table[f"{stack}/relpos_bias/rel_embedding"] = Name(bias, True)
    return table


# Tensors that repeat another one, or that Hugging Face's own code passes over.
_REPEATED = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
_PASSED_OVER = ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)


class HuggingFaceSource(Source):
    """A Hugging Face directory."""

    tensors: dict[str, safetensors.Tensor]
    table: dict[str, Name]

    def read(self, key: str) -> np.ndarray:
        name = self.table[key.removeprefix("params/")]
        return safetensors.read(self.tensors[name.tensor], transpose=name.transpose)


def recognises(path: str) -> bool:
    """Whether a path is a folder of Hugging Face's making, or one of its weight files."""
    if is_remote(path):
        return False
    if os.path.isfile(path):
        return path.endswith((".safetensors", *PICKLES))
    return any(os.path.exists(os.path.join(path, n)) for n in (CONFIG, WEIGHTS, INDEX))


def open_source(path: str) -> HuggingFaceSource:
    """Open a directory with config.json and safetensors.

    Raises:
      ValueError: a file is missing, damaged or a pickle, or the model is not a T5.
    """
    if os.path.isfile(path):
        if path.endswith(PICKLES):
            raise ValueError(_refusal(path))
        path = os.path.dirname(path) or "."
    tensors = read_headers(path)
    described = read_json_object(os.path.join(path, CONFIG))
    config = _config(path, described, tensors)
    table = names(config)
    if "lm_head.weight" not in tensors and not config.logits_via_embedding:
        table["decoder/logits_dense/kernel"] = Name("shared.weight", True)
    repeated = [n for n in (*_REPEATED, "lm_head.weight") if n in tensors]
    used = {name.tensor for name in table.values()}
    for name in repeated:
        if name not in used and not _equal(tensors[name], tensors.get("shared.weight")):
            raise ValueError(
                f"{path}: {name} differs from shared.weight; models with several embeddings are "
                "not read"
            )
    found = {
        ours: _swapped(tensors[name.tensor].shape, name.transpose)
        for ours, name in table.items()
        if name.tensor in tensors
    }
    check_parameters(path, found, expected_shapes(config))
    source = HuggingFaceSource(
        "hf",
        path,
        config,
        {f"params/{ours}": shape for ours, shape in found.items()},
        sorted(tensors.keys() - used - set(repeated) - set(_PASSED_OVER)),
        vocabulary_beside(path),
    )
    source.tensors, source.table = tensors, table
    if os.path.exists(os.path.join(path, FORMATS)):
        source.formats = checked_formats(read_json_object(os.path.join(path, FORMATS)), path)
    elif formats := _formats_of_added(path, config.vocab_size):
        source.formats = formats
    return source


def _formats_of_added(path: str, rows: int) -> dict[str, Any]:
    """A labelling task, where pairs of added tokens look like tags: `<Disease>`, `</Disease>`.

    Models that were fine-tuned elsewhere on such tags say no more than that.
    """
    ids = {name: i for i, name in read_added(path).items() if i < rows}
    labels = [n[1:-1] for n in ids if n[:1] == "<" and n[-1:] == ">" and f"</{n[1:]}" in ids]
    if not labels:
        return {}
    tags = {"open": [[ids[f"<{n}>"]] for n in labels], "close": [[ids[f"</{n}>"]] for n in labels]}
    lengths = {"inputs": LENGTH, "targets": 2 * LENGTH}
    card = {"kind": "labelling", "labels": labels, "where": tags, "lengths": lengths}
    return {"added_tokens": card}


def _swapped(shape: tuple[int, ...], transpose: bool) -> tuple[int, ...]:
    return shape[::-1] if transpose else shape


def _equal(a: safetensors.Tensor, b: safetensors.Tensor | None) -> bool:
    return b is not None and a.shape == b.shape and bool(
        np.array_equal(safetensors.read(a), safetensors.read(b))
    )  # fmt: skip


def _refusal(path: str) -> str:
    return (
        f"{path} is a pickle: loading it can execute code; .safetensors files are accepted. "
        "Make one where you trust the file: transformers' "
        "AutoModelForSeq2SeqLM.from_pretrained(...).save_pretrained(FOLDER)"
    )


def read_headers(path: str) -> dict[str, safetensors.Tensor]:
    """The tensors of a directory, sharded or not; ValueError if a file is missing or damaged."""
    index = os.path.join(path, INDEX)
    if os.path.exists(os.path.join(path, WEIGHTS)):
        files = {WEIGHTS: None}
    elif os.path.exists(index):
        files = {}
        weight_map = read_json_object(index).get("weight_map")
        if not isinstance(weight_map, dict):
            raise ValueError(f"{index} has no weight_map; it is damaged")
        for tensor, file in weight_map.items():
            if not isinstance(file, str) or os.path.basename(file) != file or file in ("", ".."):
                raise ValueError(
                    f"{index}: {tensor} is in {file!r}; only files in the same folder are read"
                )
            files.setdefault(file, []).append(tensor)
    else:
        pickles = [name for name in sorted(os.listdir(path)) if name.endswith(PICKLES)]
        if pickles:
            raise ValueError(_refusal(os.path.join(path, pickles[0])))
        raise ValueError(f"{path} has {CONFIG} but neither {WEIGHTS} nor {INDEX}")
    tensors: dict[str, safetensors.Tensor] = {}
    for file, listed in files.items():
        full = os.path.join(path, file)
        if not os.path.isfile(full):
            raise ValueError(f"{full} is missing: {INDEX} lists it; copy it too")
        held = safetensors.read_header(full)
        if absent := sorted(set(listed or ()) - held.keys()):
            raise ValueError(f"{full} does not hold {absent[0]}, which {INDEX} says is there")
        tensors |= held
    return tensors


def _config(path: str, given: dict[str, Any], tensors: dict[str, Any]) -> T5Config:
    kind = given.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise ValueError(f"{path}: model_type {kind!r} is not read; {', '.join(ARCHITECTURES)} are")
    fixed = {
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": 1e-6,
    }
    for name, value in fixed.items():
        if given.get(name, value) != value:
            raise ValueError(f"{path}: {name} is {given[name]}; only {value} is supported")
    feed_forward = given.get("feed_forward_proj", "relu" if kind == "t5" else "gated-gelu")
    if not isinstance(feed_forward, str) or feed_forward not in ACTIVATIONS:
        raise ValueError(
            f"{path}: feed_forward_proj {feed_forward!r} is not supported; "
            f"{', '.join(ACTIVATIONS)} are"
        )
    try:
        return T5Config(
            vocab_size=int(given["vocab_size"]),
            dtype="float32",
            emb_dim=int(given["d_model"]),
            num_heads=int(given["num_heads"]),
            num_encoder_layers=int(given["num_layers"]),
            num_decoder_layers=int(given.get("num_decoder_layers") or given["num_layers"]),
            head_dim=int(given["d_kv"]),
            mlp_dim=int(given["d_ff"]),
            mlp_activations=ACTIVATIONS[feed_forward],
            dropout_rate=float(given.get("dropout_rate", 0.1)),
            logits_via_embedding=_is_tied(path, kind, given, tensors),
            relative_bias_per_layer=kind == "umt5",
        )
    except KeyError as error:
        raise ValueError(f"{os.path.join(path, CONFIG)} has no {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{os.path.join(path, CONFIG)}: {error}") from error


def _is_tied(path: str, kind: str, given: dict[str, Any], tensors: dict[str, Any]) -> bool:
    """Whether logits come from the embedding, scaled by 1/sqrt(d_model), as in T5 1.0.

    `tie_word_embeddings` alone does not tell: transformers 5 sets it to true for every T5, and
    saves mT5 with it although lm_head.weight is another matrix.
    """
    tie = given.get("tie_word_embeddings", True)
    scaled = (
        given.get("scale_decoder_outputs", tie is not False) if kind == "t5" else tie is not False
    )
    head = tensors.get("lm_head.weight")
    if head is None:
        if scaled and kind != "mt5":
            return True
        if tie is False and "scale_decoder_outputs" not in given:
            raise ValueError(
                f"{path}: lm_head.weight is missing, and tie_word_embeddings is false; save the "
                "model with its lm_head"
            )
        log.info("%s has no lm_head: its output is the embedding, not scaled", path)
        return False
    if not scaled:
        return False
    if _equal(head, tensors.get("shared.weight")):
        return True
    if kind == "t5":
        raise ValueError(
            f"{path}: config.json says that the output is tied to the embedding and scaled, but "
            "lm_head.weight differs from shared.weight; set tie_word_embeddings to false if the "
            "model is a T5 1.1"
        )
    return False


def model_type(config: T5Config, *, sentinels_appended: bool) -> str:
    """ "t5", "mt5" or "umt5": the class that computes what our model computes.

    Args:
      config: of our model.
      sentinels_appended: the vocabulary is like T5's, not like mT5's.

    Raises:
      ValueError: there is none.
    """
    if config.mlp_activations not in ACTIVATIONS.values():
        raise ValueError(
            f"Hugging Face's T5 has no feed-forward block with {config.mlp_activations}; "
            f"it has {sorted(set(ACTIVATIONS.values()))}"
        )
    if config.relative_bias_per_layer:
        return "umt5"
    plain = config.logits_via_embedding or len(config.mlp_activations) == 1
    return "t5" if plain or sentinels_appended else "mt5"


def to_json(config: T5Config, kind: str, dtype: Any) -> dict[str, Any]:
    """The content of config.json."""
    feed_forward = next(n for n, used in ACTIVATIONS.items() if used == config.mlp_activations)
    return {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        "vocab_size": config.vocab_size,
        "d_model": config.emb_dim,
        "d_kv": config.head_dim,
        "d_ff": config.mlp_dim,
        "num_layers": config.num_encoder_layers,
        "num_decoder_layers": config.num_decoder_layers,
        "num_heads": config.num_heads,
        "feed_forward_proj": feed_forward,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": 1e-6,
        "dropout_rate": config.dropout_rate,
        "initializer_factor": 1.0,
        "is_encoder_decoder": True,
        "use_cache": True,
        "tie_word_embeddings": config.logits_via_embedding,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "tokenizer_class": "T5Tokenizer",
        "torch_dtype": np.dtype(dtype).name,
    }


class Writer:
    """Writes config.json and the weights, array by array; tokenizer and card are the caller's.

    Args:
      folder: made.
      config: of the model.
      kind: see `model_type`.
      dtype: of the numbers on disk.
      max_shard_bytes: a file is not larger, unless a single array is.
    """

    def __init__(
        self,
        folder: str,
        config: T5Config,
        kind: str,
        *,
        dtype: Any,
        max_shard_bytes: int = MAX_SHARD_BYTES,
    ):
        os.makedirs(folder)
        self.folder, self.table = folder, names(config)
        self._last = {CONFIG: to_json(config, kind, dtype)}  # without it nothing looks complete
        shapes = {
            name.tensor: _swapped(expected_shapes(config)[ours], name.transpose)
            for ours, name in self.table.items()
        }
        shards: list[dict[str, tuple[int, ...]]] = [{}]
        filled = 0
        for tensor, shape in sorted(shapes.items()):
            size = math.prod(shape) * np.dtype(dtype).itemsize
            if shards[-1] and filled + size > max_shard_bytes:
                shards.append({})
                filled = 0
            shards[-1][tensor] = shape
            filled += size
        self._writers: dict[str, safetensors.Writer] = {}
        files: dict[str, str] = {}
        for i, shard in enumerate(shards, 1):
            many = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
            file = many if len(shards) > 1 else WEIGHTS
            writer = safetensors.Writer(os.path.join(folder, file), shard, dtype)
            self._writers |= dict.fromkeys(shard, writer)
            files |= dict.fromkeys(shard, file)
        if len(shards) > 1:
            total = sum(math.prod(s) for s in shapes.values()) * np.dtype(dtype).itemsize
            self._last[INDEX] = {"metadata": {"total_size": total}, "weight_map": files}

    def write(self, key: str, array: np.ndarray) -> None:
        """Write one array of ours; only parameters have a place here."""
        if key.startswith("params/"):
            name = self.table[key.removeprefix("params/")]
            self._writers[name.tensor].write(name.tensor, array, transpose=name.transpose)

    def close(self) -> None:
        """Write config.json and the index of shards."""
        for name, content in self._last.items():
            with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
                json.dump(content, file, indent=2)
