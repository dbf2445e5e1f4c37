"""Make the golden files of tests/golden/t5x: checkpoints that T5X saves, and T5X's numbers.

    python tools/make_golden_t5x.py tests/golden/t5x

Needs T5X and nothing of medmt5. Random weights of three small models (mT5's architecture, T5 1.0
and the stacked layers of `scalable_t5`) are trained for two steps of Adafactor and saved by T5X in
its own layout and in Orbax's; then T5X says what losses, logits and tokens they give. Numbers and
parameters come out the same each time; Orbax's files do not, having random names and the time in
them. The tests that read these files need no T5X.
"""

import argparse
import functools
import hashlib
import importlib
import json
import os
import tempfile
import zipfile
from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np
import seqio
from flax import traverse_util
from t5x import adafactor, checkpoints, decoding, models, partitioning, trainer, utils

SMALL = dict(
    vocab_size=32,
    dtype="float32",
    emb_dim=8,
    num_heads=2,
    num_encoder_layers=2,
    num_decoder_layers=2,
    head_dim=3,  # heads x head width is not the width, as in mT5 small
    mlp_dim=12,
    dropout_rate=0.0,
)
GATED = dict(mlp_activations=("gelu", "linear"), logits_via_embedding=False)
RELU = dict(mlp_activations=("relu",), logits_via_embedding=True)
# Module of t5x.examples, sizes, layouts, and a seed with which some rows end early and some do not.
KINDS = {
    "t5": ("t5", SMALL | GATED, ("legacy", "orbax"), 118),
    "t5_1_0": ("t5", SMALL | RELU | dict(num_encoder_layers=1), ("legacy",), 19),
    "scalable_t5": ("scalable_t5", SMALL | GATED, ("legacy", "orbax"), 28),
}
LEARNING_RATE = 0.01
DECODE_LENGTH = 12


def random_params(shapes: dict, seed: int) -> dict:
    """Norms are not 1 and biases not small, so that every array matters."""
    rng = np.random.default_rng(seed)
    out = {}
    for name, leaf in sorted(traverse_util.flatten_dict(shapes, sep="/").items()):
        deviation = 1.0 if name.endswith("embedding") else 0.4  # words and relative positions
        array = rng.normal(size=leaf.shape) * deviation + name.endswith("scale")
        out[name] = jnp.asarray(array, jnp.float32)
    return traverse_util.unflatten_dict(out, sep="/")


def tokens(rows: int, length: int, shortest: int, seed: int) -> np.ndarray:
    """Ids of rows of several lengths; 0 is padding, 1 ends."""
    ids = np.random.default_rng(seed).integers(2, SMALL["vocab_size"], (rows, length))
    for row, end in enumerate(np.linspace(shortest, length, rows).astype(int)):
        ids[row, end - 1] = 1
        ids[row, end:] = 0
    return ids.astype(np.int32)


def make_batch() -> dict[str, np.ndarray]:
    """Sources longer than the exact buckets of the relative bias, and targets."""
    target = tokens(3, 8, 5, seed=2)
    return {
        "encoder_input_tokens": tokens(3, 20, 6, seed=1),
        "decoder_input_tokens": np.pad(target[:, :-1], ((0, 0), (1, 0))),
        "decoder_target_tokens": target,
        "decoder_loss_weights": (target > 0).astype(np.float32),
    }


def make(name: str, batch: dict, folder: str) -> dict:
    """Save one model in its layouts, as zip files in `folder`; return its numbers."""
    module, sizes, layouts, seed = KINDS[name]
    network = importlib.import_module(f"t5x.examples.{module}.network")
    optimizer = adafactor.Adafactor(
        decay_rate=0.8,
        step_offset=0,
        logical_factor_rules=adafactor.standard_logical_factor_rules(),
    )
    vocabulary = seqio.PassThroughVocabulary(sizes["vocab_size"], eos_id=1)
    model = models.EncoderDecoderModel(
        module=network.Transformer(network.T5Config(**sizes)),
        input_vocabulary=vocabulary,
        output_vocabulary=vocabulary,
        optimizer_def=optimizer,
        z_loss=1e-4,
    )
    partitioner = partitioning.PjitPartitioner(
        num_partitions=1, logical_axis_rules=partitioning.standard_logical_axis_rules()
    )
    initializer = utils.TrainStateInitializer(
        optimizer_def=optimizer,
        init_fn=model.get_initial_variables,
        input_shapes={key: array.shape for key, array in batch.items()},
        partitioner=partitioner,
    )
    state = initializer.from_scratch(jax.random.PRNGKey(0))
    state = state.replace_params(random_params(state.params, seed))
    state, _ = train(model, partitioner, state, batch, steps=2)
    for layout in layouts:
        with tempfile.TemporaryDirectory() as temporary:
            save(state, layout, initializer, partitioner, temporary)
            pack(temporary, os.path.join(folder, f"{name}_{layout}.zip"))

    logits = jax.jit(model._compute_logits)(state.params, batch)
    loss, _ = jax.jit(functools.partial(model.loss_fn, dropout_rng=None))(state.params, batch)
    greedy, _ = decode(model, state.params, batch, decoding.temperature_sample, 1, temperature=0.0)
    beams, scores = decode(model, state.params, batch, decoding.beam_search, 4, alpha=0.6)
    params = traverse_util.flatten_dict(state.state_dict()["target"], sep="/")
    # A step's loss is that before it: the first is of what was saved.
    _, losses = train(model, partitioner, state, batch, steps=3)
    return {
        "layouts": layouts,
        "config": {key: value for key, value in sizes.items() if key != "dtype"},
        "sha256": {
            key: hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
            for key, array in sorted(params.items())
        },
        "logits": np.asarray(logits, np.float64).round(6).tolist(),
        "loss": float(loss),
        "losses_after_further_steps": losses[1:],
        "greedy": greedy[:, 0].tolist(),
        "beams": beams.tolist(),
        "scores": scores.astype(np.float64).round(6).tolist(),
    }


