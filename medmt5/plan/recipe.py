"""What a step is given: a recipe's model, optimizer, loss, batch and mesh.

The recipe is configured as `medmt5 train` would do it, up to the call of `train.train`, whose
arguments are kept instead. No data, vocabulary or checkpoint is read. Modules that gin files import
to register tasks are passed over where they need SeqIO, so it and TensorFlow stay out; a T5X run
file names SeqIO itself, and gets it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import optax
from jax.sharding import Mesh

from medmt5 import launch, partitioning, vocabulary
from medmt5 import train as training
from medmt5.models.t5 import T5Config
from medmt5.step import LossConfig
from medmt5.t5x_gin import modules as t5x_modules

log = logging.getLogger(__name__)

HIDDEN = ("seqio", "tensorflow", "tensorflow_datasets", "tensorflow_text")
NEED_SEQIO = ("seqio", "t5x", "__main__")  # a gin file that imports one of these


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What decides a step's program; names as in `train.train` and `batches.DatasetConfig`."""

    model: T5Config
    optimizer: optax.GradientTransformation
    loss: LossConfig
    mesh: Mesh
    batch_size: int
    source: int
    target: int
    pack: bool
    num_microbatches: int = 1
    trainable: str = ".*"
    random_seed: int = 0
    use_hardware_rng: bool = False


class _NeedsSeqio(Exception):
    """The gin files name something of a module that was passed over."""


class _PassedOver(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        raise _NeedsSeqio(f"{self.__name__}.{name}")


def read_recipe(
    files: Sequence[str], bindings: Sequence[str] = (), search_paths: Iterable[str] = (".",)
) -> Recipe:
    """The recipe that `medmt5 train` would run; its mesh takes all devices of this process.

    Raises:
      ValueError: as `launch.run`, or the gin files need SeqIO and it is not installed.
    """
    given: dict[str, Any] = {}

    @functools.wraps(training.train)
    def keep(**arguments: Any) -> None:
        given.update(arguments)

    @functools.wraps(vocabulary.Vocabulary)
    def no_vocabulary(*args: Any, **options: Any) -> None: ...

    # Where a run puts its files does not change its step.
    options = dict(
        files=files, bindings=["MODEL_DIR = ''", *bindings], search_paths=[*search_paths]
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(_replaced(training, "train", keep))
        stack.enter_context(_replaced(vocabulary, "Vocabulary", no_vocabulary))
        try:
            with _without_seqio():
                launch.run("train", **options)
        except _NeedsSeqio as reason:
            log.info("these gin files need SeqIO (%s): importing it", reason)
            try:
                launch.run("train", **options)
            except ModuleNotFoundError as error:
                raise ValueError(
                    f"these gin files need {error.name} ({reason}); pip install medmt5[data], or "
                    "plan with run files of medmt5"
                ) from error
    data = given["train_dataset_cfg"]
    names = {field.name for field in dataclasses.fields(Recipe)}
    return Recipe(
        mesh=given.pop("mesh", None) or partitioning.make_mesh(),
        loss=given.pop("loss", LossConfig()),
        batch_size=data.batch_size,
        source=data.task_feature_lengths["inputs"],
        target=data.task_feature_lengths["targets"],
        pack=data.pack,
        **{name: value for name, value in given.items() if name in names},
    )


@contextlib.contextmanager
def _without_seqio() -> Iterator[None]:
    """While this lasts, gin's imports of modules that need SeqIO give modules without names."""
    import_module = t5x_modules.import_module
    hidden = [name for name in HIDDEN if name not in sys.modules]

    def import_or_pass(name: str, globals=None, locals=None, fromlist=(), level=0) -> Any:
        top = name.partition(".")[0]
        if top in NEED_SEQIO:
            raise _NeedsSeqio(name)
        sys.modules.update(dict.fromkeys(hidden))  # None: importing it fails
        try:
            return import_module(name, globals, locals, fromlist, level)
        except ModuleNotFoundError as error:
            if error.name not in HIDDEN:
                raise
            return _PassedOver(name) if fromlist else __import__(top)
        finally:
            for each in hidden:
                del sys.modules[each]

    with _replaced(launch, "import_seqio", lambda: None):
        with _replaced(t5x_modules, "import_module", import_or_pass):
            yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
