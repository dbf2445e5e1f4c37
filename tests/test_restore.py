"""Starting from checkpoints of our own: whole, in part, renamed, grown. Others': tests/convert."""

import logging
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from tiny import Run

from medmt5 import checkpoints, optimizer_options, partitioning, restore
from medmt5.convert.source import open_source
from medmt5.restore import RestoreCheckpointConfig
from medmt5.state import Architecture, flat_leaves, flat_params

BOTH_ENDS = "token_embedder/embedding|decoder/logits_dense/kernel"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    return folder, Run(seed=1).save(folder)


def same(a, b):
    """Names of the leaves that are equal."""
    a, b = flat_leaves(a), flat_leaves(b)
    return {name for name in a if name in b and np.array_equal(a[name], b[name])}


def test_a_state_is_taken_whole(saved):
    folder, state = saved
    got = Run().start(folder)
    for part in ("step", "params", "opt_state"):
        assert tiny.digest(getattr(got, part)) == tiny.digest(getattr(state, part))


def test_parameters_alone_leave_step_and_optimiser_fresh(saved):
    run = Run()
    got = run.start(saved[0], "params")
    assert tiny.digest(got.params) == tiny.digest(saved[1].params)
    assert int(got.step) == 0 and tiny.digest(got.opt_state) == tiny.digest(run.state.opt_state)


@pytest.mark.parametrize(
    "mesh",
    [pytest.param(dict(data=4, fsdp=2), marks=pytest.mark.slow), dict(data=2, fsdp=2, model=2)],
)
def test_arrays_land_in_the_shards_of_the_mesh(saved, mesh):
    run = Run(mesh=partitioning.make_mesh(**mesh))
    got = run.start(saved[0])
    assert jax.tree.map(lambda x: x.sharding, got) == run.shardings
    assert tiny.digest(got.opt_state) == tiny.digest(saved[1].opt_state)


def test_frozen_parameters_count_as_parameters_on_both_sides(tmp_path):
    saved = Run(seed=1, trainable="decoder/.*").save(tmp_path)
    got = Run(trainable="encoder/.*").start(tmp_path, "params")
    expected = flat_params(saved.params) | flat_params(saved.frozen)
    assert same(got.params, expected) | same(got.frozen, expected) == expected.keys()


def test_optax_states_are_found_by_their_paths(tmp_path):
    saved = Run(optax.adam(0.1), seed=1).save(tmp_path)
    assert tiny.digest(Run(optax.adam(0.1)).start(tmp_path).opt_state) == tiny.digest(
        saved.opt_state
    )


def test_every_parameter_that_does_not_fit_is_named(saved):
    with pytest.raises(ValueError) as error:
        Run(mlp_dim=64, num_decoder_layers=2).start(saved[0])
    message = str(error.value)
    assert "does not fit the model in 20 of its 43 parameters" in message
    assert "decoder/layers_0/mlp/wi_0/kernel is (16, 32) there, (16, 64) in the model" in message
    assert "and 12 more" in message and "INITIAL_CHECKPOINT_ASSIGNMENT_MAP" in message


def test_what_the_model_has_no_place_for_is_reported(tmp_path, caplog):
    Run(seed=1, num_decoder_layers=2).save(tmp_path)
    caplog.set_level(logging.WARNING, logger="medmt5")
    Run().start(tmp_path, "params")
    assert "14 arrays without use: decoder/layers_1/encoder_decoder_attention/key" in caplog.text


def test_a_map_leaves_parameters_fresh_or_takes_them_from_elsewhere(saved):
    run = Run(num_encoder_layers=2)
    got = run.start(
        saved[0],
        assignment_map=[
            (r"(decoder/logits_dense/kernel)", None),
            (r"encoder/layers_\d+/(.*)", r"encoder/layers_0/\1"),
        ],
    )
    there, params = flat_params(saved[1].params), flat_params(got.params)
    for name, array in params.items():
        if name == "decoder/logits_dense/kernel":
            np.testing.assert_array_equal(array, flat_params(run.state.params)[name])
        else:
            np.testing.assert_array_equal(array, there[name.replace("layers_1", "layers_0")])
    # Slots of parameters that were taken as they are come along; of the others they are fresh.
    slots, fresh, old = (
        flat_leaves(s) for s in (got.opt_state, run.state.opt_state, saved[1].opt_state)
    )
    for name in slots:
        renamed = "layers_1" in name or "logits_dense" in name
        np.testing.assert_array_equal(slots[name], fresh[name] if renamed else old[name], name)


def test_a_pattern_that_matches_nothing_is_said(saved, caplog):
    Run().start(saved[0], assignment_map=[("encodr/.*", None)])
    assert "the pattern 'encodr/.*' matches no parameter" in caplog.text
    with pytest.raises(ValueError, match="assignment_map: .* invalid group reference 3"):
        Run().start(saved[0], assignment_map=[("(encoder)/(.*)", r"\3")])


