"""Which parameters are those of adapters, by their full names."""

from __future__ import annotations

import re

from medmt5.models import lora, soft_prompt

# What can be saved alone.
KINDS = {"lora": lora.PARAMETERS, "prompt": "|".join(soft_prompt.PATHS)}


def is_adapters(name: str) -> bool:
    """Whether a parameter is a low-rank adapter's or a soft prompt's."""
    return any(re.fullmatch(pattern, name) for pattern in KINDS.values())
