"""Stand-ins for what T5X's gin files configure: each builds a part of our run.

A stand-in honours the parameters that it has; those of `tables.PARAMETERS` are added to them.
"""

from __future__ import annotations

import functools
import importlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from medmt5 import batches, optimizers, partitioning
from medmt5 import restore as restoring
from medmt5.models import t5
from medmt5.step import LossConfig
from medmt5.t5x_gin.modules import UNSET, apply_rule, module_of, stand_in
from medmt5.t5x_gin.tables import FILES, PARAMETERS

module_of("seqio").fallback = lambda name: getattr(importlib.import_module("seqio"), name)


@stand_in("seqio")
def Evaluator(
    *, logger_cls: Sequence[Callable[[], None]] = (), num_examples: int | None = None
) -> int | None:
    """How many examples are decoded and scored."""
    for logger in logger_cls:
        logger()
    return num_examples


# Named in gin files, without a part to play here.
for _module, _names in {
    "seqio": ("JSONLogger", "PyLoggingLogger", "TensorBoardLogger"),
    "t5x.utils": ("get_dataset", "get_training_eval_datasets", "verify_matching_vocabs"),
    "t5x.checkpoints": ("Checkpointer", "OrbaxCheckpointManagerInterface"),
    "t5x.gin_utils": ("summarize_gin_config",),
    "t5x.trainer": ("WeightMetricsComputer",),
    "t5x.decoding": ("beam_search",),
    "__main__": ("write_inferences_to_file",),
}.items():
    for _name in _names:
        stand_in(_module, name=_name)(lambda: None)


@stand_in("t5x.utils")
def DatasetConfig(
    *,
    mixture_or_task_name: str,
    task_feature_lengths: Mapping[str, int] | None = None,
    split: str = "train",
    batch_size: int = 128,
    shuffle: bool = True,
    seed: int | None = None,
    pack: bool = False,
    module: str | None = None,
) -> Callable[..., batches.DatasetConfig]:
    """Our DatasetConfig, once the run's seed and, if lengths are None, its lengths are known."""

    def make(run_seed: int, *, lengths: Mapping[str, int] | None = None) -> batches.DatasetConfig:
        if not isinstance(mixture_or_task_name, str):
            raise ValueError(f"utils.DatasetConfig.mixture_or_task_name: {FILES}")
        if task_feature_lengths is None and lengths is None:
            raise ValueError("TASK_FEATURE_LENGTHS is None; give {'inputs': ..., 'targets': ...}")
        return batches.DatasetConfig(
            mixture_or_task_name=mixture_or_task_name,
            task_feature_lengths=dict(task_feature_lengths or lengths or {}),
            split=split,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=run_seed if seed is None else seed,
            pack=pack,
            module=module,
        )

    return make


@stand_in("t5x.utils")
def SaveCheckpointConfig(
    *, period: int | None = None, keep: int | None = None
) -> dict[str, int | None]:
    return {"period": period, "keep": keep}


@stand_in("t5x.utils")
def RestoreCheckpointConfig(
    *,
    path: str | Sequence[str] | None = None,
    mode: str = "latest",
    assignment_map: Sequence[tuple[str, str | None]] | None = None,
    fallback_to_scratch: bool = False,
) -> restoring.RestoreCheckpointConfig:
    if path is not None and not isinstance(path, str):
        if len(path) > 1:
            raise ValueError(f"utils.RestoreCheckpointConfig.path = {path}: give one checkpoint")
        path = path[0] if path else None
    if mode == "all":
        raise ValueError(
            "utils.RestoreCheckpointConfig.mode = 'all' is T5X's, not ours: give one checkpoint "
            "per run, in a shell loop over MODEL_DIR/checkpoint_*"
        )
    restore, renamed = _assignments(assignment_map or ())
    dropped = restore == "params" or any(new is None for _, new in renamed)
    if fallback_to_scratch and not dropped:
        raise ValueError(
            "utils.RestoreCheckpointConfig.fallback_to_scratch = True is T5X's, not ours: name the "
            "parameters that are to be fresh: assignment_map = [(REGEX, None)]"
        )
    return restoring.RestoreCheckpointConfig(path or None, restore, renamed)


