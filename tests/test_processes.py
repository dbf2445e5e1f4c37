"""Two processes with two devices each do what one process with four does.

They are started on this machine and talk through `jax.distributed` and gloo. What both do together
in one go (`in_each_process`) is run by this file itself, as a program.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from jax.experimental import multihost_utils

from medmt5 import batches, evaluate, optimizers, partitioning
from medmt5 import train as train_lib
from medmt5.checkpoints import CheckpointConfig, Checkpoints
from medmt5.state import Architecture, init_state, state_shardings

pytestmark = pytest.mark.slow  # compiles three meshes in each of three processes

MESHES = {"data": {}, "fsdp": {"fsdp": 4}, "both": {"fsdp": 2}}
EXAMPLES = 6

# Float32 sums over devices run in another order: 1e-7 was seen. Adafactor divides by the root of
# second moments, which magnifies rounding where gradients are small: ten times as much is allowed.
TOLERANCE = dict(rtol=1e-6)


def optimizer():
    return optimizers.adafactor(0.02, min_dim_size_to_factor=16)


def mesh(**sizes):
    return partitioning.make_mesh(**sizes, devices=jax.devices()[:4])


def train(folder, steps, sizes, **changes):
    choices = dict(
        model=tiny.config(dropout_rate=0.0),
        optimizer=optimizer(),
        model_dir=str(folder),
        train_dataset_cfg=tiny.dataset(),
        total_steps=steps,
        checkpoint_cfg=CheckpointConfig(period=2),
        mesh=mesh(**sizes),
        eval_period=4,
        eval_steps=2,
        eval_examples=EXAMPLES,
        stats_period=1,
    )
    return train_lib.train(**(choices | changes))


def evaluated():
    """Arguments of `train` that have it measure losses and scores."""
    return dict(
        train_eval_dataset_cfg=tiny.dataset(split="validation", pack=False),
        infer_eval_dataset_cfg=tiny.dataset(split="validation"),
    )


def restored(folder, sizes):
    """The newest readable state of a run, on a mesh: its step and a digest of all its arrays."""
    architecture = Architecture.t5(tiny.config(dropout_rate=0.0))
    here = mesh(**sizes)

    def fresh():
        return init_state(architecture, optimizer(), seed=0, mesh=here)[0]

    abstract = jax.eval_shape(fresh)
    saver = Checkpoints(str(folder), CheckpointConfig())
    state, _ = saver.restore_latest(abstract, state_shardings(architecture, abstract, here))
    saver.close()
    return [int(state.step), digest(state)]


def digest(state):
    """`tiny.digest` of a state of which this process may have a part only."""
    return tiny.digest(jax.device_get(jax.jit(lambda x: x, out_shardings=whole(state))(state)))


def whole(state):
    return partitioning.replicated(state.step.sharding.mesh)


def scored(model, output):
    return evaluate.evaluate(
        checkpoint_path=str(model),
        dataset_cfg=tiny.dataset(split="validation"),
        output_dir=str(output),
        modes=("constrained",),
        limit=EXAMPLES,
        mesh=mesh(),
    )


def damage(checkpoint):
    """Cut the largest file of a checkpoint in half, which only some processes may notice."""
    files = [path for path in (checkpoint / "state").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)


# In each process


def in_each_process(folder, index):
    """Everything that both do together; what each of them saw goes to `seen-<index>.json`."""
    written = set()

    def notice(event, arguments):
        if event == "open" and isinstance(arguments[0], str) and arguments[2] & os.O_ACCMODE:
            written.add(arguments[0])

    sys.addaudithook(notice)
    seen = {}
    for name, sizes in MESHES.items():
        state = train(folder / name, 4, sizes, **(evaluated() if name == "fsdp" else {}))
        seen[name] = [int(state.step), digest(state)]
    seen["from one"] = restored(folder / "one", MESHES["both"])
    seen["resumed"] = int(train(folder / "fsdp", 6, MESHES["fsdp"]).step)
    seen["scores"] = scored(folder / "one", folder / "scores")
    seen["stopped"] = stopped(folder / "stopped", index)
    if index == 0:
        shutil.copytree(folder / "fsdp", folder / "damaged")
        damage(folder / "damaged/checkpoint_6")
    multihost_utils.sync_global_devices("damaged")
    seen["damaged"] = restored(folder / "damaged", MESHES["fsdp"])
    seen["written"] = sorted(path for path in written if path.startswith(f"{folder}/"))
    (folder / f"seen-{index}.json").write_text(json.dumps(seen))


def stopped(folder, index):
    """The step at which a long run ends when one process alone is asked to stop."""
    draw, drawn = batches.Stream.__next__, []

    def draw_and_signal(stream):
        drawn.append(1)
        if len(drawn) == 3 and index == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(stream)

    batches.Stream.__next__ = draw_and_signal
    rarely = dict(checkpoint_cfg=CheckpointConfig(period=10**6), stats_period=10**6)
    return int(train(folder, 10**6, MESHES["data"], **rarely).step)


# Starting them


def free_address():
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return f"localhost:{listening.getsockname()[1]}"


@contextlib.contextmanager
def two_processes(folder, commands):
    """Start them with their output in `log-<index>.txt`; none outlives this."""
    env = tiny.subprocess_env(
        PYTHONPATH=os.pathsep.join([str(Path(tiny.__file__).parent), *sys.path])
    )
    env["XLA_FLAGS"] += " --xla_force_host_platform_device_count=2"
    started = []
    for index, command in enumerate(commands):
        log = open(folder / f"log-{index}.txt", "ab")
        started.append(
            subprocess.Popen([sys.executable, *command], env=env, stdout=log, stderr=log)
        )
    try:
        yield started
    finally:
        for process in started:
            process.kill()


def logs(folder):
    return [(folder / f"log-{index}.txt").read_text() for index in (0, 1)]


def scalars(folder, part="train"):
    return [json.loads(line) for line in (folder / part / "scalars.jsonl").open()]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The folder of a run of one process with four devices, and its last step and digest."""
    folder = tmp_path_factory.mktemp("processes")
    state = train(folder / "one", 6, MESHES["data"], **evaluated())
    return folder, [int(state.step), digest(state)]


