import functools
import json
import logging
import os
import shutil

import jax
import optax
import pytest
import tiny

from medmt5 import checkpoints, partitioning
from medmt5.checkpoints import CheckpointConfig, Checkpoints
from medmt5.state import Architecture, init_state, state_shardings
from medmt5.vocabulary import Vocabulary

POSITION = {"window": 3, "row": 5, "drawn": [7, 9]}


class Run:
    """A state of a tiny model, its shapes and shardings, and saving and restoring it."""

    def __init__(self, *, mesh=None, optimizer=None, trainable=".*", hardware_rng=False, **sizes):
        self.architecture = Architecture.t5(tiny.config(**sizes))
        self.optimizer = optimizer or tiny.optimizer()
        self.mesh = mesh or tiny.one_device()

        def make():
            return init_state(
                self.architecture,
                self.optimizer,
                seed=0,
                mesh=self.mesh,
                trainable=trainable,
                hardware_rng=hardware_rng,
            )[0]

        self.fresh = functools.cache(make)
        self.abstract = jax.eval_shape(make)
        self.shardings = state_shardings(self.architecture, self.abstract, self.mesh)

    def state(self, step):
        """A state whose arrays tell its step."""
        state = self.fresh()
        return state._replace(
            step=state.step + step, params=jax.tree.map(lambda x: x + step, state.params)
        )

    def save(self, folder, steps, **config):
        saver = Checkpoints(str(folder), CheckpointConfig(**config))
        for step in steps:
            saver.save(step, self.state(step), POSITION | {"row": step})
        saver.close()

    def restore(self, folder):
        saver = Checkpoints(str(folder), CheckpointConfig())
        try:
            return saver.restore_latest(self.abstract, self.shardings)
        finally:
            saver.close()


@pytest.fixture(scope="module")
def run():
    return Run()


@pytest.fixture(scope="module")
def saved(run, tmp_path_factory):
    """A model directory with the checkpoints 1 and 2; copy it before damaging it."""
    folder = tmp_path_factory.mktemp("saved")
    run.save(folder, [1, 2])
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "run")


def files_of(checkpoint, *parts):
    found = [
        os.path.join(folder, name)
        for part in parts
        for folder, _, names in os.walk(checkpoint / part)
        for name in names
    ]
    assert found
    return found


# Save and restore


def test_a_state_and_its_position_come_back_to_the_last_bit(run, saved):
    state, position = run.restore(saved)
    assert position == POSITION | {"row": 2}
    assert tiny.digest(state) == tiny.digest(run.state(2))
    assert tiny.digest(state) != tiny.digest(run.state(1))