def _assignments(
    pairs: Sequence[tuple[str, str | None]],
) -> tuple[str, tuple[tuple[str, str | None], ...]]:
    """T5X's map over `target/<parameter>` and `state/...` as ours over parameters."""
    restore, renamed = "state", []
    for pattern, new in pairs:
        step, slots = (
            re.fullmatch(pattern, name)
            for name in ("state/step", "state/param_states/encoder/encoder_norm/scale/v")
        )
        of_target = re.sub(r"^\^?target\\?/", "", pattern)
        if of_target == pattern and (step or slots) and new is None:
            if not (step and slots):
                raise ValueError(
                    f"assignment_map drops {pattern!r}: the optimiser's state and the step are "
                    "restored together or not at all; drop both with (r'state.*', None), and "
                    "count TRAIN_STEPS from 0"
                )
            restore = "params"
            if not re.fullmatch(pattern, "target/encoder/encoder_norm/scale"):
                continue
        elif of_target == pattern and not pattern.startswith((".*", "(.*")):
            raise ValueError(
                f"assignment_map {pattern!r}: patterns over parameters begin with 'target/' or '.*'"
            )
        renamed.append((of_target, new and new.removeprefix("target/")))
    return restore, tuple(renamed)


@stand_in("t5x.utils")
def CheckpointConfig(
    *,
    save: Mapping[str, Any] | None = None,
    restore: restoring.RestoreCheckpointConfig | None = None,
) -> tuple[Mapping[str, Any] | None, restoring.RestoreCheckpointConfig | None]:
    return save, restore


@stand_in("t5x.utils")
def create_learning_rate_scheduler(
    *,
    factors: str = "constant * linear_warmup * rsqrt_decay",
    base_learning_rate: float = 0.5,
    warmup_steps: int = 1000,
    decay_factor: float = 0.5,
    steps_per_decay: int = 20_000,
    steps_per_cycle: int = 100_000,
    step_offset: int = 0,
    min_learning_rate: float = 1e-8,
) -> optax.Schedule:
    return optimizers.create_learning_rate_scheduler(**locals())


@stand_in("t5x.gin_utils")
def sum_fn(var1: Any, var2: Any) -> Any:
    return var1 + var2


@stand_in("t5x.gin_utils")
def bool_fn(var1: Any) -> bool:
    return bool(var1)


@stand_in("t5x.gin_utils")
def string_split_fn(
    text: str, separator: str = ",", maxsplit: int = -1, index: int | None = None
) -> Any:
    parts = text.split(separator, maxsplit)
    return parts if index is None else parts[index]


@stand_in("t5x.trainer")
def Trainer(
    *, learning_rate_fn: optax.Schedule | None = None, num_microbatches: int | None = None
) -> tuple[optax.Schedule | None, int]:
    return learning_rate_fn, num_microbatches or 1


@stand_in("t5x.trainer")
def TerminateOnNanAction(*, task: str | None = None, metric: str = "loss") -> str:
    return f"TerminateOnNanAction({task}, {metric})"


@stand_in("t5x.partitioning")
def standard_logical_axis_rules(*, parameter_partitioning_dims: int = 1) -> int:
    """1: parameters are split over the model axis alone; 2: also over the data devices."""
    return parameter_partitioning_dims


