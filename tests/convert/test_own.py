"""Reading checkpoints of our own whose run kept averages of its parameters."""

import logging

import jax
import optax
import pytest
import tiny

from medmt5 import checkpoints, optimizer_options
from medmt5.convert import command
from medmt5.convert.source import open_source
from medmt5.restore import load_params
from medmt5.state import Architecture, flat_params, join_params

SIZES = dict(emb_dim=8, num_heads=1, mlp_dim=16)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model directory whose decoder trained, with averages that are 7 more than the last."""
    folder = tmp_path_factory.mktemp("averaged")
    # optax's `ema` averages gradients: it must not be taken for ours.
    optimizer = optimizer_options.with_ema(optax.chain(optax.ema(0.9), optax.adam(0.1)), 0.9)
    state = tiny.Run(optimizer, trainable="decoder/.*", **SIZES).save(folder)
    checkpoints.write_card(str(folder), tiny.config(**SIZES), None, {})
    return str(folder), state


def params_of(source):
    return flat_params(load_params(source, Architecture.t5(source.config)))


def same(a, b):
    return tiny.digest(a) == tiny.digest(b)


def test_for_use_the_averages_are_the_parameters_and_that_is_said_once(saved, caplog):
    folder, state = saved
    caplog.set_level(logging.INFO, logger="medmt5")
    source = open_source(folder)
    assert "averages" not in caplog.text  # a vocabulary may be all that is wanted of it
    averages = jax.tree.map(lambda x: x + 7, state.params)
    assert same(params_of(source), flat_params(join_params(averages, state.frozen)))
    assert source.slots == {} and source.step == 7
    trained = len(flat_params(state.params))
    assert caplog.text.count(f"{trained} parameters are their averages over training") == 1


def test_to_go_on_all_is_as_it_was_saved(saved, caplog):
    folder, state = saved
    caplog.set_level(logging.INFO, logger="medmt5")
    source = open_source(folder, averaged=False)
    assert same(params_of(source), flat_params(join_params(state.params, state.frozen)))
    name = "decoder/logits_dense/kernel"
    assert {f"ema_params/{name}", f"inner/1/0/mu/{name}"} <= source.slots.keys()
    assert "averages" not in caplog.text


def test_a_conversion_writes_the_averages(saved, tmp_path):
    command.convert(saved[0], str(tmp_path / "hf"), "hf", check_logits=False)
    assert same(params_of(open_source(str(tmp_path / "hf"))), params_of(open_source(saved[0])))