@pytest.fixture(scope="module")
def two(one):
    """The folder, and what each of two processes saw."""
    folder, _ = one
    address = free_address()
    commands = [[__file__, str(folder), address, str(index)] for index in (0, 1)]
    with two_processes(folder, commands) as started:
        codes = [process.wait() for process in started]
    assert codes == [0, 0], "\n".join(logs(folder))
    return folder, [json.loads((folder / f"seen-{index}.json").read_text()) for index in (0, 1)]


# A run


@pytest.mark.parametrize("name", MESHES)
def test_two_processes_train_to_the_losses_of_one(two, name):
    folder, _ = two
    expected = scalars(folder / "one")
    found = scalars(folder / name)
    steps = [line["step"] for line in found]  # each once: the first process alone writes
    assert steps == list(range(1, 7 if name == "fsdp" else 5))
    np.testing.assert_allclose(
        [line["loss"] for line in found],
        [line["loss"] for line in expected[: len(steps)]],
        **TOLERANCE,
    )
    assert expected[-1]["loss"] < expected[0]["loss"]


def test_evaluations_inside_a_run_are_those_of_one_process(two):
    folder, _ = two
    expected, found = (scalars(folder / run, "eval")[0] for run in ("one", "fsdp"))
    assert found["step"] == expected["step"] == 4 and "loss" in found
    assert found == pytest.approx(expected, rel=TOLERANCE["rtol"])
    file = "eval/step_4/sample_clinical_en-constrained.jsonl"
    same_predictions(folder / "fsdp" / file, folder / "one" / file)


def same_predictions(path, expected_path):
    """The same spans, of about the same probability: other sums, as above."""
    pairs = zip(path.open(), expected_path.open(), strict=True)
    lines = [(json.loads(line), json.loads(expected)) for line, expected in pairs]
    assert len(lines) == EXAMPLES and any(expected["predicted"] for _, expected in lines)
    for line, expected in lines:
        spans, expected_spans = line.pop("predicted"), expected.pop("predicted")
        assert line == expected
        assert [span[:3] for span in spans] == [span[:3] for span in expected_spans]
        probabilities, expected_probabilities = (
            [span[3] for span in each] for each in (spans, expected_spans)
        )
        # Products of the probabilities of a span's tokens: 4e-7 was seen.
        np.testing.assert_allclose(probabilities, expected_probabilities, rtol=4e-6)


