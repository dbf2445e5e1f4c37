"""A training run, top to bottom. `python -m medmt5.train --gin_file=...` or `medmt5 train`.

What a step computes is in `step`, what a batch holds in `batches`; this file only puts them in
order: evaluate, save, draw a batch, step. A restart resumes after the last save and sees the same
batches, so it ends with the same parameters.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import optax
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from medmt5 import batches, checkpoints, evaluate, partitioning, reporting, step
from medmt5 import restore as restoring
from medmt5.adapters.prompt_init import initialised
from medmt5.adapters.prompt_tasks import show_prompts, show_prompts_in_training
from medmt5.batches import DatasetConfig
from medmt5.checkpoints import CheckpointConfig
from medmt5.files import write_text
from medmt5.models.soft_prompt import PATHS
from medmt5.models.t5 import T5Config
from medmt5.restore import RestoreCheckpointConfig
from medmt5.state import (
    Architecture,
    TrainState,
    count_parameters,
    init_state,
    split_trainable,
    state_shardings,
)
from medmt5.step import LossConfig
from medmt5.tables import task_vocabulary
from medmt5.vocabulary import Vocabulary

log = logging.getLogger(__name__)

OPERATIVE_CONFIG = "config.gin"


def train(
    *,
    model: T5Config,
    optimizer: optax.GradientTransformation,
    model_dir: str,
    train_dataset_cfg: DatasetConfig,
    total_steps: int,
    train_eval_dataset_cfg: DatasetConfig | None = None,
    infer_eval_dataset_cfg: DatasetConfig | None = None,
    vocabulary: Vocabulary | None = None,
    loss: LossConfig = LossConfig(),
    checkpoint_cfg: CheckpointConfig = CheckpointConfig(),
    restore: RestoreCheckpointConfig | None = None,
    mesh: Mesh | None = None,
    eval_period: int = 1000,
    eval_steps: int | None = None,
    eval_examples: int | None = None,
    stats_period: int = 100,
    random_seed: int = 0,
    use_hardware_rng: bool = False,
    trainable: str = ".*",
    num_microbatches: int = 1,
    describe_config: Callable[[], str] | None = None,
    dry_run: bool = False,
) -> TrainState | None:
    """Train to `total_steps`, resuming from `model_dir` if it holds a checkpoint.

    Args:
      model: sizes of the model.
      optimizer: any optax transformation.
      model_dir: gets checkpoints, scalars, the operative gin, predictions of the evaluations.
      train_dataset_cfg: what to train on.
      total_steps: absolute, as in T5X: steps of an initial checkpoint's state count.
      train_eval_dataset_cfg: loss and accuracy are measured on it.
      infer_eval_dataset_cfg: it is decoded and scored.
      vocabulary: by default that of `model_dir`, of the initial checkpoint, or else the one that
        the task was registered with.
      loss: normaliser, z-loss, label smoothing.
      checkpoint_cfg: when to save, how many to keep.
      restore: the checkpoint to start from, where `model_dir` has none yet.
      mesh: devices; all on the data axis by default.
      eval_period: steps between evaluations; there is one at the end too.
      eval_steps: batches of train_eval_dataset_cfg; None for all.
      eval_examples: examples of infer_eval_dataset_cfg per task; None for all.
      stats_period: steps between progress lines (the first steps have more).
      random_seed: of parameters and dropout.
      use_hardware_rng: draw dropout from XLA's own generator, which is faster; see `init_state`.
      trainable: regular expression over full parameter names; the rest is frozen.
      num_microbatches: parts of a batch whose gradients are added.
      describe_config: gives the text to keep as `config.gin`.
      dry_run: build everything, read the data, run no step, write nothing.

    Returns:
      The final state; None after a dry run.

    Raises:
      ValueError: anything that does not fit, before the first step.
    """
    mesh = mesh or partitioning.make_mesh()
    for name, config in (("train", train_dataset_cfg), ("train_eval", train_eval_dataset_cfg)):
        if config is not None:
            partitioning.check_batch_size(
                config.batch_size, mesh, name=f"{name} DatasetConfig.batch_size"
            )
    if train_dataset_cfg.batch_size % num_microbatches:
        raise ValueError(
            f"BATCH_SIZE {train_dataset_cfg.batch_size} does not divide into {num_microbatches} "
            "microbatches"
        )
    vocabulary = vocabulary or restoring.vocabulary_beside(model_dir, restore and restore.path)
    log.info("reading %s", train_dataset_cfg.mixture_or_task_name)
    tables = batches.read_tables(train_dataset_cfg, vocabulary)
    show_prompts_in_training(tables, model, train_dataset_cfg)
    share = batches.local_share(train_dataset_cfg.batch_size, mesh)
    stream = batches.Stream(tables, train_dataset_cfg, share=share)
    vocabulary = vocabulary or _vocabulary_of(tables, train_dataset_cfg)
    if vocabulary.size > model.vocab_size:
        raise ValueError(
            f"the vocabulary {vocabulary.path} has {vocabulary.size} ids, the model only "
            f"{model.vocab_size} rows; set T5Config.vocab_size to {vocabulary.rows} or more"
        )
    architecture = Architecture.t5(model)
    evaluations = evaluate.Evaluations(
        architecture,
        vocabulary,
        losses=train_eval_dataset_cfg,
        scored=infer_eval_dataset_cfg,
        steps=eval_steps,
        examples=eval_examples,
    )
    for evaluated in filter(None, (evaluations.loss_tables, evaluations.score_tables)):
        show_prompts(evaluated, model, "trained", trained=[table.name for table in tables])
    lengths = train_dataset_cfg.task_feature_lengths
    log.info(
        "%s parameters, %s of them train; %s; mesh %s; rows of %d/%d tokens, %d per batch",
        f"{count_parameters(architecture.shapes):,}",
        f"{count_parameters(split_trainable(architecture.shapes, trainable)[0]):,}",
        ", ".join(f"{table.name}: {len(table.raws):,} examples" for table in tables),
        dict(mesh.shape),
        stream.lengths["inputs"],
        stream.lengths["targets"],
        train_dataset_cfg.batch_size,
    )
    fresh = functools.partial(
        init_state,
        architecture,
        optimizer,
        seed=random_seed,
        mesh=mesh,
        trainable=trainable,
        hardware_rng=use_hardware_rng,
    )
    abstract = jax.eval_shape(lambda: fresh()[0])
    shardings = state_shardings(architecture, abstract, mesh)
    compiled = step.jitted_train_step(
        architecture, optimizer, loss, num_microbatches=num_microbatches, shardings=shardings
    )

    evaluations.check_monitored(checkpoint_cfg.metric_name_to_monitor)
    going_on = bool(checkpoints.finished_steps(model_dir))
    plan, base = None, None
    if going_on:
        card = checkpoints.find_card(model_dir)
        base = card and card.base
    elif restore is not None and restore.path is not None:
        plan = restoring.plan(restore, abstract, model, vocabulary=vocabulary)
        base = restoring.reference(plan, abstract)
    if dry_run:
        next(stream)
        log.info("dry run: configuration and data are sound; nothing was trained or written")
        return None

    with jax.set_mesh(mesh):
        saver = checkpoints.Checkpoints(model_dir, checkpoint_cfg, with_frozen=base is None)
        restored = saver.restore_latest(abstract, shardings)  # before anything is written there
        if going_on and restored is None:
            raise ValueError(
                f"{model_dir} had checkpoints a moment ago and has none now; see who changes it, "
                "and start again"
            )
        checkpoints.write_card(
            model_dir,
            model,
            vocabulary,
            {table.name: table.format.describe() | {"lengths": dict(lengths)} for table in tables},
            base,
        )
        if describe_config and reporting.is_chief():
            write_text(os.path.join(model_dir, OPERATIVE_CONFIG), describe_config())
        if restored is not None:
            state, position = restored
            if base is not None:
                state = restoring.with_frozen(state, base, abstract, shardings, model_dir=model_dir)
            stream.restore(position)
            log.info("resuming %s at step %d", model_dir, int(state.step))
        else:
            if plan is not None:
                state = restoring.fill(plan, lambda: fresh()[0], shardings)
            else:
                state = fresh()[0]
            params, frozen = initialised(
                state.params,
                state.frozen,
                model,
                vocabulary=vocabulary,
                seed=random_seed,
                names=[name for name in PATHS if plan is None or name not in plan.parameters],
            )
            state = state._replace(params=params, frozen=frozen)
        if base is not None:
            log.info("checkpoints leave the frozen parameters to %s", base.path)
        flops = reporting.training_flops(
            model,
            rows=train_dataset_cfg.batch_size,
            source=stream.lengths["inputs"],
            target=stream.lengths["targets"],
        )
        progress = reporting.Progress(total_steps, int(state.step), flops)
        periods = _Periods(total_steps, eval_period, stats_period, checkpoint_cfg.period)
        try:
            with _shortage_explained(model, train_dataset_cfg, mesh, num_microbatches):
                return _loop(state, stream, compiled, saver, mesh, evaluations, progress, periods)
        finally:
            saver.close()


@contextlib.contextmanager
def _shortage_explained(
    model: T5Config, dataset: DatasetConfig, mesh: Mesh, num_microbatches: int
) -> Iterator[None]:
    """Turn a device's "out of memory" into what was asked of it and what would take less."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        shards = partitioning.batch_shards(mesh)
        rows = dataset.batch_size / (shards * num_microbatches)
        lengths = dataset.task_feature_lengths
        ways = [f"--gin.NUM_MICROBATCHES={2 * num_microbatches}"] if rows > 1 else []
        if model.remat_policy != "full":
            next_policy = "minimal" if model.remat_policy == "none" else "full"
            ways.insert(0, f"--gin.REMAT_POLICY=\"'{next_policy}'\"")
        if mesh.shape["data"] > 1:
            ways.insert(0, f"--gin.partitioning.make_mesh.fsdp={shards}")
        raise ValueError(
            f"{mesh.devices.flat[0].device_kind} is out of memory at {rows:g} rows of "
            f"{lengths['inputs']}/{lengths['targets']} tokens per device and microbatch, "
            f"remat_policy {model.remat_policy}, mesh {dict(mesh.shape)}. The same training takes "
            f"less with {', '.join(ways) or 'more devices'}; `medmt5 plan` says what fits. "
            f"({str(error).splitlines()[0]})"
        ) from error


