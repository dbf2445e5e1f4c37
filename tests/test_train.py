import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import tiny
from orbax.checkpoint._src.path import gcs_utils

from medmt5 import batches, checkpoints, evaluate, launch, partitioning, step
from medmt5 import train as train_lib
from medmt5.checkpoints import CheckpointConfig
from medmt5.convert.source import open_source
from medmt5.restore import RestoreCheckpointConfig, load_params
from medmt5.state import Architecture, flat_params


def train(folder, steps, **changes):
    choices = dict(
        model=tiny.config(),
        optimizer=tiny.optimizer(),
        model_dir=str(folder),
        train_dataset_cfg=tiny.dataset(),
        total_steps=steps,
        checkpoint_cfg=CheckpointConfig(period=4),
        mesh=tiny.one_device(),
        stats_period=1,
    )
    return train_lib.train(**(choices | changes))


def scalars(folder, part="train"):
    with open(os.path.join(folder, part, "scalars.jsonl"), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def same_params(a, b):
    a, b = flat_params(a), flat_params(b)
    return {name for name in a.keys() & b.keys() if np.array_equal(a[name], b[name])}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of twelve steps, and the digest of its last state."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    return folder, tiny.digest(train(folder, 12))


# A run


def test_the_loss_of_a_tiny_run_falls_and_its_files_are_complete(tmp_path):
    train(
        tmp_path,
        60,
        train_eval_dataset_cfg=tiny.dataset(split="validation", pack=False),
        infer_eval_dataset_cfg=tiny.dataset(split="validation"),
        eval_period=30,
        eval_steps=2,
        eval_examples=8,
        checkpoint_cfg=CheckpointConfig(period=30),
    )
    lines = scalars(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, 61))
    for line in lines:
        assert {"loss", "accuracy", "grad_norm", "seconds_per_step"} <= line.keys()
        assert all(np.isfinite(value) for value in line.values())
        assert line["target_tokens_per_second"] > 0
    losses = [line["loss"] for line in lines]
    # log(2048) = 7.6 nats at random; half a nat is far beyond the noise between batches.
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.5
    evaluations = scalars(tmp_path, "eval")
    assert [line["step"] for line in evaluations] == [30, 60]
    assert evaluations[1]["loss"] < evaluations[0]["loss"]
    assert evaluations[1]["sample_clinical_en/constrained/faithful"] == 100.0
    predictions = tmp_path / "eval/step_60/sample_clinical_en-constrained.jsonl"
    assert len(predictions.read_text(encoding="utf-8").splitlines()) == 8
    card = checkpoints.find_card(str(tmp_path))
    assert card.config == tiny.config() and (tmp_path / "sentencepiece.model").is_file()
    assert card.formats["sample_clinical_en"]["lengths"] == tiny.LENGTHS


def test_a_finished_run_does_nothing_when_it_is_started_again(finished, caplog):
    folder, digest = finished
    before = scalars(folder)
    caplog.set_level(logging.INFO, logger="medmt5")
    assert tiny.digest(train(folder, 12)) == digest
    assert "nothing to do" in caplog.text and "at step 12 of 12" in caplog.text
    assert scalars(folder) == before


def test_two_runs_of_one_seed_are_equal_and_another_seed_differs(finished, tmp_path):
    _, digest = finished
    assert tiny.digest(train(tmp_path / "again", 12)) == digest
    assert tiny.digest(train(tmp_path / "other", 12, random_seed=1)) != digest


def test_a_dry_run_writes_nothing(tmp_path):
    folder = tmp_path / "run"
    assert train(folder, 12, dry_run=True) is None
    assert not folder.exists()


@pytest.mark.slow  # test_meshes.py has its step
def test_a_run_is_the_same_whatever_the_mesh(finished, tmp_path):
    # Sums run in another order on four devices. Adam turns the rounding of a gradient near zero
    # into a step of up to the learning rate, 1e-2, for that weight; the loss hardly feels it.
    folder, _ = finished
    mesh = partitioning.make_mesh(data=2, fsdp=2, devices=jax.devices()[:4])
    train(tmp_path, 4, mesh=mesh)
    losses = [[line["loss"] for line in scalars(path)[:4]] for path in (folder, tmp_path)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)


# Stopping and going on


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_ends_and_the_restart_ends_with_the_same_bits(
    finished, tmp_path, monkeypatch, caplog, number
):
    draw = batches.Stream.__next__
    drawn = []

    def draw_and_signal(stream):
        drawn.append(1)
        if len(drawn) == 6:
            os.kill(os.getpid(), number)
        return draw(stream)

    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with monkeypatch.context() as patch:
        patch.setattr(batches.Stream, "__next__", draw_and_signal)
        state = train(tmp_path, 12)
    assert int(state.step) == 6
    assert "asked to stop: saved step 6" in caplog.text
    assert (tmp_path / "checkpoint_6").is_dir()
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers

    assert tiny.digest(train(tmp_path, 12)) == finished[1]
    steps = [line["step"] for line in scalars(tmp_path)]
    assert steps == list(range(1, 13))


