"""Raw text to words and sentences, as character offsets; nothing of the text is changed.

Words are runs of letters, digits and marks, single symbols, and single characters of scripts
written without spaces. Which of them carry labels is left to `labelling`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

# Sentences end after these, closing quotes and brackets included, or at a line break.
_TERMINAL = frozenset(".!?。！？…؟")
_CLOSING = frozenset("\"')]}»”’」』）")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
# Their sentences end without a space after the full stop, so none is asked for.
_FULL_STOPS = frozenset("。！？")


def split_words(text: str) -> list[tuple[int, int]]:
    """Character offsets of the words, in order; white space belongs to none.

    Combining marks stay with their letter, so that a decomposed accent does not cut a word.
    """
    words: list[tuple[int, int]] = []
    start = -1
    for i, char in enumerate(text):
        in_word = char.isalnum() or char == "_"
        mark = not in_word and unicodedata.category(char)[0] == "M"
        if (in_word and not _UNSPACED.match(char)) or (mark and start >= 0):
            start = i if start < 0 else start
            continue
        if start >= 0:
            words.append((start, i))
            start = -1
        if mark and words and words[-1][1] == i:
            words[-1] = (words[-1][0], i + 1)
        elif not char.isspace():
            words.append((i, i + 1))
    if start >= 0:
        words.append((start, len(text)))
    return words


def sentence_ends(text: str, words: Sequence[tuple[int, int]]) -> list[int]:
    """Indices of the words that end a sentence; the last word always does.

    A full stop ends one only before white space and something that can begin a sentence (not a
    lower-case letter), so `3.5`, `e.g. this` and `J.` keep their sentence.
    """
    ends = []
    for i, (_, end) in enumerate(words):
        after = i + 1
        if after == len(words):
            ends.append(i)
            break
        gap = text[end : words[after][0]]
        if "\n" in gap or "\r" in gap:
            ends.append(i)
            continue
        stop = i
        while stop > 0 and text[words[stop][0]] in _CLOSING:
            stop -= 1
        mark, following = text[words[stop][0]], text[words[after][0]]
        if mark not in _TERMINAL or following in _CLOSING:
            continue
        initial = stop > 0 and words[stop - 1][1] - words[stop - 1][0] == 1
        abbreviated = mark == "." and initial and text[words[stop - 1][0]].isupper()
        if mark in _FULL_STOPS or (gap and not following.islower() and not abbreviated):
            ends.append(i)
    return ends


def windows(
    words: Sequence[tuple[int, int]],
    ends: Sequence[int],
    size: Callable[[int], int],
    limit: int,
) -> tuple[list[tuple[int, int]], list[int]]:
    """Cut words into sentences, and sentences that are too long into parts.

    Args:
      words: character offsets.
      ends: from `sentence_ends`.
      size: word index -> its number of tokens, at most `limit`.
      limit: tokens per window.

    Returns:
      Windows as half-open word indices, covering every word once; and the character offsets at
      which a sentence had to be cut.
    """
    parts: list[tuple[int, int]] = []
    cuts: list[int] = []
    start = tokens = 0
    last_of_sentence = set(ends)
    for i in range(len(words)):
        if tokens + size(i) > limit:
            parts.append((start, i))
            cuts.append(words[i][0])
            start, tokens = i, 0
        tokens += size(i)
        if i in last_of_sentence:
            parts.append((start, i + 1))
            start, tokens = i + 1, 0
    return parts, cuts
