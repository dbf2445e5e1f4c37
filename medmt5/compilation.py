"""Where compiled programs are kept, so that the second run of a command need not compile again."""

from __future__ import annotations

import logging
import os

log = logging.getLogger(__name__)

# Programs that compile faster than they are read are not worth a file.
MIN_SECONDS = 0.5
MAX_BYTES = 4 * 2**30  # A large model's step takes some 50 MB; the oldest go first.


def keep_compiled_programs() -> None:
    """Keep them under `~/.cache/medmt5/compiled` (`XDG_CACHE_HOME`), or where
    `JAX_COMPILATION_CACHE_DIR` says; empty, it switches this off.

    The key is the program, JAX's version and the device, so a stale one is never found.
    """
    import jax

    if "JAX_COMPILATION_CACHE_DIR" in os.environ or jax.config.jax_compilation_cache_dir:
        return
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.join(home, "medmt5", "compiled")
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        log.warning("compiled programs are not kept: %s", error)
        return
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_SECONDS)