@stand_in("t5x.partitioning")
def PjitPartitioner(
    *,
    num_partitions: int | None = None,
    model_parallel_submesh: Sequence[int] | None = None,
    logical_axis_rules: int | None = None,
) -> Mesh:
    """A mesh whose `model` axis has num_partitions devices; a submesh takes precedence."""
    if logical_axis_rules not in (None, 1, 2):
        raise ValueError(
            "partitioning.PjitPartitioner.logical_axis_rules: use "
            "@partitioning.standard_logical_axis_rules(), or edit partitioning.RULES"
        )
    model = math.prod(model_parallel_submesh) if model_parallel_submesh else num_partitions or 1
    if logical_axis_rules == 2:
        return partitioning.make_mesh(1, max(1, len(jax.devices()) // model), model)
    return partitioning.make_mesh(model=model)


@stand_in("t5x.adafactor")
def standard_logical_factor_rules() -> str:
    return "standard"


@stand_in("t5x.adafactor")
def Adafactor(
    *,
    factored: bool = True,
    multiply_by_parameter_scale: bool = True,
    beta1: float | None = None,
    decay_rate: float = 0.8,
    step_offset: int = 0,
    clipping_threshold: float | None = 1.0,
    weight_decay_rate: float | None = None,
    min_dim_size_to_factor: int = 128,
    epsilon1: float = 1e-30,
    epsilon2: float = 1e-3,
    dtype_momentum: Any = "float32",
    logical_factor_rules: str | None = None,
    weight_decay_rate_lr_exponent: float | None = None,
    global_norm_clip_threshold: float | None = None,
    max_parameter_scale: float | None = None,
    skip_nan_updates: bool = False,
) -> Callable[..., optax.GradientTransformation]:
    """Our Adafactor, once the Trainer's learning rate is known."""
    given = dict(locals())
    if given.pop("logical_factor_rules") not in (None, "standard"):
        raise ValueError(
            "adafactor.Adafactor.logical_factor_rules: use "
            "@adafactor.standard_logical_factor_rules(), or min_dim_size_to_factor and factored"
        )
    return functools.partial(optimizers.adafactor, **given)


@stand_in("t5x.optimizers")
def chain(*, transformations: Sequence[Any]) -> optax.GradientTransformation:
    return optimizers.chain(transformations)


# T5X wraps optax's optimizers under their own names.
module_of("t5x.optimizers").fallback = functools.partial(getattr, optax)


@stand_in("t5x.examples.t5.network")
def T5Config(
    *,
    vocab_size: int,
    dtype: Any = "float32",
    emb_dim: int = 512,
    num_heads: int = 8,
    num_encoder_layers: int = 6,
    num_decoder_layers: int = 6,
    head_dim: int = 64,
    mlp_dim: int = 2048,
    mlp_activations: Sequence[str] = ("relu",),
    dropout_rate: float = 0.1,
    logits_via_embedding: bool = False,
    float32_attention_logits: bool = False,
) -> t5.T5Config:
    return t5.T5Config(**locals())


@stand_in("t5x.examples.t5.network")
def Transformer(*, config: t5.T5Config) -> tuple[t5.T5Config, bool]:
    return config, False


@stand_in("t5x.examples.scalable_t5.network", name="T5Config")
def scalable_config(
    *,
    vocab_size: int,
    dtype: Any = "float32",
    emb_dim: int = 512,
    num_heads: int = 8,
    num_encoder_layers: int = 6,
    num_decoder_layers: int = 6,
    head_dim: int = 64,
    mlp_dim: int = 2048,
    mlp_activations: Sequence[str] = ("relu",),
    dropout_rate: float = 0.1,
    logits_via_embedding: bool = False,
    remat_policy: str | None = "none",
    scan_layers: bool = True,
) -> tuple[t5.T5Config, bool]:
    """The same names with another meaning: a relative bias per layer, and layers in one array."""
    given = dict(locals()) | {"remat_policy": remat_policy or "none"}
    return t5.T5Config(**given, relative_bias_per_layer=True), scan_layers


@stand_in("t5x.examples.scalable_t5.network", name="Transformer")
def scalable_transformer(*, config: tuple[t5.T5Config, bool]) -> tuple[t5.T5Config, bool]:
    return config


class EncoderDecoderModel:
    """T5X's model: network, vocabulary, optimizer and loss in one."""

    def __init__(
        self,
        module: tuple[t5.T5Config, bool],
        input_vocabulary: Any,
        output_vocabulary: Any,
        optimizer_def: Any,
        decode_fn: Any = None,
        feature_converter_cls: Any = UNSET,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        loss_normalizing_factor: float | str | None = None,
        default_decoder_params: Any = UNSET,
    ):
        del decode_fn  # beam_search, which num_decodes turns on, is the only one not refused
        for parameter, rule in PARAMETERS["EncoderDecoderModel"].items():
            apply_rule("models.EncoderDecoderModel", parameter, rule, locals()[parameter])
        self.config, self.scanned = module
        self.vocabulary = file_of(input_vocabulary)
        if file_of(output_vocabulary) != self.vocabulary:
            raise ValueError(
                "models.EncoderDecoderModel: input_vocabulary and output_vocabulary differ; "
                "encoder and decoder share one here"
            )
        self.optimizer_def = optimizer_def
        self.loss = LossConfig(z_loss, label_smoothing, loss_normalizing_factor)

    def predict_batch_with_aux(
        self,
        num_decodes: int | None = None,
        return_all_decodes: bool | None = None,
        prompt_with_targets: bool = False,
        decoder_params: Any = None,
    ) -> int:
        """The number of beams; what else T5X's method does belongs to `evaluate`."""
        if return_all_decodes or prompt_with_targets or decoder_params:
            raise ValueError(
                "models.EncoderDecoderModel.predict_batch_with_aux: this engine gives the best "
                "answer for whole inputs; leave all but num_decodes unset"
            )
        return num_decodes or 1


setattr(module_of("t5x.models"), "EncoderDecoderModel", EncoderDecoderModel)  # noqa: B010


def file_of(vocabulary: Any) -> tuple[str, int | None]:
    """Path and appended sentinels, as `Vocabulary` takes them."""
    path = getattr(vocabulary, "sentencepiece_model_file", None)
    if path is None:
        raise ValueError(
            f"VOCABULARY is {type(vocabulary).__name__}; use @seqio.SentencePieceVocabulary()"
        )
    # 0 says nothing of sentinels: a model that has none gets T5's 100, which no text uses.
    return path, vocabulary.extra_ids or None
