"""The smallest model and runs that exercise everything; shared by several test files."""

import hashlib
import os

import jax
import jax.numpy as jnp
import medmt5.tasks.sample  # noqa: F401 - registers sample_text_* and sample_clinical_*
import numpy as np
import optax

from medmt5 import checkpoints, optimizers, partitioning, restore
from medmt5.batches import DatasetConfig
from medmt5.formats.labelling import Labelling
from medmt5.models.t5 import T5Config
from medmt5.restore import RestoreCheckpointConfig
from medmt5.state import Architecture, init_state, state_shardings
from medmt5.vocabulary import Vocabulary

LABELS = ("Disease", "Chemical")
LENGTHS = {"inputs": 32, "targets": 48}
VOCABULARY = medmt5.tasks.sample.VOCABULARY
ROWS = 2048


def config(**changes) -> T5Config:
    sizes = dict(
        vocab_size=ROWS,
        dtype="float32",
        emb_dim=16,
        num_heads=2,
        num_encoder_layers=1,
        num_decoder_layers=1,
        head_dim=8,
        mlp_dim=32,
        dropout_rate=0.1,
    )
    return T5Config(**(sizes | changes))


def one_device():
    return partitioning.make_mesh(devices=jax.devices()[:1])


def dataset(name="sample_clinical_en", **changes) -> DatasetConfig:
    choices = dict(mixture_or_task_name=name, task_feature_lengths=LENGTHS, batch_size=8, pack=True)
    return DatasetConfig(**(choices | changes))


def optimizer() -> optax.GradientTransformation:
    return optax.adam(1e-2)


def subprocess_env(**changes) -> dict[str, str]:
    """The environment of a child process: one CPU device, the same compiler and its cache."""
    flags = [flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag]
    env = os.environ | {"XLA_FLAGS": " ".join(flags), "JAX_PLATFORMS": "cpu"}
    return env | changes


def digest(tree) -> str:
    """sha256 over names, shapes, types and bytes of all arrays of a tree."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array = np.asarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def labelling_model(folder: str, *, labels=LABELS, length: int = LENGTHS["inputs"]) -> str:
    """Write a model directory with random parameters; its tags are as random, so there are many."""
    model = config()
    vocabulary = Vocabulary(VOCABULARY)
    format_ = Labelling(vocabulary, labels)
    lengths = {"inputs": length, "targets": 2 * length}
    checkpoints.write_card(
        folder, model, vocabulary, {"random": format_.describe() | {"lengths": lengths}}
    )
    mesh = one_device()
    state, _ = init_state(Architecture.t5(model), optimizer(), seed=0, mesh=mesh)
    saver = checkpoints.Checkpoints(folder, checkpoints.CheckpointConfig())
    saver.save(1, state, {})
    saver.close()
    return folder


class Run:
    """A fresh state and its shardings; by default on one device."""

    def __init__(self, optimizer=None, seed=0, mesh=None, trainable=".*", **sizes):
        self.config = config(**sizes)
        self.architecture = Architecture.t5(self.config)
        optimizer = optimizer or optimizers.adafactor(0.1, min_dim_size_to_factor=16)
        self.mesh = mesh or one_device()
        self.state, _ = init_state(
            self.architecture, optimizer, seed=seed, mesh=self.mesh, trainable=trainable
        )
        self.shardings = state_shardings(self.architecture, self.state, self.mesh)

    def save(self, folder, step=7):
        """A checkpoint whose optimiser state differs from a fresh one."""
        opt_state = jax.tree.map(lambda x: x + step, self.state.opt_state)
        state = self.state._replace(step=self.state.step + step, opt_state=opt_state)
        saver = checkpoints.Checkpoints(str(folder), checkpoints.CheckpointConfig())
        saver.save(step, state, {})
        saver.close()
        return state

    def start(self, folder, *args, **options):
        config = RestoreCheckpointConfig(str(folder), *args, **options)
        return restore.fill(
            restore.plan(config, self.state, self.config),
            lambda: jax.tree.map(jnp.copy, self.state),
            self.shardings,
        )
