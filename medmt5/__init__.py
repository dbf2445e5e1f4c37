"""medmt5: train, evaluate and use multilingual medical text-to-text models."""

import os
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# `medmt5.tasks` and `medmt5.gin_configs` lie inside an installed package, and beside it in a
# checkout, which must also work where it is not installed.
_HERE = os.path.dirname(os.path.abspath(__file__))
if not os.path.isdir(os.path.join(_HERE, "tasks")):
    __path__.append(os.path.dirname(_HERE))

if TYPE_CHECKING:
    from medmt5.labeller import Labeller

__all__ = ["Labeller", "__version__"]


def __getattr__(name: str):
    # Late, so that `import medmt5` and `medmt5 --help` do not import JAX.
    if name == "Labeller":
        from medmt5.labeller import Labeller

        return Labeller
    raise AttributeError(f"module 'medmt5' has no attribute {name!r}")