def train(model, partitioner, state, batch: dict, *, steps: int):
    """The state after some steps of Adafactor, and the loss before each."""

    @jax.jit
    def step(state, batch):
        return trainer.train_with_lr(
            state, batch, LEARNING_RATE, jax.random.PRNGKey(0), model, None
        )

    losses = []
    for _ in range(steps):
        with jax.set_mesh(partitioner.mesh):
            state, metrics = step(state, batch)
        losses.append(float(metrics["loss"].compute()))
    return state, losses


def decode(model, params, batch, decode_fn, num_decodes, **decoder_params):
    """Tokens (rows, decodes, length) and scores (rows, decodes)."""
    model._decode_fn = decode_fn
    inputs = batch["encoder_input_tokens"]
    batch = {
        "encoder_input_tokens": inputs,
        "decoder_input_tokens": np.zeros((len(inputs), DECODE_LENGTH), np.int32),
    }
    predict = functools.partial(
        model.predict_batch_with_aux,
        decoder_params=decoder_params,
        num_decodes=num_decodes,
        return_all_decodes=True,
    )
    found, aux = jax.jit(lambda params, batch: predict(params, batch))(params, batch)
    return np.asarray(found), np.asarray(aux["scores"])


def save(state, layout: str, initializer, partitioner, folder: str) -> None:
    """As T5X's training does, with `use_orbax` or without."""
    if layout == "legacy":
        shape = initializer.global_train_state_shape
        checkpoints.Checkpointer(shape, partitioner, folder).save(state)
        return
    manager = utils.create_orbax_checkpoint_manager(
        save_cfg=utils.SaveCheckpointConfig(period=1),
        train_state=initializer.global_train_state_shape,
        partitioner=partitioner,
        model_dir=folder,
    )
    manager.save(state)
    manager.wait_until_finished()
    manager.close()


def pack(folder: str, path: str) -> None:
    """The folder as a zip file that depends on names and contents alone."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for parent, folders, names in os.walk(folder):
            folders.sort()
            for name in sorted(names):
                full = os.path.join(parent, name)
                if name == "commit_success.txt":
                    continue  # only says where it was saved; T5X restores without it
                info = zipfile.ZipInfo(os.path.relpath(full, folder))  # of 1 January 1980
                info.compress_type = zipfile.ZIP_DEFLATED
                with open(full, "rb") as file:
                    archive.writestr(info, file.read())


def installed_commit() -> str:
    """Of T5X, where pip installed it from git."""
    found = json.loads(metadata.distribution("t5x").read_text("direct_url.json") or "{}")
    return found.get("vcs_info", {}).get("commit_id", "unknown")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--commit", default=installed_commit(), help="of T5X, to be recorded")
    arguments = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    os.makedirs(arguments.folder, exist_ok=True)
    batch = make_batch()
    expected = {
        "made_by": "python tools/make_golden_t5x.py tests/golden/t5x",
        "t5x_commit": arguments.commit,
        "versions": {name: metadata.version(name) for name in ("jax", "flax", "orbax-checkpoint")},
        "batch": {key: array.tolist() for key, array in batch.items()},
        "models": {name: make(name, batch, arguments.folder) for name in KINDS},
    }
    with open(os.path.join(arguments.folder, "expected.json"), "w", encoding="utf-8") as file:
        json.dump(expected, file)


if __name__ == "__main__":
    main()
