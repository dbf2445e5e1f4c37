"""Greedy decoding against a slow reference: full passes, full vocabulary, plain Python."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from medmt5.decoding import greedy
from medmt5.formats.labelling import Labelling
from medmt5.formats.tags import parse
from medmt5.models.t5 import T5Config
from medmt5.predictor import Predictor
from medmt5.state import Architecture
from medmt5.vocabulary import Vocabulary

EOS = 1
LABELS = ["Disease", "Chemical", "Sign"]
SOURCE, TARGET = 64, 80  # fixed, so that each function is compiled once

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


@pytest.fixture(scope="module")
def format_(sample_vocabulary: Vocabulary):
    return Labelling(sample_vocabulary, LABELS)


@functools.cache
def params(seed=0):
    """An untrained model, whose choices are as good as random."""
    return jax.jit(ARCHITECTURE.init)(jax.random.key(seed))


@jax.jit
def constrained(params, source, constraint):
    model = ARCHITECTURE.merge(params)
    return greedy(model, source, max_length=TARGET, eos_id=EOS, constraint=constraint)


@functools.partial(jax.jit, static_argnames="max_length")
def free(params, source, *, max_length=10):
    return greedy(ARCHITECTURE.merge(params), source, max_length=max_length, eos_id=EOS)


@jax.jit
def full_logits(params, source, inputs):
    """Logits of the full forward pass, no cache; nothing after a position reaches it."""
    model = ARCHITECTURE.merge(params)
    hidden = model.decode(model.encode(source), source, inputs, jnp.ones_like(inputs))
    return model.logits(hidden)


def logits_after(prefix, source, seed=0):
    """Scores of the whole vocabulary for the token after `prefix`."""
    inputs = np.zeros((1, TARGET), np.int32)
    inputs[0, 1 : len(prefix) + 1] = prefix
    return np.asarray(full_logits(params(seed), source, inputs))[0, len(prefix)]


def padded(examples):
    source = np.zeros((len(examples), SOURCE), np.int32)
    for row, example in enumerate(examples):
        source[row, : len(example["inputs"])] = example["inputs"]
    return source


def label(format_, sentences, seed=0):
    examples = [format_.example({"words": words}, None) for words in sentences]
    constraint = format_.constraint(examples, SOURCE)
    return examples, jax.device_get(constrained(params(seed), padded(examples), constraint))


def allowed_tokens(tokens, words, tags):
    """The same rules as the constraint's, worked out afresh from the tokens so far."""
    closes = set(np.ravel(tags.closes))
    opens = dict(zip(np.ravel(tags.opens), np.ravel(tags.closes), strict=True))
    flat = [(i, n == 0) for word in words for n, i in enumerate(word)]
    copied = [t for t in tokens if t not in opens and t not in closes]
    last_tag = next((t for t in reversed(tokens) if t in opens or t in closes), None)
    inside = last_tag in opens
    just_opened = bool(tokens) and tokens[-1] in opens
    if len(copied) == len(flat):
        return {opens[last_tag]} if inside else {EOS}
    token, begins = flat[len(copied)]
    out = {token}
    if begins and not inside:
        out |= set(opens)
    if begins and inside and not just_opened:
        out.add(opens[last_tag])
    return out


SENTENCES = [
    ["acute", "leukaemia", "and", "aspirin", "."],
    ["Fièvre", "élevée"],
    ["患", "者"],
    ["pain"],
]


@pytest.mark.parametrize("seed", [0, 1])
def test_greedy_equals_a_slow_reference_with_full_passes_and_the_full_vocabulary(format_, seed):
    examples, decoded = label(format_, SENTENCES, seed)
    some_tag = False
    for row, example in enumerate(examples):
        source, tokens, scores = padded([example]), [], []
        while not tokens or tokens[-1] != EOS:
            logits = logits_after(tokens, source, seed)
            allowed = sorted(allowed_tokens(tokens, example["words"], format_.tags))
            masked = np.full(len(logits), -np.inf)
            masked[allowed] = logits[allowed]
            tokens.append(int(masked.argmax()))
            scores.append(masked.max() - np.log(np.exp(masked).sum()))
        count = len(tokens)
        assert decoded.tokens[row].tolist() == tokens + [0] * (TARGET - count)
        # Logits of order 1 from float32 sums in another order.
        np.testing.assert_allclose(decoded.log_probs[row, :count], scores, atol=2e-5)
        assert not decoded.log_probs[row, count:].any()
        spans = parse(tokens, example["words"], format_.tags, decoded.log_probs[row])
        position = 0
        for span in spans:
            some_tag = True
            begin = next(
                i for i in range(position, count) if tokens[i] in np.ravel(format_.tags.opens)
            )
            end = next(i for i in range(begin, count) if tokens[i] in np.ravel(format_.tags.closes))
            expected = np.exp(sum(scores[begin : end + 1]))
            assert span.score == pytest.approx(expected, rel=1e-4)  # as above, times its length
            assert 0 < span.score <= 1
            position = end + 1
    assert some_tag and decoded.finished.all()


