"""medmt5: train, evaluate and use multilingual medical text-to-text models."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from medmt5.label import Labeller

__all__ = ["Labeller", "__version__"]


def __getattr__(name: str):
    # Late, so that `import medmt5` and `medmt5 --help` do not import JAX.
    if name == "Labeller":
        from medmt5.label import Labeller

        return Labeller
    raise AttributeError(f"module 'medmt5' has no attribute {name!r}")
