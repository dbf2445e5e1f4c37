"""Soft prompts: what they change, what trains, and both stages of ProMoT."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from medmt5 import step
from medmt5.models.soft_prompt import PATH, PromptConfig
from medmt5.predictor import Predictor
from medmt5.state import Architecture, count_parameters, flat_params, init_state
from medmt5.step import Batch

SIZES = dict(dropout_rate=0.0)
SOURCE = jnp.array([[5, 6, 7, 1, 0, 0], [8, 9, 4, 3, 2, 1]])
TARGET = jnp.array([[20, 21, 1], [30, 1, 0]])
SHIFTED = jnp.array([[0, 20, 21], [0, 30, 1]])
BATCH = Batch(SOURCE, SHIFTED, TARGET, (TARGET > 0).astype(jnp.float32), None, None)
PROMPTED = Architecture.t5(tiny.config(**SIZES, prompt=PromptConfig(3)))
PARAMS = PROMPTED.init(jax.random.key(0))


def logits(architecture, params, source):
    model = architecture.merge(params)
    # Of real targets alone: those of padding are nobody's business.
    return model.logits(model.decode(model.encode(source), source, SHIFTED, TARGET))[TARGET > 0]


def test_a_prompt_made_of_words_is_those_words():
    """The vectors of three words before a source, beside the source that begins with them."""
    words = jnp.array([11, 12, 13])
    plain = Architecture.t5(tiny.config(**SIZES))
    without = PARAMS | {"encoder": dict(PARAMS["encoder"])}
    del without["encoder"]["prompt"]
    spelt = {"prompt": {"embedding": PARAMS["token_embedder"]["embedding"][words]}}
    ours = logits(PROMPTED, PARAMS | {"encoder": PARAMS["encoder"] | spelt}, SOURCE)
    begun = jnp.concatenate([jnp.tile(words, (2, 1)), SOURCE], axis=1)
    # The same sums of float32, in matrices of another shape.
    np.testing.assert_allclose(ours, logits(plain, without, begun), rtol=1e-4, atol=1e-5)
    assert float(jnp.abs(ours - logits(plain, without, SOURCE)).max()) > 0.1


def test_padding_after_a_source_changes_nothing():
    longer = jnp.pad(SOURCE, ((0, 0), (0, 5)))
    np.testing.assert_allclose(
        logits(PROMPTED, PARAMS, SOURCE), logits(PROMPTED, PARAMS, longer), rtol=1e-4, atol=1e-5
    )


def test_a_token_at_a_time_gives_what_all_at_once_gives():
    model = PROMPTED.merge(PARAMS)
    encoded = model.encode(SOURCE)
    assert encoded.shape[1] == SOURCE.shape[1] + 3
    at_once = model.decode(encoded, SOURCE, SHIFTED, jnp.ones_like(SHIFTED))
    cache = model.init_cache(encoded, SOURCE, length=3)
    for place in range(3):
        hidden, cache = model.decode_step(SHIFTED[:, place : place + 1], jnp.full(2, place), cache)
        np.testing.assert_allclose(hidden[:, 0], at_once[:, place], rtol=1e-4, atol=1e-5)


def test_a_prompted_model_generates_and_ranks():
    predictor = Predictor(PROMPTED, PARAMS, eos_id=1, batch_size=2)
    examples = [{"inputs": [5, 6, 7, 1]}, {"inputs": [8, 9, 1]}]
    assert len(predictor.predict(examples, max_length=4)) == 2
    ranks = predictor.rank(examples, [[[20], [21]], [[30], [31]]])
    assert all(np.isfinite(rank).all() and rank.max() < 0 for rank in ranks)


def test_both_stages_of_promot_train_one_part_and_leave_the_other_bit_for_bit(tmp_path):
    prompt, model = "encoder/prompt/.*", "(?!encoder/prompt/).*"
    optimizer, mesh = optax.adam(0.1), tiny.one_device()
    for trainable, count in ((prompt, 3 * 16), (model, count_parameters(PARAMS) - 3 * 16)):
        state, _ = init_state(PROMPTED, optimizer, seed=0, mesh=mesh, trainable=trainable)
        assert count_parameters(state.params) == count
        after, _ = step.train_step(state, BATCH, merge=PROMPTED.merge, optimizer=optimizer)
        assert tiny.digest(after.frozen) == tiny.digest(state.frozen)
        moved = flat_params(after.params)
        assert (PATH in moved) == (trainable == prompt)
        assert all(
            bool((moved[name] != leaf).any())
            for name, leaf in flat_params(state.params).items()
            if "norm" not in name
        )


def test_a_prompt_starts_fresh_where_it_trains_and_must_be_there_where_it_is_frozen(tmp_path):
    base, given = tiny.Run(**SIZES), PromptConfig(3)
    base.save(tmp_path / "base")
    first = tiny.Run(trainable="encoder/prompt/.*", prompt=given, **SIZES)
    state = first.start(tmp_path / "base", "params")
    assert tiny.digest(state.frozen) == tiny.digest(base.state.params)
    second = tiny.Run(trainable="(?!encoder/prompt/).*", prompt=given, **SIZES)
    with pytest.raises(ValueError, match="encoder/prompt/embedding: is missing"):
        second.start(tmp_path / "base", "params")
    first.save(tmp_path / "first")
    state = second.start(tmp_path / "first", "params")
    assert tiny.digest(state.frozen) == tiny.digest(first.state.params)


def test_packed_rows_and_empty_prompts_are_refused():
    model = PROMPTED.merge(PARAMS)
    with pytest.raises(ValueError, match="one example a row; set PACK = False"):
        model.encode(SOURCE, segment_ids=jnp.ones_like(SOURCE))
    with pytest.raises(ValueError, match="length is 0; use 1 or more positions"):
        PromptConfig(0)


def test_the_card_of_a_model_keeps_its_prompt_and_entries_start_in_their_range():
    config = tiny.config(prompt=PromptConfig(7, init_scale=0.25))
    assert tiny.config(prompt=config.to_json()["prompt"]) == config
    entries = Architecture.t5(config).init(jax.random.key(1))["encoder"]["prompt"]["embedding"]
    assert entries.shape == (7, 16)
    assert -0.25 <= float(entries.min()) < -0.1 and 0.1 < float(entries.max()) <= 0.25
