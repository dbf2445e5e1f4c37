"""Whether adapters that a run takes from another one mean the same in it.

Names and shapes, which `restore` compares, tell neither whose prompt is whose nor what low-rank
adapters are multiplied by.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection

from medmt5.convert.source import Source
from medmt5.models import lora, soft_prompt
from medmt5.models.t5 import T5Config


def check_meaning(source: Source, model: T5Config, taken: Collection[str]) -> None:
    """Raise ValueError if adapters that are taken, and fit, would do something else here.

    Args:
      source: has them.
      model: that takes them.
      taken: names there of the parameters that are taken whole.
    """
    prompt, here = source.config.prompt, model.prompt
    if prompt and here and any(name in soft_prompt.PATHS for name in taken):
        if prompt.tasks != here.tasks and max(prompt.prompts, here.prompts) > 1:
            raise ValueError(
                f"{source.path} has the soft prompts of PROMPT_TASKS = {prompt.tasks}, in this "
                f"order; with {here.tasks}, tasks would have those of others. Keep PROMPT_TASKS"
            )
    adapters, ours = source.config.lora, model.lora
    if adapters and ours and any(re.fullmatch(lora.PARAMETERS, name) for name in taken):
        if not math.isclose(adapters.scale, ours.scale):
            raise ValueError(
                f"{source.path} has low-rank adapters that act times {adapters.scale:g}, but here "
                f"they would act times {ours.scale:g}; "
                f"set LORA_ALPHA = {adapters.scale * ours.rank}"
            )
