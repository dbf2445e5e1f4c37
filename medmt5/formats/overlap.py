"""Sentences too long for the model: overlapping windows, and one answer made of theirs.

Words and sentences come from `text`. A window stands for words start to end (half-open).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from medmt5.formats.spans import ScoredSpan


def windows(
    words: Sequence[tuple[int, int]],
    ends: Sequence[int],
    sizes: Sequence[int],
    limit: int,
    *,
    overlap: int | None = None,
) -> tuple[list[tuple[int, int]], list[int]]:
    """One window for each sentence that fits; overlapping ones for a sentence that does not.

    Args:
      words: character offsets.
      ends: words that end a sentence, the last word among them, as from `sentence_ends`.
      sizes: tokens of each word, from 1 to `limit`.
      limit: tokens per window.
      overlap: tokens that two windows share at most; None for a quarter of `limit`. They share
        less, or nothing, where the words there are too long.

    Returns:
      The windows in order, which hold every word, and none more than twice; and the character
      offsets at which a sentence was cut: the middle of what two windows share.
    """
    shared = limit // 4 if overlap is None else overlap
    found: list[tuple[int, int]] = []
    cuts: list[int] = []
    last_of_sentence = set(ends)
    start = tokens = 0
    fresh = 0  # words before it are in a window already
    for i, size in enumerate(sizes):
        assert 0 < size <= limit, (i, size, limit)
        if tokens + size > limit:
            found.append((start, i))
            # Back over fresh words only, so that no word is in three windows; and leave room for
            # word i, so that every window goes further: at its end, and thus at its start.
            back, tokens = i, 0
            while (
                back > fresh
                and tokens + sizes[back - 1] <= shared
                and tokens + sizes[back - 1] + size <= limit
            ):
                back -= 1
                tokens += sizes[back]
            cuts.append(words[_middle(i, back)][0])
            start, fresh = back, i
        tokens += size
        if i in last_of_sentence:
            found.append((start, i + 1))
            start, tokens = i + 1, 0
    return found, cuts


def merge(
    parts: Sequence[tuple[int, int]], answers: Iterable[Sequence[ScoredSpan]]
) -> Iterator[ScoredSpan]:
    """Flat spans of the document, in order, from those that each window gave.

    Of two windows that share words, the first answers for the spans that begin before the middle of
    what they share, the second for those that end after it. A span across the middle may come from
    either, so none is lost because the two disagree about its edges. Where such spans overlap, the
    first window's stays. If that one ends where its window ends, it may be cut short: its end is
    then that of the last span in the second window that overlaps it and has its label, and its
    score the lower of the two. So spans longer than the overlap, or than a window, stay whole.
    Windows that share no words keep their spans as they are.

    Args:
      parts: the windows, from `windows`.
      answers: flat spans of each window in order, in word indices from the window's start.

    Yields:
      Spans in word indices of the document.
    """
    last: ScoredSpan | None = None  # held back, for the next window may move its end
    edge = begin = 0
    for i, ((first, end), spans) in enumerate(zip(parts, answers, strict=True)):
        found = [s._replace(start=first + s.start, end=first + s.end) for s in spans]
        if last and last.end == edge:
            for span in reversed(found):
                if span.label == last.label and span.start < last.end and last.start < span.end:
                    last = last._replace(end=span.end, score=min(last.score, span.score))
                    break
        until = _middle(end, parts[i + 1][0]) if i + 1 < len(parts) else end
        for span in found:
            if span.start < until and begin < span.end and (not last or last.end <= span.start):
                if last:
                    yield last
                last = span
        edge, begin = end, until
    if last:
        yield last


def _middle(end: int, start: int) -> int:
    """The word at which a window that ends at `end` gives way to one that starts at `start`."""
    return (start + end) // 2