def test_a_vocabulary_that_grew_keeps_its_rows(saved):
    run = Run(vocab_size=2176)
    with pytest.raises(ValueError, match=r"token_embedder/embedding is \(2048, 16\) there, \(2176"):
        run.start(saved[0])
    got, old = run.start(saved[0], resize=BOTH_ENDS), saved[1]
    embedding = got.params["token_embedder"]["embedding"]
    np.testing.assert_array_equal(embedding[:2048], old.params["token_embedder"]["embedding"])
    fresh = run.state.params["token_embedder"]["embedding"]
    np.testing.assert_array_equal(embedding[2048:], fresh[2048:])
    head = got.params["decoder"]["logits_dense"]["kernel"]
    np.testing.assert_array_equal(head[:, :2048], old.params["decoder"]["logits_dense"]["kernel"])


def test_a_vocabulary_that_shrank_drops_its_last_rows(saved):
    got = Run(vocab_size=1920).start(saved[0], resize=BOTH_ENDS)
    np.testing.assert_array_equal(
        got.params["token_embedder"]["embedding"],
        saved[1].params["token_embedder"]["embedding"][:1920],
    )


def test_another_optimiser_is_refused_with_a_way_out(saved):
    with pytest.raises(ValueError, match="saved with another optimiser.*RESTORE = 'params'"):
        Run(optax.adam(0.1)).start(saved[0])


def test_a_damaged_array_is_an_error_that_names_it(saved, tmp_path):
    shutil.copytree(saved[0], tmp_path / "copy")
    for file in (tmp_path / "copy").rglob("d/*"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match="checkpoint_7/state: array .* cannot be read"):
        Run().start(tmp_path / "copy")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(restore="all"), "restore is 'all'; use 'state' or 'params'"),
        (dict(assignment_map=[("a",)]), r"assignment_map has \('a',\); use pairs"),
        (dict(assignment_map=[("(", None)]), r"'\(' is no regular expression"),
        (dict(resize="["), r"'\[' is no regular expression"),
    ],
)
def test_wrong_choices_are_refused_at_once(wrong, message):
    with pytest.raises(ValueError, match=message):
        RestoreCheckpointConfig("x", **wrong)


def test_another_vocabulary_is_warned_of(saved, tmp_path, caplog, sample_vocabulary):
    shutil.copytree(saved[0], tmp_path / "m")
    checkpoints.write_card(str(tmp_path / "m"), tiny.config(), sample_vocabulary, {})
    (tmp_path / "m" / "sentencepiece.model").write_bytes(b"another")
    config = RestoreCheckpointConfig(str(tmp_path / "m"))
    run = Run()
    restore.plan(config, run.state, run.config, vocabulary=sample_vocabulary)
    assert "its embeddings will be taken for other words" in caplog.text


def test_parameters_alone_can_be_loaded_for_use(saved):
    source = open_source(str(saved[0]))
    params = restore.load_params(source, Architecture.t5(source.config))
    assert tiny.digest(params) == tiny.digest(saved[1].params)
    assert jnp.float32 == params["token_embedder"]["embedding"].dtype
    with pytest.raises(ValueError, match=r"mlp/wi_0/kernel is \(16, 32\), not \(16, 64\)"):
        restore.load_params(source, Architecture.t5(tiny.config(mlp_dim=64)))


def test_the_vocabulary_is_that_of_the_run_before_that_of_its_start(tmp_path, sample_vocabulary):
    for name in ("run", "start"):
        checkpoints.write_card(str(tmp_path / name), tiny.config(), sample_vocabulary, {})
        Run().save(tmp_path / name)
    run, start = str(tmp_path / "run"), str(tmp_path / "start")
    found = {
        "goes on": restore.vocabulary_beside(run, start),
        "starts": restore.vocabulary_beside(str(tmp_path / "new"), start),
    }
    folders = {what: Path(words.path).parent.name for what, words in found.items()}
    assert folders == {"goes on": "run", "starts": "start"}
    assert restore.vocabulary_beside(str(tmp_path / "new"), None) is None
    (tmp_path / "run" / checkpoints.VOCABULARY).unlink()
    assert Path(restore.vocabulary_beside(run, start).path).parent.name == "start"


def test_a_state_has_the_last_parameters_and_their_averages_parameters_alone_are_averages(tmp_path):
    run = Run(optimizer_options.with_ema(optax.adam(0.1), 0.9))
    state = run.save(tmp_path)
    got = run.start(tmp_path)
    assert tiny.digest((got.params, got.opt_state)) == tiny.digest((state.params, state.opt_state))
    got = run.start(tmp_path, "params")
    assert tiny.digest(got.params) == tiny.digest(state.opt_state.ema_params)
    assert int(got.step) == 0 and tiny.digest(got.opt_state) == tiny.digest(run.state.opt_state)
