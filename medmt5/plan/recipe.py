"""What a step is given: a recipe's model, optimizer, loss, batch and mesh.

The recipe is configured as `medmt5 train` would do it, up to the call of `train.train`, whose
arguments are kept instead. No data, vocabulary or checkpoint is read, so SeqIO and TensorFlow stay
out (`task_modules`); a T5X run file names SeqIO itself, and gets it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import optax
from jax.sharding import Mesh

from medmt5 import launch, partitioning, vocabulary
from medmt5 import train as training
from medmt5.models.t5 import T5Config
from medmt5.step import LossConfig


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What decides a step's program; names as in `train.train` and `batches.DatasetConfig`.

    `source` and `target` are lengths of rows, of which a soft prompt takes a part.
    """

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
        launch.run("train", **options)
    data, prompt = given["train_dataset_cfg"], given["model"].prompt
    names = {field.name for field in dataclasses.fields(Recipe)}
    return Recipe(
        mesh=given.pop("mesh", None) or partitioning.make_mesh(),
        loss=given.pop("loss", LossConfig()),
        batch_size=data.batch_size,
        source=data.task_feature_lengths["inputs"] + (prompt.length if prompt else 0),
        target=data.task_feature_lengths["targets"],
        pack=data.pack,
        **{name: value for name, value in given.items() if name in names},
    )


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
