"""What becomes of T5X's names that this engine does not simply share. Facts only.

Source of the names: T5X's public gin files, and the signatures of what they bind.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

ANY = object()


@dataclasses.dataclass(frozen=True)
class Ignored:
    """A parameter that cannot change results here; a value not in `silent` is logged, once."""

    because: str
    silent: Any = (None,)


@dataclasses.dataclass(frozen=True)
class Refused:
    """A parameter that has no counterpart; `instead` says what to write."""

    instead: str
    accepted: Any = (None,)


_NO_AIRIO = Refused("AirIO is not read here: register a SeqIO task", (None, (), []))
_ORBAX = Ignored("checkpoints are Orbax's, saved and read by medmt5.checkpoints", ANY)
_MESH = Refused(
    "set partitioning.PjitPartitioner.num_partitions, or use a run file of gin_configs/runs with "
    "partitioning.make_mesh's data, fsdp and model"
)
_TRANSFORM = Refused("use assignment_map", (None, (), []))
_WHOLE_STATE = Ignored("the whole state is saved and restored, with its input position", ANY)
_RESTART = Ignored("the operative configuration is written as config.gin", ANY)

# Parameters that a stand-in takes beside those that its function honours.
PARAMETERS: Mapping[str, Mapping[str, Ignored | Refused]] = {
    "train": {
        "summarize_config_fn": _RESTART,
        "get_dataset_fn": Refused("register a SeqIO task", (None, "get_dataset")),
        "train_eval_get_dataset_fn": Refused(
            "register a SeqIO task", (None, "get_training_eval_datasets")
        ),
        "train_state_initializer_cls": Refused("use utils.RestoreCheckpointConfig"),
        "concurrent_metrics": Ignored("metrics are fetched while the next step runs", ANY),
        "use_orbax": _ORBAX,
        "gc_period": Ignored("Python collects garbage when it will", (0, None)),
        "use_jax_array": _ORBAX,
        "run_eval_before_training": Ignored(
            "`medmt5 eval` scores the initial checkpoint", (False, None)
        ),
    },
    "evaluate": {
        "training_evaluator_cls": Refused(
            "the loss on a split is measured while training: train_eval_dataset_cfg"
        ),
        "summarize_config_fn": _RESTART,
        "train_state_initializer_cls": Refused("use utils.RestoreCheckpointConfig"),
        "train_eval_get_dataset_fn": Refused(
            "register a SeqIO task", (None, "get_training_eval_datasets")
        ),
        "fallback_init_rng": Refused("every parameter comes from the checkpoint"),
        "use_orbax": _ORBAX,
        "verify_matching_vocabs_fn": Ignored("the checkpoint's own vocabulary is used", ANY),
    },
    "infer": {
        "checkpoint_period": Ignored("predictions are written at the end", ANY),
        "shard_id": Refused("one process decodes all: shard_id = 0", (None, 0)),
        "num_shards": Refused("one process decodes all: num_shards = 1", (None, 1)),
        "merge_chunked_results": Ignored("predictions are written in one piece", ANY),
        "write_fn": Refused(
            "read <task>-<mode>.jsonl in the output folder", (None, "write_inferences_to_file")
        ),
        "merge_fn": Ignored("predictions are written in one piece", ANY),
        "checkpoint_ds_iter": Ignored("predictions are written at the end", ANY),
        "train_state_initializer_cls": Refused("use utils.RestoreCheckpointConfig"),
        "fallback_init_rng": Refused("every parameter comes from the checkpoint"),
        "summarize_config_fn": _RESTART,
        "verify_matching_vocabs_fn": Ignored("the checkpoint's own vocabulary is used", ANY),
        "output_vocab_feature_name": Ignored("the checkpoint's own vocabulary is used", ANY),
        "file_extension": Ignored("predictions are JSON lines", ("jsonl",)),
        "keep_aux_as_numpy": Ignored("predictions are JSON lines", (False,)),
        "use_orbax": _ORBAX,
    },
    "DatasetConfig": {
        "use_cached": Ignored("tasks are read from their source, once per run", (False, None)),
        "use_custom_packing_ops": Ignored("packing is numpy's", (False, None)),
        "use_memory_cache": Ignored("examples are kept in memory", (True, None)),
        "trim_output_features": Ignored("examples are cut to TASK_FEATURE_LENGTHS", (True, None)),
        "runtime_preprocessors": _NO_AIRIO,
        "num_prefetch_threads": Ignored("AirIO's", ANY),
        "num_workers": Ignored("AirIO's", ANY),
    },
    "SaveCheckpointConfig": {
        "dtype": Ignored("parameters are saved as they are trained, in float32", (None, "float32")),
        "checkpoint_steps": Refused("set period, and keep = None to keep all", (None, (), [])),
        "save_dataset": _WHOLE_STATE,
        "keep_dataset_checkpoints": _WHOLE_STATE,
        "checkpointer_cls": _ORBAX,
        "checkpoint_manager_cls": _ORBAX,
        "state_transformation_fns": _TRANSFORM,
    },
    "RestoreCheckpointConfig": {
        "dtype": Ignored("parameters are float32; T5Config.dtype is the compute type", ANY),
        "strict": Ignored("a parameter that is missing is an error", (True, None)),
        "restore_dataset": _WHOLE_STATE,
        "checkpointer_cls": _ORBAX,
        "checkpoint_manager_cls": _ORBAX,
        "state_transformation_fns": _TRANSFORM,
        "use_gda": _ORBAX,
        "is_tensorflow": Refused("convert the checkpoint to T5X's form first", (None, False)),
    },
    "Trainer": {
        "weight_metrics_computer": Ignored("the norm of the gradients is reported", ANY),
    },
    "PjitPartitioner": {
        "params_on_devices": Ignored("parameters are on the devices", (True, None)),
        "backend": Ignored("set JAX_PLATFORMS in the environment"),
        "ici_mesh_shape": _MESH,
        "dcn_mesh_shape": _MESH,
    },
    "standard_logical_axis_rules": {
        "activation_partitioning_dims": Ignored("it saves memory only", (1, None)),
        "additional_rules": Refused("edit partitioning.RULES", (None, (), [])),
    },
    "Adafactor": {
        "learning_rate": Ignored("trainer.Trainer.learning_rate_fn sets it, as in T5X"),
        "factor_map": Refused("use min_dim_size_to_factor, or factored = False"),
    },
    "scalable_config": {
        "param_scan_axis": Ignored("layers are separate parameters", ANY),
    },
    "Evaluator": {
        "use_memory_cache": Ignored("examples are kept in memory", ANY),
    },
    "get_training_eval_datasets": {"deterministic": Ignored("it always is", ANY)},
    "beam_search": {"alpha": Ignored("num_decodes > 1 turns it on, and is not ours", ANY)},
    "write_inferences_to_file": dict.fromkeys(
        ("include_all_inputs", "output_ids"),
        Ignored("predictions are JSON lines of words and spans", ANY),
    ),
    "JSONLogger": {
        "write_n_results": Ignored("all predictions are written"),
    },
    "EncoderDecoderModel": {
        "feature_converter_cls": Refused(
            "batches are made by medmt5.batches", (None, "EncDecFeatureConverter")
        ),
        "default_decoder_params": Refused(
            "decoding is set by DECODING of gin_configs/runs/eval.gin"
        ),
    },
}

_MOE = "mixtures of experts are not part of this engine; use models.EncoderDecoderModel"
_DECODER_ONLY = "decoder-only models are not part of this engine; use models.EncoderDecoderModel"
_EXPORT = (
    "a model directory is complete as it is: medmt5.Labeller.load(MODEL_DIR) or `medmt5 label`"
)
_GPU = "the same files run on GPU: use t5x.examples.t5 and pip install medmt5[data,gpu]"
FILES = "register a SeqIO task for the files (see tasks/) and name it in MIXTURE_OR_TASK_NAME"

# Modules and configurables without a counterpart: name -> what to write.
REFUSED: Mapping[str, str] = {
    "t5x.contrib.moe": _MOE,
    "t5x.contrib.gpu": _GPU,
    "t5x.contrib": "T5X's contributed models are not part of this engine",
    "t5x.export_lib": _EXPORT,
    "t5x.examples.decoder_only": _DECODER_ONLY,
    "t5x.models.DecoderOnlyModel": _DECODER_ONLY,
    "t5x.models.EncoderOnlyModel": "encoder-only models are not part of this engine",
    "t5x.models.get_input_vocabulary": FILES,
    "t5x.models.get_output_vocabulary": FILES,
    "t5x.decoding.temperature_sample": (
        "decoding here is greedy, under a constraint or free; remove decode_fn"
    ),
    "t5x.checkpoints.SaveBestCheckpointer": (
        "use gin_configs/runs/finetune.gin, whose BEST_METRIC keeps the best checkpoint"
    ),
    "t5x.trainer.EarlyStoppingAction": (
        "set TRAIN_STEPS; checkpoints and scores of every EVAL_PERIOD are kept to choose from"
    ),
    "t5x.optimizers.MultiOptimizer": (
        "set PARAMETER_GROUPS of gin_configs/optimizers, or train.trainable of gin_configs/runs to "
        "freeze parameters"
    ),
    "t5x.adafactor.HParamMap": "use one value for all parameters",
    "t5x.config_utils": "Fiddle is not read here: write gin",
    "t5x.fiddle": "Fiddle is not read here: write gin",
    "__main__.precompile": "`medmt5 train --dry_run` checks configuration and data",
    "__main__.create_task_from_tfexample_file": FILES,
    "seqio.ByteVocabulary": "ByT5 is not part of this engine; use a SentencePiece vocabulary",
}

_MOE_MACRO = f"{_MOE}, and partitioning.PjitPartitioner.num_partitions for model parallelism"

# Macros of T5X's public gin files: None where a file may set it although nothing reads it, which
# T5X passes over; otherwise what to write.
MACROS: Mapping[str, str | None] = dict.fromkeys(
    """MODEL_DIR MIXTURE_OR_TASK_NAME MIXTURE_OR_TASK_MODULE TASK_FEATURE_LENGTHS TRAIN_STEPS
    TRAIN_STEPS_RELATIVE BATCH_SIZE USE_CACHED_TASKS SHUFFLE_TRAIN_EXAMPLES DROPOUT_RATE
    INITIAL_CHECKPOINT_PATH CHECKPOINT_PATH EVAL_OUTPUT_DIR INFER_OUTPUT_DIR EVAL_STEPS EVAL_PERIOD
    EVALUATOR_USE_MEMORY_CACHE EVALUATOR_NUM_EXAMPLES JSON_WRITE_N_RESULTS RANDOM_SEED
    USE_HARDWARE_RNG Z_LOSS LABEL_SMOOTHING LOSS_NORMALIZING_FACTOR VOCABULARY OPTIMIZER MODEL
    TRAIN_EVAL_MIXTURE_OR_TASK_NAME USE_CACHED_TASKS_TRAIN_EVAL VOCAB_SIZE LEARNING_RATE""".split()
) | {
    "NUM_EXPERTS": _MOE_MACRO,
    "NUM_EXPERT_PARTITIONS": _MOE_MACRO,
    "NUM_MODEL_PARTITIONS": _MOE_MACRO,
    "MODEL_PARALLEL_SUBMESH": _MOE_MACRO,
    "EXPERT_DROPOUT_RATE": _MOE_MACRO,
    "TF_EXAMPLE_FILE_PATHS": FILES,
    "TF_EXAMPLE_FILE_TYPE": FILES,
    "FEATURE_LENGTHS": f"{FILES}; lengths are TASK_FEATURE_LENGTHS",
    "OUTPUT_FEATURES": _EXPORT,
    "MODEL_OUTPUT_DIR": _EXPORT,
    "MODEL_NAME": _EXPORT,
    "BEAM_SIZE": _EXPORT,
    "ACTIVATION_DTYPE": f"{_EXPORT}; the compute type is network.T5Config.dtype",
}

# Flags of T5X's programs that `medmt5` has not.
FLAGS: Mapping[str, str] = {
    "--tfds_data_dir": "set TFDS_DATA_DIR in the environment",
    "--seqio_additional_cache_dirs": "tasks are read from their source; remove the flag",
    "--multiprocess_gpu": "give --coordinator_address, --process_count and --process_index, or "
    "--distributed",
    "--initialization_timeout": "remove the flag",
    "--shard_id": "one process decodes all; remove the flag",
    "--run_mode": "the command says it: medmt5 train, medmt5 eval",
    "--fdl_config": REFUSED["t5x.fiddle"],
    "--fdl_config_file": REFUSED["t5x.fiddle"],
    "--fdl_set": REFUSED["t5x.fiddle"],
}

# T5X's base files leave lengths of evaluations to be found; as in gin_configs/runs/eval.gin.
WHOLE = {"inputs": 1024, "targets": 1024}
