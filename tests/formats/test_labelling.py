"""Tags around words: what is rendered, what may be decoded, and what is read back."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from medmt5.formats.labelling import (
    InlineTags,
    Labelling,
    ScoredSpan,
    Span,
    TagSet,
    check_spans,
    parse,
    parse_free,
    render,
    spans_of,
    tags_of,
)

EOS = 1
TAGS = TagSet(("A", "B"), (90, 92), (91, 93))
WORDS = [(10,), (11, 12), (13,), (14, 15, 16)]
SOURCE = [10, 11, 12, 13, 14, 15, 16]


# Tags to spans.


@pytest.mark.parametrize(
    "tags, spans",
    [
        ([], []),
        (["O", "B-A", "I-A", "O"], [(1, 3, "A")]),
        (["B-A", "B-A"], [(0, 1, "A"), (1, 2, "A")]),  # side by side
        (["O", "B-A"], [(1, 2, "A")]),  # up to the end
        (["B-A", "I-B"], [(0, 1, "A"), (1, 2, "B")]),  # an I- of another label begins a span
        (["I-A", "I-A", "O", "I-A"], [(0, 2, "A"), (3, 4, "A")]),  # plain IOB
        (["B-a-b", "I-a-b"], [(0, 2, "a-b")]),
    ],
)
def test_spans_of_tags_worked_by_hand(tags, spans):
    assert spans_of(tags) == spans


@given(st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B", "B-A-x", "I-A-x"])))
def test_spans_equal_seqevals_even_where_tags_are_ill_formed(tags):
    expected = [(start, end + 1, label) for label, start, end in get_entities(tags)]
    assert spans_of(tags) == expected


@st.composite
def sentences(draw, labels=TAGS.labels):
    """Words as random ids, and flat spans over them."""
    words = draw(st.lists(st.lists(st.integers(10, 80), min_size=1, max_size=4), max_size=10))
    edges = sorted(draw(st.sets(st.integers(0, len(words)))))
    spans = [
        Span(start, end, draw(st.sampled_from(labels)))
        for start, end in zip(edges, edges[1:], strict=False)
        if draw(st.booleans())
    ]
    return words, spans


@given(sentences())
def test_tags_of_spans_give_the_spans_back(sentence):
    words, spans = sentence
    assert spans_of(tags_of(len(words), spans)) == spans


# Rendering and reading back.


@pytest.mark.parametrize(
    "spans, target",
    [
        ([], SOURCE),
        ([(1, 2, "A")], [10, 90, 11, 12, 91, 13, 14, 15, 16]),
        # Side by side, with the same label and with another.
        ([(0, 1, "A"), (1, 3, "A")], [90, 10, 91, 90, 11, 12, 13, 91, 14, 15, 16]),
        ([(0, 1, "A"), (1, 2, "B")], [90, 10, 91, 92, 11, 12, 93, 13, 14, 15, 16]),
        # At the end, and over the whole sentence.
        ([(3, 4, "B")], [10, 11, 12, 13, 92, 14, 15, 16, 93]),
        ([(0, 4, "B")], [92, 10, 11, 12, 13, 14, 15, 16, 93]),
    ],
)
def test_targets_worked_by_hand_are_rendered_and_read_back(spans, target):
    assert render(WORDS, spans, TAGS) == target
    assert parse(target, WORDS, TAGS) == [ScoredSpan(*span, 1.0) for span in spans]


@given(sentences())
def test_reading_back_inverts_rendering(sentence):
    words, spans = sentence
    target = [*render(words, spans, TAGS), EOS, 0, 0]
    assert [Span(*span[:3]) for span in parse(target, words, TAGS)] == spans


def test_words_that_look_alike_keep_their_places():
    words = [(10,)] * 4
    assert parse([10, 90, 10, 91, 10, 90, 10, 91], words, TAGS) == [
        (1, 2, "A", 1.0),
        (3, 4, "A", 1.0),
    ]


def test_the_score_of_a_span_is_the_product_over_its_decisions():
    #         open  11    12    close  copy and end are not the span's
    target = [10, 90, 11, 12, 91, 13, 14, 15, 16, EOS]
    probabilities = [0.9, 0.5, 0.8, 1.0, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1]
    (span,) = parse(target, WORDS, TAGS, np.log(probabilities))
    assert span.score == pytest.approx(0.5 * 0.8 * 1.0 * 0.5)


@pytest.mark.parametrize(
    "target, message",
    [
        ([10, 11, 12, 13, 14, 15], "ends after 6 of 7"),  # cut short
        ([10, 12, 11, 13, 14, 15, 16], "position 1 .* not the source's next token"),
        ([10, 11, 90, 12, 91, 13, 14, 15, 16], "tag 90 at position 2 .* misplaced"),  # in a word
        ([90, 10, 90, 11, 12, 91, 13, 14, 15, 16], "tag 90 at position 2"),  # nested
        ([10, 91, 11, 12, 13, 14, 15, 16], "tag 91 at position 1"),  # not open
        ([90, 10, 93, 11, 12, 13, 14, 15, 16], "tag 93 at position 2"),  # another label
        ([10, 90, 91, 11, 12, 13, 14, 15, 16], "tag 91 at position 2"),  # empty
        ([90, 10, 11, 12, 13, 14, 15, 16], "ends after 7 of 7"),  # never closed
        ([10, EOS], "position 1"),
    ],
)
def test_a_target_that_is_not_the_source_with_tags_is_refused(target, message):
    with pytest.raises(ValueError, match=message):
        parse(target, WORDS, TAGS)


@pytest.mark.parametrize(
    "spans, message",
    [
        ([(1, 1, "A")], "is empty, overlaps"),
        ([(0, 2, "A"), (1, 3, "A")], "overlaps another span"),
        ([(3, 5, "A")], "leaves the sentence of 4 words"),
        ([(-1, 2, "A")], "leaves the sentence"),
        ([(0, 1, "C")], "label 'C' is unknown; labels are A, B"),
    ],
)
def test_spans_that_cannot_be_rendered_are_refused(spans, message):
    with pytest.raises(ValueError, match=message):
        render(WORDS, spans, TAGS)


def test_spans_are_put_in_order_and_scores_are_dropped():
    assert check_spans(4, [(2, 3, "A", 0.5), (0, 1, "B", 0.1)], TAGS.labels) == [
        Span(0, 1, "B"),
        Span(2, 3, "A"),
    ]


# The constraint, step by step.


def walk(words, tokens, tags=TAGS):
    """Feed tokens to the constraint; the set of ids allowed before each, and after the last."""
    source = [i for word in words for i in word] + [EOS]
    starts = np.cumsum([0, *map(len, words)])
    word_start = np.isin(np.arange(len(source) + 2), starts)
    constraint = InlineTags(
        jnp.asarray([source + [0, 0]]),
        jnp.asarray([word_start]),
        jnp.asarray(tags.open_ids),
        jnp.asarray(tags.close_ids),
        EOS,
    )
    state, seen = constraint.init(1), []
    for token in [*tokens, None]:
        ids, mask = constraint.allowed(state)
        allowed = set(np.asarray(ids)[np.asarray(mask)].tolist())
        seen.append(allowed)
        if token is not None:
            assert token in allowed, (token, allowed)
            state = constraint.advance(state, jnp.asarray([token]))
    return seen


def test_allowed_tokens_along_a_sentence_worked_by_hand():
    words = [(10,), (11, 12)]
    assert walk(words, [10, 90, 11, 12, 91, EOS, 0]) == [
        {10, 90, 92},  # a word begins: copy, or open a label
        {11, 90, 92},
        {11},  # just opened: a span is never empty
        {12},  # inside a word
        {91},  # the sentence is over: only the open label can be closed, and it must be
        {EOS},  # no span of no words at the end
        {0},  # padding for ever
        {0},
    ]


def test_a_span_may_be_closed_or_go_on_at_each_word_and_another_may_follow():
    words = [(10,), (11,), (12,)]
    assert walk(words, [92, 10, 93, 90, 11]) == [
        {10, 90, 92},
        {10},
        {11, 93},  # only the label that is open can be closed, and none opened inside
        {11, 90, 92},  # adjacent spans
        {11},
        {12, 91},
    ]


def test_a_sentence_without_words_can_only_end():
    assert walk([], [EOS]) == [{EOS}, {0}]


@settings(max_examples=20)  # each step runs on the device, one operation at a time
@given(sentences())
def test_every_rendered_target_is_allowed(sentence):
    words, spans = sentence
    walk(words, [*render(words, spans, TAGS), EOS])


# Words as text.


@pytest.fixture(scope="module")
def format_(sample_vocabulary):
    return Labelling(sample_vocabulary, ["Disease", "Chemical"], tag_weight=5.0)


def test_tags_take_the_padding_rows_pairwise(format_):
    assert format_.tags == TagSet(("Disease", "Chemical"), (2036, 2038), (2037, 2039))


@pytest.mark.parametrize("labels", [[], ["A", "A"], ["A", ""]])
def test_labels_must_be_different_names(sample_vocabulary, labels):
    with pytest.raises(ValueError, match="give one or more different names"):
        Labelling(sample_vocabulary, labels)


def test_more_labels_than_spare_ids_are_refused(sample_vocabulary):
    # 12 padding rows and 50 sentinels: 31 labels.
    Labelling(sample_vocabulary, [f"L{i}" for i in range(31)])
    with pytest.raises(ValueError, match="64 added tokens asked for.*use fewer labels"):
        Labelling(sample_vocabulary, [f"L{i}" for i in range(32)])


def test_an_example_has_ids_word_starts_weights_and_spans(format_, sample_vocabulary):
    raw = {"words": ["acute", "leukaemia", "."], "tags": ["B-Disease", "I-Disease", "O"]}
    words = [sample_vocabulary.encode_word(word) for word in raw["words"]]
    example = format_.example(raw, None)
    a, b, c = words
    assert example["inputs"].tolist() == [*a, *b, *c, EOS]
    starts = {0, len(a), len(a + b), len(a + b + c)}
    assert set(np.flatnonzero(example["word_start"])) == starts
    assert example["targets"].tolist() == [2036, *a, *b, 2037, *c, EOS]
    weights = [5.0, *[1.0] * len(a + b), 5.0, *[1.0] * len(c), 1.0]
    assert example["target_weights"].tolist() == weights
    assert example["spans"] == [Span(0, 2, "Disease")]


def test_a_sentence_to_be_labelled_has_no_targets(format_):
    assert "targets" not in format_.example({"words": ["pain"]}, None)


def test_an_unknown_label_in_an_example_is_refused(format_):
    with pytest.raises(ValueError, match="label 'Drug' is unknown"):
        format_.example({"words": ["pain"], "tags": ["B-Drug"]}, None)


def test_the_longest_target_has_two_tags_around_every_word(format_):
    raw = {"words": ["acute", "pain"], "tags": ["B-Disease", "B-Disease"]}
    example = format_.example(raw, None)
    assert format_.max_target_length(example) == len(example["targets"])


# Free generation.


@pytest.mark.parametrize(
    "make, spans, faithful",
    [
        (lambda a, b: [*a, 2036, *b, 2037], [(1, 2, "Disease")], True),
        (lambda a, b: [*a, *b, 1, 2036], [], True),  # nothing counts after the end
        (lambda a, b: [*a, 2036, *b], [], True),  # never closed
        (lambda a, b: [2036, *a, 2039, *b], [], True),  # closed by another label
        (lambda a, b: [2036, 2037, *a, *b], [], True),  # empty
        (lambda a, b: [2036, *a, 2037], [(0, 1, "Disease")], False),  # a word is missing
        (lambda a, b: [*a, 2038, *b, *b, 2039], [(1, 2, "Chemical")], False),  # cut at the end
        (lambda a, b: [2036, *b, 2037, *a], [(0, 1, "Disease")], False),  # exchanged
        (lambda a, b: [], [], False),
    ],
)
def test_free_targets_are_read_as_well_as_can_be(format_, make, spans, faithful):
    words = format_.word_ids(["acute", "leukaemia"])
    got = parse_free(make(*words), words, format_.tags, format_.vocabulary)
    assert got == (spans, faithful)
