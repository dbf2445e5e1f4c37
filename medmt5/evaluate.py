"""From a checkpoint to predictions and scores per task. `medmt5 eval`, `python -m medmt5.evaluate`.

Also the evaluations inside a training run. How an answer is read from tokens and scored belongs to
the task's format.
"""

from __future__ import annotations

import functools
import itertools
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from medmt5 import batches, metrics, optimizer_options, partitioning, restore, step
from medmt5.adapters.adapted import open_with
from medmt5.adapters.prompt_tasks import Prompted, show_prompts
from medmt5.batches import DatasetConfig, Table
from medmt5.files import write_text
from medmt5.predictor import Predictor, Search
from medmt5.reporting import is_chief
from medmt5.state import Architecture, TrainState, join_params
from medmt5.vocabulary import Vocabulary

log = logging.getLogger(__name__)

MODES = ("constrained", "ranked", "unconstrained")


def compile_loss(architecture: Architecture) -> Callable[..., dict[str, Any]]:
    """`eval_step`, compiled, for `mean_loss`."""
    return jax.jit(functools.partial(step.eval_step, merge=architecture.merge))


def mean_loss(
    evaluate_batch: Callable[..., dict[str, Any]],
    state: TrainState,
    tables: Sequence[Table],
    config: DatasetConfig,
    mesh: Mesh,
    *,
    limit: int | None = None,
) -> dict[str, float]:
    """Loss in nats and accuracy per target token, without dropout, over `limit` batches."""
    return per_token(loss_sums(evaluate_batch, state, tables, config, mesh, limit=limit))


def loss_sums(
    evaluate_batch: Callable[..., dict[str, Any]],
    state: TrainState,
    tables: Sequence[Table],
    config: DatasetConfig,
    mesh: Mesh,
    *,
    limit: int | None = None,
) -> dict[str, float]:
    """What `mean_loss` is made of: sums over target tokens."""
    sums: dict[str, float] = {}
    share = batches.local_share(config.batch_size, mesh)
    made = batches.evaluation_batches(tables, config, share=share)
    for batch in itertools.islice(made, limit):
        placed = batches.to_devices(batch, mesh, share)
        metrics = evaluate_batch(state.params, state.frozen, placed)
        for name, value in jax.device_get(metrics).items():
            sums[name] = sums.get(name, 0.0) + float(value)
    return sums


def per_token(sums: Mapping[str, float]) -> dict[str, float]:
    """Loss and accuracy of sums as `loss_sums` makes them."""
    weight = max(sums["weight"], 1e-9)
    return {"loss": sums["nll"] / weight, "accuracy": sums["correct"] / weight}


