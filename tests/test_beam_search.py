"""Beam search by hand, against plain Python, against enumeration, and against T5X's numbers."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shared
from jax.sharding import NamedSharding, PartitionSpec

from medmt5 import partitioning
from medmt5.convert.source import open_source
from medmt5.decoding import beam_search, beam_search_over, greedy
from medmt5.formats.labelling import Labelling
from medmt5.formats.spans import Span
from medmt5.formats.tags import render
from medmt5.models.t5 import T5Config
from medmt5.restore import load_params
from medmt5.state import Architecture
from medmt5.vocabulary import Vocabulary

EOS, A, B = 1, 2, 3

# The table of probabilities that the cases by hand use: row = last token (0 comes first).
#            pad   EOS   A     B
CHAIN = {
    0: [0.0, 0.10, 0.50, 0.40],
    A: [0.0, 0.30, 0.45, 0.25],
    B: [0.0, 0.90, 0.05, 0.05],
}


def chain(table):
    """Log-probabilities (last, token), -inf where the probability is 0."""
    out = np.full((4, 4), -np.inf, np.float32)
    for last, row in table.items():
        with np.errstate(divide="ignore"):
            out[last] = np.log(row)
    return out


@functools.partial(jax.jit, static_argnames=("num_beams", "max_length", "alpha"))
def search_chain(table, *, num_beams, max_length, alpha=0.0):
    """One source whose next token depends on the last one alone."""

    def continuations(last, position, memory):
        del position
        ids = jnp.broadcast_to(jnp.arange(4), (num_beams, 4))
        return ids, table[last], memory

    return beam_search_over(
        continuations,
        (),
        batch_size=1,
        num_beams=num_beams,
        max_length=max_length,
        eos_id=EOS,
        alpha=alpha,
    )


def test_two_beams_find_what_one_step_at_a_time_misses():
    # A is the better beginning (0.50), but the best two-token sequence begins with B.
    beams = search_chain(chain(CHAIN), num_beams=2, max_length=2)
    assert beams.tokens.tolist() == [[[B, EOS], [A, EOS]]]
    np.testing.assert_allclose(np.exp(beams.scores[0]), [0.40 * 0.90, 0.50 * 0.30], rtol=1e-6)
    np.testing.assert_allclose(np.exp(beams.log_probs[0]), [[0.40, 0.90], [0.50, 0.30]], rtol=1e-6)
    assert beams.finished.all()


def test_the_search_needs_no_jit_around_it():
    choices = dict(num_beams=3, max_length=4, alpha=0.6)
    plain = search_chain.__wrapped__(jnp.asarray(chain(CHAIN)), **choices)
    for got, expected in zip(plain, search_chain(chain(CHAIN), **choices), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)  # fused or not, float32 rounding


def test_the_brevity_penalty_divides_by_a_power_of_the_length():
    beams = search_chain(chain(CHAIN), num_beams=3, max_length=2, alpha=0.6)
    assert beams.tokens.tolist() == [[[B, EOS], [A, EOS], [EOS, 0]]]
    # Two tokens: ((5 + 2) / 6) ** 0.6 = 1.0969; one token: 1.
    expected = [np.log(0.36) / 1.0969, np.log(0.15) / 1.0969, np.log(0.10)]
    np.testing.assert_allclose(beams.scores[0], expected, rtol=1e-4)  # 1.0969 is rounded


def test_without_an_end_the_live_sequences_are_given_with_their_plain_sums():
    table = {0: [0, 0, 0.6, 0.4], A: [0, 0, 0.9, 0.1], B: [0, 0, 0.2, 0.8]}
    beams = search_chain(chain(table), num_beams=2, max_length=2, alpha=0.6)
    assert beams.tokens.tolist() == [[[A, A], [B, B]]]
    np.testing.assert_allclose(np.exp(beams.scores[0]), [0.54, 0.32], rtol=1e-6)
    assert not beams.finished.any()


def test_beams_that_do_not_exist_are_marked_and_empty():
    table = {0: [0, 0, 1, 0], A: [0, 0.25, 0, 0.75], B: [0, 1, 0, 0]}  # A, then B or not, then end
    beams = search_chain(chain(table), num_beams=4, max_length=5)
    assert beams.tokens[0, :2].tolist() == [[A, B, EOS, 0, 0], [A, EOS, 0, 0, 0]]
    np.testing.assert_allclose(np.exp(beams.scores[0]), [0.75, 0.25, 0, 0], rtol=1e-6)
    assert beams.finished.tolist() == [[True, True, False, False]]
    assert not beams.tokens[0, 2:].any() and not beams.log_probs[0, 2:].any()


def test_the_search_stops_when_nothing_live_can_come_to_more():
    # After the first token the end has 0.9 and all else 0.1; later steps would bring NaN.
    poison = np.full(4, np.nan, np.float32)
    table = chain({0: [0, 0.9, 0.06, 0.04]})
    table[A] = table[B] = poison
    beams = search_chain(table, num_beams=1, max_length=5, alpha=0.6)
    assert beams.tokens.tolist() == [[[EOS, 0, 0, 0, 0]]]
    np.testing.assert_allclose(np.exp(beams.scores), [[0.9]], rtol=1e-6)


def test_the_search_goes_on_while_length_can_still_make_up_for_probability():
    table = {0: [0, 0.5, 0.45, 0.05], A: [0, 0, 0, 1], B: [0, 1, 0, 0]}
    # log 0.5 = -0.693 beats log 0.45 = -0.799, but not -0.799 / ((5 + 3) / 6) ** 0.6 = -0.672.
    beams = search_chain(chain(table), num_beams=1, max_length=3, alpha=0.6)
    assert beams.tokens.tolist() == [[[A, B, EOS]]]
    np.testing.assert_allclose(beams.scores, [[-0.672]], atol=5e-4)  # as written above
    plain = search_chain(chain(table), num_beams=1, max_length=3, alpha=0.0)
    assert plain.tokens.tolist() == [[[EOS, 0, 0]]]


def test_one_beam_may_beat_greedy_because_it_keeps_an_end_that_came_second():
    table = {0: [0, 0.4, 0.6, 0], A: [0, 0.5, 0, 0.5], B: [0, 1, 0, 0]}
    # Greedy takes A (0.6) and then the end (0.5): 0.3 in all, below 0.4 for ending at once.
    beams = search_chain(chain(table), num_beams=1, max_length=3)
    assert beams.tokens.tolist() == [[[EOS, 0, 0]]]
    np.testing.assert_allclose(np.exp(beams.scores), [[0.4]], rtol=1e-6)


# Random tables: (batch, position, last, token), each source its own.


@functools.partial(jax.jit, static_argnames=("num_beams", "alpha"))
def search_tables(tables, *, num_beams, alpha):
    batch, length, vocab = tables.shape[:3]

    def continuations(last, position, source):
        ids = jnp.broadcast_to(jnp.arange(vocab), (batch * num_beams, vocab))
        return ids, tables[source, position, last], source

    return beam_search_over(
        continuations,
        jnp.repeat(jnp.arange(batch), num_beams),
        batch_size=batch,
        num_beams=num_beams,
        max_length=length,
        eos_id=EOS,
        alpha=alpha,
    )


def random_tables(batch, length, vocab, seed=0):
    logits = np.random.default_rng(seed).normal(size=(batch, length, vocab, vocab)) * 2
    return np.asarray(jax.nn.log_softmax(logits), np.float32)


def slow_beam_search(table, num_beams, alpha):
    """One source in plain Python, to the last step: no early stop. (score, tokens), best first."""
    length, vocab = table.shape[:2]
    live, ended = [(0.0, [])], []
    for t in range(length):
        options = [
            (score + float(table[t, tokens[-1] if tokens else 0, token]), [*tokens, token])
            for score, tokens in live
            for token in range(vocab)
        ]
        options = sorted(options, reverse=True)[: 2 * num_beams]
        penalty = ((5 + t + 1) / 6) ** alpha
        ended += [(score / penalty, tokens) for score, tokens in options if tokens[-1] == EOS]
        ended = sorted(ended, reverse=True)[:num_beams]
        live = [option for option in options if option[1][-1] != EOS][:num_beams]
    return ended or live


@pytest.mark.parametrize("num_beams, alpha", [(1, 0.0), (2, 0.6), (3, 1.0), (5, 0.0)])
def test_many_sources_at_once_equal_a_slow_search_of_each_without_early_stop(num_beams, alpha):
    tables = random_tables(batch=200, length=6, vocab=5)
    beams = search_tables(tables, num_beams=num_beams, alpha=alpha)
    some_unfinished = False
    for row, table in enumerate(tables):
        expected = slow_beam_search(table, num_beams, alpha)
        for beam, (score, tokens) in enumerate(expected):
            assert beams.tokens[row, beam].tolist() == tokens + [0] * (6 - len(tokens))
            # Sums of a few float32 terms of order 1, against float64.
            assert beams.scores[row, beam] == pytest.approx(score, rel=1e-5)
            assert beams.finished[row, beam] == (tokens[-1] == EOS)
        assert (beams.scores[row, len(expected) :] == -np.inf).all()
        some_unfinished |= not bool(beams.finished[row, 0])
    assert some_unfinished or num_beams > 1


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_with_enough_beams_every_sequence_is_found_in_order(alpha):
    length, vocab = 4, 4
    tables = random_tables(batch=3, length=length, vocab=vocab, seed=1)
    beams = search_tables(tables, num_beams=64, alpha=alpha)  # 64 = 4 ** 3 beginnings at most
    others = [token for token in range(vocab) if token != EOS]
    for row, table in enumerate(tables):
        every = []
        for count in range(length):
            for tokens in itertools.product(others, repeat=count):
                steps = zip([0, *tokens], [*tokens, EOS], strict=True)
                total = sum(float(table[t, last, token]) for t, (last, token) in enumerate(steps))
                padded = [*tokens, EOS] + [0] * (length - count - 1)
                every.append((total / ((5 + count + 1) / 6) ** alpha, padded))
        every.sort(reverse=True)
        assert len(every) == 1 + 3 + 9 + 27
        assert beams.tokens[row, :40].tolist() == [tokens for _, tokens in every]
        np.testing.assert_allclose(beams.scores[row, :40], [score for score, _ in every], rtol=1e-5)
        assert (beams.scores[row, 40:] == -np.inf).all()
        assert beams.finished[row].tolist() == [True] * 40 + [False] * 24


# The model: caches follow their beams, sources do not mix, constraints are obeyed.

CONFIG = T5Config(
    vocab_size=2048,
    dtype="float32",
    emb_dim=16,
    num_heads=2,
    num_encoder_layers=1,
    num_decoder_layers=2,
    head_dim=8,
    mlp_dim=32,
    dropout_rate=0.0,
)
ARCHITECTURE = Architecture.t5(CONFIG)
SOURCE, TARGET = 12, 8


@functools.cache
def params():
    """An untrained model, whose choices are as good as random."""
    return jax.jit(ARCHITECTURE.init)(jax.random.key(0))


@functools.partial(jax.jit, static_argnames=("num_beams", "max_length", "alpha", "renormalise"))
def decode(params, source, constraint=None, *, num_beams=3, max_length=TARGET, **choices):
    return beam_search(
        ARCHITECTURE.merge(params),
        source,
        num_beams=num_beams,
        max_length=max_length,
        eos_id=EOS,
        constraint=constraint,
        **choices,
    )


@jax.jit
def full_logits(params, source, tokens):
    """Logits of full forward passes for the tokens of one beam per source; no cache."""
    model = ARCHITECTURE.merge(params)
    inputs = jnp.pad(tokens, ((0, 0), (1, 0)))[:, :-1]
    hidden = model.decode(model.encode(source), source, inputs, jnp.ones_like(inputs))
    return model.logits(hidden)


def sources(rows=6, vocab=CONFIG.vocab_size, seed=0):
    """Random sources of different lengths, the last one all padding."""
    random = np.random.default_rng(seed)
    source = random.integers(2, vocab, (rows, SOURCE)).astype(np.int32)
    source[np.arange(SOURCE) >= random.integers(1, SOURCE + 1, (rows, 1))] = 0
    source[-1] = 0
    return source


def test_every_beam_has_the_log_probabilities_of_the_full_forward_pass():
    source = sources()[:-1]
    beams = decode(params(), source)
    for beam in range(3):
        log_probs = jax.nn.log_softmax(full_logits(params(), source, beams.tokens[:, beam]))
        expected = np.take_along_axis(log_probs, beams.tokens[:, beam, :, None], axis=2)[..., 0]
        ends = beams.tokens[:, beam] == EOS
        written = (np.cumsum(ends, axis=1) - ends == 0) & (beams.scores[:, beam, None] > -np.inf)
        # Logits of order 1 from float32 sums in another order.
        np.testing.assert_allclose(
            beams.log_probs[:, beam], np.where(written, expected, 0), atol=2e-5
        )
    assert (np.asarray(beams.scores)[:, 2] > -np.inf).sum() >= 3  # some have all three
    assert (np.asarray(beams.scores)[:, :-1] >= np.asarray(beams.scores)[:, 1:]).all()
    for tokens, scores in zip(beams.tokens.tolist(), beams.scores, strict=True):
        exist = [tuple(t) for t, score in zip(tokens, scores, strict=True) if score > -np.inf]
        assert len(set(exist)) == len(exist)


def test_a_source_is_decoded_alike_in_any_order_and_alone():
    source = sources()
    beams = decode(params(), source)
    order = np.random.default_rng(1).permutation(len(source))
    shuffled = decode(params(), source[order])
    alone = [decode(params(), source[row : row + 1]) for row in range(2)]
    for name in ("tokens", "finished"):
        value = np.asarray(getattr(beams, name))
        np.testing.assert_array_equal(getattr(shuffled, name), value[order])
        for row in range(2):
            np.testing.assert_array_equal(getattr(alone[row], name)[0], value[row])
    np.testing.assert_allclose(shuffled.scores, np.asarray(beams.scores)[order], rtol=1e-5)


def test_a_source_of_padding_has_one_empty_sequence():
    beams = decode(params(), sources())
    assert beams.scores[-1].tolist() == [0, -np.inf, -np.inf]
    assert beams.finished[-1].tolist() == [True, False, False]
    assert not beams.tokens[-1].any() and not beams.log_probs[-1].any()
    assert (beams.scores[:-1] < 0).all()


def test_one_beam_without_penalty_is_greedy_until_an_end_came_second():
    # Of 16 words, the end of sequence is now and then the best or second.
    architecture = Architecture.t5(dataclasses.replace(CONFIG, vocab_size=16))
    source = sources(rows=64, vocab=16)
    merged = jax.jit(architecture.init)(jax.random.key(0))
    choices = dict(max_length=TARGET, eos_id=EOS)
    expected = jax.jit(lambda p, s: greedy(architecture.merge(p), s, **choices))(merged, source)
    beams = jax.jit(
        lambda p, s: beam_search(architecture.merge(p), s, num_beams=1, alpha=0.0, **choices)
    )(merged, source)
    same = ended_early = 0
    for row, tokens in enumerate(np.asarray(beams.tokens[:, 0])):
        if (tokens == expected.tokens[row]).all():
            same += 1
            np.testing.assert_allclose(  # tolerance as above
                beams.log_probs[row, 0], expected.log_probs[row], atol=2e-5
            )
        else:
            end = tokens.tolist().index(EOS)
            ended_early += 1
            assert tokens[:end].tolist() == expected.tokens[row, :end].tolist()
            if expected.finished[row]:
                assert beams.scores[row, 0] > expected.log_probs[row].sum()
    assert same > 10 and ended_early > 3


def test_sources_sharded_over_devices_are_decoded_alike():
    source = sources(rows=8)
    expected = decode(params(), source)
    mesh = partitioning.make_mesh()
    placed = jax.device_put(
        source, NamedSharding(mesh, PartitionSpec(partitioning.BATCH_AXES, None))
    )
    with jax.set_mesh(mesh):
        beams = decode(jax.device_put(params(), NamedSharding(mesh, PartitionSpec())), placed)
    np.testing.assert_array_equal(beams.tokens, expected.tokens)
    np.testing.assert_allclose(beams.scores, expected.scores, rtol=1e-5)  # float32 rounding


LABELS = ("Disease", "Chemical")
SENTENCES = [["acute", "pain", "."], ["Fièvre", "élevée"], ["aspirin", "and", "x"], []]


def span_sets(words):
    """Every set of flat spans over so many words."""

    def after(start):
        yield []
        for begin in range(start, words):
            for end in range(begin + 1, words + 1):
                for label in LABELS:
                    for rest in after(end):
                        yield [Span(begin, end, label), *rest]

    return list(after(0))


@pytest.mark.parametrize(("renormalise", "alpha"), [(False, 0.0), (True, 0.0), (False, None)])
def test_under_a_constraint_enough_beams_find_all_that_is_allowed(
    sample_vocabulary: Vocabulary, renormalise, alpha
):
    format_ = Labelling(sample_vocabulary, LABELS)
    examples = [format_.example({"words": words}, None) for words in SENTENCES]
    length = max(len(example["inputs"]) for example in examples)
    target = max(map(format_.max_target_length, examples))
    source = np.zeros((len(examples), length), np.int32)
    for row, example in enumerate(examples):
        source[row, : len(example["inputs"])] = example["inputs"]
    beams = decode(
        params(),
        source,
        format_.constraint(examples, length),
        num_beams=42,  # one more than there are
        max_length=target,
        alpha=alpha,
        renormalise=renormalise,
    )
    for row, (example, count) in enumerate(zip(examples, [41, 11, 41, 1], strict=True)):
        every = [
            [*render(example["words"], spans, format_.tags).ids, EOS]
            for spans in span_sets(len(SENTENCES[row]))
        ]
        assert len(every) == count
        padded = np.zeros((count, target), np.int32)
        for i, tokens in enumerate(every):
            padded[i, : len(tokens)] = tokens
        logits = np.asarray(
            full_logits(params(), np.repeat(source[row : row + 1], count, 0), padded)
        )
        scores = {}
        for i, tokens in enumerate(every):
            total = 0.0
            for t, token in enumerate(tokens):
                # What may follow is what follows in any of them.
                allowed = {other[t] for other in every if other[:t] == tokens[:t]}
                among = logits[i, t, sorted(allowed)] if renormalise else logits[i, t]
                total += logits[i, t, token] - np.log(np.exp(among).sum())
            # Without alpha, by the mean, as the published constrained decoder.
            scores[tuple(padded[i].tolist())] = total / (len(tokens) if alpha is None else 1)
        found = [tuple(tokens) for tokens in beams.tokens[row, :count].tolist()]
        assert set(found) == set(scores) and len(set(found)) == count
        # Up to 20 log-probabilities, each within 2e-5 as above.
        np.testing.assert_allclose(beams.scores[row, :count], [scores[f] for f in found], atol=4e-4)
        assert (np.diff(beams.scores[row, :count]) <= 0).all()
        assert found[0] == max(scores, key=scores.get)
        assert beams.finished[row].tolist() == [True] * count + [False] * (42 - count)
        assert (beams.scores[row, count:] == -np.inf).all()
    if renormalise:  # ... and they have all the probability there is.
        np.testing.assert_allclose(np.exp(beams.scores).sum(-1), 1, rtol=1e-4)


@pytest.mark.parametrize(
    "choices, message",
    [
        (dict(num_beams=0, max_length=4), "num_beams is 0"),
        (dict(num_beams=2, max_length=0), "max_length 0"),
        (dict(num_beams=2, max_length=4, alpha=-0.5), "alpha is -0.5"),
    ],
)
def test_impossible_choices_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        decode(params(), sources(), **choices)


# What T5X gave for the same parameters: brevity penalty 0.6, the worst beam first, -1e7 for none.


@functools.cache
def t5x_reference(name):
    """The model, its parameters and T5X's arrays; skips where they are not at hand."""
    short = name.removesuffix("_t5")
    source = open_source(str(shared.needs(f"reference/{short}_legacy/checkpoint_3")))
    architecture = Architecture.t5(source.config)
    with np.load(shared.needs(f"reference/{name}_ref.npz")) as arrays:
        return architecture, load_params(source, architecture), dict(arrays)


