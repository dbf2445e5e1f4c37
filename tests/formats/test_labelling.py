"""Tags around words: what is rendered, what may be decoded, and what is read back."""

import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from medmt5.formats.labelling import Labelling
from medmt5.formats.spans import ScoredSpan, Span, check_spans, spans_of, tags_of
from medmt5.formats.tag_constraint import InlineTags
from medmt5.formats.tags import TagSet, parse, parse_free, render
from medmt5.vocabulary import PAD_ID

EOS = 1
TAGS = TagSet(("A", "B"), ((90,), (92,)), ((91,), (93,)))
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
    assert render(WORDS, spans, TAGS).ids == target
    assert parse(target, WORDS, TAGS) == [ScoredSpan(*span, 1.0) for span in spans]


@given(sentences())
def test_reading_back_inverts_rendering(sentence):
    words, spans = sentence
    target = [*render(words, spans, TAGS).ids, EOS, 0, 0]
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
    constraint = InlineTags.make(
        [source + [0, 0]], [word_start], tags, EOS, in_text=tags is TEXTUAL
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
    walk(words, [*render(words, spans, TAGS).ids, EOS])


# Words as text.


@pytest.fixture(scope="module")
def format_(sample_vocabulary):
    return Labelling(sample_vocabulary, ["Disease", "Chemical"], tag_weight=5.0)


def test_tags_take_the_padding_rows_pairwise(format_):
    assert format_.tags == TagSet(("Disease", "Chemical"), ((2036,), (2038,)), ((2037,), (2039,)))


@pytest.mark.parametrize("labels", [[], ["A", "A"], ["A", ""]])
def test_labels_must_be_different_names(sample_vocabulary, labels):
    with pytest.raises(ValueError, match="give one or more different names"):
        Labelling(sample_vocabulary, labels)


def test_more_labels_than_spare_rows_get_tags_of_two_rows(sample_vocabulary):
    # 12 padding rows and 50 sentinels: 31 labels with tags of one row, or all pairs of 62.
    few = Labelling(sample_vocabulary, [f"L{i}" for i in range(31)]).tags
    assert {len(tag) for tag in few.opens + few.closes} == {1}
    many = Labelling(sample_vocabulary, [f"L{i}" for i in range(64)]).tags
    assert many.opens[:2] == ((2036, 2036), (2036, 2038)) and many.closes[0] == (2036, 2037)
    assert len({*many.opens, *many.closes}) == 128 and len(many.ids) <= 62
    with pytest.raises(ValueError, match="3846 added tokens asked for.*use fewer labels"):
        Labelling(sample_vocabulary, [f"L{i}" for i in range(1923)])


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


# Tags of several ids.

PAIRS = TagSet(("A", "B", "AB"), ((90, 91), (90, 92), (93,)), ((94, 90), (94, 91), (94, 90)))


def test_a_tag_of_several_ids_is_written_to_its_end():
    words = [(10,), (11, 12)]
    assert walk(words, [90, 92, 10, 94, 91, 93, 11, 12, 94, 90, EOS], PAIRS) == [
        {10, 90, 93},  # two labels begin with the same id
        {91, 92},
        {10},  # a word must follow
        {11, 94},
        {91},  # B is open: only its tag
        {11, 90, 93},  # adjacent
        {11},
        {12},
        {94},
        {90},
        {EOS},
        {0},
    ]


@given(sentences(labels=PAIRS.labels))
def test_reading_back_inverts_rendering_with_tags_of_several_ids(sentence):
    words, spans = sentence
    target = [*render(words, spans, PAIRS).ids, EOS]
    assert [Span(*span[:3]) for span in parse(target, words, PAIRS)] == spans


def test_the_score_of_a_span_counts_all_ids_of_its_tags():
    #         open  .    10   close .   copies and end are not the span's
    target = [90, 92, 10, 94, 91, 11, 12, EOS]
    probabilities = [0.5, 0.9, 1.0, 0.8, 0.7, 0.1, 0.1, 0.1]
    (span,) = parse(target, [(10,), (11, 12)], PAIRS, np.log(probabilities))
    assert span.score == pytest.approx(0.5 * 0.9 * 0.8 * 0.7)


@pytest.mark.parametrize(
    "opens, message",
    [
        (((90,), (90, 91)), "tag of label 'B' begins with the whole tag of 'A'"),
        (((90, 91), (90, 91)), "cannot be told apart"),
        (((90,), ()), "'A' begins with|has no ids|begins with the whole tag"),
        (((90,),), "2 labels need as many tags"),
    ],
)
def test_tags_that_cannot_be_told_apart_are_refused(opens, message):
    with pytest.raises(ValueError, match=message):
        TagSet(("A", "B"), opens, ((1,), (2,)))


# Tags spelt in text: the text may hold their ids.

TEXTUAL = TagSet(("X", "Y"), ((5, 6, 9), (5, 7, 9)), ((5, 8, 6, 9), (5, 8, 7, 9)))


def test_a_word_that_begins_like_a_tag_is_followed_as_both():
    words = [(10,), (5,), (11,)]  # "p < 0.05"
    assert walk(words, [10, 5, 11, EOS], TEXTUAL) == [
        {10, 5},
        {5},  # the word, or a tag before it
        {11, 5, 6, 7},  # it was the word (then a tag may begin here), or the tag goes on
        {EOS},
        {0},
    ]
    # It was a tag, around the word 5, which is still to be copied.
    target = [10, 5, 6, 9, 5, 5, 8, 6, 9, 11, EOS]
    walk(words, target, TEXTUAL)
    assert parse(target, words, TEXTUAL) == [(1, 2, "X", 1.0)]
    assert parse([10, 5, 11, EOS], words, TEXTUAL) == []


def test_a_literal_tag_in_the_text_is_text():
    words = [(5, 6, 9), (10,)]  # "<X> ..."
    assert parse([5, 6, 9, 10, EOS], words, TEXTUAL) == []
    walk(words, [5, 6, 9, 10, EOS], TEXTUAL)


@functools.partial(jax.jit, static_argnames=("in_text", "steps"))
def random_walk(source, word_start, trie, key, *, in_text, steps):
    """Random allowed tokens for every row, and whether the ids allowed ever came twice."""
    constraint = InlineTags(source, word_start, trie, EOS, in_text)

    def step(state, key):
        ids, mask = constraint.allowed(state)
        twice = (ids[:, :, None] == ids[:, None, :]) & mask[:, :, None] & mask[:, None, :]
        twice &= ~jnp.eye(ids.shape[1], dtype=bool)
        choice = jax.random.categorical(key, jnp.where(mask, 0.0, -jnp.inf))
        token = jnp.take_along_axis(ids, choice[:, None], 1)[:, 0]
        bad = ~mask.any(-1) | twice.any((-1, -2))
        return constraint.advance(state, token), (token, bad)

    first = constraint.init(source.shape[0])
    state, (tokens, bad) = jax.lax.scan(step, first, jax.random.split(key, steps))
    return tokens.T, bad.any(), state.done


@pytest.mark.parametrize("tags", [TAGS, PAIRS, TEXTUAL], ids=["rows", "pairs", "text"])
@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_allowed_is_read_back_as_the_source_with_flat_spans(tags, seed):
    rng = np.random.default_rng(seed)
    in_text = tags is TEXTUAL
    # With textual tags: words made of the tags' own ids, literal tags among them.
    words = [
        [tuple(rng.integers(5, 10 if in_text else 80, rng.integers(1, 4)).tolist())
         if rng.random() < 0.8 or not in_text else tags.opens[rng.integers(2)]
         for _ in range(rng.integers(0, 6))]
        for _ in range(200)
    ]  # fmt: skip
    source, word_start = np.zeros((200, 20), np.int32), np.zeros((200, 20), bool)
    for row, sentence in enumerate(words):
        ids = [*itertools.chain(*sentence), EOS]
        source[row, : len(ids)] = ids
        word_start[row, np.cumsum([0, *map(len, sentence)])] = True
    steps = 20 + 6 * 8
    tokens, bad, done = random_walk(
        source, word_start, tags.trie, jax.random.key(seed), in_text=in_text, steps=steps
    )
    assert not bad and done.all()
    found = 0
    for row, sentence in enumerate(words):
        spans = parse(tokens[row].tolist(), sentence, tags)  # raises if the text is not whole
        assert check_spans(len(sentence), spans, tags.labels) == [Span(*s[:3]) for s in spans]
        found += len(spans)
        if not in_text:
            again = render(sentence, spans, tags).ids
            assert tokens[row, : len(again) + 1].tolist() == [*again, EOS]
    assert found > 100


# Prompts, spellings and tasks that share a model.


def test_a_label_prompt_stands_before_the_words_and_is_not_copied(sample_vocabulary):
    format_ = Labelling(
        sample_vocabulary, ["prem", "Claim"], spelling={"prem": "Premise"}, label_prompt=True
    )
    (claim,), (premise,) = format_.tags.opens[1], format_.tags.opens[0]
    example = format_.example({"words": ["acute", "pain"], "tags": ["O", "B-prem"]}, None)
    plain = Labelling(sample_vocabulary, ["prem", "Claim"]).example(
        {"words": ["acute", "pain"]}, None
    )
    # By name: <Claim> before <Premise>.
    assert example["inputs"].tolist() == [claim, premise, *plain["inputs"].tolist()]
    assert example["targets"][0] == plain["inputs"][0]
    constraint = format_.constraint([example], 32)
    assert constraint.source[0, : len(plain["inputs"])].tolist() == plain["inputs"].tolist()
    assert example["spans"] == [Span(1, 2, "prem")]
    assert format_.tag_names[premise] == "<Premise>"


def test_tasks_of_one_model_share_their_tags(sample_vocabulary):
    inventory = ["Disease", "Claim", "Premise"]
    one = Labelling(sample_vocabulary, ["Disease"], inventory=inventory)
    two = Labelling(sample_vocabulary, ["Premise", "Claim"], inventory=inventory)
    assert {one.tags.opens[0], *two.tags.opens} == {(2036,), (2038,), (2040,)}
    assert two.tags.opens == ((2040,), (2038,))
    with pytest.raises(ValueError, match="labels Drug are not in the inventory: Disease, Claim"):
        Labelling(sample_vocabulary, ["Drug"], inventory=inventory)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"inventory": ["B", "A", "C"], "label_prompt": True},
        {"where": "text", "spelling": {"A": "Sign"}},
        {"where": {"open": [[2040], [2041]], "close": [[2042], [2043]]}},
    ],
)
def test_a_format_is_made_again_from_its_description(sample_vocabulary, options):
    format_ = Labelling(sample_vocabulary, ["A", "B"], **options)
    card = json.loads(json.dumps(format_.describe())) | {"lengths": {"inputs": 32}}
    again = Labelling.from_description(card, sample_vocabulary)
    assert again.describe() == format_.describe()
    assert (again.tags, again.prompt) == (format_.tags, format_.prompt)


def test_textual_tags_are_spelt_with_pieces_of_text(sample_vocabulary):
    format_ = Labelling(sample_vocabulary, ["a|b", "x("], where="text")
    assert format_.tags.opens == tuple(
        sample_vocabulary.encode_word(tag) for tag in ("<a|b>", "<x(>")
    )
    assert format_.tags_in_text and not format_.tag_names.keys() & {PAD_ID}


def test_an_unknown_place_for_tags_is_refused(sample_vocabulary):
    with pytest.raises(ValueError, match="tags are 'sky'; use rows, text, or ids"):
        Labelling(sample_vocabulary, ["A"], where="sky")
