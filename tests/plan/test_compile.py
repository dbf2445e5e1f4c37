"""Compilers: which one is taken, what they say, and a real one for chips that are not here."""

import re

import optax
import pytest

from medmt5 import partitioning
from medmt5.models.t5 import T5Config
from medmt5.plan import chips, costs
from medmt5.plan import compile as compiling
from medmt5.plan.recipe import Recipe
from medmt5.step import LossConfig

V5E, H100 = chips.topology("v5e-4"), chips.topology("h100-8")


@pytest.mark.parametrize(
    "topology, choice, present, expected",
    [
        (V5E, "auto", {"libtpu"}, "tpu"),
        (V5E, "auto", set(), "simulated"),
        (V5E, "auto", {"jax_plugins.xla_cuda13"}, "simulated"),
        (H100, "auto", {"jax_plugins.xla_cuda12"}, "gpu"),
        (H100, "gpu", {"jax_plugins.xla_cuda13"}, "gpu"),
        (chips.topology("cpu-8"), "auto", {"libtpu"}, "simulated"),
        (V5E, "none", {"libtpu"}, "none"),
    ],
)
def test_the_compiler_of_the_chips_is_taken_where_it_is_installed(
    topology, choice, present, expected, monkeypatch
):
    monkeypatch.setattr(compiling, "_found", lambda module: module in present)
    assert compiling.choose_compiler(topology, choice) == expected


@pytest.mark.parametrize(
    "topology, choice, message",
    [
        (V5E, "fast", "use auto, tpu, gpu, simulated, none"),
        (V5E, "gpu", "does not compile for v5e-4"),
        (V5E, "tpu", r"needs libtpu: pip install 'medmt5\[plan\]'; or use simulated"),
        (H100, "gpu", "pip install jax-cuda13-pjrt=="),
    ],
)
def test_a_compiler_that_cannot_be_had_is_refused(topology, choice, message, monkeypatch):
    monkeypatch.setattr(compiling, "_found", lambda module: False)
    with pytest.raises(ValueError, match=message):
        compiling.choose_compiler(topology, choice)


def test_a_shortage_that_the_compiler_reports_is_read_in_bytes():
    short = compiling._shortage(
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space "
        "hbm. Used 21.25G of 15.75G hbm. Exceeded hbm capacity by 5.50G."
    )
    assert (short.needed, short.available) == (21.25 * 2**30, 15.75 * 2**30)
    assert compiling._shortage("RESOURCE_EXHAUSTED: something else").needed is None


@pytest.mark.parametrize("name", ["a100-40gb", "a100-80gb", "h100", "h200"])
def test_every_gpu_is_described_to_xla_with_its_memory(name):
    text = compiling.gpu_description(chips.CHIPS[name])
    assert text.count("{") == text.count("}") > 2
    assert re.search(rf"device_memory_size: {chips.CHIPS[name].memory}\b", text)


def test_simulated_arguments_are_the_bytes_that_were_counted():
    model = T5Config(
        vocab_size=64,
        dtype="float32",
        emb_dim=16,
        num_heads=2,
        head_dim=8,
        mlp_dim=16,
        num_encoder_layers=1,
        num_decoder_layers=1,
        dropout_rate=0.0,
    )
    recipe = Recipe(
        model=model,
        optimizer=optax.adam(0.1),
        loss=LossConfig(),
        mesh=partitioning.make_mesh(data=2, fsdp=4),
        batch_size=8,
        source=8,
        target=8,
        pack=True,
    )
    mesh = compiling.mesh_of(recipe, chips.topology("cpu-8"), "simulated")
    program = costs.program(recipe, costs.shapes(recipe), mesh)
    taken = compiling.compile_step(program)
    assert taken.arguments == costs.bytes_per_chip((program.state, program.batch))
    assert taken.temporaries > costs.bytes_per_chip(program.state.params)  # the gradients
    assert taken.peak == taken.arguments + taken.temporaries
    found = {each.kind for each in taken.collectives}
    assert "all-gather" in found and found & {"all-reduce", "reduce-scatter"}
