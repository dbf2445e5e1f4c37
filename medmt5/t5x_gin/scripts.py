"""T5X's programs: `train`, `evaluate` and `infer` from T5X's arguments, run by our engine."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax
from etils import epath
from jax.sharding import Mesh

from medmt5 import batches, checkpoints
from medmt5 import evaluate as evaluation
from medmt5 import train as training
from medmt5.convert.source import open_source
from medmt5.predictor import Search
from medmt5.restore import RestoreCheckpointConfig
from medmt5.t5x_gin.modules import say, stand_in
from medmt5.t5x_gin.names import EncoderDecoderModel, TerminateOnNanAction, file_of
from medmt5.t5x_gin.tables import WHOLE
from medmt5.vocabulary import Vocabulary

log = logging.getLogger(__name__)


@stand_in("__main__", "t5x.train")
def train(
    *,
    model: EncoderDecoderModel,
    model_dir: str,
    train_dataset_cfg: Callable[..., batches.DatasetConfig],
    train_eval_dataset_cfg: Callable[..., batches.DatasetConfig] | None = None,
    infer_eval_dataset_cfg: Callable[..., batches.DatasetConfig] | None = None,
    checkpoint_cfg: tuple[Mapping[str, Any] | None, RestoreCheckpointConfig | None] = (None, None),
    partitioner: Mesh | None = None,
    trainer_cls: Callable[[], tuple[optax.Schedule | None, int]],
    total_steps: int,
    eval_steps: int | None = None,
    eval_period: int = 1000,
    relative_steps: int | None = None,
    stats_period: int | None = None,
    random_seed: int | None = None,
    use_hardware_rng: bool = False,
    inference_evaluator_cls: Callable[[], int | None] | None = None,
    actions: Mapping[str, Sequence[Any]] | None = None,
    verify_matching_vocabs_fn: Any = "verify_matching_vocabs",
    describe_config: Callable[[], str] | None = None,
    dry_run: bool = False,
) -> Any:
    """`train.train`, from T5X's arguments."""
    model = _checked(model)
    seed = _seed(random_seed)
    save, start = checkpoint_cfg
    start = start if start and start.path else None
    if relative_steps:
        total_steps = _step_of(start) + relative_steps
    learning_rate, num_microbatches = trainer_cls()
    _check_actions(actions)
    training_data = train_dataset_cfg(seed)
    losses = _if_split(eval_period and train_eval_dataset_cfg, seed)
    scored = _if_split(eval_period and infer_eval_dataset_cfg, seed)
    if losses and losses.pack:
        say("train_eval/utils.DatasetConfig.pack = True is passed over: rows hold one example")
    beams = model.predict_batch_with_aux()
    if scored and beams > 1:
        say(f"num_decodes = {beams} is passed over: the evaluations decode greedily")
    period = (save or {}).get("period")
    if not period:
        say("no utils.SaveCheckpointConfig.period: a checkpoint is saved at the end alone")
    return training.train(
        model=model.config,
        optimizer=_optimizer(model, learning_rate),
        model_dir=model_dir,
        train_dataset_cfg=training_data,
        total_steps=total_steps,
        train_eval_dataset_cfg=losses,
        infer_eval_dataset_cfg=scored,
        vocabulary=_vocabulary(model, training_data, check=verify_matching_vocabs_fn is not None),
        loss=model.loss,
        checkpoint_cfg=checkpoints.CheckpointConfig(
            period=period or total_steps, keep=(save or {}).get("keep")
        ),
        restore=start,
        mesh=partitioner,
        eval_period=eval_period or total_steps,
        eval_steps=eval_steps,
        eval_examples=inference_evaluator_cls() if inference_evaluator_cls else None,
        stats_period=stats_period or 100,
        random_seed=seed,
        use_hardware_rng=use_hardware_rng,
        num_microbatches=num_microbatches,
        describe_config=describe_config,
        dry_run=dry_run,
    )


@stand_in("__main__", "t5x.eval")
def evaluate(
    *,
    model: EncoderDecoderModel,
    dataset_cfg: Callable[..., batches.DatasetConfig],
    restore_checkpoint_cfg: RestoreCheckpointConfig,
    output_dir: str,
    partitioner: Mesh | None = None,
    inference_evaluator_cls: Callable[[], int | None] | None = None,
    describe_config: Callable[[], str] | None = None,
    dry_run: bool = False,
) -> dict[str, dict[str, Any]]:
    """`evaluate.evaluate`, from T5X's arguments.

    The model is the checkpoint's, and so is the vocabulary if one lies beside it.
    """
    del partitioner  # one device decodes
    model = _checked(model)
    beams = model.predict_batch_with_aux()
    search = Search("beam", num_beams=beams, score="brevity") if beams > 1 else Search()
    if restore_checkpoint_cfg.path is None:
        raise ValueError("CHECKPOINT_PATH names no checkpoint; give a model directory or one of it")
    dataset = dataset_cfg(0, lengths=WHOLE)
    stored = open_source(restore_checkpoint_cfg.path, verify=False).vocabulary
    return evaluation.evaluate(
        checkpoint_path=restore_checkpoint_cfg.path,
        dataset_cfg=dataset,
        output_dir=output_dir,
        vocabulary=None if stored else Vocabulary(*model.vocabulary),
        search=search,
        batch_size=dataset.batch_size,
        limit=inference_evaluator_cls() if inference_evaluator_cls else None,
        describe_config=describe_config,
        dry_run=dry_run,
    )


