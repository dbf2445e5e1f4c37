"""Which tasks carry which soft prompt: in training their own, in evaluation as asked.

A model that was tuned behind a prompt is evaluated with it on tasks of the same format, and without
it on all others, where it is to be as general as it was.

Source: Wang et al. 2022, "Two-stage LLM Fine-tuning with Less Specialization and More
Generalization" (ProMoT), arXiv 2211.00635.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from medmt5.models import soft_prompt
from medmt5.models.t5 import T5Config
from medmt5.tables import DatasetConfig, Table

log = logging.getLogger(__name__)

Prompted = str | Collection[str] | Mapping[str, str]


def show_prompts(
    tables: Sequence[Table],
    model: T5Config,
    prompted: Prompted,
    *,
    trained: Collection[str],
) -> None:
    """Put soft prompts before the rows of some tables, none before the others, and say which.

    Args:
      tables: of a mixture.
      model: its `prompt` is None where it has none.
      prompted: {task: the task whose prompt it is shown}. Instead of it, names of tasks: each is
        shown its own; "trained" for those that a prompt was trained on, "all", or "none".
      trained: names of the tasks that a single prompt for all was trained on. Several prompts know
        theirs.

    Raises:
      ValueError: another word, a task that is not there, or a prompt that is not there; or nobody
        knows what the prompt was trained on.
    """
    names = [table.name for table in tables]
    whose = _whose(names, model, prompted, trained)
    if unknown := sorted(whose.keys() - set(names)):
        raise ValueError(f"PROMPTED names {unknown[0]}, which is not among {', '.join(names)}")
    for table in tables:
        owner = whose.get(table.name)
        table.soft_prompt = soft_prompt.NONE if owner is None else soft_prompt.ids(model, owner)
        if owner is not None and not len(table.soft_prompt):
            there = f"prompts of {', '.join(model.prompt.tasks)}" if model.prompt else "none"
            raise ValueError(
                f"task {table.name} is to be shown the prompt of {owner}, but the model has "
                f"{there}; use PROMPTED = {{task: the task whose prompt it is shown}}, or 'trained'"
            )
    if model.prompt is not None:
        shown = [k if k == v else f"{k} (that of {v})" for k, v in whose.items()]
        without = [name for name in names if name not in whose]
        log.info(
            "with a soft prompt: %s; without: %s",
            ", ".join(shown) or "none",
            ", ".join(without) or "none",
        )


def _whose(
    names: Sequence[str], model: T5Config, prompted: Prompted, trained: Collection[str]
) -> dict[str, str]:
    """Task -> the task whose prompt it is shown."""
    if isinstance(prompted, Mapping):
        return dict(prompted)
    if prompted == "trained":
        owners = (model.prompt.tasks or trained) if model.prompt else ()
        if model.prompt and not owners:
            raise ValueError(
                "PROMPTED is 'trained', but the model does not say which tasks its soft prompt was "
                "trained on; set PROMPTED to 'all', 'none' or names of tasks"
            )
        prompted = [name for name in names if name in owners]
    elif prompted == "all":
        prompted = names
    elif prompted == "none":
        prompted = ()
    elif isinstance(prompted, str):
        raise ValueError(
            f"PROMPTED is {prompted!r}; use 'trained', 'all', 'none', names of tasks as in "
            f"({prompted!r},), or {{task: the task whose prompt it is shown}}"
        )
    return {name: name for name in prompted}


def show_prompts_in_training(
    tables: Sequence[Table], model: T5Config, config: DatasetConfig
) -> None:
    """Put its soft prompt before the rows of every task that has one.

    Raises:
      ValueError: a task with a prompt is not in the mixture, or rows with a decoder prompt are
        packed.
    """
    if model.prompt is None:
        return
    names = [table.name for table in tables]
    if missing := [task for task in model.prompt.tasks if task not in names]:
        raise ValueError(
            f"PROMPT_TASKS names {missing[0]}, which {config.mixture_or_task_name} does not hold "
            f"({', '.join(names)}): its prompt would not be trained"
        )
    if config.pack and model.prompt.decoder_length:
        raise ValueError(
            "a decoder prompt stands before one example a row; set PACK = False or "
            "PROMPT_DECODER_LENGTH = 0"
        )
    if config.pack:
        log.info(
            "PACK is True: every example of a row carries its own %d positions of soft prompt; "
            "published runs do not pack",
            model.prompt.length,
        )
    show_prompts(tables, model, "trained", trained=names)
