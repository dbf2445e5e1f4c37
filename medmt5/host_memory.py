"""Memory of the host, where it is also the device's."""

from __future__ import annotations

import ctypes
import logging

log = logging.getLogger(__name__)

# Of glibc's <malloc.h>: parameter, value.
_KEEP = (
    (-8, 1),  # M_ARENA_MAX: threads share the main heap; other heaps cannot hold large blocks
    (-4, 0),  # M_MMAP_MAX: large blocks come from the heap too
    (-1, 2**31 - 1),  # M_TRIM_THRESHOLD: what is freed at its end stays
    (-2, 2**28),  # M_TOP_PAD: it grows by 256 MiB
)


def keep_freed_memory() -> None:
    """Keep freed memory for the next use, on a CPU.

    XLA asks for every temporary array anew. By default glibc gives large ones back to the system,
    which fills them with zeros again, page by page: a quarter of a small model's step. Does nothing
    on accelerators and where there is no glibc.
    """
    import jax

    if jax.default_backend() != "cpu":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for parameter, value in _KEEP:
        mallopt(parameter, value)
