"""Soft prompts: what they change and for which rows, what trains, and both stages of ProMoT."""

import dataclasses
import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from medmt5 import step
from medmt5.decoding import beam_search, greedy
from medmt5.formats.labelling import Labelling
from medmt5.models import soft_prompt
from medmt5.models.soft_prompt import DECODER_PATH, PATH, PATHS, PromptConfig
from medmt5.predictor import Predictor
from medmt5.state import Architecture, count_parameters, flat_params, init_state
from medmt5.step import Batch

# Two prompts of 3 positions, and 2 before the decoder's input. 2,048 ids are the vocabulary's.
PROMPT = PromptConfig(3, tasks=("a", "b"), decoder_length=2)
PLAIN = tiny.config(dropout_rate=0.0)
PROMPTED = dataclasses.replace(PLAIN, prompt=PROMPT)
ARCHITECTURE = Architecture.t5(PROMPTED)
PARAMS = jax.jit(ARCHITECTURE.init)(jax.random.key(0))
BASE = jax.jit(Architecture.t5(PLAIN).init)(jax.random.key(0))
A, B = [2048, 2049, 2050], [2051, 2052, 2053]
# A row of task a, one of b, one of a task without a prompt.
SOURCE = jnp.array([[*A, 5, 6, 7, 1, 0], [*B, 8, 9, 4, 3, 1], [5, 6, 7, 1, 0, 0, 0, 0]])
TARGET = jnp.array([[20, 21, 1], [30, 1, 0], [22, 1, 0]])
SHIFTED = jnp.array([[0, 20, 21], [0, 30, 1], [0, 22, 1]])
BATCH = Batch(SOURCE, SHIFTED, TARGET, (TARGET > 0).astype(jnp.float32), None, None)


def test_the_ids_of_a_prompt_come_after_the_vocabulary_and_those_of_the_prompts_before_it():
    assert [soft_prompt.ids(PROMPTED, task).tolist() for task in "abc"] == [A, B, []]
    one = dataclasses.replace(PLAIN, prompt=PromptConfig(3))
    assert soft_prompt.ids(one, "any").tolist() == soft_prompt.ids(one, None).tolist() == A
    assert soft_prompt.ids(PLAIN, "a").tolist() == []


def test_rows_without_a_prompt_start_from_the_same_numbers_as_the_model_without():
    flat = flat_params(PARAMS)
    assert tiny.digest({k: v for k, v in flat.items() if k not in PATHS}) == tiny.digest(
        flat_params(BASE)
    )
    assert flat[PATH].shape == (6, 16) and flat[DECODER_PATH].shape == (4, 16)


@functools.partial(jax.jit, static_argnums=0)
def logits(config, params, source):
    model = Architecture.t5(config).merge(params)
    return model.logits(model.decode(model.encode(source), source, SHIFTED, TARGET))


def test_a_prompt_made_of_words_is_those_words():
    """Vectors of words before a source, beside the source that begins with them."""
    words, embedding = jnp.array([11, 12, 13]), PARAMS["token_embedder"]["embedding"]
    config = dataclasses.replace(PLAIN, prompt=PromptConfig(3))
    prompt = {"encoder": PARAMS["encoder"] | {"prompt": {"embedding": embedding[words]}}}
    ours = logits(config, BASE | prompt, SOURCE.at[1].set(SOURCE[0]))
    spelt = SOURCE.at[:2].set(SOURCE[0]).at[:2, :3].set(words)
    # The same products, in a program of another shape.
    np.testing.assert_allclose(ours, logits(PLAIN, BASE, spelt), rtol=1e-4, atol=1e-5)


def test_a_row_without_a_prompt_gets_what_the_model_without_one_computes():
    ours, plain = logits(PROMPTED, PARAMS, SOURCE), logits(PLAIN, BASE, SOURCE.at[:2].set(5))
    # Its two real targets. Softmax over a few more, masked places: rounding.
    np.testing.assert_allclose(ours[2, :2], plain[2, :2], rtol=1e-4, atol=1e-5)
    assert float(jnp.abs(ours[0] - ours[2]).max()) > 0.1  # the same words behind a prompt