# Any character but white space alone; words are short so that all fit in the fixed shapes.
WORD = st.one_of(
    st.text(max_size=2),
    st.text(alphabet=st.characters(categories=["Cs", "Cf", "Mn", "Co", "Cc", "So"]), max_size=2),
    st.sampled_from(["</s>", "<pad>", "\u200b", "", " ", "▁", "\ud800", "é", "e\u0301", "ﬁ"]),
)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sentences=st.lists(st.lists(WORD, max_size=6), min_size=4, max_size=4), seed=st.booleans())
def test_decoded_sentences_are_their_source_with_tags_whatever_the_words(format_, sentences, seed):
    examples = [format_.example({"words": words}, None) for words in sentences]
    assume(max(map(format_.max_target_length, examples)) <= TARGET)
    assume(max(len(example["inputs"]) for example in examples) <= SOURCE)
    examples, decoded = label(format_, sentences, int(seed))
    assert decoded.finished.all()
    tags = format_.tags.ids
    for row, (words, example) in enumerate(zip(sentences, examples, strict=True)):
        tokens = decoded.tokens[row].tolist()
        copied = [t for t in tokens[: tokens.index(EOS) + 1] if t not in tags]
        assert copied == example["inputs"].tolist()
        assert not any(tokens[tokens.index(EOS) + 1 :])
        spans = parse(tokens, example["words"], format_.tags, decoded.log_probs[row])
        at = 0
        for span in spans:
            assert at <= span.start < span.end <= len(words)
            assert span.label in LABELS and 0 <= span.score <= 1
            at = span.end


def test_rows_of_padding_end_at_once(format_):
    example = format_.example({"words": ["pain"]}, None)
    source = padded([example] * 4)
    source[1:] = 0
    constraint = format_.constraint([example] * 4, SOURCE)
    decoded = constrained(params(), source, constraint)
    assert decoded.finished.all()
    assert not decoded.tokens[1:].any() and not decoded.log_probs[1:].any()
    assert decoded.tokens[0].any()


def test_free_decoding_takes_the_best_word_of_the_full_forward_pass(format_):
    examples = [format_.example({"words": words}, None) for words in SENTENCES]
    decoded = free(params(), padded(examples))
    for row, example in enumerate(examples):
        tokens, log_probs = decoded.tokens[row].tolist(), decoded.log_probs[row]
        for t, token in enumerate(tokens):
            # A 0 in the middle is an answer too, but the reference would take it for padding.
            if 0 in tokens[:t] or EOS in tokens[:t]:
                break
            logits = logits_after(tokens[:t], padded([example])).astype(np.float64)
            assert token == logits.argmax()
            expected = logits.max() - np.log(np.exp(logits).sum())
            assert log_probs[t] == pytest.approx(expected, abs=2e-5)  # float32 rounding


def test_free_decoding_stops_at_the_end_of_sequence():
    ending = jax.tree.map(np.array, params())
    head = ending["decoder"]["logits_dense"]["kernel"]
    ending["decoder"]["decoder_norm"]["scale"][:] = 0  # all logits are 0 ...
    decoded = free(ending, np.array([[5, 6, EOS]] * 2))
    assert not decoded.tokens.any() and not decoded.finished.any()  # ... and 0 wins a tie
    head = np.zeros_like(head)
    head[:, EOS] = 1.0
    ending["decoder"]["logits_dense"]["kernel"] = head
    # The norm's output is made positive: embeddings are replaced by ones, layers by nothing.
    ending["decoder"]["decoder_norm"]["scale"][:] = 1.0
    ending["token_embedder"]["embedding"][:] = 1.0
    for name in ("layers_0", "layers_1"):
        for part in ("self_attention", "encoder_decoder_attention"):
            ending["decoder"][name][part]["out"]["kernel"][:] = 0.0
        ending["decoder"][name]["mlp"]["wo"]["kernel"][:] = 0.0
    decoded = free(ending, np.array([[5, 6, EOS]] * 2))
    assert decoded.tokens.tolist() == [[EOS] + [0] * 9] * 2
    assert decoded.finished.all()


def test_a_sentence_is_decoded_alike_alone_and_in_batches_of_other_lengths(format_):
    sentences = [*SENTENCES, ["aspirin", "and", "pain"]]  # 5 do not fill two batches of 4
    examples = [format_.example({"words": words}, None) for words in sentences]
    predictor = Predictor(ARCHITECTURE, params(), eos_id=EOS, batch_size=4)
    got = predictor.predict(examples, format_=format_)
    assert len(got) == 5
    for sentence, prediction in zip(sentences, got, strict=True):
        _, alone = label(format_, [sentence] * 4)
        expected = alone.tokens[0][alone.tokens[0] > 0].tolist()
        assert prediction.tokens.tolist() == expected
        assert prediction.finished and len(prediction.log_probs) == len(expected)
