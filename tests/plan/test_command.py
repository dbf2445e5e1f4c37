"""`medmt5 plan` as a user runs it: in a process of its own, with as many devices as chips."""

import dataclasses
import json
import subprocess
import sys

import pytest
import tiny

from medmt5 import launch
from medmt5.plan import chips, command, compile, costs, planning, text
from medmt5.plan.recipe import read_recipe
from medmt5.state import count_parameters

PRETRAIN = "gin_configs/recipes/quickstart_pretrain.gin"
SMALL = [
    f"network.T5Config.{name} = {size}"
    for name, size in dict(
        emb_dim=16, num_heads=2, head_dim=8, mlp_dim=32, num_encoder_layers=1, num_decoder_layers=1
    ).items()
]


def run(*arguments, file=PRETRAIN):
    code = "import sys; from medmt5.plan.command import main; main(sys.argv[1:])"
    flags = [f"--gin_bindings={binding}" for binding in SMALL]
    return subprocess.run(
        [sys.executable, "-c", code, f"--gin_file={file}", *flags, *arguments],
        env=tiny.subprocess_env(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_tiny_recipe_is_compiled_for_a_tpu_slice_on_simulated_devices(tmp_path):
    path = tmp_path / "plan.json"
    made = run(
        *("--topology", "v5e-16", "--compile", "simulated", "--json", str(path)),
        *("--tokens", "1e6", "--price", "2", "--gin.partitioning.make_mesh.fsdp=4"),
    )
    assert made.returncode == 0, made.stderr
    lines = made.stdout.splitlines()
    assert lines[-1].startswith("fits: needs ")
    assert lines[-1].endswith("of 16.00 GiB per chip, by XLA's CPU compiler")
    assert "chips          v5e-16: 16 x TPU v5e; mesh data 4 x fsdp 4 x model 1" in lines
    assert any("not known: temporaries are those of XLA's CPU compiler" in line for line in lines)
    report = json.loads(path.read_text())
    # Two tables of 2,048 x 16; 12 matrices of 16 x 16 and 6 of 16 x 32; 7 norms; 2 x 2 x 32 biases.
    assert report["recipe"]["parameters"] == 2 * 2048 * 16 + 12 * 256 + 6 * 512 + 7 * 16 + 128
    # Attention makes its scores again: 16 rows, 2 heads of 8, 128 source and 96 target tokens; and
    # it multiplies its output with the output's gradient.
    scores = 128 * 128 + 96 * 96 + 96 * 128
    again = 2 * 16 * 2 * 8 * (scores + 128 + 96 + 96)
    assert report["flops"]["step"] - report["flops"]["model"] == again
    # The compiler pads nothing on CPU: what it is given is what was counted.
    assert report["compiled"]["arguments"] == report["counted"]["arguments"]
    assert {each["kind"] for each in report["compiled"]["collectives"]} >= {"all-gather"}
    time = report["time"]
    assert time["steps"] == -(-1_000_000 // (16 * 128))
    fastest, slowest = time["seconds_per_step"]
    assert 0 < fastest < slowest
    hours = time["steps"] * slowest / 3600
    assert time["hours"][1] == pytest.approx(hours)
    assert time["cost"][1] == pytest.approx(16 * hours * 2)
    assert report["verdict"] == {
        "fits": True,
        "needed": report["compiled"]["peak"],
        "available": 16 * 2**30,
        "changes": [],
        "at_least": report["counted"]["arguments"] + report["counted"]["gradients"],
    }


def test_counting_alone_takes_no_compiler_and_says_what_is_not_known():
    made = run("--topology", "h100-8", "--compile", "none")
    assert made.returncode == 0, made.stderr
    assert "compiling" not in made.stdout
    assert "communication not known: nothing was compiled" in made.stdout
    assert made.stdout.splitlines()[-1].startswith("fits: needs ")
    assert made.stdout.splitlines()[-1].endswith("compile to be sure")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--topology", "v5e-12"], "topology 'v5e-12' is unknown; use v4-{8,"),
        (["--topology", "v5e-16", "--compile", "gpu"], "does not compile for v5e-16"),
        (["--topology", "cpu-2", "--tokens", "0"], "--tokens is 0.0; use a number above 0"),
        (["--topology", "cpu-2", "--price=-1"], "--price is -1.0; use a number above 0"),
    ],
)
def test_a_mistake_is_said_before_anything_is_read(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(launch, "setup_logging", lambda: None)
    with pytest.raises(SystemExit) as end:
        command.main(["--gin_file=no/such.gin", *arguments])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_a_batch_that_does_not_divide_ends_with_a_message_and_status_2():
    made = run("--topology", "cpu-6", "--compile", "none")
    assert made.returncode == 2
    assert "BATCH_SIZE 16 does not divide over 6 data shards; use 12 or 18" in made.stderr
    assert "Traceback" not in made.stderr


@pytest.fixture
def recipe():
    return read_recipe([PRETRAIN], SMALL)


def lacking(available):
    """Eight v5e chips of a small memory."""
    chip = dataclasses.replace(chips.CHIPS["v5e"], memory=available)
    return type("Small", (chips.Topology,), {"chip": chip})("v5e-8", "v5e", 8, (2, 4))


def test_what_does_not_fit_is_said_with_what_would(recipe):
    roomy = planning.plan(recipe, chips.topology("v5e-8"), compiler="none")
    # Room for the state and two thirds of the activations.
    available = roomy["verdict"]["needed"] - roomy["counted"]["activations"] // 3
    said = []
    report = planning.plan(
        recipe,
        lacking(available),
        compiler="none",
        tell=lambda section, report: said.extend(text.lines(section, report, "none")),
    )
    verdict = report["verdict"]
    assert not verdict["fits"] and verdict["changes"]
    assert all(change["bytes"] <= available for change in verdict["changes"])
    assert said[-1].startswith("does not fit: needs ")
    flags = verdict["changes"][-1]["flags"]
    assert any(line.startswith(f"  {flags}: ") for line in said)


def test_a_step_that_the_compiler_refuses_does_not_fit(recipe, monkeypatch):
    def refuse(program):
        raise compile.DoesNotFit(3 * 2**30, 2 * 2**30)

    monkeypatch.setattr(compile, "compile_step", refuse)
    monkeypatch.setattr(compile, "mesh_of", lambda recipe, topology, compiler: recipe.mesh)
    said = []
    report = planning.plan(
        recipe,
        chips.topology("v5e-8"),
        compiler="tpu",
        tell=lambda section, report: said.extend(text.lines(section, report, "tpu")),
    )
    assert said[-1] == "does not fit: needs 3.00 GiB of 2.00 GiB per chip, by libtpu"
    assert report["compiled"] == {"compiler": "tpu", "peak": 3 * 2**30}


needs_libtpu = pytest.mark.skipif(
    not compile.installed("tpu"), reason="libtpu is not installed: pip install medmt5[plan]"
)


@needs_libtpu
@pytest.mark.slow
def test_a_tiny_recipe_is_compiled_for_a_tpu_that_is_not_here(tmp_path):
    path = tmp_path / "plan.json"
    fsdp = "--gin.partitioning.make_mesh.fsdp=8"
    made = run("--topology", "v5e-8", "--compile", "tpu", "--json", str(path), fsdp)
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[-1].endswith("of 16.00 GiB per chip, by libtpu")
    assert "not known" not in made.stdout
    report = json.loads(path.read_text())
    # TPU lays out in tiles, so that small arrays take more than they hold.
    assert report["compiled"]["arguments"] >= report["counted"]["arguments"]
    assert report["compiled"]["traffic"] > 0 and report["compiled"]["collectives"]


@needs_libtpu
def test_a_mesh_that_does_not_lie_in_the_torus_names_those_that_do():
    fsdp = "--gin.partitioning.make_mesh.fsdp=8"
    made = run("--topology", "v4-128", "--compile", "tpu", "--gin.BATCH_SIZE=64", fsdp)
    assert made.returncode == 2
    assert "does not lie along the sides 4 x 4 x 4 of a slice" in made.stderr
    assert "use fsdp=1 or 4 or 16 or 64" in made.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "size, count",
    [
        ("large", 1_229_581_312),
        ("xl", 3_742_619_648),
    ],
)
def test_mt5_large_and_xl_have_as_many_parameters_as_the_checkpoints(size, count):
    files = ["runs/pretrain", f"models/mt5/{size}", "optimizers/adafactor"]
    recipe = read_recipe(
        [f"gin_configs/{name}.gin" for name in files],
        [
            "DROPOUT_RATE = 0.0",
            "MIXTURE_OR_TASK_NAME = ''",
            "TASK_FEATURE_LENGTHS = {'inputs': 8, 'targets': 8}",
            "TRAIN_STEPS = 1",
            "BATCH_SIZE = 8",
        ],
    )
    assert count_parameters(costs.shapes(recipe).state.params) == count
