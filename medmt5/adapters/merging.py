"""A checkpoint with adapters read as one without: every matrix with its adapter added.

A soft prompt, which is nothing that a matrix could take, stays or is dropped.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from medmt5.convert.source import Source, View
from medmt5.models import soft_prompt
from medmt5.models.lora import PATH, merged_kernel


class MergedSource(View):
    """Parameters that compute what those of `original` and its adapters compute together.

    The optimiser's arrays are those of adapters, so they are left out.
    """

    @classmethod
    def of(cls, original: Source, *, drop_prompt: bool = False) -> MergedSource:
        """The same checkpoint, merged; `original.config.lora` says how."""
        dropped = [f"params/{path}" for path in soft_prompt.PATHS] if drop_prompt else []
        arrays = {
            key: shape
            for key, shape in original.arrays.items()
            if PATH not in key and key not in dropped and not key.startswith("opt_state/")
        }
        # Read as floats, whatever type the run held its base in.
        config = dataclasses.replace(original.config, lora=None, base_weights="float32")
        if drop_prompt:
            config = dataclasses.replace(config, prompt=None)
        return cls.over(original, arrays=arrays, config=config)

    def changed(self, key: str, array: np.ndarray) -> np.ndarray:
        stem = key.removesuffix("kernel")
        adapter = [f"{stem.removesuffix('/')}{PATH}{name}" for name in "ab"]
        if not key.endswith("/kernel") or adapter[0] not in self.original.arrays:
            return array
        a, b = map(self.original.read, adapter)
        return np.asarray(merged_kernel(array, a, b, self.original.config.lora), np.float32)
