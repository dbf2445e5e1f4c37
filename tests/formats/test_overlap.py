"""Windows of long sentences, and the one answer made of theirs."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmt5.formats.overlap import merge, windows
from medmt5.formats.spans import ScoredSpan
from medmt5.formats.text import sentence_ends, split_words


def offsets(count):
    """Word i begins at character 10 i."""
    return [(10 * i, 10 * i + 9) for i in range(count)]


# Windows


@pytest.mark.parametrize(
    ("sizes", "ends", "limit", "parts", "cuts"),
    [
        # A quarter of 4 is one word, which the second window answers for.
        ([1] * 10, [9], 4, [(0, 4), (3, 7), (6, 10)], [30, 60]),
        # A quarter of 8 is two words; the cut is between them.
        ([1] * 14, [13], 8, [(0, 8), (6, 14)], [70]),
        # Two tokens are one word of two, and no word of three.
        ([2] * 7, [6], 8, [(0, 4), (3, 7)], [30]),
        ([3] * 4, [3], 8, [(0, 2), (2, 4)], [20]),
        # Word 4 has room for one token before it, and is itself too long to be shared.
        ([1, 1, 1, 1, 7, 1], [5], 8, [(0, 4), (3, 5), (5, 6)], [30, 50]),
        # Only the second of three sentences is too long.
        ([1] * 10, [1, 7, 9], 4, [(0, 2), (2, 6), (5, 8), (8, 10)], [50]),
        ([1] * 3, [0, 1, 2], 1, [(0, 1), (1, 2), (2, 3)], []),
        ([1] * 3, [2], 1, [(0, 1), (1, 2), (2, 3)], [10, 20]),
        ([], [], 4, [], []),
    ],
)
def test_a_sentence_that_is_too_long_has_windows_that_share_a_quarter(
    sizes, ends, limit, parts, cuts
):
    assert windows(offsets(len(sizes)), ends, sizes, limit) == (parts, cuts)


def test_the_overlap_can_be_chosen_and_every_window_still_goes_further():
    words, sizes = offsets(7), [1] * 7
    assert windows(words, [6], sizes, 4, overlap=0) == ([(0, 4), (4, 7)], [40])
    assert windows(words, [6], sizes, 4, overlap=2) == ([(0, 4), (2, 6), (4, 7)], [30, 50])
    # Three words are asked for, but the second window has only two that the first has not.
    assert windows(words, [6], sizes, 4, overlap=3) == (
        [(0, 4), (1, 5), (4, 7)],
        [20, 40],
    )


def test_words_sentences_and_windows_of_a_text_fit_together():
    text = "a b c d e f. G h."
    words = split_words(text)  # a b c d e f . G h .
    parts, cuts = windows(words, sentence_ends(text, words), [1] * len(words), 4)
    assert [text[words[a][0] : words[b - 1][1]] for a, b in parts] == ["a b c d", "d e f.", "G h."]
    assert [text[cut:] for cut in cuts] == ["d e f. G h."]


@st.composite
def cut_texts(draw):
    """Sizes, ends, limit and overlap; then the windows and cuts."""
    limit = draw(st.integers(1, 16))
    small = st.integers(1, max(1, limit // 4))
    sizes = draw(st.lists(st.one_of(small, small, st.integers(1, limit)), max_size=60))
    inner = draw(st.sets(st.integers(0, max(0, len(sizes) - 1)), max_size=4))
    ends = sorted(inner | {len(sizes) - 1}) if sizes else []
    overlap = draw(st.one_of(st.none(), st.integers(0, limit)))
    parts, cuts = windows(offsets(len(sizes)), ends, sizes, limit, overlap=overlap)
    return sizes, ends, limit, overlap, parts, cuts


@given(cut_texts())
def test_windows_hold_every_word_fit_the_limit_and_overlap_only_within_a_sentence(drawn):
    sizes, ends, limit, overlap, parts, cuts = drawn
    held = [i for start, end in parts for i in range(start, end)]
    assert set(held) == set(range(len(sizes)))
    assert all(held.count(i) <= 2 for i in held)
    assert all(start < end and sum(sizes[start:end]) <= limit for start, end in parts)
    # No window reaches beyond a sentence, and a sentence that fits is one window.
    bounds = list(itertools.pairwise([0, *(end + 1 for end in ends)]))
    for a, b in bounds:
        inside = [(start, end) for start, end in parts if a <= start and end <= b]
        assert inside[0][0] == a and inside[-1][1] == b
        assert (len(inside) == 1) == (sum(sizes[a:b]) <= limit)
    assert sum(a <= start and end <= b for a, b in bounds for start, end in parts) == len(parts)
    # Each goes further at both ends, shares what it may, and is cut where it shares.
    places = []
    for (start, end), (following, until) in itertools.pairwise(parts):
        assert start < following <= end < until
        assert sum(sizes[following:end]) <= (limit // 4 if overlap is None else overlap)
        if end - 1 not in ends:
            places.append(10 * ((following + end) // 2))
        else:
            assert following == end
    assert cuts == places


@given(st.lists(st.integers(1, 4), min_size=1, max_size=60))
def test_words_of_at_most_a_quarter_of_the_limit_always_overlap(sizes):
    parts, _ = windows(offsets(len(sizes)), [len(sizes) - 1], sizes, 16)
    assert all(following < end for (_, end), (following, _) in itertools.pairwise(parts))


# Merging


def merged(parts, *answers):
    """Merge spans that are given in words of the document."""
    relative = [
        [ScoredSpan(start - first, end - first, *rest) for start, end, *rest in spans]
        for (first, _), spans in zip(parts, answers, strict=True)
    ]
    return [tuple(span) for span in merge(parts, relative)]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # Outside of what they share
        ([(2, 4, "A")], [(15, 16, "B")], [(2, 4, "A", 0.9), (15, 16, "B", 0.6)]),
        # Seen by both: before the middle, after it, across it
        ([(8, 10, "A")], [(8, 10, "A")], [(8, 10, "A", 0.9)]),
        ([(10, 11, "A")], [(10, 11, "A")], [(10, 11, "A", 0.6)]),
        ([(9, 11, "A")], [(9, 11, "A")], [(9, 11, "A", 0.9)]),
        # Seen by one: it counts where that window answers, or across the middle
        ([(8, 10, "A")], [], [(8, 10, "A", 0.9)]),
        ([], [(8, 10, "A")], []),
        ([(10, 12, "A")], [], []),
        ([], [(10, 12, "A")], [(10, 12, "A", 0.6)]),
        ([(9, 11, "A")], [], [(9, 11, "A", 0.9)]),
        ([], [(9, 11, "A")], [(9, 11, "A", 0.6)]),
        # They disagree about an edge, or about the label
        ([(10, 11, "A")], [(9, 11, "A")], [(9, 11, "A", 0.6)]),
        ([(9, 11, "A")], [(10, 14, "A")], [(9, 11, "A", 0.9)]),
        ([(9, 11, "A")], [(9, 14, "B")], [(9, 11, "A", 0.9)]),
        # Cut short by the end of the first window: the second one says where it ends
        ([(5, 12, "A")], [(8, 15, "A")], [(5, 15, "A", 0.6)]),
        ([(9, 12, "A")], [(9, 11, "A")], [(9, 11, "A", 0.6)]),
        ([(7, 12, "A")], [(8, 9, "A"), (10, 14, "A")], [(7, 14, "A", 0.6)]),
        ([(5, 12, "A")], [(8, 15, "B")], [(5, 12, "A", 0.9)]),
        ([(9, 12, "A")], [(8, 9, "A")], [(9, 12, "A", 0.9)]),
        ([(10, 12, "A")], [(10, 15, "A")], [(10, 15, "A", 0.6)]),
        # Neighbours stay two
        (
            [(6, 10, "A"), (10, 12, "A")],
            [(8, 10, "A"), (10, 13, "A")],
            [(6, 10, "A", 0.9), (10, 13, "A", 0.6)],
        ),
    ],
)
def test_two_windows_that_share_words_8_to_11_give_one_answer(first, second, expected):
    assert expected == merged(
        [(0, 12), (8, 20)], [(*s, 0.9) for s in first], [(*s, 0.6) for s in second]
    )


def test_a_joined_span_has_the_lower_score_whichever_window_it_is_from():
    parts = [(0, 12), (8, 20)]
    assert merged(parts, [(5, 12, "A", 0.3)], [(8, 15, "A", 0.6)]) == [(5, 15, "A", 0.3)]


def test_a_span_over_three_windows_is_whole():
    parts, _ = windows(offsets(20), [19], [1] * 20, 8)
    assert parts == [(0, 8), (6, 14), (12, 20)]
    answers = [[(3, 8, "A", 0.9)], [(6, 14, "A", 0.5)], [(12, 18, "A", 0.7)]]
    assert merged(parts, *answers) == [(3, 18, "A", 0.5)]


def test_spans_at_a_cut_where_nothing_is_shared_stay_two():
    answers = [[(2, 4, "A", 0.9)], [(4, 6, "A", 0.6)]]
    assert merged([(0, 4), (4, 8)], *answers) == [(2, 4, "A", 0.9), (4, 6, "A", 0.6)]


def flat_spans(length):
    """Flat spans of one or two labels over `length` words; neighbours may touch."""

    def place(pieces):
        spans, at = [], 0
        for gap, size, label in pieces:
            if at + gap >= length:
                break
            start, at = at + gap, min(at + gap + size, length)
            spans.append(ScoredSpan(start, at, label, (len(spans) + 1) / 100))
        return spans

    sizes = st.one_of(st.integers(1, 3), st.integers(1, 40))
    piece = st.tuples(st.integers(0, 3), sizes, st.sampled_from("AB"))
    return st.lists(piece, max_size=20).map(place)


def divided(spans, places):
    """The spans, cut at those of the places that lie inside them."""
    for span in spans:
        inside = [place for place in places if span.start < place < span.end]
        for start, end in itertools.pairwise([span.start, *inside, span.end]):
            yield span._replace(start=start, end=end)


@given(cut_texts(), st.data())
def test_spans_that_each_window_sees_clipped_come_back_whole(drawn, data):
    sizes, ends, _, _, parts, _ = drawn
    spans = data.draw(flat_spans(len(sizes)))
    spans = list(divided(spans, [end + 1 for end in ends]))  # a span lies in one sentence
    seen = [
        [
            span._replace(start=max(span.start, a) - a, end=min(span.end, b) - a)
            for span in spans
            if span.start < b and a < span.end
        ]
        for a, b in parts
    ]
    # Where windows of a sentence share nothing, nothing tells one span from two.
    bare = [end for (_, end), (following, _) in itertools.pairwise(parts) if end == following]
    assert list(merge(parts, seen)) == list(divided(spans, bare))


@given(cut_texts(), st.data())
def test_whatever_the_windows_say_the_answer_is_flat_and_nothing_seen_twice_is_lost(drawn, data):
    sizes, *_, parts, _ = drawn
    answers = [data.draw(flat_spans(end - start)) for start, end in parts]
    found = list(merge(parts, iter(answers)))
    said = [
        [span._replace(start=first + span.start, end=first + span.end) for span in spans]
        for (first, _), spans in zip(parts, answers, strict=True)
    ]
    at = 0
    for span in found:
        assert at <= span.start < span.end <= len(sizes)
        at = span.end
        # Both edges, the label and the score are of something that a window said.
        like = [s for s in itertools.chain(*said) if s.label == span.label]
        assert any(s.start == span.start for s in like)
        assert any(s.end == span.end and s.score >= span.score for s in like)
        assert any(s.score == span.score for s in like)
    for one, other in itertools.pairwise(said):
        for a, b in itertools.product(one, other):
            if a.start < b.end and b.start < a.end:
                start, end = min(a.start, b.start), max(a.end, b.end)
                assert any(span.start < end and start < span.end for span in found)


@given(cut_texts(), st.data())
def test_windows_that_share_nothing_keep_their_spans_as_they_are(drawn, data):
    sizes, ends, limit, *_ = drawn
    parts, _ = windows(offsets(len(sizes)), ends, sizes, limit, overlap=0)
    answers = [data.draw(flat_spans(end - start)) for start, end in parts]
    assert list(merge(parts, answers)) == [
        span._replace(start=first + span.start, end=first + span.end)
        for (first, _), spans in zip(parts, answers, strict=True)
        for span in spans
    ]


def test_answers_are_read_as_they_are_needed():
    parts = [(i, i + 2) for i in range(0, 200, 2)]
    read = []

    def answers():
        for part in parts:
            read.append(part)
            yield [ScoredSpan(0, 1, "A", 1.0)]

    spans = merge(parts, answers())
    assert next(spans).start == 0 and len(read) == 2
    assert next(spans).start == 2 and len(read) == 3


def test_an_answer_too_few_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        list(merge([(0, 2), (2, 4)], [[]]))


def test_a_sentence_of_ten_megabytes_takes_linear_time():
    count = 1_600_000
    text = "fever " * count
    words = split_words(text)
    ends = sentence_ends(text, words)
    assert len(words) == count and ends == [count - 1]
    parts, cuts = windows(words, ends, [2] * count, 255)
    # 127 words fit, 31 of them shared: each window but the first brings 96 more.
    assert len(parts) == 1 + -(-(count - 127) // 96) and len(cuts) == len(parts) - 1
    assert all(b - a == 127 for a, b in parts[:-1])
    everything = ([ScoredSpan(0, b - a, "A", 0.5)] for a, b in parts)
    assert list(merge(parts, everything)) == [ScoredSpan(0, count, "A", 0.5)]