class _Periods(NamedTuple):
    """Steps in all, and between evaluations, progress lines and saves."""

    total: int
    evaluate: int
    stats: int
    save: int


def _loop(
    state: TrainState,
    stream: batches.Stream,
    compiled: Callable[..., Any],
    saver: checkpoints.Checkpoints,
    mesh: Mesh,
    evaluations: evaluate.Evaluations,
    progress: reporting.Progress,
    periods: _Periods,
) -> TrainState:
    """Evaluate, save, draw, step; metrics are fetched one step late, so the host never waits."""
    start = at = int(state.step)
    scalars = reporting.Scalars(os.path.join(saver.model_dir, "train"))
    eval_scalars = reporting.Scalars(os.path.join(saver.model_dir, "eval"))
    stop = _StopSignal()
    pending = None

    def report() -> None:
        nonlocal pending
        if pending is None:
            return
        progress.add(jax.device_get(pending))
        pending = None
        n = progress.step
        if n % periods.stats == 0 or n == periods.total or n - start in (1, 2, 5, 10, 20, 50):
            scalars.write(n, progress.report())

    while True:
        last = at >= periods.total or stop.reached(at)
        score = None
        if at > start and (at % periods.evaluate == 0 or at == periods.total):
            report()
            output_dir = os.path.join(saver.model_dir, "eval", f"step_{at}")
            values = evaluations.run(state, mesh, output_dir)
            eval_scalars.write(at, values)
            score = saver.score(values)
            progress.restart_clock()
        if at > start and (at % periods.save == 0 or last or saver.is_best(score)):
            saver.save(at, state, stream.position(), score)
        if last:
            report()
            break
        batch = batches.to_devices(next(stream), mesh, stream.share)
        state, metrics = compiled(state, batch)
        report()
        pending = metrics
        at += 1
    if at < periods.total:
        log.warning("asked to stop: saved step %d; run the same command to go on", at)
    elif at == start:
        log.info("nothing to do: %s is at step %d of %d", saver.model_dir, at, periods.total)
    if stream.seen:
        fill = 100 * stream.filled / max(at - start, 1)
        log.info("real tokens: %.1f %% of inputs, %.1f %% of targets", *fill)
    stop.restore()
    scalars.close()
    eval_scalars.close()
    return state


