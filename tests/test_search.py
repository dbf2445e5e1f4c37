"""Exact search against beam search with more beams than there are sequences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from medmt5.decoding import beam_search, greedy
from medmt5.formats.labelling import Labelling
from medmt5.search import ExactSearch
from medmt5.state import Architecture
from medmt5.vocabulary import Vocabulary

FORMAT = Labelling(Vocabulary(tiny.VOCABULARY), ("Disease", "Chemical"))
CONFIG = tiny.config(emb_dim=32, dropout_rate=0.0)
ARCHITECTURE = Architecture.t5(CONFIG)
WORDS = "gout and ibuprofeno de una artritis grave no fever".split()
# 1, 3, 11, 41, 153 labellings of 0, 1, 2, 3, 4 words with two labels.
COUNTS = (1, 3, 11, 41, 153)
SOURCE, TARGET = 32, 44


@functools.cache
def params(seed):
    """Random; the rows of tags are copied from a frequent piece, so that tags are often likely."""
    params = jax.jit(ARCHITECTURE.init)(jax.random.key(seed))
    head = params["decoder"]["logits_dense"]["kernel"] * 3.0
    tags = jnp.asarray([*FORMAT.tags.opens, *FORMAT.tags.closes])[:, 0]
    pieces = jnp.asarray([FORMAT.vocabulary.encode_word(word)[0] for word in WORDS[:4]])
    params["decoder"]["logits_dense"]["kernel"] = head.at[:, tags].add(head[:, pieces] * 0.5)
    return params


def sentence(count, seed=0):
    """A sentence's source ids and constraint."""
    words = np.random.default_rng([count, seed]).choice(WORDS, count).tolist()
    example = FORMAT.example({"words": words}, None)
    source = np.zeros((1, SOURCE), np.int32)
    source[0, : len(example["inputs"])] = example["inputs"]
    return source, FORMAT.constraint([example], SOURCE)


@functools.cache
def searcher(seed, renormalise, rows=8):
    return ExactSearch(ARCHITECTURE, params(seed), eos_id=1, renormalise=renormalise, rows=rows)


@functools.partial(jax.jit, static_argnames=("num_beams", "renormalise"))
def every_labelling(params, source, constraint, *, num_beams, renormalise):
    return beam_search(
        ARCHITECTURE.merge(params),
        source,
        num_beams=num_beams,
        max_length=TARGET,
        eos_id=1,
        constraint=constraint,
        alpha=0.0,
        renormalise=renormalise,
    )


@jax.jit
def greedily(params, source, constraint):
    model = ARCHITECTURE.merge(params)
    return greedy(model, source, max_length=TARGET, eos_id=1, constraint=constraint)


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_the_best_of_all_labellings_is_found_and_proven(count, renormalise):
    beaten = 0
    for seed in range(4):
        source, constraint = sentence(count, seed)
        beams = every_labelling(
            params(seed % 3), source, constraint, num_beams=154, renormalise=renormalise
        )
        assert np.isfinite(beams.scores[0]).sum() == COUNTS[count]
        found = searcher(seed % 3, renormalise).search(source, constraint, max_length=TARGET)
        expected = np.asarray(beams.tokens[0, 0])
        assert found.proven
        # Two programs in float32: 1e-4 is a few roundings per token of some twenty.
        np.testing.assert_allclose(found.score, beams.scores[0, 0], atol=1e-4)
        if count and beams.scores[0, 0] - beams.scores[0, 1] > 1e-3:
            assert found.tokens.tolist() == expected[expected != 0].tolist()
        assert found.passes <= COUNTS[count] + 8
        first = greedily(params(seed % 3), source, constraint)
        beaten += found.tokens.tolist() != [t for t in first.tokens[0].tolist() if t]
    if count == 4 and not renormalise:
        assert beaten  # greedy alone would not do


def test_the_result_does_not_depend_on_how_many_nodes_go_together():
    source, constraint = sentence(4, 3)
    one, many = (
        searcher(0, False, rows).search(source, constraint, max_length=TARGET) for rows in (1, 8)
    )
    assert one.tokens.tolist() == many.tokens.tolist() and one.proven and many.proven
    np.testing.assert_allclose(one.score, many.score, atol=1e-5)
    assert one.passes <= many.passes


def test_a_spent_budget_gives_the_best_so_far_and_says_that_it_is_not_proven():
    source, constraint = sentence(4, 3)
    search = searcher(0, False, 1)
    whole = search.search(source, constraint, max_length=TARGET)
    assert whole.passes > 3
    scores = []
    for passes in (1, 2, 3, whole.passes):
        found = search.search(source, constraint, max_length=TARGET, passes=passes)
        assert found.passes <= passes and found.tokens[-1] == 1
        assert found.proven == (passes == whole.passes)
        scores.append(found.score)
    assert scores == sorted(scores) and scores[-1] == whole.score


def test_impossible_budgets_are_refused():
    source, constraint = sentence(2)
    with pytest.raises(ValueError, match="passes 0 and max_length 44 must be 1 or more"):
        searcher(0, False).search(source, constraint, max_length=TARGET, passes=0)
    with pytest.raises(ValueError, match="nothing ends within 2 tokens"):
        searcher(0, False).search(source, constraint, max_length=2)
