"""The likelihood of given answers, beside the plain sum over a full pass each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from medmt5 import likelihood
from medmt5.likelihood import log_likelihood
from medmt5.predictor import Predictor, Search
from medmt5.state import Architecture

ARCHITECTURE = Architecture.t5(tiny.config(dropout_rate=0.0))
PARAMS = tiny.Run(dropout_rate=0.0).state.params
SOURCES = [[5, 6, 7, 1], [8, 9, 1], [5, 1]]
ANSWERS = [[[20, 21], [20]], [[30, 31, 32], [33], [34, 35]], [[40]]]


def plain(source, answer):
    """The log-probability of one answer, alone and without padding."""
    model = ARCHITECTURE.merge(PARAMS)
    source, target = jnp.array([source]), jnp.array([[*answer, 1]])
    shifted = jnp.array([[0, *answer]])
    hidden = model.decode(model.encode(source), source, shifted, target)
    logs = jax.nn.log_softmax(model.logits(hidden))[0]
    return float(sum(logs[i, token] for i, token in enumerate([*answer, 1])))


@pytest.mark.parametrize("most", [pytest.param(likelihood._MOST_LOGITS, marks=pytest.mark.slow), 1])
def test_ranking_gives_the_likelihood_of_every_answer(monkeypatch, most):
    monkeypatch.setattr(likelihood, "_MOST_LOGITS", most)
    predictor = Predictor(ARCHITECTURE, PARAMS, eos_id=1, batch_size=2)
    ranks = predictor.rank([{"inputs": source} for source in SOURCES], ANSWERS)
    for source, answers, scores in zip(SOURCES, ANSWERS, ranks, strict=True):
        expected = [plain(source, answer) for answer in answers]
        # Sums of a few float32 log-probabilities around -7, added in another order.
        np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_many_answers_are_taken_in_parts():
    rng = np.random.default_rng(0)
    answers = [[rng.integers(3, 60, size).tolist() for size in (1, 3, 2, 5, 4, 1, 2, 3, 4)]]
    (scores,) = Predictor(ARCHITECTURE, PARAMS, eos_id=1).rank([{"inputs": SOURCES[0]}], answers)
    # As above.
    np.testing.assert_allclose(scores, [plain(SOURCES[0], a) for a in answers[0]], rtol=1e-5)


def test_memory_does_not_grow_with_the_answers():
    def peak(choices):
        source, answers = jnp.ones((4, 256), jnp.int32), jnp.ones((4, choices, 8), jnp.int32)
        run = jax.jit(lambda s, a: log_likelihood(ARCHITECTURE.merge(PARAMS), s, a))
        return run.lower(source, answers).compile().memory_analysis().temp_size_in_bytes

    # The answers themselves, and their sums; 64 copies of the sources would be 16 times as much.
    assert peak(64) < 1.5 * peak(4)


def test_the_mean_divides_by_the_tokens_and_the_end():
    examples = [{"inputs": source} for source in SOURCES]
    sums = Predictor(ARCHITECTURE, PARAMS, eos_id=1).rank(examples, ANSWERS)
    search = Search("beam", score="mean")
    means = Predictor(ARCHITECTURE, PARAMS, eos_id=1, search=search).rank(examples, ANSWERS)
    for total, mean, answers in zip(sums, means, ANSWERS, strict=True):
        np.testing.assert_allclose(mean, total / [len(a) + 1 for a in answers], rtol=1e-6)


def test_another_score_is_refused():
    predictor = Predictor(ARCHITECTURE, PARAMS, eos_id=1, search=Search(score="renormalised"))
    with pytest.raises(ValueError, match="ranked by 'sum' or 'mean', not 'renormalised'"):
        predictor.rank([], [])
