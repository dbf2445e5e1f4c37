"""Low-rank adapters: a matrix W acts as W + (alpha / rank) A B, where only A and B are trained.

Which matrices have one is said by a pattern over their full names. Merging a checkpoint's adapters
is left to `adapters`.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from typing import Any

from flax import nnx

from medmt5.models.layers import Dense, LowRank
from medmt5.patterns import compiled

PATH = "/lora/"  # in the names of adapters' parameters, and in no others
PARAMETERS = f".*{PATH}[ab]"  # their full names
_LAYER = re.compile(r"layers_\d+")
# Its product is computed in chunks of the loss, not by itself.
_HEAD = "decoder/logits_dense"


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Which matrices are adapted, and how.

    Attributes:
      pattern: regular expression over full names of matrices, such as
        `.*attention/(query|value)` or `encoder/.*/wo`.
      rank: columns of A, rows of B.
      alpha: A B is multiplied by alpha / rank.
      dropout: of what enters A, in [0, 1).

    Raises:
      ValueError: a pattern that is none, a rank below 1, a rate outside [0, 1).

    Source: Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models".
    """

    pattern: str = ".*attention/(query|value)"
    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.0

    def __post_init__(self):
        compiled(self.pattern, "LoraConfig.pattern")
        if self.rank < 1 or not 0.0 <= self.dropout < 1.0:
            raise ValueError(
                f"LoraConfig has rank {self.rank} and dropout {self.dropout}; rank is 1 or more, "
                "dropout in [0, 1)"
            )

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


def attach(model: nnx.Module, config: LoraConfig, *, rngs: nnx.Rngs) -> None:
    """Give every matrix whose name matches an adapter that does nothing yet: B is zero.

    Raises:
      ValueError: nothing matches, the output matrix does, or some layers of a stack and not others.
    """
    matrices = {
        "/".join(map(str, path)): module
        for path, module in nnx.iter_graph(model)
        if isinstance(module, Dense)
    }
    chosen = {name for name in matrices if re.fullmatch(config.pattern, name)}
    if not chosen:
        raise ValueError(
            f"no matrix matches the LoRA pattern {config.pattern!r}; names are such as "
            f"{', '.join(list(matrices)[:4])}"
        )
    if _HEAD in chosen:
        raise ValueError(
            f"the LoRA pattern {config.pattern!r} matches {_HEAD}, which cannot be adapted; name "
            "other matrices"
        )
    layers: dict[str, set[bool]] = defaultdict(set)
    for name in matrices:
        layers[_LAYER.sub("layers_*", name)].add(name in chosen)
    if odd := [name for name, found in layers.items() if len(found) > 1]:
        raise ValueError(
            f"the LoRA pattern {config.pattern!r} matches {odd[0]} in some layers only; the layers "
            "of a stack are alike: use layers_[0-9]+"
        )
    for name in sorted(chosen):
        matrices[name].lora = LowRank(matrices[name], config, rngs=rngs)


def merged_kernel(kernel: Any, a: Any, b: Any, config: LoraConfig) -> Any:
    """W + (alpha / rank) A B."""
    return kernel + config.scale * (a @ b)
