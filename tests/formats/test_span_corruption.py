"""Span corruption by hand, by statistics, and back again."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmt5 import shuffling
from medmt5.formats.span_corruption import (
    Chunks,
    SpanCorruption,
    chunk_length,
    corrupt,
    noise_masks,
    span_counts,
)

EOS, FIRST = 1, 999  # <extra_id_0> is 999 and the others count downwards


def test_1137_tokens_become_1024_inputs_and_229_targets():
    # round(0.15 x 1137 = 170.55) = 171 dropped, 171 / 3 = 57 spans:
    # 1137 - 171 + 57 + 1 (end of sequence) = 1024, and 171 + 57 + 1 = 229.
    assert span_counts(1137, density=0.15, mean_span=3.0) == (171, 57)
    assert chunk_length(1024) == 1137
    tokens = np.arange(2, 1139)[None]
    masks = noise_masks(shuffling.key([0]), 1137)
    inputs, targets = corrupt(tokens, masks, first_sentinel=5000, eos_id=EOS)
    assert (inputs.shape, targets.shape) == ((1, 1024), (1, 229))


def test_a_given_mask_gives_inputs_and_targets_worked_by_hand():
    tokens = np.array([[10, 11, 12, 13, 14, 15, 16, 17]] * 2)
    masks = np.array([[0, 0, 1, 1, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0, 1, 1]], bool)
    inputs, targets = corrupt(tokens, masks, first_sentinel=FIRST, eos_id=EOS)
    assert inputs.tolist() == [
        [10, 11, 999, 14, 15, 16, 998, EOS],
        [10, 999, 12, 13, 14, 15, 998, EOS],
    ]
    assert targets.tolist() == [[999, 12, 13, 998, 17, EOS], [999, 11, 998, 16, 17, EOS]]
    assert inputs.dtype == targets.dtype == np.int32


@pytest.mark.parametrize(
    "length, expected",
    [
        (2, (1, 1)),  # at least one token is dropped
        (10, (2, 1)),  # 1.5 rounds to even
        (20, (3, 1)),
        (100, (15, 5)),
    ],
)
def test_counts_of_short_chunks(length, expected):
    assert span_counts(length, density=0.15, mean_span=3.0) == expected


def test_never_are_all_tokens_dropped_nor_are_there_more_spans_than_gaps():
    assert span_counts(5, density=0.99, mean_span=1.0) == (4, 1)


@pytest.mark.parametrize("options", [{}, {"mean_span": 1.0}, {"density": 0.5}, {"mean_span": 10}])
@pytest.mark.parametrize("limit", [3, 5, 6, 9, 10, 11, 64, 100, 512])
def test_a_chunk_fills_the_inputs_and_one_token_more_would_not_fit(limit, options):
    options = {"density": 0.15, "mean_span": 3.0} | options

    def encoded(length):
        dropped, spans = span_counts(length, **options)
        return length - dropped + spans + 1

    length = chunk_length(limit, **options)
    assert encoded(length) <= limit < encoded(length + 1)


def runs(mask):
    """Lengths of the dropped runs, and of the kept ones before them."""
    edges = np.flatnonzero(np.diff(mask)) + 1
    lengths = np.diff([0, *edges, len(mask)])
    return lengths[1::2], lengths[0::2]


def test_masks_drop_exactly_the_share_in_exactly_the_number_of_spans():
    for mask in noise_masks(shuffling.key(np.arange(200)), 512):
        dropped, kept = runs(mask)
        # round(76.8) = 77 tokens in round(25.67) = 26 spans: 2.96 tokens each.
        assert mask.sum() == 77
        assert len(dropped) == len(kept) == 26
        assert not mask[0] and mask[-1]


def test_every_way_to_cut_is_equally_likely():
    # 12 tokens, 4 dropped in 2 spans: 1+3, 2+2, 3+1 dropped, and 1+7 ... 7+1 kept: 21 masks.
    draws = 8400
    masks = noise_masks(shuffling.key(np.arange(draws)), 12, density=1 / 3, mean_span=2.0)
    counts = Counter(mask.tobytes() for mask in masks)
    assert len(counts) == 21
    expected = draws / 21
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_square < 45.3  # the 99.9th percentile at 20 degrees of freedom


def reassemble(inputs, targets):
    """The original tokens: sentinels of the inputs replaced by what the targets say they hide."""
    hidden, at = {}, None
    for token in targets[:-1]:
        if token > FIRST - 100:
            at = int(token)
            hidden[at] = []
        else:
            hidden[at].append(int(token))
    out = []
    for token in inputs[:-1]:
        out += hidden.pop(int(token)) if int(token) in hidden else [int(token)]
    assert not hidden
    return out


@given(
    length=st.integers(2, 120),
    seed=st.integers(0, 2**32),
    density=st.floats(0.05, 0.9),
    mean_span=st.floats(1.0, 6.0),
)
def test_nothing_is_lost(length, seed, density, mean_span):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(2, 500, length)
    (mask,) = masks = noise_masks(
        shuffling.key([seed]), length, density=density, mean_span=mean_span
    )
    (inputs,), (targets,) = corrupt(tokens[None], masks, first_sentinel=FIRST, eos_id=EOS)
    dropped, spans = span_counts(length, density=density, mean_span=mean_span)
    assert mask.sum() == dropped
    assert inputs[-1] == targets[-1] == EOS
    assert len(inputs) == length - dropped + spans + 1
    assert len(targets) == dropped + spans + 1
    for ids in (inputs, targets):
        assert ids[ids > 500].tolist() == list(range(FIRST, FIRST - spans, -1))
    assert reassemble(inputs, targets) == tokens.tolist()


def plainly(tokens, key, *, density, mean_span):
    """The same corruption token by token, in Python integers, as the definitions read."""

    def number(place):
        x = (int(key) + (place + 1) * 0x9E3779B97F4A7C15) % 2**64
        x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) % 2**64
        x = ((x ^ x >> 27) * 0x94D049BB133111EB) % 2**64
        return x ^ x >> 31

    dropped, spans = span_counts(len(tokens), density=density, mean_span=mean_span)

    def lengths(items, first):
        """Cut where the smallest numbers stand; the first three of a key are not for cuts."""
        order = sorted(range(items - 1), key=lambda place: number(3 + first + place))
        edges = [0, *sorted(place + 1 for place in order[: spans - 1]), items]
        return [end - start for start, end in zip(edges, edges[1:], strict=False)]

    gaps = lengths(dropped, 0)
    kept = lengths(len(tokens) - dropped, dropped - 1)
    inputs, targets, at = [], [], 0
    for span, (keep, drop) in enumerate(zip(kept, gaps, strict=True)):
        inputs += [*tokens[at : at + keep], FIRST - span]
        targets += [FIRST - span, *tokens[at + keep : at + keep + drop]]
        at += keep + drop
    return [*inputs, EOS], [*targets, EOS]


@pytest.mark.parametrize("options", [{}, {"density": 0.4, "mean_span": 1.5}])
@pytest.mark.parametrize("length", [2, 3, 13, 141])
def test_many_chunks_at_once_are_those_of_a_plain_loop(length, options):
    options = {"density": 0.15, "mean_span": 3.0} | options
    tokens = np.random.default_rng(length).integers(2, 500, (40, length))
    keys = shuffling.key(9, np.arange(40))
    masks = noise_masks(keys, length, **options)
    inputs, targets = corrupt(tokens, masks, first_sentinel=FIRST, eos_id=EOS)
    for row in range(40):
        expected = plainly(tokens[row].tolist(), keys[row], **options)
        assert (inputs[row].tolist(), targets[row].tolist()) == expected


@pytest.mark.parametrize("length", [0, 1])
def test_a_chunk_without_two_tokens_is_refused(length):
    with pytest.raises(ValueError, match=f"chunk of {length} tokens cannot be corrupted"):
        noise_masks(shuffling.key([0]), length)


def test_inputs_that_hold_no_chunk_are_refused():
    with pytest.raises(ValueError, match="inputs of 2 tokens are too short"):
        chunk_length(2)


# The format.

TEXTS = [{"text": "Acute pain in the left arm. No fever."}, {"text": "Le patient va bien."}] * 20


def test_chunks_are_the_joined_documents_cut_and_nothing_else(sample_vocabulary):
    format_ = SpanCorruption(sample_vocabulary)
    chunks = format_.prepare(TEXTS, {"inputs": 64, "targets": 32})
    whole = [i for raw in TEXTS for i in sample_vocabulary.encode(raw["text"])]
    joined = np.concatenate([chunk["tokens"] for chunk in chunks]).tolist()
    assert joined == whole[: len(joined)] and len(whole) - len(joined) < 2
    assert {len(chunk["tokens"]) for chunk in chunks[:-1]} == {chunk_length(64)}
    for chunk in chunks:
        example = format_.example(chunk, np.random.default_rng(0))
        assert len(example["inputs"]) <= 64 and len(example["targets"]) <= 32


@pytest.mark.parametrize("copy_rate", [0.0, 0.5])
def test_examples_are_the_same_alone_and_among_others_and_of_the_sizes_foretold(
    sample_vocabulary, copy_rate
):
    format_ = SpanCorruption(sample_vocabulary, copy_rate=copy_rate)
    chunks = Chunks(np.random.default_rng(0).integers(3, 1900, 1234), 40)
    indices = np.array([*range(len(chunks)), 0, 0, 30])  # the last chunk has 34 tokens
    keys = shuffling.key(1, np.arange(len(indices)))
    made = format_.examples(chunks, indices, keys)
    sizes = format_.example_sizes(chunks, indices, keys)
    assert len(np.unique(sizes, axis=0)) > 1
    for i, example in enumerate(made):
        assert [len(example["inputs"]), len(example["targets"])] == sizes[i].tolist()
        (alone,) = format_.examples(chunks, indices[i : i + 1], keys[i : i + 1])
        for name in ("inputs", "targets"):
            np.testing.assert_array_equal(example[name], alone[name])
    assert made[0]["inputs"].tolist() != made[-2]["inputs"].tolist()  # another key


@pytest.mark.parametrize("total, count, last", [(80, 2, 40), (81, 2, 40), (82, 3, 2), (1, 0, 0)])
def test_a_last_chunk_of_one_token_is_left_out(total, count, last):
    chunks = Chunks(np.arange(total), 40)
    assert len(chunks) == count
    assert [len(chunk["tokens"]) for chunk in chunks[-1:]] == [last][:count]
    assert chunks.lengths(np.arange(count)).tolist()[-1:] == [last][:count]


def test_an_example_can_be_made_again_from_its_seed(sample_vocabulary):
    format_ = SpanCorruption(sample_vocabulary)
    chunk = {"tokens": np.arange(300, 400)}

    def make(*seed):
        return format_.example(chunk, np.random.default_rng(seed))["inputs"].tolist()

    assert make(7, 3) == make(7, 3)
    assert make(7, 3) != make(7, 4)


def test_sentinels_of_the_vocabulary_are_used(sample_vocabulary):
    chunk = {"tokens": np.arange(300, 400)}
    example = SpanCorruption(sample_vocabulary).example(chunk, np.random.default_rng(0))
    inputs, targets = example["inputs"], example["targets"]
    assert inputs[inputs > 1900].tolist() == [2035, 2034, 2033, 2032, 2031]
    assert targets[0] == 2035


def test_copied_examples_are_windows_of_a_chunk_and_as_frequent_as_asked(sample_vocabulary):
    format_ = SpanCorruption(sample_vocabulary, copy_rate=0.25)
    chunk = format_.prepare(TEXTS, {"inputs": 64, "targets": 40})[0]
    assert len(chunk["tokens"]) == 39  # with its end of sequence it fits both sides
    whole = chunk["tokens"].tolist()
    rng = np.random.default_rng(0)
    examples = [format_.example(chunk, rng) for _ in range(400)]
    copies = [e for e in examples if e["inputs"].tolist() == e["targets"].tolist()]
    # 400 draws: standard deviation 2.2 %; four of them.
    assert len(copies) / 400 == pytest.approx(0.25, abs=0.09)
    sizes = set()
    for copy in copies:
        *window, end = copy["inputs"].tolist()
        assert end == sample_vocabulary.eos_id
        assert any(whole[i : i + len(window)] == window for i in range(len(whole)))
        sizes.add(len(window))
    assert 2 <= min(sizes) < 12 and 30 < max(sizes) <= 39  # short ones and long ones


def test_text_may_be_encoded_word_by_word_as_labelling_does(sample_vocabulary):
    # Split, the full stop is a word and gets a piece of its own that begins one.
    whole = SpanCorruption(sample_vocabulary).encode("No pain.")
    split = SpanCorruption(sample_vocabulary, split_words=True).encode("No pain.")
    encode = sample_vocabulary.encode_word
    assert whole == sample_vocabulary.encode("No pain.")
    assert split == [*encode("No"), *encode("pain"), *encode(".")]
    assert split != whole


@pytest.mark.parametrize(
    "lengths, options, message",
    [
        (None, {}, "TASK_FEATURE_LENGTHS"),
        ({"inputs": 1024, "targets": 228}, {}, "targets of 229.*allows 228; raise targets"),
        ({"inputs": 2048, "targets": 999}, {}, "spans, but there are 100 sentinels"),
        ({"inputs": 2, "targets": 9}, {}, "too short for span corruption"),
    ],
)
def test_lengths_that_cannot_work_are_refused(sample_vocabulary, lengths, options, message):
    with pytest.raises(ValueError, match=message):
        SpanCorruption(sample_vocabulary, **options).prepare(TEXTS, lengths)
