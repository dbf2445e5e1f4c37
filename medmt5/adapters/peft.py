"""Adapters alone, in a folder that Hugging Face's PEFT reads and writes.

`adapter_config.json` and `adapter_model.safetensors` are what PEFT's `save_pretrained` makes of a
T5; `medmt5.json` beside them holds what PEFT has no place for, and passes over. What stands in the
first two is left to `peft_lora` and `peft_prompt`; whether a model is the one that an adapter was
trained on, to `peft_base`.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from medmt5.adapters import peft_lora, peft_prompt
from medmt5.convert import safetensors
from medmt5.convert.source import checked_formats, expected_shapes, listing
from medmt5.files import check_manifest, read_json_object, write_manifest, write_text
from medmt5.models.lora import LoraConfig
from medmt5.models.soft_prompt import PromptConfig
from medmt5.models.t5 import T5Config

log = logging.getLogger(__name__)

CONFIG, WEIGHTS, OURS = "adapter_config.json", "adapter_model.safetensors", "medmt5.json"
PICKLE = "adapter_model.bin"
TASK = "SEQ_2_SEQ_LM"
LORA, PROMPT = "LORA", "PROMPT_TUNING"
# Of every kind of adapter; they compute nothing.
_DESCRIBING = {
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "peft_type",
    "peft_version",
    "revision",
    "runtime_config",
    "task_type",
}


class Adapter(NamedTuple):
    """What was trained, without the model that it was trained on.

    Attributes:
      lora: of low-rank adapters; None if it is a prompt.
      prompt: of a soft prompt; None if it is low-rank adapters.
      arrays: by our full names: `.../lora/a`, `.../lora/b`, `encoder/prompt/embedding`.
      base: name or path of the model; "" if unknown.
      fingerprint: of that model, by `convert.fingerprint`; "" if unknown.
      formats: task name -> description of its format, as in `Source.formats`.
    """

    lora: LoraConfig | None
    prompt: PromptConfig | None
    arrays: Mapping[str, np.ndarray]
    base: str = ""
    fingerprint: str = ""
    formats: Mapping[str, Any] = {}


def of_task(adapter: Adapter, task: str) -> Adapter:
    """One of several prompts.

    Raises:
      ValueError: the adapter has no prompt of that task's own.
    """
    prompt = adapter.prompt
    if prompt is None or task not in prompt.tasks:
        there = ", ".join(prompt.tasks) if prompt and prompt.tasks else "none"
        raise ValueError(f"no prompt is that of task {task!r} alone; such prompts: {there}")
    number = prompt.tasks.index(task)
    return adapter._replace(
        prompt=PromptConfig(prompt.length, tasks=(task,), decoder_length=prompt.decoder_length),
        arrays={
            name: array.reshape(prompt.prompts, -1, array.shape[-1])[number]
            for name, array in adapter.arrays.items()
        },
        formats={name: format_ for name, format_ in adapter.formats.items() if name == task},
    )


def write_adapter(folder: str, adapter: Adapter, config: T5Config) -> None:
    """Write a folder that PEFT loads on the Hugging Face copy of the base.

    Args:
      folder: made; an empty one will do.
      adapter: low-rank adapters or one prompt.
      config: of the base.

    Raises:
      ValueError: the folder holds something, the arrays are not those of the adapter, or PEFT has
        no place for them.
    """
    if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise ValueError(f"{folder} exists already; give a new folder")
    if (adapter.lora is None) == (adapter.prompt is None):
        raise ValueError(
            "a folder of PEFT holds low-rank adapters or a soft prompt; "
            f"{'both' if adapter.lora else 'neither'} came. Of both, merge the low-rank adapters "
            "into the model (`medmt5 convert`) and write the prompt alone"
        )
    found = {name: np.shape(array) for name, array in adapter.arrays.items()}
    _check_arrays("the adapter", found, _shapes(config, adapter.lora, adapter.prompt))
    own: dict[str, Any] = {"fingerprint": adapter.fingerprint, "formats": dict(adapter.formats)}
    if adapter.lora:
        tensors, options = peft_lora.to_peft(adapter.lora, adapter.arrays, config)
    else:
        assert adapter.prompt is not None
        tensors, options, own["prompt"] = peft_prompt.to_peft(
            adapter.prompt, adapter.arrays, config
        )
    options |= {
        "base_model_name_or_path": adapter.base or None,
        "inference_mode": True,
        "modules_to_save": None,
        "peft_type": LORA if adapter.lora else PROMPT,
        "task_type": TASK,
    }
    os.makedirs(folder, exist_ok=True)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    writer = safetensors.Writer(os.path.join(folder, WEIGHTS), shapes, np.float32)
    for name, tensor in tensors.items():
        writer.write(name, tensor)
    for name, content in ((OURS, own), (CONFIG, options)):
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
        write_text(os.path.join(folder, name), text + "\n")
    write_manifest(folder, leave_out=[CONFIG])  # people write the base's public name into it


def read_adapter(folder: str, config: T5Config) -> Adapter:
    """Read a folder that PEFT or `write_adapter` made.

    Args:
      folder: local.
      config: of the model that the adapter is to go on; its own adapters are not looked at.

    Raises:
      ValueError: a file is missing or damaged, the adapter is for another model, or it computes
        something that ours does not.
    """
    if not os.path.isdir(folder):
        raise ValueError(f"{folder} is no folder; give one with {CONFIG} and {WEIGHTS}")
    check_manifest(folder)
    options, own = read_json_object(os.path.join(folder, CONFIG)), {}
    if os.path.exists(os.path.join(folder, OURS)):
        own = read_json_object(os.path.join(folder, OURS))
    tensors = _read_header(folder)
    try:
        lora, prompt, arrays = _read(options, own, tensors, config)
        _check_arrays(
            WEIGHTS,
            {name: array.shape for name, array in arrays.items()},
            _shapes(config, lora, prompt),
        )
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    return Adapter(
        lora,
        prompt,
        arrays,
        _base(options),
        str(own.get("fingerprint", "")),
        checked_formats(own, os.path.join(folder, OURS)),
    )


def base_of(folder: str) -> str:
    """Name or path of the model that an adapter goes on, as its folder says; "" if it does not.

    Raises:
      ValueError: the folder holds no adapter, or a damaged one.
    """
    return _base(read_json_object(os.path.join(folder, CONFIG)))


def _base(options: Mapping[str, Any]) -> str:
    return str(options.get("base_model_name_or_path") or "")


def _read(
    options: Mapping[str, Any],
    own: Mapping[str, Any],
    tensors: Mapping[str, safetensors.Tensor],
    config: T5Config,
) -> tuple[LoraConfig | None, PromptConfig | None, dict[str, np.ndarray]]:
    kind, task = options.get("peft_type"), options.get("task_type")
    if kind not in (LORA, PROMPT):
        raise ValueError(f"{CONFIG}: peft_type is {kind!r}; {LORA} and {PROMPT} are read")
    if task not in (TASK, None):
        raise ValueError(f"{CONFIG}: task_type is {task!r}; {TASK} is read")
    module = peft_lora if kind == LORA else peft_prompt
    for name in module.REFUSED:
        if options.get(name) not in (None, False, "none", [], {}):
            raise ValueError(
                f"{CONFIG}: {name} is {options[name]!r}, for which our model has no place; "
                "low-rank adapters with one rank and one scale, and soft prompts, are read"
                + (f". Otherwise {peft_lora.MERGE}" if kind == LORA else "")
            )
    known = _DESCRIBING | module.READ | module.REFUSED
    if unknown := [name for name in sorted(options.keys() - known) if options[name]]:
        log.warning("unknown options of PEFT are passed over: %s", ", ".join(unknown))
    if kind == LORA:
        lora, arrays = peft_lora.from_peft(options, tensors, config)
        return lora, None, arrays
    prompt, arrays = peft_prompt.from_peft(options, own.get("prompt"), tensors, config)
    return None, prompt, arrays


def _shapes(
    config: T5Config, lora: LoraConfig | None, prompt: PromptConfig | None
) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters that an adapter adds, by name."""
    plain = dataclasses.replace(config, lora=None, prompt=None)
    base = expected_shapes(plain)
    whole = expected_shapes(dataclasses.replace(plain, lora=lora, prompt=prompt))
    return {name: shape for name, shape in whole.items() if name not in base}


def _check_arrays(
    what: str, found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    problems = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    problems += [f"{name} has no place" for name in sorted(found.keys() - wanted.keys())]
    problems += [
        f"{name} is {found[name]}, where {wanted[name]} fits"
        for name in sorted(wanted.keys() & found.keys())
        if found[name] != wanted[name]
    ]
    if problems:
        raise ValueError(
            f"{what} does not fit the model; it is incomplete, or for another base: "
            + listing(problems)
        )


def _read_header(folder: str) -> dict[str, safetensors.Tensor]:
    path = os.path.join(folder, WEIGHTS)
    if os.path.isfile(path):
        return safetensors.read_header(path)
    if os.path.exists(os.path.join(folder, PICKLE)):
        raise ValueError(
            f"{os.path.join(folder, PICKLE)} is a pickle: loading it can execute code; {WEIGHTS} "
            "is accepted. Make one where you trust the file: PEFT's save_pretrained(FOLDER)"
        )
    raise ValueError(f"{path} is missing; copy the folder again")