def test_a_run_goes_on_past_a_broken_newest_checkpoint_to_the_same_bits(finished, tmp_path, caplog):
    train(tmp_path, 8)
    for folder, _, names in os.walk(tmp_path / "checkpoint_8/state"):
        for name in names:
            path = os.path.join(folder, name)
            os.truncate(path, os.path.getsize(path) // 2)
    assert tiny.digest(train(tmp_path, 12)) == finished[1]
    assert "checkpoint_8 cannot be read" in caplog.text
    assert {"checkpoint_8", "checkpoint_12", "unreadable_checkpoint_8"} <= set(os.listdir(tmp_path))


GIN = """
from __gin__ import dynamic_registration

import medmt5.tasks.sample
from medmt5 import train as train_script
from medmt5.models import t5 as network

include 'gin_configs/runs/train.gin'
include 'gin_configs/models/laptop.gin'
include 'gin_configs/optimizers/adamw.gin'

MIXTURE_OR_TASK_NAME = 'sample_clinical'
TASK_FEATURE_LENGTHS = {'inputs': 64, 'targets': 96}
VOCAB_SIZE = 2048
DROPOUT_RATE = 0.1
TRAIN_STEPS = 45
BATCH_SIZE = 8
LEARNING_RATE = 0.003
WARMUP_STEPS = 1
CHECKPOINT_PERIOD = 3
network.T5Config.emb_dim = 16
network.T5Config.num_encoder_layers = 1
network.T5Config.num_decoder_layers = 1
train_script.train.stats_period = 1
"""


def stored(folder, step):
    """Digest of a checkpoint's arrays, and its input position."""
    checkpoint = folder / f"checkpoint_{step}"
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    tree = checkpoints.stored_tree(str(checkpoint))
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=one), tree
    )
    with ocp.StandardCheckpointer() as checkpointer:
        state = checkpointer.restore(checkpoint / "state", target)
    return tiny.digest(state), json.loads((checkpoint / "input/metadata").read_text())