@pytest.mark.parametrize("path, rows", [(PATH, slice(0, 3)), (DECODER_PATH, slice(0, 2))])
def test_a_prompt_is_the_business_of_its_own_task_alone(path, rows):
    flat = flat_params(PARAMS)
    stack = path.split("/")[0]
    moved = {"prompt": {"embedding": flat[path].at[rows].add(1.0)}}
    before = logits(PROMPTED, PARAMS, SOURCE)
    after = logits(PROMPTED, PARAMS | {stack: PARAMS[stack] | moved}, SOURCE)
    np.testing.assert_array_equal(after[1:], before[1:])
    assert float(jnp.abs(after[0] - before[0]).max()) > 0.01

    @jax.jit
    def gradient(weights):
        def total(params):
            batch = BATCH._replace(decoder_loss_weights=BATCH.decoder_loss_weights * weights)
            return step.seq2seq_loss(ARCHITECTURE.merge(params), batch, dropout_key=None).total

        return flat_params(jax.grad(total)(PARAMS))[path]

    of_others, of_both = gradient(jnp.array([[0], [1], [1]])), gradient(jnp.ones((3, 1)))
    assert not of_others[rows].any() and of_others[rows.stop :].any(axis=1).all()
    assert of_both.any(axis=1).all()
    assert not gradient(jnp.array([[0], [0], [1]])).any()


def test_padding_after_a_source_changes_nothing():
    longer = jnp.pad(SOURCE, ((0, 0), (0, 5)))
    ours, expected = (logits(PROMPTED, PARAMS, each) for each in (longer, SOURCE))
    # Real targets alone: those of padding are nobody's business. Sums of another length.
    np.testing.assert_allclose(ours[TARGET > 0], expected[TARGET > 0], rtol=1e-4, atol=1e-5)


def test_a_token_at_a_time_gives_what_all_at_once_gives():
    @jax.jit
    def both(params):
        model = ARCHITECTURE.merge(params)
        encoded = model.encode(SOURCE)
        at_once = model.decode(encoded, SOURCE, SHIFTED, jnp.ones_like(SHIFTED))
        cache, steps = model.init_cache(encoded, SOURCE, length=3), []
        for place in range(3):
            fed = SHIFTED[:, place : place + 1]
            hidden, cache = model.decode_step(fed, jnp.full(3, place), cache)
            steps.append(hidden[:, 0])
        return at_once, jnp.stack(steps, axis=1)

    at_once, steps = both(PARAMS)
    np.testing.assert_allclose(steps, at_once, rtol=1e-4, atol=1e-5)


def rows_of(format_):
    """Six sentences behind prompts a, b, none, a, ...: sources, constraint."""
    words = "aspirin treats the pain of the old patient .".split()
    examples = [format_.example({"words": words[: 3 + i], "spans": []}, None) for i in range(6)]
    source = np.zeros((6, 32), np.int32)
    for i, example in enumerate(examples):
        ids = [*[A, B, []][i % 3], *example["inputs"]]
        source[i, : len(ids)] = ids
    return jnp.array(source), format_.constraint(examples, 32)