def test_a_restart_goes_on_from_the_shards_of_both(two):
    folder, (seen, _) = two
    assert seen["resumed"] == 6
    assert (folder / "fsdp/checkpoint_6").is_dir()
    # Its losses are compared above.


def test_both_end_at_the_same_saved_step_when_one_is_asked_to_stop(two):
    folder, (first, second) = two
    assert first["stopped"] == second["stopped"] >= 3
    assert (folder / f"stopped/checkpoint_{first['stopped']}").is_dir()
    for log in logs(folder):
        assert f"asked to stop: saved step {first['stopped']}" in log


def test_both_processes_see_the_same_and_the_first_alone_writes_files(two):
    _, (first, second) = two
    written = [each.pop("written") for each in (first, second)]
    assert first == second
    assert any(path.endswith("scalars.jsonl") for path in written[0])
    # Each writes its part of a checkpoint, nothing else.
    assert all("/checkpoint_" in path for path in written[1])


# Checkpoints


def test_a_state_of_two_processes_is_restored_by_one_to_the_last_bit(two):
    folder, (seen, _) = two
    for name, sizes in {"data": {"fsdp": 2}, "both": {"fsdp": 4}}.items():
        assert restored(folder / name, sizes) == seen[name]


def test_a_state_of_one_process_is_restored_by_two_to_the_last_bit(one, two):
    _, (seen, _) = two
    assert seen["from one"] == one[1]


def test_both_pass_over_a_checkpoint_that_either_cannot_read(two):
    folder, (seen, _) = two
    assert seen["damaged"] == seen["fsdp"]  # of step 4
    assert (folder / "damaged/unreadable_checkpoint_6").is_dir()


# Scores of a checkpoint


def test_the_scores_of_a_checkpoint_are_those_of_one_process(two):
    folder, (seen, _) = two
    expected = scored(folder / "one", folder / "expected")
    assert seen["scores"] == json.loads(json.dumps(expected))
    assert json.loads((folder / "scores/scores.json").read_text()) == seen["scores"]
    file = "sample_clinical_en-constrained.jsonl"
    same_predictions(folder / "scores" / file, folder / "expected" / file)


# Errors

GIN = """
from __gin__ import dynamic_registration

import medmt5.tasks.sample
from medmt5.models import t5 as network

include 'gin_configs/runs/train.gin'
include 'gin_configs/models/laptop.gin'
include 'gin_configs/optimizers/adamw.gin'

MIXTURE_OR_TASK_NAME = 'sample_clinical_en'
TASK_FEATURE_LENGTHS = {'inputs': 32, 'targets': 48}
VOCAB_SIZE = 2048
DROPOUT_RATE = 0.0
TRAIN_STEPS = 2
BATCH_SIZE = 8
LEARNING_RATE = 0.003
WARMUP_STEPS = 1
network.T5Config.emb_dim = 16
"""


@pytest.mark.slow  # gloo waits 30 seconds
@pytest.mark.parametrize("broken", [0, 1])
def test_a_mistake_on_one_host_does_not_leave_the_other_waiting(tmp_path, broken):
    gin_file = tmp_path / "run.gin"
    gin_file.write_text(GIN)
    shared = [
        *("-m", "medmt5.train", f"--gin_file={gin_file}", f"--gin.MODEL_DIR='{tmp_path / 'run'}'"),
        *(f"--coordinator_address={free_address()}", "--process_count=2"),
    ]
    commands = [[*shared, f"--process_index={index}"] for index in (0, 1)]
    commands[broken].append("--gin.BATCH_SIZE=6")
    with two_processes(tmp_path, commands) as started:
        codes = [process.wait(timeout=600) for process in started]
    assert codes[broken] == 2 and codes[1 - broken] != 0
    assert "batch_size 6 does not divide over 4 data shards" in logs(tmp_path)[broken]
    assert not (tmp_path / "run/train").exists()


if __name__ == "__main__":
    folder, address, index = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    jax.distributed.initialize(address, 2, index)
    in_each_process(folder, index)
