"""A checkpoint of any kind, seen as ours: our names, our shapes, one array at a time.

Arrays have the names of our own state: `params/encoder/...`, `opt_state/v_row/...`, `step`. What
is stored under which name is left to `own`, `t5x` and `huggingface`; nothing in a checkpoint is
executed.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from etils import epath

from medmt5 import checkpoints
from medmt5.convert import tokenizer
from medmt5.files import absolute, check_manifest, is_remote
from medmt5.models.t5 import T5Config
from medmt5.state import Architecture, flat_params

log = logging.getLogger(__name__)

KINDS = ("medmt5", "t5x", "hf")
ACCEPTED = (
    "a model or checkpoint directory of medmt5 (checkpoint_<step>/state), a T5X checkpoint "
    "(a folder with a `checkpoint` file, or Orbax's state/_METADATA), or a Hugging Face directory "
    "(config.json and .safetensors files)"
)


def vocabulary_beside(*folders: str) -> str | None:
    """The SentencePiece model in the first of these folders that has one."""
    for folder in folders:
        try:
            if found := tokenizer.find_vocabulary(folder):
                return found
        except ValueError as error:
            log.warning("%s", error)
    return None


@dataclasses.dataclass
class Source:
    """An opened checkpoint.

    Attributes:
      kind: "medmt5", "t5x" or "hf".
      path: of the checkpoint itself.
      config: sizes of the model. What the checkpoint does not tell: dtype is float32 and
        dropout_rate 0.
      arrays: shapes by key: `params/<name>`, and where stored `opt_state/...` and `step`.
      unused: stored names that have no place in the model.
      vocabulary: path of a SentencePiece model beside it, or None.
      extra_ids: sentinels to append to it; None for what `Vocabulary` takes by default.
      formats: task name -> description of its format, for labelling; empty if unknown.
    """

    kind: str
    path: str
    config: T5Config
    arrays: dict[str, tuple[int, ...]]
    unused: list[str] = dataclasses.field(default_factory=list)
    vocabulary: str | None = None
    extra_ids: int | None = None
    formats: dict[str, Any] = dataclasses.field(default_factory=dict)

    def read(self, key: str) -> np.ndarray:
        """One array whole; parameters and slots as float32.

        Raises:
          ValueError: the file is damaged.
        """
        raise NotImplementedError

    def stream(self, keys: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        """Arrays one by one, in the order in which they are cheapest to read."""
        for key in keys:
            array = self.read(key)
            yield key, array
            del array  # not beside the next one

    def __post_init__(self):
        # umT5's vocabulary is the only one of the family with 300 sentinels, none of them inside.
        umt5 = self.config.relative_bias_per_layer and self.config.vocab_size >= 256_300
        if self.extra_ids is None and umt5:
            self.extra_ids = 300

    @property
    def params(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters by name."""
        return below(self.arrays, "params/")

    @property
    def slots(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the optimiser's arrays; `v_row/encoder/...` if it is Adafactor's."""
        return below(self.arrays, "opt_state/")

    @functools.cached_property
    def step(self) -> int:
        """Training steps done; 0 where nothing says so."""
        step = float(self.read("step")) if "step" in self.arrays else 0
        if not 0 <= step < 2**31:
            raise ValueError(f"{self.path}: step is {step}; it is damaged")
        return int(step)


class View(Source):
    """Another checkpoint, seen otherwise: `changed` says how.

    Attributes:
      original: is read.
    """

    original: Source

    @classmethod
    def over(cls, original: Source, **changes: Any) -> Self:
        """A view with the attributes of the original, but for some."""
        given = {field.name: getattr(original, field.name) for field in dataclasses.fields(Source)}
        view = cls(**(given | changes))
        view.original = original
        return view

    def changed(self, key: str, array: np.ndarray) -> np.ndarray:
        """What the view has in place of one of the original's arrays; by default itself."""
        return array

    def read(self, key: str) -> np.ndarray:
        return self.changed(key, self.original.read(key))

    def stream(self, keys: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        for key, array in self.original.stream(keys):
            array = self.changed(key, array)
            yield key, array
            del array  # not beside the next one


def below(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def open_source(
    path: str,
    *,
    verify: bool = True,
    mlp_activations: Sequence[str] | None = None,
    averaged: bool = True,
) -> Source:
    """Find out what kind of checkpoint a path is, and open it.

    Args:
      path: local or, except for Hugging Face directories, `gs://`.
      mlp_activations: of a T5X checkpoint, which does not say; see `config_of`.
      verify: compare a local folder's files with the checksums beside them, where there are any,
        and a base with the fingerprint of what was trained on it.
      averaged: where a run kept averages of its parameters (`with_ema`), these are the
        parameters, and there is no optimiser's state. False gives all as it was saved, to go on.

    Raises:
      ValueError: nothing there, of no known kind, damaged, or of sizes that do not fit together.
    """
    from medmt5.adapters import adapted
    from medmt5.convert import huggingface, own, t5x

    path = absolute(path)  # it may be kept, as a run's base, and read from another folder
    if os.path.basename(path.rstrip("/")) == checkpoints.BEST and not epath.Path(path).exists():
        path = checkpoints.latest_checkpoint(path)
    if not is_remote(path) and not os.path.exists(path):
        raise ValueError(f"nothing at {path}; give {ACCEPTED}")
    if adapted.is_adapter(path):
        return adapted.open_adapter(path, verify=verify)
    for kind in (huggingface, own, t5x):
        if kind.recognises(path):
            if verify and not is_remote(path):
                check_manifest(path)
            if kind is own:
                return own.open_source(path, averaged=averaged, verify=verify)
            known = {"mlp_activations": mlp_activations} if mlp_activations else {}
            return t5x.open_source(path, **known) if kind is t5x else kind.open_source(path)
    try:
        latest = checkpoints.latest_checkpoint(path)  # of T5X's model directory
    except ValueError:
        latest = path
    if latest.rstrip("/") != path.rstrip("/"):
        return open_source(latest, verify=verify, mlp_activations=mlp_activations)
    found = "a file" if os.path.isfile(path) else f"a folder with {_some_names(path)}"
    raise ValueError(f"{path} is no checkpoint: it is {found}; give {ACCEPTED}")


def _some_names(path: str) -> str:
    if is_remote(path):
        return "neither `checkpoint` nor state/_METADATA"
    names = sorted(os.listdir(path))
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "nothing in it"


def config_of(shapes: Mapping[str, tuple[int, ...]], path: str, **known: Any) -> T5Config:
    """Sizes of the model that has these parameters (our names).

    Args:
      shapes: by name.
      path: for messages.
      known: fields of T5Config that need not be inferred.

    Raises:
      ValueError: no T5 model has such parameters.
    """

    def layers(stack: str) -> int:
        found = (re.match(rf"{stack}/layers_(\d+)/", name) for name in shapes)
        return max((int(match.group(1)) + 1 for match in found if match), default=0)

    per_layer = "encoder/layers_0/relpos_bias/rel_embedding" in shapes
    bias = f"encoder/{'layers_0/' if per_layer else ''}relpos_bias/rel_embedding"
    wanted = (
        "token_embedder/embedding",
        bias,
        "encoder/layers_0/attention/query/kernel",
        "encoder/layers_0/mlp/wo/kernel",
    )
    for name in wanted:
        if len(shapes.get(name, ())) != 2:
            raise ValueError(
                f"{path} holds no T5 encoder-decoder: there is no matrix {name} among its "
                f"{len(shapes)} parameters"
            )
    vocab, embed = shapes["token_embedder/embedding"]
    heads, joined = shapes[bias][0], shapes["encoder/layers_0/attention/query/kernel"][1]
    gated = "encoder/layers_0/mlp/wi_0/kernel" in shapes
    sizes = dict(
        vocab_size=vocab,
        dtype="float32",
        emb_dim=embed,
        num_heads=heads,
        num_encoder_layers=layers("encoder"),
        num_decoder_layers=layers("decoder"),
        head_dim=joined // heads,
        mlp_dim=shapes["encoder/layers_0/mlp/wo/kernel"][0],
        mlp_activations=("gelu", "linear") if gated else ("relu",),
        dropout_rate=0.0,
        logits_via_embedding="decoder/logits_dense/kernel" not in shapes,
        relative_bias_per_layer=per_layer,
    )
    return T5Config(**(sizes | known))


def checked_formats(card: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The descriptions of formats in a card: task name -> what kind, and its options.

    Raises:
      ValueError: they are something else.
    """
    formats = card.get("formats", {})
    if not isinstance(formats, dict) or not all(
        isinstance(f, dict) and isinstance(f.get("kind"), str) for f in formats.values()
    ):
        raise ValueError(f"{path}: `formats` must map task names to objects with a `kind`")
    return formats


def shapes_of(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter of a model, by name."""
    return {name: tuple(leaf.shape) for name, leaf in flat_params(architecture.shapes).items()}


@functools.lru_cache(maxsize=8)
def expected_shapes(config: T5Config) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter of the model of these sizes, by name, without allocating any."""
    return shapes_of(Architecture.t5(config))


def check_parameters(
    path: str, found: Mapping[str, tuple[int, ...]], want: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise ValueError, naming every difference, unless these are the model's parameters."""
    problems = [f"{name} is missing" for name in sorted(want.keys() - found.keys())]
    problems += [
        f"{name} is {tuple(found[name])}, not {want[name]}"
        for name in sorted(want.keys() & found.keys())
        if tuple(found[name]) != want[name]
    ]
    if problems:
        raise ValueError(
            f"{path} does not hold the model that its other arrays, or its configuration, "
            f"describe: {listing(problems)}"
        )


def listing(items: list[str], at_most: int = 8) -> str:
    """The first few of many, and how many more."""
    more = f"; and {len(items) - at_most} more" if len(items) > at_most else ""
    return "; ".join(items[:at_most]) + more
