"""Which numbers a model has, in a few characters: told alike in every format that holds them."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from ml_dtypes import bfloat16

from medmt5.convert.source import Source
from medmt5.models.adapter_names import is_adapters

# Tuning moves the norms and the biases, which are read at once; merged adapters move matrices
# alone, those of the first layers among them.
MAX_SIZE = 2**16


def fingerprint(source: Source) -> str:
    """Of a checkpoint's parameters, adapters and prompts aside: 16 hexadecimal digits.

    Names and shapes of all count, and the numbers of the first layers and of what has up to 2^16,
    rounded to bfloat16: a model has the fingerprint of its copy in half the bytes.
    """
    digest = hashlib.sha256()
    for name, shape in sorted(source.params.items()):
        if is_adapters(name):
            continue
        digest.update(f"{name} {shape}\n".encode())
        if math.prod(shape) <= MAX_SIZE or "/layers_0/" in name:
            array = source.read(f"params/{name}")
            digest.update(np.asarray(array, np.float32).astype(bfloat16).tobytes())
    return digest.hexdigest()[:16]