class _StopSignal:
    """SIGTERM (preemption) and the first Ctrl-C let the loop save and end.

    Several processes have to end at the same step. JAX's preemption service has its own handler of
    SIGTERM and agrees on one without holding a step up: the one after the latest that any of them
    has begun when the signal is noticed, within about a second.
    """

    def __init__(self):
        self._asked = False
        self._several = jax.process_count() > 1
        self._before: dict[int, Any] = {}
        for number in (signal.SIGINT,) if self._several else (signal.SIGTERM, signal.SIGINT):
            try:
                self._before[number] = signal.signal(number, self._ask)
            except ValueError:  # not in the main thread
                pass

    def _ask(self, number, frame) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True
        if self._several:
            os.kill(os.getpid(), signal.SIGTERM)

    def reached(self, step: int) -> bool:
        """Whether to save this step and end; in several processes, the same in all."""
        if self._several:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _vocabulary_of(tables: list[batches.Table], config: DatasetConfig) -> Vocabulary:
    for table in tables:
        if hasattr(table.format, "vocabulary"):
            return table.format.vocabulary
    from medmt5.formats.task import get_task_or_mixture

    provider = get_task_or_mixture(config.mixture_or_task_name)
    return task_vocabulary(provider)


if __name__ == "__main__":
    from medmt5 import launch

    launch.main("train")
