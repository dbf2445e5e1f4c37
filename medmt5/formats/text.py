"""Raw text to words and sentences, as character offsets; nothing of the text is changed.

Words are runs of letters, digits and marks, single symbols, and single characters of scripts
written without spaces. Which of them carry labels is left to `labelling`.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence

# Sentences end after these, closing quotes and brackets included, or at a line break.
_TERMINAL = frozenset(".!?。！？…؟")
_CLOSING = frozenset("\"')]}»”’」』）")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
# Their sentences end without a space after the full stop, so none is asked for.
_FULL_STOPS = frozenset("。！？")


class _Kinds(dict[int, str]):
    """Code point -> `a` in a word, `m` mark, `j` joiner, blank, `.` a word of its own."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if char.isalnum() or char == "_":
            kind = "." if _UNSPACED.match(char) else "a"
        elif unicodedata.category(char)[0] == "M":
            kind = "m"
        elif char in "\u200c\u200d":
            kind = "j"
        else:
            kind = " " if char.isspace() else "."
        self[code] = kind
        return kind


_KINDS = _Kinds()
# Possessive, so that a word of millions of letters and marks takes no stack.
_WORD = re.compile("a[am]*+(?:ja[am]*+)*+|[^ ]m*+")


def split_words(text: str) -> list[tuple[int, int]]:
    """Character offsets of the words, in order; white space belongs to none.

    Combining marks stay with their letter, so that a decomposed accent does not cut a word; so
    does a zero-width joiner or non-joiner between two letters, as Persian and Indic words have.
    """
    return [match.span() for match in _WORD.finditer(text.translate(_KINDS))]


def sentence_ends(text: str, words: Sequence[tuple[int, int]]) -> list[int]:
    """Indices of the words that end a sentence; the last word always does.

    A full stop ends one only before white space and something that can begin a sentence (not a
    lower-case letter), so `3.5`, `e.g. this` and `J.` keep their sentence.
    """
    ends: list[int] = []
    stop = 0  # the word at or before this one that is no closing quote or bracket
    for i, ((start, end), (after, _)) in enumerate(itertools.pairwise(words)):
        if text[start] not in _CLOSING:
            stop = i
        gap = text[end:after]
        if "\n" in gap or "\r" in gap:
            ends.append(i)
            continue
        mark, following = text[words[stop][0]], text[after]
        if mark not in _TERMINAL or following in _CLOSING:
            continue
        initial = stop > 0 and words[stop - 1][1] - words[stop - 1][0] == 1
        abbreviated = mark == "." and initial and text[words[stop - 1][0]].isupper()
        if mark in _FULL_STOPS or (gap and not following.islower() and not abbreviated):
            ends.append(i)
    return [*ends, len(words) - 1] if words else []
