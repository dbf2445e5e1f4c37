"""Eight simulated devices for every test, and the vocabulary that ships with the project."""

import os
import signal
from pathlib import Path

# Read by JAX when it is imported, so these lines come before any import of it. Nearly all of the
# suite's time is compilation: level 0 halves it, XLA's older code for fusions takes another third
# off, and what is compiled is kept, for other processes and the next run. Flags from outside come
# after ours and win.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["XLA_FLAGS"] = " ".join(
    [
        "--xla_backend_optimization_level=0",
        "--xla_cpu_use_fusion_emitters=false",
        "--xla_cpu_parallel_codegen_split_count=1",
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
    ]
)

os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "compiled")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# A shell that starts the suite in the background has it ignore Ctrl-C, which programs that tests
# start would inherit, to wait for ever when it is sent to them.
signal.signal(signal.SIGINT, signal.default_int_handler)

import importlib.resources  # noqa: E402 - after the environment is set

import hypothesis  # noqa: E402 - after the environment is set
import pytest  # noqa: E402 - after the environment is set

# No deadline: first examples compile, and machines that run tests are shared.
hypothesis.settings.register_profile("suite", deadline=None, database=None)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def sample_vocabulary_path() -> str:
    """The path of the sample vocabulary: 100 sentinel and 100 padding rows follow its pieces."""
    folder = importlib.resources.files("medmt5.sample_data") / "vocabulary"
    return str(folder / "sentencepiece.model")


@pytest.fixture(scope="session")
def sample_vocabulary(sample_vocabulary_path):
    """The sample vocabulary, loaded."""
    from medmt5.vocabulary import Vocabulary

    return Vocabulary(sample_vocabulary_path)