@pytest.mark.parametrize("name", ["t5_1_1", "t5_1_0", "scalable_t5"])
@pytest.mark.parametrize("num_beams", [1, 4])
def test_beams_and_scores_are_those_of_t5x(name, num_beams):
    architecture, tree, reference = t5x_reference(name)
    expected = reference[f"beam{num_beams}_tokens"]
    beams = jax.jit(
        lambda tree, source: beam_search(
            architecture.merge(tree),
            source,
            num_beams=num_beams,
            max_length=expected.shape[-1],
            eos_id=EOS,
            alpha=0.6,
        )
    )(tree, reference["batch/encoder_input_tokens"])
    np.testing.assert_array_equal(beams.tokens[:, ::-1], expected)
    scores = np.maximum(beams.scores, -1e7)[:, ::-1]
    # Sums of 16 float32 log-probabilities, from sums in another order.
    np.testing.assert_allclose(scores, reference[f"beam{num_beams}_scores"], rtol=1e-5)


@pytest.mark.parametrize("name", ["t5_1_1", "t5_1_0", "scalable_t5"])
def test_greedy_tokens_are_those_of_t5x(name):
    architecture, tree, reference = t5x_reference(name)
    decoded = jax.jit(
        lambda tree, source: greedy(
            architecture.merge(tree), source, max_length=TARGET * 2, eos_id=EOS
        )
    )(tree, reference["batch/encoder_input_tokens"])
    np.testing.assert_array_equal(decoded.tokens, reference["greedy_tokens"])