def score_tables(
    predictor: Predictor,
    tables: Sequence[Table],
    *,
    output_dir: str | None = None,
    modes: Sequence[str] | None = None,
    limit: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Decode and score every task that can be.

    Args:
      predictor: runs the model.
      tables: of the split to score; tasks with nothing but a loss are passed over, and said so.
      output_dir: gets `<task>-<mode>.jsonl` with predictions, and `scores.json`.
      modes: of `MODES`, those to decode in; a task takes those that its format has. None for the
        usual one of each format.
      limit: examples per task; None for all.

    Returns:
      task -> mode -> scores, in percent; `intervals` are 95 % bootstrap intervals.

    Raises:
      ValueError: an unknown mode, or a task that has none of them.
    """
    chosen = {table.name: _modes_of(table, modes) for table in tables}
    scores: dict[str, dict[str, Any]] = {}
    for table in tables:
        if not chosen[table.name]:
            log.info("task %s has nothing to score beyond its loss", table.name)
            continue
        examples = [table.format.example(raw, None) for raw in table.raws[:limit]]
        scores[table.name] = {}
        for mode in chosen[table.name]:
            records = decode(predictor, table, examples, mode)
            result = scores[table.name][mode] = scores_of(records)
            log.info("%s %s: %s", table.name, mode, _in_short(result))
            if output_dir and is_chief():
                lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
                write_text(os.path.join(output_dir, f"{table.name}-{mode}.jsonl"), "".join(lines))
    if output_dir and is_chief() and scores:
        text = json.dumps(scores, indent=2, ensure_ascii=False)
        write_text(os.path.join(output_dir, "scores.json"), text)
    return scores


def _modes_of(table: Table, modes: Sequence[str] | None) -> tuple[str, ...]:
    for mode in modes or ():
        if mode not in MODES:
            raise ValueError(f"decoding mode {mode!r} is unknown; use {', '.join(MODES)}")
    there = getattr(table.format, "modes", ())
    if modes is None or not there:
        return there[:1]
    if not set(modes) & set(there):
        raise ValueError(
            f"task {table.name} can be decoded {' or '.join(there)}; DECODING is {tuple(modes)}"
        )
    return tuple(mode for mode in modes if mode in there)


def decode(
    predictor: Predictor, table: Table, examples: Sequence[Mapping[str, Any]], mode: str
) -> list[dict[str, Any]]:
    """Prediction records of a table's examples, decoded in one of its format's modes."""
    format_ = table.format
    shown: dict[str, Any] = dict(soft_prompt=table.soft_prompt, progress=f"{table.name} {mode}")
    free = mode == "unconstrained"
    explains = getattr(format_, "explains", False)
    if free or explains:
        # Free generation may never end; a format knows how long an answer can be.
        longest = max(map(format_.max_free_length, examples))
        answers = predictor.predict(examples, max_length=longest, **shown)
        if free:
            return [
                format_.record(example, tokens=answer.tokens)
                for example, answer in zip(examples, answers, strict=True)
            ]
        examples = [
            format_.explained(example, answer)
            for example, answer in zip(examples, answers, strict=True)
        ]
    if mode == "ranked":
        candidates = [format_.candidates(example) for example in examples]
        ranks = predictor.rank(examples, candidates, **shown)
        return [
            format_.record(example, place=int(scores.argmax()))
            for example, scores in zip(examples, ranks, strict=True)
        ]
    answers = predictor.predict(examples, format_=format_, **shown)
    return [
        format_.record(example, prediction=answer)
        for example, answer in zip(examples, answers, strict=True)
    ]


def scores_of(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Scores of prediction records by name, with intervals of those that are percentages."""
    scores = metrics.score(records)
    intervals = metrics.intervals(records)
    scores["intervals"] = {name: list(pair) for name, pair in intervals.items()}
    if any("faithful" in record for record in records):
        scores["faithful"] = 100.0 * sum(r["faithful"] for r in records) / len(records)
    return scores


def _in_short(scores: Mapping[str, Any]) -> str:
    """The first scores, on one line."""
    parts = []
    for name, value in list(scores.items())[:3]:
        low, high = scores["intervals"].get(name, (value, value))
        parts.append(f"{name} {value:.2f} ({low:.1f}-{high:.1f})")
    return "  ".join(parts)


class Evaluations:
    """The evaluations inside a training run: read and compiled once, run many times.

    Args:
      architecture: the model.
      vocabulary: of the run.
      losses: loss and accuracy are measured on it; None for neither.
      scored: it is decoded and scored; None for no scores.
      steps: batches of `losses`; None for all.
      examples: of `scored`, per task; None for all.

    Attributes:
      loss_tables, score_tables: what was read, if anything; the run says which soft prompt each is
        shown.
    """

    def __init__(
        self,
        architecture: Architecture,
        vocabulary: Vocabulary,
        *,
        losses: DatasetConfig | None,
        scored: DatasetConfig | None,
        steps: int | None,
        examples: int | None,
    ):
        self.losses, self.steps, self.examples = losses, steps, examples
        self.loss_tables = losses and batches.read_tables(losses, vocabulary)
        self.score_tables = scored and batches.read_tables(scored, vocabulary)
        self.compiled = compile_loss(architecture)
        self.predictor = Predictor(architecture, None, eos_id=vocabulary.eos_id)

    def check_monitored(self, name: str | None) -> None:
        """Raise ValueError unless an evaluation can give the score of this name (None: any).

        Which scores a decoded task has is known only when it is decoded.
        """
        if name is None:
            return
        known = ["loss", "accuracy"] if self.losses else []
        for table in self.score_tables or ():
            known += [f"{table.name}/{mode}/..." for mode in _modes_of(table, None)]
        if name.rpartition("/")[0] + "/..." not in known and name not in known:
            raise ValueError(
                f"BEST_METRIC is {name!r}, but the run's evaluations give "
                f"{', '.join(known) or 'none: include gin_configs/runs/finetune.gin'}"
            )

    def run(self, state: TrainState, mesh: Mesh, output_dir: str) -> dict[str, float]:
        """All scores as one flat mapping; predictions go to `output_dir`.

        Where the optimiser keeps averages of the parameters (`with_ema`), they are what
        is evaluated.
        """
        if (averages := optimizer_options.ema_params(state.opt_state)) is not None:
            state = state._replace(params=averages)
        values: dict[str, float] = {}
        if self.losses and self.loss_tables:
            values |= mean_loss(
                self.compiled, state, self.loss_tables, self.losses, mesh, limit=self.steps
            )
            log.info("validation loss %.4f  accuracy %.3f", values["loss"], values["accuracy"])
        if self.score_tables:
            self.predictor.params = join_params(state.params, state.frozen)
            scores = score_tables(
                self.predictor,
                self.score_tables,
                output_dir=output_dir,
                limit=self.examples,
            )
            self.predictor.params = None  # the state's arrays are donated to the next step
            values |= flatten_scores(scores)
        return values


def flatten_scores(scores: Mapping[str, Any]) -> dict[str, float]:
    """`{task: {mode: {f1: ...}}}` -> `{"task/constrained/f1": ...}`; per-label scores stay out."""
    return {
        f"{task}/{mode}/{name}": float(value)
        for task, modes in scores.items()
        for mode, values in modes.items()
        for name, value in values.items()
        if isinstance(value, (int, float))
    }


def evaluate(
    *,
    checkpoint_path: str,
    dataset_cfg: DatasetConfig,
    output_dir: str,
    vocabulary: Vocabulary | None = None,
    modes: Sequence[str] | None = None,
    search: Search = Search(),
    batch_size: int = 32,
    limit: int | None = None,
    adapter: str | None = None,
    mesh: Mesh | None = None,
    prompted: Prompted = "trained",
    describe_config: Callable[[], str] | None = None,
    dry_run: bool = False,
) -> dict[str, dict[str, Any]]:
    """Score a checkpoint on a task or mixture.

    Args:
      checkpoint_path: a checkpoint, or a model directory (its newest checkpoint); of medmt5, T5X
        or Hugging Face.
      dataset_cfg: what to score on.
      output_dir: gets predictions and `scores.json`.
      vocabulary: instead of the one stored with the model.
      modes: decoding modes, side by side; None for the usual one of each task.
      search: how answers are sought, and what their scores are.
      batch_size: rows per batch.
      limit: examples per task; None for all.
      adapter: folder of an adapter that was saved alone, to go on the checkpoint.
      mesh: devices; all on the data axis by default.
      prompted: which tasks are shown which soft prompt, if the model has any; see `show_prompts`.
        By default those that it was trained on, by name.
      describe_config: gives the text to keep as `config.gin`.
      dry_run: read everything, decode nothing.

    Returns:
      task -> mode -> scores.

    Raises:
      ValueError: exact search without a constraint, or what reading model and data raises.
    """
    if search.method == "exact" and "unconstrained" in (modes or ()):
        raise ValueError("exact search needs a constraint; set DECODING = ('constrained',)")
    source = open_with(checkpoint_path, adapter)
    vocabulary = vocabulary or restore.vocabulary_of(source)
    tables = batches.read_tables(dataset_cfg, vocabulary)
    for table in tables:
        if hasattr(table.format, "as_trained"):
            table.format = table.format.as_trained(table.name, source.formats)
    show_prompts(tables, source.config, prompted, trained=source.formats)
    architecture = Architecture.t5(source.config)
    mesh = mesh or partitioning.make_mesh()
    params = restore.load_params(source, architecture, architecture.shardings(mesh))
    if dry_run:
        log.info("dry run: checkpoint and data are sound; nothing was decoded or written")
        return {}
    if describe_config and is_chief():
        write_text(os.path.join(output_dir, "config.gin"), describe_config())
    predictor = Predictor(
        architecture, params, eos_id=vocabulary.eos_id, batch_size=batch_size, search=search
    )
    with jax.set_mesh(mesh):
        scores = score_tables(predictor, tables, output_dir=output_dir, modes=modes, limit=limit)
    if is_chief():
        print(score_table(scores))
        log.info("predictions and scores are in %s", output_dir)
    return scores


def score_table(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Scores as aligned text: labelling by label, the rest by metric."""
    lines = []
    for task, modes in scores.items():
        for mode, result in modes.items():
            head = f"{task:32} {mode:14}"
            if "per_label" not in result:
                values = ((k, v) for k, v in result.items() if isinstance(v, (int, float)))
                lines.append(head + "".join(f" {name} {value:.2f} " for name, value in values))
                continue
            for label, row in {"(micro)": result, **result["per_label"]}.items():
                lines.append(
                    f"{head} {label:18} P {row['precision']:6.2f}  R {row['recall']:6.2f}  "
                    f"F1 {row['f1']:6.2f}  {row['support']:6,d} spans"
                )
    return "\n".join(lines)


if __name__ == "__main__":
    from medmt5 import launch

    launch.main("eval")
