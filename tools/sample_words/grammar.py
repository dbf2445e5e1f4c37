"""Turns a frame into pieces of text: choices, slots, agreement, articles and elision.

A piece is `(text, label)`, with the label of an entity or None. Which noun fills a slot is the
caller's affair (see `lexicon`); this file only knows how the four languages join words.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import NamedTuple

Piece = tuple[str, str | None]


class Noun(NamedTuple):
    """A noun phrase as it stands in running text; `gender` is m, f or empty (English)."""

    text: str
    gender: str = ""
    label: str | None = None
    # Follows the noun in parentheses, as an entity of its own: "renal failure (RF)".
    abbreviation: str = ""


def templates(block: str) -> list[str]:
    """One frame per line; an indented line continues the one above."""
    return re.sub(r"\n +", " ", block.strip()).split("\n")


def word_list(block: str) -> list[Noun]:
    """Entries between semicolons, each with an optional gender: `fiebre/f; prurito`."""
    nouns = []
    for entry in re.split(r";\s*", " ".join(block.split())):
        text, gender = re.fullmatch(r"(.+?)(?:/([mf]))?", entry).groups()
        nouns.append(Noun(text, gender or ""))
    return nouns


_FRENCH_ELISION = re.compile(r"(?i)(?!hernie|hanche)[aeiouhàâéèêëîïôûœæ]")
_ITALIAN_VOWEL = re.compile(r"(?i)(?!i[aeou])[aeiouhàèéìòù]")
_ITALIAN_LO = re.compile(r"(?i)z|s[^aeiouàèéìòù\W]|gn|pn|ps|x|y|i[aeou]")
_ITALIAN = {  # masculine, masculine before s + consonant, feminine, before a vowel
    "the": ("il ", "lo ", "la ", "l'"),
    "of": ("del ", "dello ", "della ", "dell'"),
    "to": ("al ", "allo ", "alla ", "all'"),
    "in": ("nel ", "nello ", "nella ", "nell'"),
    "by": ("dal ", "dallo ", "dalla ", "dall'"),
}
_SPANISH = {
    "the": ("el ", "la "),
    "of": ("del ", "de la "),
    "to": ("al ", "a la "),
    "in": ("en el ", "en la "),
    "by": ("por el ", "por la "),
    "a": ("un ", "una "),
}
_FRENCH = {
    "the": ("le ", "la "),
    "of": ("du ", "de la "),
    "to": ("au ", "à la "),
    "in": ("dans le ", "dans la "),
    "by": ("par le ", "par la "),
    "a": ("un ", "une "),
}
_ENGLISH = {"the": "the ", "of": "of the ", "to": "to the ", "in": "in the ", "a": "a "}


def determiner(kind: str, noun: Noun, lang: str) -> str:
    """The article, merged with its preposition where the language does so.

    Args:
      kind: "the", "a", or a preposition that takes the article: "of", "to", "in", "by".

    Returns:
      Text that goes straight before the noun, with its space or apostrophe.
    """
    feminine = noun.gender == "f"
    if lang == "en":
        return _ENGLISH[kind]
    if lang == "es":
        # "el asma": a stressed a- takes the masculine article although the noun is feminine.
        return _SPANISH[kind][feminine and not noun.text.startswith("asma")]
    if lang == "fr":
        if kind in ("of", "to") and _FRENCH_ELISION.match(noun.text):
            return {"of": "de l'", "to": "à l'"}[kind]
        return _FRENCH[kind][feminine]
    vowel, lo = _ITALIAN_VOWEL.match(noun.text), _ITALIAN_LO.match(noun.text)
    if kind == "a":
        if feminine:
            return "un'" if vowel else "una "
        return "uno " if lo else "un "
    forms = _ITALIAN[kind]
    return forms[3] if vowel else forms[2] if feminine else forms[1 if lo else 0]


def join(left: str, right: str, lang: str) -> str:
    """`left` as it is spelt before `right`: "an ulcer", "e insuficiencia", "d'hépatite"."""
    if lang == "en" and re.match(r"(?i)(?!uni|uri|ure|eu|one)[aeiou]", right):
        return re.sub(r"\b([Aa]) $", r"\1n ", left)
    if lang == "es":
        if re.match(r"(?i)h?i(?![aeou])", right):
            left = re.sub(r"(?<= )y $", "e ", left)
        if re.match(r"(?i)h?o", right):
            left = re.sub(r"(?<= )o $", "u ", left)
    if lang == "fr" and _FRENCH_ELISION.match(right):
        return re.sub(r"(?i)\b(d|l|qu)[ea] $", r"\1'", left)
    if lang == "it":
        if re.match(r"(?i)e", right):
            left = re.sub(r"(?<= )e $", "ed ", left)
        if re.match(r"(?i)a", right):
            left = re.sub(r"(?<= )a $", "ad ", left)
    return left


_CLOSING = {"{": "}", "<": ">", "[": "]"}


def _split(frame: str) -> list[str]:
    """Literal stretches and bracketed groups (brackets kept), groups may nest."""
    parts, depth, start = [], 0, 0
    for i, char in enumerate(frame):
        if char in _CLOSING:
            if depth == 0:
                parts.append(frame[start:i])
                start = i
            depth += 1
        elif char in _CLOSING.values():
            depth -= 1
            if depth == 0:
                parts.append(frame[start : i + 1])
                start = i + 1
    if depth:
        raise ValueError(f"unbalanced brackets in frame: {frame}")
    return [part for part in [*parts, frame[start:]] if part]


def _options(group: str) -> list[str]:
    """Alternatives of a group, cut at the bars outside inner groups."""
    options = [""]
    for part in _split(group):
        if part[0] in _CLOSING:
            options[-1] += part
        else:
            first, *rest = part.split("|")
            options[-1] += first
            options += rest
    return options


class Writer:
    """Fills frames in one language.

    Args:
      lang: en, es, fr or it.
      decimal: decimal sign of the language.
      words: slot name to nouns that are never entities; their text may hold slots itself.
      entity: called with the name of an upper-case slot, gives the noun to write.
      rng: source of every choice.
    """

    def __init__(
        self,
        lang: str,
        *,
        decimal: str,
        words: dict[str, list[Noun]],
        entity: Callable[[str], Noun],
        rng: random.Random,
    ):
        self.lang, self.decimal, self.words = lang, decimal, words
        self.entity, self.rng = entity, rng
        self._patient = self._noun = 0

    def write(self, frame: str, *, patient: int | None = None) -> list[Piece]:
        """Pieces of one sentence, capitalised, neighbours without label merged.

        Args:
          patient: 0 for a man, 1 for a woman, None to draw.
        """
        self._patient = self.rng.randrange(2) if patient is None else patient
        self._noun = 0
        self._pieces: list[Piece] = []
        self._named: set[str] = set()
        self._render(frame)
        return self._pieces

    def _add(self, text: str, label: str | None) -> None:
        if not text:
            return
        if not self._pieces or self._pieces[-1][0].endswith((". ", "? ")):
            text = text[0].upper() + text[1:]
        if self._pieces:
            left, left_label = self._pieces[-1]
            if left_label is None:
                left = join(left, text, self.lang)
                if label is None:
                    self._pieces[-1] = left + text, None
                    return
                self._pieces[-1] = left, None
        self._pieces.append((text, label))

    def _render(self, frame: str) -> None:
        for part in _split(frame):
            if part[0] not in _CLOSING:
                self._add(part, None)
                continue
            body, options = part[1:-1], _options(part[1:-1])
            if part[0] == "<":
                self._render(options[self._patient])
            elif part[0] == "[":
                self._render(options[self._noun])
            elif len(options) > 1:
                self._render(self.rng.choice(options))
            elif body[0] == "#":
                self._add(self._number(body[1:]), None)
            else:
                self._slot(*body.partition(".")[::2])

    def _number(self, limits: str) -> str:
        low, high = map(int, limits.lstrip(".").split("-"))
        number = str(self.rng.randint(low, high))
        return f"{number}{self.decimal}{self.rng.randrange(10)}" if limits[0] == "." else number

    def _slot(self, name: str, article: str) -> None:
        if name == "=":
            noun = self._last
        # A sentence does not name the same thing twice, unless the words run out.
        for _ in range(0 if name == "=" else 10):
            if name[0].isupper() or name == "e":
                noun = self.entity(name)
            else:
                noun = self.rng.choice(self.words[name])
            if noun.text not in self._named:
                break
        self._last = noun
        self._named.add(noun.text)
        if article:
            self._add(determiner(article, noun, self.lang), None)
        if noun.label is None:
            # A word may itself hold slots ("creatinine {#.1-4} mg/dL") or a gender choice.
            self._render(noun.text)
        else:
            self._add(noun.text, noun.label)
        if noun.abbreviation:
            self._add(" (", None)
            self._add(noun.abbreviation, noun.label)
            self._add(")", None)
        self._noun = int(noun.gender == "f")


def tokenize(text: str) -> list[str]:
    """Words, numbers and marks; an elided article (l', dell') is a word of its own."""
    return re.findall(r"[^\W\d]+'(?=\w|$)|\d+[.,]\d+|[\w^]+(?:[-/][\w^]+)*|\S", text)


def tagged(pieces: list[Piece]) -> list[tuple[str, str]]:
    """Words with IOB2 tags; each labelled piece is one span, also beside another."""
    rows = []
    for text, label in pieces:
        for i, word in enumerate(tokenize(text)):
            rows.append((word, f"{'I' if i else 'B'}-{label}" if label else "O"))
    return rows
