"""Low-rank adapters as PEFT has them: its options and tensors from ours, and back.

Its matrices are ours transposed: lora_A is (rank, rows), lora_B (columns, rank). Files are left to
`peft`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from medmt5.adapters.peft_names import modules, odd_one, pattern, targets
from medmt5.convert import safetensors
from medmt5.convert.source import listing
from medmt5.models.lora import PATH, LoraConfig
from medmt5.models.t5 import T5Config

PREFIX = "base_model.model."  # of the base's modules in PEFT's names
MERGE = (
    "merge it in PEFT (merge_and_unload, save_pretrained) and give the merged model to "
    "`medmt5 convert`"
)

# Options that have something else computed, unless they are empty, false or "none".
REFUSED = set(
    "alora_invocation_tokens alpha_pattern arrow_config bias fan_in_fan_out kasa_config "
    "layer_replication lora_bias lora_ga_config modules_to_save monteclora_config rank_pattern "
    "target_parameters trainable_token_indices use_bdlora use_dora use_qalora velora_config".split()
)
# The others: what is read, and what matters no more once the arrays are there.
READ = set(
    "corda_config ensure_weight_tying eva_config exclude_modules init_lora_weights layers_pattern "
    "layers_to_transform loftq_config lora_alpha lora_dropout megatron_config megatron_core "
    "qalora_group_size r target_modules use_rslora".split()
)
# The rest ("pissa", "olora", "corda", "loftq") change the base's matrices before they train.
_INITS = (True, False, "gaussian", "eva", "orthogonal")


def to_peft(
    lora: LoraConfig, arrays: Mapping[str, np.ndarray], config: T5Config
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors by name, and options."""
    places = _places(config)
    tensors = {theirs: arrays[ours].T for theirs, ours in places.items() if ours in arrays}
    table = modules(config)
    chosen = {table[name.rpartition(PATH)[0]] for name in arrays}
    alpha = float(lora.alpha)
    return tensors, {
        "bias": "none",
        "fan_in_fan_out": False,
        "lora_alpha": int(alpha) if alpha.is_integer() else alpha,
        "lora_dropout": lora.dropout,
        "r": lora.rank,
        "target_modules": targets(chosen, table.values()),
        "use_dora": False,
        "use_rslora": False,
    }


def from_peft(
    options: Mapping[str, Any], tensors: Mapping[str, safetensors.Tensor], config: T5Config
) -> tuple[LoraConfig, dict[str, np.ndarray]]:
    """Our configuration, and arrays by our names; whether their shapes fit is not looked at.

    Which matrices are adapted is told by the tensors, as it is in PEFT, where the others stay zero.

    Raises:
      ValueError: there is something that our model does not compute.
    """
    init = options.get("init_lora_weights", True)
    if init not in _INITS:
        raise ValueError(
            f"init_lora_weights is {init!r}, which changes the base before training; "
            f"{', '.join(map(str, _INITS))} are read. Otherwise {MERGE}"
        )
    places, table = _places(config), modules(config)
    if strange := sorted(tensors.keys() - places.keys()):
        raise ValueError(
            "low-rank adapters of this base's attention and feed-forward matrices are read; there "
            f"are other arrays: {listing(strange)}"
        )
    if not tensors:
        raise ValueError("there are no arrays; save the adapter again")
    if wrong := [name for name, tensor in tensors.items() if len(tensor.shape) != 2]:
        raise ValueError(f"{wrong[0]} is {tensors[wrong[0]].shape}, which is no matrix")
    chosen = {places[name].rpartition(PATH)[0] for name in tensors}
    if odd := odd_one(chosen, table):
        missing, held = (table[name] for name in odd)
        raise ValueError(
            f"{held} is adapted and {missing} is not; the adapter is for another base, or of some "
            f"layers, where ours are of all. If so, {MERGE}"
        )
    rank, alpha = _number(options, "r", 8), _number(options, "lora_alpha", 8)
    if options.get("use_rslora"):
        alpha *= math.sqrt(rank)  # it scales by alpha / sqrt(rank), we by alpha / rank
    lora = LoraConfig(
        pattern(chosen, table), rank, float(alpha), float(_number(options, "lora_dropout", 0.0))
    )
    return lora, {places[n]: safetensors.read(t, transpose=True) for n, t in tensors.items()}


def _places(config: T5Config) -> dict[str, str]:
    """Our name of every tensor that there may be."""
    return {
        f"{PREFIX}{theirs}.lora_{letter.upper()}.weight": f"{ours}{PATH}{letter}"
        for ours, theirs in modules(config).items()
        for letter in "ab"
    }


def _number(options: Mapping[str, Any], name: str, default: float) -> Any:
    value = options.get(name, default)
    if type(value) is not int and (name == "r" or type(value) is not float):
        raise ValueError(f"{name} is {value!r}; a number is needed")
    return value
