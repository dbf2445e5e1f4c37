"""Quality rules: whether a text is running prose rather than lists of symbols or repetitions.

The rules are those of Gopher (Rae et al. 2021, section A.1 and table A1), with C4's placeholder
text (Raffel et al. 2020), counted per script. Clinical text is terse (findings without verbs,
laboratory values, capitals), so where Gopher's thresholds removed real notes they are wider here;
each setting says which it is.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from medmt5.corpus.documents import Document, Removed
from medmt5.corpus.steps.words import UNSPACED_LANGUAGES, WORD, hashes, ngrams

# The commonest function words of each language, those of notes included (Gopher has eight of
# English): prose of some length has several of them, lists of names and keys have none. In Chinese
# and Japanese they are characters: particles, the copula, prepositions.
STOP_WORDS: dict[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the be to of and that have with a in is was for on at by an are were as or from not",
        "es": "de la el en y los las un una con se del por que al para no su es lo sin a o",
        "fr": "de la le les et des un une en du dans est par à au pour avec sur sans il elle que",
        "it": "di e il la un una del della in con per a da che al alla è si non le i dei ha ed nel",
        "de": "der die das und in von mit zu den ist des im auf für ein eine nicht bei als dem",
        "pt": "de a o e do da em um uma com que para no na os as por se não dos das ao",
        "eu": "eta da du ez edo dira bat dute den ere dituzte hau bada izaten izan egiten diren",
        "ru": "в и на с не по за при к из без до от для о у во со после что как нет или а",
        "zh": "的是在和有不为以及可与或于其无者因中上对性了",
        "ja": "のはをにがとでもたれるかいなし",
    }.items()
}
for _language in UNSPACED_LANGUAGES:
    STOP_WORDS[_language] = frozenset("".join(STOP_WORDS[_language]))
_LETTER, _ALPHANUMERIC = re.compile(r"[^\W\d_]"), re.compile(r"[^\W_]")
_DIGIT, _INK = re.compile(r"\d"), re.compile(r"\S")
_SYMBOLS = re.compile(r"#|\.\.\.|…")
_BULLETS = ("•", "‣", "▪", "●", "◦", "*", "-", "–", "■", "□", "◆", "・")
_ELLIPSES = ("...", "…")
# C4 removed pages with it; the other languages' page makers use it as it is.
_PLACEHOLDER = "lorem ipsum"
# Gopher's table A1: the share of the text's characters in the commonest n-gram, and in all n-grams
# that come more than once.
_TOP = {2: 0.20, 3: 0.18, 4: 0.16}
_REPEATED = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


@dataclasses.dataclass(frozen=True)
class Quality:
    """Removes what is no running text.

    Shares are between 0 and 1. Words are what white space parts; in Chinese and Japanese,
    characters.

    Args:
      min_words: Gopher has 50; complaints and findings of real notes are shorter.
      min_characters: the same of Chinese and Japanese.
      max_words: Gopher's.
      min_word_length: mean length in characters, not of Chinese and Japanese. Gopher has 3:
        lists of doses have less.
      max_word_length: Gopher has 10: Basque with chemistry and addresses of sources reaches 12.
      max_symbols: `#` and ellipses per word, Gopher's.
      max_bullets: lines that begin with a bullet, Gopher's.
      max_ellipses: lines that end with an ellipsis, Gopher's.
      min_letters: words with a letter. Gopher has 0.8: tables of values have less.
      max_digits: digits among the characters that are no space. Our choice.
      max_upper: capitals among the letters with case. Our choice: notes of some hospitals are
        written in capitals, so the default takes them all.
      min_stop_words: different stop words of the language, Gopher's number; asked of texts of
        `long` words and more.
      long: words from which stop words are asked for and repetitions measured: Gopher's shortest
        text, for which its thresholds were set.
      repeats: factor on Gopher's thresholds for repeated n-grams. 1 is Gopher's own; notes and
        questions repeat their formulas.
    """

    min_words: int = 5
    min_characters: int = 10
    max_words: int = 100_000
    min_word_length: float = 2.5
    max_word_length: float = 14.0
    max_symbols: float = 0.1
    max_bullets: float = 0.9
    max_ellipses: float = 0.3
    min_letters: float = 0.5
    max_digits: float = 0.4
    max_upper: float = 1.0
    min_stop_words: int = 2
    long: int = 50
    repeats: float = 2.0

    def __call__(self, document: Document) -> Document | Removed:
        text = document.text
        unspaced = document.language in UNSPACED_LANGUAGES
        words = WORD.findall(text) if unspaced else text.split()
        return (
            self._length(words, unspaced)
            or self._signs(text, words)
            or self._lines(text)
            or (self._long(document, words, unspaced) if len(words) >= self.long else None)
            or document
        )

    def _length(self, words: Sequence[str], unspaced: bool) -> Removed | None:
        if len(words) < (self.min_characters if unspaced else max(self.min_words, 1)):
            return Removed("too short", f"{len(words)} words")
        if len(words) > self.max_words:
            return Removed("too long", f"{len(words)} words")
        # Not of punctuation alone: some notes have spaces around all of it.
        solid = [len(word) for word in words if _ALPHANUMERIC.search(word)]
        mean = sum(solid) / max(len(solid), 1)
        if not unspaced and not self.min_word_length <= mean <= self.max_word_length:
            return Removed("word length", f"{mean:.1f}")
        return None

    def _signs(self, text: str, words: Sequence[str]) -> Removed | None:
        # Of those that are not punctuation alone, again.
        letters = sum(map(bool, map(_LETTER.search, words)))
        letters /= max(sum(map(bool, map(_ALPHANUMERIC.search, words))), 1)
        if letters < self.min_letters:
            return Removed("few words with letters", f"{letters:.2f}")
        symbols = len(_SYMBOLS.findall(text)) / max(len(words), 1)
        if symbols > self.max_symbols:
            return Removed("symbols", f"{symbols:.2f}")
        digits = len(_DIGIT.findall(text)) / max(len(_INK.findall(text)), 1)
        if digits > self.max_digits:
            return Removed("digits", f"{digits:.2f}")
        if self.max_upper < 1:
            upper, lower = sum(map(str.isupper, text)), sum(map(str.islower, text))
            if upper > self.max_upper * (upper + lower):
                return Removed("capitals", f"{upper / (upper + lower):.2f}")
        if _PLACEHOLDER in text.lower():
            return Removed("placeholder text")
        return None

    def _lines(self, text: str) -> Removed | None:
        lines = [line for line in map(str.strip, text.split("\n")) if line]
        # Of one or two lines a share says nothing.
        if len(lines) < 3:
            return None
        bullets = sum(line.startswith(_BULLETS) for line in lines) / len(lines)
        if bullets > self.max_bullets:
            return Removed("bullets", f"{bullets:.2f}")
        ellipses = sum(line.endswith(_ELLIPSES) for line in lines) / len(lines)
        if ellipses > self.max_ellipses:
            return Removed("ellipses", f"{ellipses:.2f}")
        return None

    def _long(self, document: Document, words: Sequence[str], unspaced: bool) -> Removed | None:
        if stop_words := STOP_WORDS.get(document.language):
            # Without punctuation: the verb of a Basque sentence stands before its full stop.
            found = len(stop_words.intersection(WORD.findall(document.text.lower())))
            if found < self.min_stop_words:
                return Removed("few stop words", str(found))
        # A word of Chinese or Japanese has about two characters: so have its n-grams.
        per_word = 2 if unspaced else 1
        if len(words) < self.long * per_word:
            return None
        lengths = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
        ends = np.concatenate([[0], np.cumsum(lengths)])
        ids = hashes(words)
        for n, share in (_TOP | _REPEATED).items():
            found = _repetition(ids, ends, n * per_word, top=n in _TOP)
            if found > share * self.repeats:
                return Removed("repeated n-grams", f"n={n} {found:.2f}")
            # Longer n-grams cover no more than shorter ones: below the last threshold all pass.
            if n in _REPEATED and found <= min(_REPEATED.values()) * self.repeats:
                return None
        return None


def _repetition(ids: np.ndarray, ends: np.ndarray, n: int, *, top: bool) -> float:
    """The share of characters in the commonest n-gram (top), or in any that comes again."""
    grams = ngrams(ids, n)
    if not len(grams):
        return 0.0
    _, first, counts = np.unique(grams, return_index=True, return_counts=True)
    if top:
        best = int(counts.argmax())
        if counts[best] < 2:
            return 0.0
        start = first[best]
        covered = counts[best] * (ends[start + n] - ends[start])
        return float(covered / ends[-1])
    # All occurrences but the first are repetition; a character counts once, as in Gopher.
    again = np.ones(len(grams), dtype=bool)
    again[first] = False
    inside = np.zeros(len(ids) + 1, dtype=np.int64)
    np.add.at(inside, np.flatnonzero(again), 1)
    np.add.at(inside, np.flatnonzero(again) + n, -1)
    words = np.cumsum(inside[:-1]) > 0
    return float(np.diff(ends)[words].sum() / ends[-1])