def start(gin_file, folder):
    command = [
        *(sys.executable, "-m", "medmt5.train", f"--gin_file={gin_file}"),
        f"--gin.MODEL_DIR='{folder}'",
    ]
    with open(gin_file.parent / "log.txt", "ab") as log:
        return subprocess.Popen(command, env=tiny.subprocess_env(), stderr=log, cwd=gin_file.parent)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The gin file and the model directory of a run that nothing interrupted."""
    gin_file = tmp_path_factory.mktemp("whole") / "run.gin"
    gin_file.write_text(GIN)
    folder = gin_file.parent / "model"
    assert start(gin_file, folder).wait() == 0, (gin_file.parent / "log.txt").read_text()
    return gin_file, folder


@pytest.mark.slow  # a dozen runs
def test_a_run_killed_at_random_points_ends_with_the_same_bits(whole, tmp_path):
    gin_file = tmp_path / "run.gin"
    gin_file.write_text(GIN)
    folder = tmp_path / "model"

    def reached():
        try:
            return scalars(folder)[-1]["step"]
        except (FileNotFoundError, IndexError, json.JSONDecodeError):
            return 0

    rng = random.Random(0)
    # The first before anything was saved, the second and third anywhere, also within a save.
    for target in (1, rng.randint(5, 15), rng.randint(20, 30)):
        process = start(gin_file, folder)
        while process.poll() is None and reached() < target:
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.05))
        process.kill()
        assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
        assert reached() < 45
    log = tmp_path / "log.txt"
    assert start(gin_file, folder).wait() == 0, log.read_text()
    assert "resuming" in log.read_text()
    assert stored(folder, 45) == stored(whole[1], 45)
    assert stored(folder, 45) != stored(folder, 42)


# What a run starts from


def params_of(folder):
    return load_params(open_source(str(folder)), Architecture.t5(tiny.config()))


def test_parameters_alone_are_taken_with_a_fresh_optimiser_from_step_0(finished, tmp_path, caplog):
    folder, _ = finished
    caplog.set_level(logging.INFO, logger="medmt5")
    start = dict(restore=RestoreCheckpointConfig(str(folder), "params"))
    state = train(tmp_path, 1, optimizer=optax.sgd(0.0), **start)
    assert "29 of 29 parameters, no optimiser state, step 0" in caplog.text
    given = params_of(folder)
    assert int(state.step) == 1
    assert same_params(state.params, given) == flat_params(given).keys()


def test_where_the_first_save_did_not_end_the_run_starts_from_its_initial_checkpoint_again(
    finished, tmp_path, monkeypatch
):
    # A bucket has no renaming: there a save has ended once a file says so.
    monkeypatch.setattr(gcs_utils, "is_gcs_path", lambda path: str(path).startswith(str(tmp_path)))
    (tmp_path / "checkpoint_4/state").mkdir(parents=True)
    state = train(tmp_path, 0, restore=RestoreCheckpointConfig(str(finished[0]), "params"))
    given = params_of(finished[0])
    assert same_params(state.params, given) == flat_params(given).keys()


def test_checkpoints_that_are_gone_meanwhile_are_no_reason_to_start_anew(finished, monkeypatch):
    monkeypatch.setattr(checkpoints.Checkpoints, "restore_latest", lambda *_: None)
    with pytest.raises(ValueError, match="had checkpoints a moment ago and has none now"):
        train(finished[0], 13)


def test_a_whole_state_goes_on_from_its_step(finished, tmp_path, caplog):
    folder, digest = finished
    caplog.set_level(logging.INFO, logger="medmt5")
    start = dict(restore=RestoreCheckpointConfig(str(folder)))
    state = train(tmp_path, 12, **start)
    assert "with optimiser state, step 12" in caplog.text and tiny.digest(state) == digest
    assert int(train(tmp_path, 13, **start).step) == 13
    assert (tmp_path / "checkpoint_13").is_dir()


@pytest.mark.slow
def test_frozen_parameters_stay_and_are_evaluated(finished, tmp_path):
    folder, _ = finished
    given = params_of(folder)
    pattern = "decoder/layers_0/mlp/.*"
    state = train(
        tmp_path,
        3,
        restore=RestoreCheckpointConfig(str(folder), "params"),
        trainable=pattern,
        train_eval_dataset_cfg=tiny.dataset(split="validation", pack=False),
        infer_eval_dataset_cfg=tiny.dataset(split="validation"),
        eval_steps=1,
        eval_examples=2,
    )
    trained = {name for name in flat_params(given) if name.startswith("decoder/layers_0/mlp/")}
    assert flat_params(state.params).keys() == trained
    assert same_params(state.params, given) == set()
    assert same_params(state.frozen, given) == flat_params(given).keys() - trained
    assert scalars(tmp_path, "eval")[-1]["sample_clinical_en/constrained/faithful"] == 100.0
    # The same files serve to label and to resume, without a copy of what they left to the base.
    stored = checkpoints.stored_tree(str(tmp_path / "checkpoint_3"))
    assert not stored.get("frozen") and flat_params(stored["params"]).keys() == trained
    loaded = params_of(tmp_path)
    assert same_params(loaded, state.params) == trained
    assert same_params(loaded, given) == flat_params(given).keys() - trained
    resumed = train(tmp_path, 4, trainable=pattern)
    assert int(resumed.step) == 4
    assert same_params(resumed.frozen, given) == flat_params(given).keys() - trained


@pytest.mark.slow
def test_a_base_that_is_gone_or_another_is_said(finished, tmp_path):
    base, run = tmp_path / "base", tmp_path / "run"
    shutil.copytree(finished[0], base)
    start = dict(restore=RestoreCheckpointConfig(str(base), "params"), trainable="encoder/.*/wo/.*")
    train(run, 1, **start)
    base.rename(tmp_path / "away")
    for use in (lambda: train(run, 2, **start), lambda: open_source(str(run))):
        with pytest.raises(
            ValueError, match="base/checkpoint_12 is not there.*of .*/run/model.json"
        ):
            use()
    train(base, 12, random_seed=1)
    with pytest.raises(ValueError, match="has other numbers .* than the base that .*run was train"):
        open_source(str(run))


def test_a_run_whose_first_numbers_are_random_saves_them_all(tmp_path):
    train(tmp_path, 1, trainable="encoder/.*/wo/.*")
    assert len(flat_params(checkpoints.stored_tree(str(tmp_path / "checkpoint_1"))["frozen"])) == 28


# The best checkpoint


def evaluated(folder, steps, name, **changes):
    config = CheckpointConfig(100, keep=1, metric_name_to_monitor=name, **changes)
    return train(
        folder,
        steps,
        checkpoint_cfg=config,
        train_eval_dataset_cfg=tiny.dataset(split="validation", pack=False),
        eval_period=1,
        eval_steps=1,
    )


def test_the_checkpoint_with_the_best_score_is_kept_through_interruptions(tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0, 1.0, 5.0])
    monkeypatch.setattr(evaluate, "mean_loss", lambda *_, **__: {"loss": next(losses)} | ACCURACY)
    evaluated(tmp_path, 3, "loss", metric_mode="min")
    assert checkpoints.checkpoint_steps(str(tmp_path)) == [2, 3]
    evaluated(tmp_path, 5, "loss", metric_mode="min")  # as good is not better
    assert checkpoints.checkpoint_steps(str(tmp_path)) == [2, 5]
    assert open_source(str(tmp_path / "best")).step == 2
    assert open_source(str(tmp_path)).step == 5


ACCURACY = {"accuracy": 0.5}


def test_a_score_that_no_evaluation_gives_is_refused(finished, tmp_path):
    for name in ("los", "sample_clinical_en/constrained/f1"):
        with pytest.raises(ValueError, match=f"BEST_METRIC is '{name}', but .* give loss, accura"):
            evaluated(tmp_path, 1, name)
    with pytest.raises(ValueError, match="no checkpoint in .* has a score; .* sets BEST_METRIC"):
        open_source(str(finished[0] / "best"))


# What does not fit is said before the first step


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(train_dataset_cfg=tiny.dataset(batch_size=12), mesh=None),
            "train DatasetConfig.batch_size 12 does not divide over 8 data shards; use 8 or 16",
        ),
        (
            dict(train_eval_dataset_cfg=tiny.dataset(batch_size=12), mesh=None),
            "train_eval DatasetConfig.batch_size 12 does not divide over 8",
        ),
        (dict(num_microbatches=3), "BATCH_SIZE 8 does not divide into 3 microbatches"),
        (dict(model=tiny.config(vocab_size=128)), "has 2036 ids, the model only 128 rows.* 2048"),
        (dict(trainable="decoder"), "no parameter matches the trainable pattern 'decoder'"),
        (dict(restore=RestoreCheckpointConfig("/nowhere")), "nothing at /nowhere; give a model"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_step(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "run", 2, **changes)
    assert not (tmp_path / "run/train").exists()


def test_a_device_out_of_memory_names_what_was_asked_and_what_takes_less(tmp_path, monkeypatch):
    def full(state, batch):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 bytes asked, 8 left\nallocator")

    monkeypatch.setattr(step, "jitted_train_step", lambda *args, **kwargs: full)
    with pytest.raises(ValueError) as caught:
        train(tmp_path / "one", 2)
    message = str(caught.value)
    assert "cpu is out of memory at 8 rows of 32/48 tokens" in message
    assert "--gin.REMAT_POLICY=\"'minimal'\", --gin.NUM_MICROBATCHES=2;" in message
    assert "fsdp" not in message.split("less with")[1]
    assert "9 bytes asked" in message and "allocator" not in message
    model = tiny.config(remat_policy="full")
    with pytest.raises(ValueError, match="1 rows of .*less with --gin.*make_mesh.fsdp=8; `medmt5"):
        train(tmp_path / "eight", 2, mesh=partitioning.make_mesh(), model=model)


def test_other_errors_of_the_device_are_left_as_they_are(tmp_path, monkeypatch):
    def broken(state, batch):
        raise jax.errors.JaxRuntimeError("INTERNAL: nobody knows")

    monkeypatch.setattr(step, "jitted_train_step", lambda *args, **kwargs: broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="nobody knows"):
        train(tmp_path, 2)


# The configuration is kept


def assert_gives_itself(gin_file, folder, *bindings):
    import gin

    kept = (folder / "config.gin").read_text(encoding="utf-8")
    assert "emb_dim = 16" in kept and f"'{folder}'" in kept  # a long one has a line of its own
    launch.run("train", files=[str(folder / "config.gin")], dry_run=True)
    assert gin.operative_config_str() == kept
    bindings = [f"MODEL_DIR = '{folder}'", *bindings]
    launch.run("train", files=[str(gin_file)], bindings=bindings, dry_run=True)
    assert gin.operative_config_str() == kept


@pytest.mark.slow
def test_the_kept_configuration_gives_itself_when_it_is_parsed_again(tmp_path):
    gin_file, folder = tmp_path / "run.gin", tmp_path / "model"
    gin_file.write_text(GIN)
    bindings = [f"MODEL_DIR = '{folder}'", "TRAIN_STEPS = 2"]
    launch.run("train", files=[str(gin_file)], bindings=bindings)
    assert_gives_itself(gin_file, folder, "TRAIN_STEPS = 2")


@pytest.mark.slow  # a run of its own
def test_the_configuration_that_a_program_kept_gives_itself(whole):
    assert_gives_itself(*whole)


def test_flattened_scores_keep_numbers_and_leave_labels_out():
    scores = {"a": {"constrained": {"f1": 50, "faithful": 100.0, "per_label": {"X": {"f1": 1.0}}}}}
    assert evaluate.flatten_scores(scores) == {
        "a/constrained/f1": 50.0,
        "a/constrained/faithful": 100.0,
    }