def test_decoding_with_a_cache_gives_what_is_computed_anew_for_every_row(sample_vocabulary):
    """Rows that take each other's place, several tokens a pass, beams: all beside full passes."""
    source, constraint = rows_of(Labelling(sample_vocabulary, tiny.LABELS))
    length = 40

    @jax.jit
    def decoded(params):
        model = ARCHITECTURE.merge(params)
        given = dict(max_length=length, eos_id=1, constraint=constraint)
        plain = greedy(model, source, **given)
        fast = greedy(model, source, width=4, slots=2, **given)
        beams = beam_search(model, source, num_beams=2, alpha=0.0, **given)
        encoded = model.encode(source)

        def score(tokens):
            shifted = jnp.pad(tokens, ((0, 0), (1, 0)))[:, :-1]
            hidden = model.decode(encoded, source, shifted, tokens)
            log_probs = jax.nn.log_softmax(model.logits(hidden))
            chosen = jnp.take_along_axis(log_probs, tokens[:, :, None], axis=-1)[:, :, 0]
            return jnp.where(tokens > 0, chosen, 0.0)

        full = jnp.stack([score(beams.tokens[:, i]) for i in range(2)], axis=1)
        return plain, fast, beams, full

    plain, fast, beams, full = decoded(PARAMS)
    assert plain.finished.all() and beams.finished.all()
    np.testing.assert_array_equal(fast.tokens, plain.tokens)
    # Products of other shapes: rounding of float32 logits.
    np.testing.assert_allclose(fast.log_probs, plain.log_probs, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(beams.log_probs, full, rtol=1e-4, atol=1e-4)
    # The same sentence decodes otherwise behind another prompt.
    assert len({tuple(plain.log_probs[i, :4].tolist()) for i in range(6)}) == 6


def test_a_predictor_shows_the_prompt_that_it_is_given():
    predictor = Predictor(ARCHITECTURE, PARAMS, eos_id=1, batch_size=2)
    texts, answers = [[5, 6, 7, 1], [8, 9, 1]], [[[20], [21, 4]], [[30], [31]]]
    examples = [{"inputs": text} for text in texts]
    spelt = [{"inputs": [*B, *text]} for text in texts]
    found = predictor.predict(examples, max_length=4, soft_prompt=B)
    expected = predictor.predict(spelt, max_length=4)
    without = predictor.predict(examples, max_length=4)
    for ours, theirs, other in zip(found, expected, without, strict=True):
        np.testing.assert_array_equal(ours.log_probs, theirs.log_probs)
        assert not np.array_equal(ours.log_probs, other.log_probs)
    ranks = predictor.rank(examples, answers, soft_prompt=B)
    np.testing.assert_array_equal(ranks, predictor.rank(spelt, answers))
    assert not np.array_equal(ranks, predictor.rank(examples, answers))


def test_both_stages_of_promot_train_one_part_and_leave_the_other_bit_for_bit():
    optimizer, mesh = optax.adam(0.1), tiny.one_device()
    prompt, size = "(encoder|decoder)/prompt/.*", (6 + 4) * 16
    for trainable, count in ((prompt, size), (f"(?!{prompt}).*", count_parameters(PARAMS) - size)):
        state, _ = init_state(ARCHITECTURE, optimizer, seed=0, mesh=mesh, trainable=trainable)
        assert count_parameters(state.params) == count
        options = dict(merge=ARCHITECTURE.merge, optimizer=optimizer)
        after, _ = jax.jit(functools.partial(step.train_step, **options))(state, BATCH)
        assert tiny.digest(after.frozen) == tiny.digest(state.frozen)
        moved = flat_params(after.params)
        assert all((path in moved) == (trainable == prompt) for path in PATHS)
        assert all(
            bool((moved[name] != leaf).any())
            for name, leaf in flat_params(state.params).items()
            if "norm" not in name
        )


def test_a_prompt_starts_fresh_where_it_trains_must_be_there_where_it_is_frozen_and_can_be_dropped(
    tmp_path, caplog
):
    given = dict(dropout_rate=0.0, prompt=PromptConfig(3))
    base = tiny.Run(dropout_rate=0.0, seed=1)
    base.save(tmp_path / "base")
    first = tiny.Run(trainable="encoder/prompt/.*", **given)
    state = first.start(tmp_path / "base", "params")
    assert tiny.digest(state.frozen) == tiny.digest(base.state.params)
    second = tiny.Run(trainable="(?!encoder/prompt/).*", **given)
    with pytest.raises(
        ValueError, match="has no encoder/prompt/embedding, which this recipe freezes"
    ):
        second.start(tmp_path / "base", "params")
    first.save(tmp_path / "first")
    state = second.start(tmp_path / "first", "params")
    assert tiny.digest(state.frozen) == tiny.digest(first.state.params)
    with caplog.at_level(logging.INFO):
        state = base.start(tmp_path / "first", "params")
    assert "encoder/prompt/embedding" in caplog.text
    assert tiny.digest(state.params) == tiny.digest(first.state.frozen)


@pytest.mark.parametrize(
    "given, message",
    [
        (dict(length=0), "length is 0; use 1 or more positions"),
        (dict(decoder_length=-1), "decoder_length is -1; use 0 for none"),
        (dict(tasks="rte_en"), r"use a tuple of names: \('rte_en',\)"),
        (dict(tasks=("a", "b", "a")), "names a twice"),
        (dict(init="zero"), "init is 'zero'; use one of random, vocabulary, text"),
        (dict(init="text"), "init 'text', which needs one with words"),
        (dict(init="text", tasks=("a", "b"), text=("x", " ")), "which needs one with words"),
        (dict(init="text", text=("x", "y")), "2 texts for 1 prompts"),
        (dict(text="Is it true?"), "a text belongs to init 'text'"),
    ],
)
def test_what_makes_no_prompt_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        PromptConfig(**given)


def test_a_decoder_prompt_of_packed_rows_is_refused():
    packed = BATCH._replace(encoder_segment_ids=SOURCE, decoder_segment_ids=TARGET)
    with pytest.raises(ValueError, match="one example a row; set PACK = False"):
        jax.eval_shape(
            lambda params: step.seq2seq_loss(ARCHITECTURE.merge(params), packed, dropout_key=None),
            PARAMS,
        )


def test_the_card_of_a_model_keeps_its_prompts_and_entries_start_in_their_range():
    prompt = PromptConfig(7, 0.25, ("a", "b"), init="text", text=("Is it?", "Say:"))
    config = tiny.config(prompt=prompt)
    stored = config.to_json()["prompt"] | {"tasks": ["a", "b"], "text": ["Is it?", "Say:"]}
    assert tiny.config(prompt=stored) == config and hash(tiny.config(prompt=stored))
    params = jax.jit(Architecture.t5(config).init)(jax.random.key(1))
    entries = params["encoder"]["prompt"]["embedding"]
    assert entries.shape == (14, 16)
    assert -0.25 <= float(entries.min()) < -0.1 and 0.1 < float(entries.max()) <= 0.25
