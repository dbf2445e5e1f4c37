"""Decontamination: documents that share long n-grams with evaluation sets are removed or cut.

An evaluation text of n words or more gives all its n-grams; a shorter one counts whole, down to
`min_words`, below which it is a phrase that anybody may write. Texts in scripts without spaces are
counted in characters. Compared are hashes of 64 bits without case and punctuation, in one sorted
array for each length: 10 bytes an n-gram, so 0.1 GB for ten million words of evaluation sets.

Source: GPT-3 (Brown et al. 2020, appendix C): 13 words, at least 8 for short texts; 200 characters
cut off on both sides of an overlap, pieces below 200 characters dropped, documents in more than
ten pieces removed. Its exception for n-grams that ten and more documents share is not made: it
needs the whole corpus.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Int, UInt64

from medmt5.corpus.documents import Document, Removed
from medmt5.corpus.steps.words import WORD, has_unspaced, hashes, ngrams, wide


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from itertools.chain.from_iterable(map(_strings, value.values()))
    elif isinstance(value, list):
        yield from itertools.chain.from_iterable(map(_strings, value))


def evaluation_texts(path: str) -> Iterator[str]:
    """All texts of an evaluation file.

    Of `.json` and `.jsonl` every string at any depth; else a block of `word<TAB>tag` lines is one
    text, and of other lines each column.

    Raises:
      ValueError: no such file, not UTF-8, or broken JSON.
    """
    try:
        content = epath.Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"contamination: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"contamination: {path} is not UTF-8 ({error.reason})") from error
    lines = content.split("\n")
    if path.endswith((".json", ".jsonl")):
        for number, record in enumerate([content] if path.endswith(".json") else lines, 1):
            if record.strip():
                try:
                    yield from _strings(json.loads(record))
                except json.JSONDecodeError as error:
                    raise ValueError(f"contamination: {path}:{number}: no JSON: {error}") from error
        return
    for filled, group in itertools.groupby(lines, key=lambda line: bool(line.strip())):
        if filled:
            rows = [line.split("\t") for line in group]
            if all(len(row) == 2 and " " not in row[0] for row in rows):
                yield " ".join(row[0] for row in rows)
            else:
                yield from itertools.chain.from_iterable(rows)


@dataclasses.dataclass(frozen=True)
class Index:
    """n-grams of evaluation sets: sorted hashes and the number of their file, by script and length.

    The script is whether the text is wide: a document without characters of such scripts is spared
    the search for those.
    """

    grams: dict[tuple[bool, int], tuple[UInt64[np.ndarray, " ngrams"], Int[np.ndarray, " ngrams"]]]

    @classmethod
    def build(cls, files: Sequence[str], n: int, min_words: int, n_characters: int) -> Index:
        """Shortest and longest n-grams of characters are in the same proportion as of words.

        Raises:
          ValueError: a file has no text that is long enough, so nothing of it would be found.
        """
        found: dict[tuple[bool, int], list[np.ndarray]] = defaultdict(list)
        sets: dict[tuple[bool, int], list[np.ndarray]] = defaultdict(list)
        for number, path in enumerate(files):
            nothing = True
            for text in evaluation_texts(path):
                words = WORD.findall(text)
                longest, shortest = n, min_words
                if unspaced := wide(words):
                    longest, shortest = n_characters, n_characters * min_words // n
                if len(words) >= shortest:
                    nothing = False
                    length = min(len(words), longest)
                    grams = ngrams(hashes(words), length)
                    found[unspaced, length].append(grams)
                    sets[unspaced, length].append(np.full(len(grams), number, dtype=np.int16))
            if nothing:
                raise ValueError(
                    f"contamination: no text of {path} has {min_words} words, so nothing of it "
                    "would be looked for; labelled words are read from lines of word<TAB>tag, "
                    "without comments; else leave the file out, or lower min_words"
                )
        index = {}
        for key, many in found.items():
            # Of an n-gram in several files the first one is named.
            grams, first = np.unique(np.concatenate(many), return_index=True)
            index[key] = grams, np.concatenate(sets[key])[first]
        return cls(index)

    def find(
        self, words: UInt64[np.ndarray, " words"], *, unspaced: bool
    ) -> Iterator[tuple[int, int, int]]:
        """First word, number of words and file of each n-gram of a document that is here."""
        for (of_unspaced, length), (grams, sets) in self.grams.items():
            if of_unspaced and not unspaced:
                continue
            mine = ngrams(words, length)
            places = np.minimum(np.searchsorted(grams, mine), len(grams) - 1)
            for start in np.flatnonzero(grams[places] == mine).tolist():
                yield start, length, int(sets[places[start]])


# Made once a process, and not pickled with the step.
_index = functools.lru_cache(maxsize=4)(Index.build)


@dataclasses.dataclass(frozen=True)
class Contamination:
    """Keeps evaluation sets out of the corpus.

    Args:
      files: evaluation sets, their training parts left out if these are to be kept.
      n: words of an n-gram, GPT-3's.
      min_words: shorter evaluation texts are not looked for, GPT-3's.
      n_characters: of an n-gram in Chinese and Japanese: two for a word.
      max_share: share of a document's words that may overlap. Our choice is none.
      action: `remove` the document, or `cut` the overlaps out as GPT-3 did.
      margin: characters cut on both sides, GPT-3's.
      min_piece: characters of a piece that is kept, GPT-3's.
      max_pieces: in more pieces a document is removed, GPT-3's.
    """

    files: Sequence[str] = ()
    n: int = 13
    min_words: int = 8
    n_characters: int = 26
    max_share: float = 0.0
    action: str = "remove"
    margin: int = 200
    min_piece: int = 200
    max_pieces: int = 10

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("contamination: files is empty; name the evaluation sets")
        if self.action not in ("remove", "cut"):
            raise ValueError(f"contamination: action is {self.action!r}; use 'remove' or 'cut'")
        if not 1 <= self.min_words <= self.n <= self.n_characters:
            raise ValueError(
                f"contamination: min_words is {self.min_words}, n {self.n} and n_characters "
                f"{self.n_characters}; they must be in rising order, from 1"
            )
        object.__setattr__(self, "files", tuple(map(str, self.files)))
        for path in self.files:
            if not epath.Path(path).exists():
                raise ValueError(f"contamination: no file {path}; files are evaluation sets")

    def __call__(self, document: Document) -> Document | Removed | list[Document]:
        spans = [match.span() for match in WORD.finditer(document.text)]
        words = hashes([document.text[start:end] for start, end in spans])
        index = _index(self.files, self.n, self.min_words, self.n_characters)
        covered = np.zeros(len(spans), dtype=bool)
        sets: Counter[int] = Counter()
        for start, length, number in index.find(words, unspaced=has_unspaced(document.text)):
            covered[start : start + length] = True
            sets[number] += 1
        if not sets or covered.mean() <= self.max_share:
            return document
        detail = ", ".join(
            f"{epath.Path(self.files[number]).name}: {count}"
            for number, count in sets.most_common()
        )
        detail = f"{covered.mean():.2f} of the words; n-grams in {detail}"
        if self.action == "remove":
            return Removed("in an evaluation set", detail)
        pieces = self._pieces(document.text, spans, covered)
        if not pieces:
            return Removed("in an evaluation set", detail)
        if len(pieces) > self.max_pieces:
            return Removed("in many pieces without evaluation sets", str(len(pieces)))
        if len(pieces) == 1:
            return dataclasses.replace(document, text=pieces[0])
        return [
            dataclasses.replace(document, text=piece, id=f"{document.id}#{number}")
            for number, piece in enumerate(pieces, 1)
        ]

    def _pieces(
        self, text: str, spans: Sequence[tuple[int, int]], covered: np.ndarray
    ) -> list[str]:
        """What is left of a text when covered words and margins are cut out, at words."""
        starts, ends = np.array(spans).T
        edges = np.flatnonzero(np.diff(covered, prepend=False, append=False))
        pieces, begin = [], 0
        for first, after in edges.reshape(-1, 2).tolist():
            # The last word that ends before the margin, the first one that starts behind it.
            last = np.searchsorted(ends, starts[first] - self.margin, side="right") - 1
            pieces.append(text[begin : ends[last]] if last >= 0 else "")
            following = np.searchsorted(starts, ends[after - 1] + self.margin)
            begin = starts[following] if following < len(starts) else len(text)
        pieces.append(text[begin:])
        return [piece.strip() for piece in pieces if len(piece.strip()) >= max(self.min_piece, 1)]
