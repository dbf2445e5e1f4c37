"""Choosing one of several answers: what is allowed, and that every search chooses by likelihood."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from medmt5.decoding import beam_search, greedy
from medmt5.formats.choice_constraint import OneOf
from medmt5.search import ExactSearch
from medmt5.state import Architecture

EOS = 1
ARCHITECTURE = Architecture.t5(tiny.config(dropout_rate=0.0))
# The first two share a beginning, the third is the beginning of the second.
OPTIONS = [[10, 11, 12], [10, 11, 13, 14], [10, 11], [15]]


def walk(constraint, tokens):
    state, seen = constraint.init(1), []
    for token in [*tokens, None]:
        ids, mask = constraint.allowed(state)
        allowed = np.asarray(ids)[np.asarray(mask)].tolist()
        assert len(allowed) == len(set(allowed))
        seen.append(set(allowed))
        if token is not None:
            assert token in allowed
            state = constraint.advance(state, jnp.asarray([token]))
    return seen


def test_allowed_tokens_worked_by_hand():
    constraint = OneOf.make([OPTIONS], EOS)
    assert walk(constraint, [10, 11, 13, 14, EOS, 0]) == [
        {10, 15}, {11}, {12, 13, EOS}, {14}, {EOS}, {0}, {0},
    ]  # fmt: skip
    assert walk(constraint, [10, 11, EOS]) == [{10, 15}, {11}, {12, 13, EOS}, {0}]


def test_questions_may_have_different_numbers_of_options_but_not_none():
    constraint = OneOf.make([OPTIONS, [[20]]], EOS)
    ids, mask = constraint.allowed(constraint.init(2))
    assert set(np.asarray(ids[1])[np.asarray(mask[1])]) == {20}
    with pytest.raises(ValueError, match="question 1 has no options"):
        OneOf.make([OPTIONS, []], EOS)


def test_the_draft_is_the_rest_of_the_first_open_option():
    constraint = OneOf.make([OPTIONS], EOS)
    state = constraint.init(1)
    assert constraint.draft(state, 4).tolist() == [[10, 11, 12, EOS]]
    for token in (10, 11, 13):
        state = constraint.advance(state, jnp.asarray([token]))
    assert constraint.draft(state, 2).tolist() == [[14, EOS]]


# Sixteen questions of four options each; the second and third share a beginning.
DRAWN = np.random.default_rng(1).integers(3, 2000, (16, 4, 3))
DRAWN[:, 2, :2] = DRAWN[:, 1, :2]
QUESTIONS = DRAWN.tolist()


@pytest.fixture(scope="module")
def params():
    params = jax.jit(ARCHITECTURE.init)(jax.random.key(0))
    kernel = params["decoder"]["logits_dense"]["kernel"]
    params["decoder"]["logits_dense"]["kernel"] = 3.0 * kernel
    return params


SOURCES = np.random.default_rng(0).integers(3, 2000, (16, 12)).astype(np.int32)


@functools.partial(jax.jit, static_argnames="width")
def chosen_greedily(params, source, constraint, *, width):
    model = ARCHITECTURE.merge(params)
    return greedy(model, source, max_length=8, eos_id=EOS, constraint=constraint, width=width)


@jax.jit
def ranked(params, source, constraint):
    model = ARCHITECTURE.merge(params)
    return beam_search(
        model, source, num_beams=4, max_length=8, eos_id=EOS, constraint=constraint, alpha=0.0
    )


@jax.jit
def likelihoods(params, source, targets):
    """Sums of log-probabilities of targets, one per row, by the full forward pass."""
    model = ARCHITECTURE.merge(params)
    inputs = jnp.pad(targets, ((0, 0), (1, 0)))[:, :-1]
    hidden = model.decode(model.encode(source), source, inputs, jnp.ones_like(targets))
    log_probs = jax.nn.log_softmax(model.logits(hidden))
    each = jnp.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]
    return jnp.where(targets > 0, each, 0.0).sum(-1)


def test_every_width_writes_the_same_whole_option(params):
    constraint = OneOf.make(QUESTIONS, EOS)
    plain = chosen_greedily(params, SOURCES, constraint, width=1)
    fast = chosen_greedily(params, SOURCES, constraint, width=4)
    assert (plain.tokens == fast.tokens).all() and fast.finished.all()
    assert fast.passes.sum() < plain.passes.sum()
    places = set()
    for options, row in zip(QUESTIONS, plain.tokens.tolist(), strict=True):
        assert row[3:] == [EOS, 0, 0, 0, 0]
        places.add(options.index(row[:3]))
    assert len(places) > 1


def test_beams_and_exact_search_rank_options_by_their_likelihood(params):
    beams = ranked(params, SOURCES, OneOf.make(QUESTIONS, EOS))
    search = ExactSearch(ARCHITECTURE, params, eos_id=EOS)
    best = set()
    for row, options in enumerate(QUESTIONS):
        targets = np.array([[*option, EOS, 0, 0, 0, 0] for option in options], np.int32)
        scores = np.asarray(likelihoods(params, np.repeat(SOURCES[row : row + 1], 4, 0), targets))
        order = np.argsort(-scores)
        assert beams.tokens[row].tolist() == targets[order].tolist()
        # Sums of a handful of float32 log-probabilities of order 10.
        np.testing.assert_allclose(beams.scores[row], scores[order], atol=1e-4)
        best.add(int(order[0]))
        if row < 3:
            one = OneOf.make([options], EOS)
            found = search.search(SOURCES[row : row + 1], one, max_length=8)
            assert found.proven and found.tokens.tolist() == [*options[order[0]], EOS]
    assert len(best) > 1
