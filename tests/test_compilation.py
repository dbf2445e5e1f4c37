"""Where compiled programs are kept: by default, where asked, and nowhere."""

import os
import subprocess
import sys

import jax

from medmt5.compilation import keep_compiled_programs

COUNT = """
import logging, sys
import jax, jax.numpy as jnp
from medmt5 import compilation
compilation.MIN_SECONDS = 0.0
compilation.keep_compiled_programs()
hits = []
jax.monitoring.register_event_listener(lambda event, **kwargs: hits.append(event))
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((64, 64)))
print(sum(event.endswith("compilation_cache/cache_hits") for event in hits))
"""


def run(**environment):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XDG_"))}
    return subprocess.run(
        [sys.executable, "-c", COUNT],
        env=env | {"JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )


def test_a_second_process_finds_what_the_first_compiled(tmp_path):
    first, second = (run(XDG_CACHE_HOME=str(tmp_path)) for _ in range(2))
    assert int(first.stdout) < int(second.stdout)
    assert os.listdir(tmp_path / "medmt5/compiled")


def test_an_empty_variable_switches_it_off(tmp_path):
    run(XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR="")
    assert not os.listdir(tmp_path)


def test_a_home_that_cannot_be_written_is_said_and_does_no_harm(tmp_path):
    (tmp_path / "medmt5").write_text("a file")
    made = run(XDG_CACHE_HOME=str(tmp_path))
    assert "compiled programs are not kept" in made.stderr


def test_a_folder_that_is_set_already_stays():
    before = jax.config.jax_compilation_cache_dir
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == before == os.environ["JAX_COMPILATION_CACHE_DIR"]
