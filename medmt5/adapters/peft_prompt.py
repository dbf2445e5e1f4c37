"""A soft prompt as PEFT has it: its options and tensor from ours, and back.

PEFT's prompt tuning of an encoder-decoder trains and saves vectors for the decoder too, unless told
otherwise, and computes with those of the encoder alone. Files are left to `peft`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from medmt5.convert import safetensors
from medmt5.models.soft_prompt import DECODER_PATH, PATH, PromptConfig
from medmt5.models.t5 import T5Config

log = logging.getLogger(__name__)

TENSOR = "prompt_embeddings"  # the encoder's vectors, then the decoder's
REFUSED = {"modules_to_save"}
# What is read, and what matters no more once the vectors are there.
READ = set(
    "num_attention_heads num_layers num_transformer_submodules num_virtual_tokens "
    "prompt_tuning_init prompt_tuning_init_text token_dim tokenizer_kwargs "
    "tokenizer_name_or_path".split()
)


def to_peft(
    prompt: PromptConfig, arrays: Mapping[str, np.ndarray], config: T5Config
) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, Any]]:
    """Tensors by name, options, and what PEFT has no option for.

    Raises:
      ValueError: PEFT has no place for this prompt.
    """
    if len(prompt.tasks) > 1:
        raise ValueError(
            f"a folder of PEFT holds one prompt; there is one for each of {', '.join(prompt.tasks)}"
            ": name the task whose prompt is to be written"
        )
    if prompt.decoder_length not in (0, prompt.length):
        raise ValueError(
            f"a folder of PEFT has one length for encoder and decoder; there are {prompt.length} "
            f"and {prompt.decoder_length} positions"
        )
    if prompt.decoder_length:
        log.warning("PEFT reads a decoder's prompt, but computes with the encoder's alone")
    parts = [arrays[name] for name in (PATH, DECODER_PATH) if name in arrays]
    options = {
        "num_attention_heads": config.num_heads,
        "num_layers": config.num_encoder_layers,
        "num_transformer_submodules": len(parts),
        "num_virtual_tokens": prompt.length,
        "prompt_tuning_init": "RANDOM",
        "token_dim": config.emb_dim,
    }
    own = {"decoder_length": prompt.decoder_length, "tasks": list(prompt.tasks)}
    return {TENSOR: np.concatenate(parts)}, options, own


def from_peft(
    options: Mapping[str, Any],
    own: Mapping[str, Any] | None,
    tensors: Mapping[str, safetensors.Tensor],
    config: T5Config,
) -> tuple[PromptConfig, dict[str, np.ndarray]]:
    """Our configuration, and arrays by our names.

    Args:
      options: of PEFT.
      own: what `to_peft` gave; None for a prompt of PEFT's own making.
      tensors: of the file.
      config: of the base.

    Raises:
      ValueError: the vectors are not those that the options describe, or of another width.
    """
    length = options.get("num_virtual_tokens")
    parts = options.get("num_transformer_submodules") or 1
    if type(length) is not int or length < 1 or type(parts) is not int or parts not in (1, 2):
        raise ValueError(
            f"num_virtual_tokens is {length!r} and num_transformer_submodules {parts!r}; 1 or "
            "more, and 1 or 2, are read"
        )
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if found != {TENSOR: (parts * length, config.emb_dim)}:
        raise ValueError(
            f"there are arrays {found}, not {TENSOR} of {parts} x {length} vectors with the "
            f"{config.emb_dim} entries of this base's; the prompt is damaged or for another base"
        )
    vectors = safetensors.read(tensors[TENSOR])
    arrays = {PATH: vectors[:length]}
    if own is None:
        if parts == 2:
            log.info("vectors %d to %d are unused: PEFT does not use them", length, 2 * length - 1)
        return PromptConfig(length), arrays
    try:
        prompt = PromptConfig(
            length, tasks=tuple(own["tasks"]), decoder_length=own["decoder_length"]
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"`prompt` in medmt5.json is damaged: {error!r}") from error
    if prompt.decoder_length:
        arrays[DECODER_PATH] = vectors[length:]
    return prompt, arrays
