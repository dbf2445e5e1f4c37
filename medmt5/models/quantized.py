"""A frozen base whose matrices are held in int8: a quarter of float32's memory.

A `kernel` keeps its name, shape and axes; its numbers times `kernel_scale` beside it, one float32
number per column, are the matrix. The embedding has one per row. Norms, relative biases, adapters
and prompts stay float32. How a layer multiplies with such a matrix is left to `layers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int8

Leaf = TypeVar("Leaf")

BASE_WEIGHTS = ("float32", "int8")
SCALE = "_scale"

# By name of a matrix, the axis that products do not sum over: to scale them is to scale the matrix.
OUTPUTS = {"kernel": 1, "embedding": 0}

# Qwix spreads the largest number over 127.5 steps. With 127 it is a step itself, so that a matrix
# that was int8 before becomes the same int8 again.
_CALIBRATION = f"absmax,{127.5 / 127}"


def quantize(
    matrix: Float[Array, "m n"], *, outputs: int
) -> tuple[Int8[Array, "m n"], Float[Array, "#m #n"]]:
    """A matrix rounded to multiples, from -127 to 127, of one scale per output.

    Args:
      matrix: to round; their product differs from it by half a scale at most.
      outputs: the axis with a scale for each entry.

    Returns:
      The multiples and the float32 scales, (m, 1) or (1, n).

    Raises:
      ValueError: Qwix is not installed.
    """
    try:
        import qwix
    except ModuleNotFoundError as error:
        raise ValueError("int8 weights need Qwix: pip install 'medmt5[int8]'") from error
    array = qwix.quantize(
        matrix.astype(jnp.float32),
        jnp.int8,
        channelwise_axes=[outputs],
        calibration_method=_CALIBRATION,
    )
    return array.qvalue, array.scale


def dequantize(
    values: Int8[np.ndarray, "m n"], scale: Float[np.ndarray, "#m #n"]
) -> Float[np.ndarray, "m n"]:
    """The float32 matrix that int8 values and their scales stand for."""
    return values.astype(np.float32) * scale


def without_scales(arrays: Mapping[str, Leaf]) -> dict[str, Leaf]:
    """Without the scales of int8 matrices: what a checkpoint of floats has, by the same names."""
    scales = tuple(matrix + SCALE for matrix in OUTPUTS)
    return {name: array for name, array in arrays.items() if not name.endswith(scales)}


def hold_in_int8(model: nnx.Module) -> None:
    """Replace the matrices of a model by int8 ones: those that have a place for a scale beside."""
    for _, module in nnx.iter_graph(model):
        for name, outputs in OUTPUTS.items():
            if hasattr(module, name + SCALE):
                matrix = getattr(module, name)
                values, scale = quantize(matrix[...], outputs=outputs)
                setattr(module, name, nnx.Param(values, axes=matrix.axes))
                setattr(module, name + SCALE, nnx.Param(scale, axes=matrix.axes))