@stand_in("__main__", "t5x.infer")
def infer(
    *,
    model: EncoderDecoderModel,
    dataset_cfg: Callable[..., batches.DatasetConfig],
    restore_checkpoint_cfg: RestoreCheckpointConfig,
    output_dir: str,
    mode: str = "predict",
    partitioner: Mesh | None = None,
    describe_config: Callable[[], str] | None = None,
    dry_run: bool = False,
) -> dict[str, dict[str, Any]]:
    """`evaluate`, which writes predictions beside scores."""
    if mode != "predict":
        raise ValueError(
            f"infer_script.infer.mode = {mode!r} is T5X's, not ours: 'predict' writes predictions; "
            "scores of spans are medmt5.Labeller's"
        )
    return evaluate(
        model=model,
        dataset_cfg=dataset_cfg,
        restore_checkpoint_cfg=restore_checkpoint_cfg,
        output_dir=output_dir,
        partitioner=partitioner,
        describe_config=describe_config,
        dry_run=dry_run,
    )


ENTRIES: Mapping[str, tuple[Callable, ...]] = {"train": (train,), "eval": (evaluate, infer)}


def _checked(model: Any) -> EncoderDecoderModel:
    if not isinstance(model, EncoderDecoderModel):
        raise ValueError(
            f"MODEL is {type(model).__name__}, but a run file of T5X takes "
            "@models.EncoderDecoderModel(): include 't5x/examples/t5/mt5/small.gin', or include "
            "gin_configs/runs/ instead of 't5x/configs/runs/'"
        )
    return model


def _seed(seed: int | None) -> int:
    """T5X draws a seed from the clock where there is none; all processes take the first's."""
    if seed is not None:
        return seed
    seed = int(time.time()) % 2**31
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        seed = int(multihost_utils.broadcast_one_to_all(np.int32(seed)))
    log.info(
        "RANDOM_SEED is None: seed %d from the clock, another at each start; "
        "--gin.RANDOM_SEED=%d repeats this run",
        seed,
        seed,
    )
    return seed


def _step_of(start: RestoreCheckpointConfig | None) -> int:
    """The step that TRAIN_STEPS_RELATIVE counts from: the initial checkpoint's.

    T5X counts from where it resumes, so that a run which was killed becomes longer; this does not.
    """
    if start is None or start.path is None or start.restore == "params":
        return 0
    return open_source(start.path, verify=False).step


def _check_actions(actions: Mapping[str, Sequence[Any]] | None) -> None:
    for action in [action for group in (actions or {}).values() for action in group]:
        if not str(action).startswith(TerminateOnNanAction.__name__):
            raise ValueError(
                f"train_script.train.actions: {type(action).__name__} is T5X's, not ours; only "
                "trainer.TerminateOnNanAction is known"
            )
        say(f"{action} is passed over: a loss that is no number shows in the progress lines")


def _optimizer(
    model: EncoderDecoderModel, learning_rate: optax.Schedule | None
) -> optax.GradientTransformation:
    """T5X's Adafactor takes the Trainer's learning rate; an optax optimizer has its own."""
    if isinstance(model.optimizer_def, optax.GradientTransformation):
        return model.optimizer_def
    if learning_rate is None:
        raise ValueError(
            "trainer.Trainer.learning_rate_fn is not set; bind "
            "@utils.create_learning_rate_scheduler()"
        )
    scanned = {"always_factor": r".*/layers_.*/kernel"} if model.scanned else {}
    return model.optimizer_def(learning_rate, **scanned)


def _tasks(config: batches.DatasetConfig) -> list[Any]:
    from medmt5.formats.task import get_task_or_mixture

    if config.module:
        importlib.import_module(config.module)
    provider = get_task_or_mixture(config.mixture_or_task_name)
    return list(getattr(provider, "tasks", [provider]))


def _if_split(config: Any, seed: int) -> batches.DatasetConfig | None:
    """The data of an evaluation; None where there is none, or no task has its split, as in T5X."""
    if not config:
        return None
    made = config(seed, lengths=WHOLE)
    if any(made.split in task.splits for task in _tasks(made)):
        return made
    say(f"{made.mixture_or_task_name} has no split {made.split!r}: it is not evaluated")
    return None


def _vocabulary(
    model: EncoderDecoderModel, config: batches.DatasetConfig, *, check: bool
) -> Vocabulary | None:
    """MODEL's vocabulary where it is another file than the task's.

    Our own tasks make their ids with it. A plain SeqIO task makes them with its own, so they have
    to be equal, as in T5X.
    """
    for task in _tasks(config):
        theirs = file_of(task.output_features["targets"].vocabulary)
        if theirs == model.vocabulary:
            continue
        if not hasattr(task, "make_format") and check and not _same_file(theirs, model.vocabulary):
            raise ValueError(
                f"task {task.name} makes ids with {theirs[0]}, but MODEL has "
                f"{model.vocabulary[0]}; set "
                f"seqio.SentencePieceVocabulary.sentencepiece_model_file = {theirs[0]!r}"
            )
        return Vocabulary(*model.vocabulary)
    return None


def _same_file(a: tuple[str, int | None], b: tuple[str, int | None]) -> bool:
    return a[1] == b[1] and epath.Path(a[0]).read_bytes() == epath.Path(b[0]).read_bytes()