def test_a_sharded_state_comes_back_sharded(tmp_path):
    run = Run(mesh=partitioning.make_mesh(data=2, fsdp=2, model=2))
    run.save(tmp_path, [4])
    state, _ = run.restore(tmp_path)
    expected = run.state(4)
    assert tiny.digest(state) == tiny.digest(expected)
    assert jax.tree.map(lambda x: x.sharding, state) == run.shardings
    embedding = state.params["token_embedder"]["embedding"]
    assert embedding.addressable_shards[0].data.shape == (tiny.ROWS // 2, 16 // 2)


def test_a_state_saved_on_one_mesh_is_restored_on_another(run, saved):
    eight = Run(mesh=partitioning.make_mesh(data=4, fsdp=2))
    state, _ = eight.restore(saved)
    assert jax.tree.map(lambda x: x.sharding, state) == eight.shardings
    assert tiny.digest(state) == tiny.digest(run.state(2))


def test_an_empty_directory_holds_nothing_to_restore(run, tmp_path):
    assert run.restore(tmp_path / "new") is None


def test_only_the_newest_checkpoints_are_kept(run, tmp_path):
    run.save(tmp_path, [1, 2, 3, 4], keep=2)
    kept = sorted(name for name in os.listdir(tmp_path) if name.startswith("checkpoint"))
    assert kept == ["checkpoint_3", "checkpoint_4"]


def test_saving_a_step_again_changes_nothing(run, copied):
    before = {path: open(path, "rb").read() for path in files_of(copied, "checkpoint_2")}
    run.save(copied, [2])
    assert before == {path: open(path, "rb").read() for path in files_of(copied, "checkpoint_2")}


# Damage


def truncate(paths):
    for path in paths:
        os.truncate(path, os.path.getsize(path) // 2)


def damage(checkpoint, how):
    data = files_of(checkpoint, "state/d", "state/ocdbt.process_0/d")
    if how == "array files cut in half":
        truncate(data)
    elif how == "array files empty":
        for path in data:
            os.truncate(path, 0)
    elif how == "an array file gone":
        os.remove(max(data, key=os.path.getsize))
    elif how == "the manifest cut in half":
        truncate([checkpoint / "state/manifest.ocdbt"])
    elif how == "the state gone":
        shutil.rmtree(checkpoint / "state")
    elif how == "the input position cut in half":
        truncate([checkpoint / "input/metadata"])
    elif how == "nothing in the folder":
        shutil.rmtree(checkpoint)
        checkpoint.mkdir()


HOW = [
    "array files cut in half",
    "array files empty",
    "an array file gone",
    "the manifest cut in half",
    "the state gone",
    "the input position cut in half",
    "nothing in the folder",
]


@pytest.mark.parametrize("how", HOW)
def test_a_broken_newest_checkpoint_is_said_moved_aside_and_made_again(run, copied, how, caplog):
    damage(copied / "checkpoint_2", how)
    caplog.set_level(logging.WARNING, logger="medmt5")
    saver = Checkpoints(str(copied), CheckpointConfig())
    state, position = saver.restore_latest(run.abstract, run.shardings)
    assert tiny.digest(state) == tiny.digest(run.state(1)) and position["row"] == 1
    assert "checkpoint_2 cannot be read" in caplog.text and "falling back" in caplog.text
    assert (copied / "unreadable_checkpoint_2").is_dir()
    assert not (copied / "checkpoint_2").exists()

    saver.save(2, run.state(2), POSITION)
    saver.save(3, run.state(3), POSITION)
    saver.close()
    state, _ = run.restore(copied)
    assert tiny.digest(state) == tiny.digest(run.state(3))
    assert checkpoints.latest_checkpoint(str(copied)).endswith("checkpoint_3")
    shutil.rmtree(copied / "checkpoint_3")
    state, _ = run.restore(copied)
    assert tiny.digest(state) == tiny.digest(run.state(2))


def test_where_none_can_be_read_all_stay_and_every_start_says_so(run, copied):
    for name in ("checkpoint_1", "checkpoint_2"):
        damage(copied / name, "array files cut in half")
    for _ in range(2):  # a second start must not begin anew without a word
        with pytest.raises(ValueError, match="none of the checkpoints in .* can be read"):
            run.restore(copied)
        assert (copied / "checkpoint_1").is_dir() and (copied / "checkpoint_2").is_dir()


# Checkpoints of something else: an error, and nothing is moved or lost


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (dict(mlp_dim=64), r"has decoder/layers_0/mlp/wi_0/kernel of shape \(16, 32\), the model"),
        (dict(num_decoder_layers=2), "has no parameter decoder/layers_1/.*MODEL gin file"),
        (dict(optimizer=optax.sgd(0.1, momentum=0.9)), "another optimiser; keep what it had"),
        (dict(trainable="decoder/.*"), "saved with 29 trainable parameters, but .* chooses 17"),
        (dict(hardware_rng=True), "another USE_HARDWARE_RNG"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused_and_left_alone(copied, other, message):
    before = sorted(os.listdir(copied))
    with pytest.raises(ValueError, match=message):
        Run(**other).restore(copied)
    assert sorted(os.listdir(copied)) == before


def test_the_latest_checkpoint_is_the_one_of_the_highest_number(tmp_path):
    for name in ("checkpoint_9", "checkpoint_10", "unreadable_checkpoint_11", "checkpoint_12.tmp"):
        (tmp_path / name).mkdir()
    assert checkpoints.latest_checkpoint(str(tmp_path)) == str(tmp_path / "checkpoint_10")


# The card


def test_a_card_tells_config_vocabulary_and_formats(tmp_path, sample_vocabulary):
    config = tiny.config(dtype="bfloat16")
    formats = {"a": {"kind": "labelling", "labels": ["É"]}}
    checkpoints.write_card(str(tmp_path), config, sample_vocabulary, formats)
    (tmp_path / "checkpoint_1" / "state").mkdir(parents=True)
    for path in (tmp_path, tmp_path / "checkpoint_1"):
        card = checkpoints.find_card(str(path))
        assert card.config == config and card.formats == formats
        vocabulary = Vocabulary(os.path.join(card.folder, checkpoints.VOCABULARY))
        assert vocabulary.encode("fever") == sample_vocabulary.encode("fever")
    assert json.loads((tmp_path / "model.json").read_text())["config"]["emb_dim"] == 16


def test_a_card_is_written_over_itself(tmp_path, sample_vocabulary):
    folder = str(tmp_path)
    checkpoints.write_card(folder, tiny.config(), sample_vocabulary, {})
    own = Vocabulary(str(tmp_path / "sentencepiece.model"))
    checkpoints.write_card(folder, tiny.config(emb_dim=32), own, {})
    assert checkpoints.find_card(folder).config.emb_dim == 32


def test_a_folder_that_is_no_model_has_no_card_and_a_damaged_one_is_named(tmp_path):
    assert checkpoints.find_card(str(tmp_path)) is None
    (tmp_path / "model.json").write_text('{"config": {"size": 3}, "formats": {}}')
    with pytest.raises(ValueError, match="model.json is damaged or of another version"):
        checkpoints.find_card(str(tmp_path))
