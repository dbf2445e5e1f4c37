"""Text by language to train a vocabulary on: counted, and sampled at a temperature.

Documents that are held out (`built.is_held_out`) are kept apart, to measure vocabularies on.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from etils import epath

from medmt5 import markdown
from medmt5.corpus import built
from medmt5.corpus.documents import Bad, Document
from medmt5.corpus.readers import inputs
from medmt5.corpus.readers.jsonl import JSONL
from medmt5.corpus.readers.text import Text
from medmt5.corpus.sentencepiece_model import words
from medmt5.corpus.tally import language_of
from medmt5.progress import Clock

log = logging.getLogger(__name__)

# Four times the same text is nearly as good as new, more is not (Muennighoff et al. 2023).
REPEATS = 4
MEASURED = 1_000_000  # characters per language that vocabularies are compared on
WORDS = 100  # in a text of shuffled ones
LONGEST = 512  # bytes of a word; text without spaces is cut into such
_WITH_LANGUAGE = re.compile("([a-z]{2,3})=(.+)")


class Corpus:
    """Documents of built corpora and of other files, read to count, and again to sample.

    Args:
      paths: as on the command line.
      held_out: of so many documents one is not trained on.

    Attributes:
      bad: what could not be read, of the last reading.

    Raises:
      ValueError: a path that matches nothing.
    """

    def __init__(self, paths: Sequence[str], held_out: int):
        self.bad: list[Bad] = []
        self._held_out = held_out
        self._built: list[str] = []
        self._files: list[tuple[str, str]] = []  # language, path
        for given in paths:
            match = _WITH_LANGUAGE.fullmatch(given)
            if not match and (epath.Path(given) / built.DOCUMENTS).exists():
                self._built.append(given)
                continue
            language, path = match.groups() if match else ("", given)
            self._files += [(language, file) for file in inputs(given, [path])]

    def sizes(self) -> dict[str, int]:
        """Characters by language of what may be trained on."""
        sizes: Counter[str] = Counter()
        progress = _Progress("counting")
        for document in self._documents():
            sizes[language_of(document)] += len(document.text) * (not self._held(document))
            progress.add(len(document.text))
        return dict(sorted(sizes.items()))

    def sample(
        self, sizes: Mapping[str, int], taken: Mapping[str, float], seed: int
    ) -> tuple[Counter[str], dict[str, list[str]]]:
        """Words to train on with their counts, and by language texts to measure on.

        A language of which nothing is held out is measured on its first document.

        Args:
          sizes: as `sizes()` gives them; of a language that it lacks nothing is trained on.
          taken: characters to train on.
          seed: of the sample.
        """
        counts: Counter[str] = Counter()
        measured: dict[str, list[str]] = defaultdict(list)
        first: dict[str, str] = {}
        characters: Counter[str] = Counter()
        # One for each language: another language's documents do not change its sample.
        random = {lang: np.random.default_rng([seed, *lang.encode()]) for lang in sizes}
        progress = _Progress("sampling", sum(sizes.values()))
        for document in self._documents():
            language, text = language_of(document), document.text
            if self._held(document):
                if characters[language] < MEASURED:
                    characters[language] += len(text)
                    measured[language].append(text)
                continue
            if language in sizes:
                times = int(taken[language] / sizes[language] + random[language].random())
                for word in words(text, LONGEST) if times else ():
                    counts[word] += times
            first.setdefault(language, text)
            progress.add(len(text))
        for language, text in first.items():
            if language not in measured:
                log.warning(
                    "%s: no document is held out; one that is trained on is measured", language
                )
                measured[language].append(text)
        return counts, dict(sorted(measured.items()))

    def _held(self, document: Document) -> bool:
        return built.is_held_out(document, self._held_out)

    def _documents(self) -> Iterator[Document]:
        """All documents.

        Raises:
          ValueError: at the end, if there were none.
        """
        self.bad.clear()
        found = False
        for item in self._items():
            if isinstance(item, Bad):
                self.bad.append(item)
            else:
                found = True
                yield item
        for bad in self.bad[:3]:
            log.warning("not read: %s: %s %s", bad.where, bad.reason, bad.detail)
        if len(self.bad) > 3:
            log.warning("not read: %d more", len(self.bad) - 3)
        if not found:
            raise ValueError("there are no documents in these paths")

    def _items(self) -> Iterator[Document | Bad]:
        for folder in self._built:
            for language in built.languages(folder):
                yield from built.documents(folder, language)
        for language, path in self._files:
            name = os.path.basename(path)
            if ".json" in name:
                yield from JSONL(source=name, language=language)(path)
            else:
                yield from Text(source=name, language=language, unit="line")(path)


def shuffled(counts: Mapping[str, int], seed: int) -> Iterator[str]:
    """Words as often as they were counted, in a random order, as texts.

    SentencePiece learns words and not their order, but where a passage comes twice, as that of a
    small language does, it takes ten times as long. It can take counts too, and of those
    makes worse vocabularies (release 0.2.2: tokens per word are up to a fifth more).
    """
    known = list(counts)
    order = np.repeat(np.arange(len(known), dtype=np.int32), list(counts.values()))
    np.random.default_rng(seed).shuffle(order)
    for first in range(0, len(order), WORDS):
        yield " ".join(known[word] for word in order[first : first + WORDS])


def shares(sizes: Mapping[str, int], alpha: float, total: float) -> dict[str, float]:
    """Characters to take of each language.

    Args:
      sizes: characters that there are.
      alpha: shares are as size to the power of it; 1 is their own proportion, 0 makes them equal.
      total: to take, and no more than there are.

    Returns:
      Characters; a language that would be taken more than `REPEATS` times gives so much, and the
      others share the rest.
    """
    left = {language: size for language, size in sizes.items() if size}
    taken = dict.fromkeys(sizes, 0.0)
    total = min(total, sum(left.values()))
    while left:
        weight = sum(size**alpha for size in left.values())
        wanted = {language: total * size**alpha / weight for language, size in left.items()}
        short = [language for language in left if wanted[language] > REPEATS * left[language]]
        if not short:
            return taken | wanted
        for language in short:
            taken[language] = float(REPEATS * left.pop(language))
            total -= taken[language]
    return taken


def sample_table(sizes: Mapping[str, int], taken: Mapping[str, float]) -> str:
    """What is there and what is taken of it, as Markdown."""
    total = sum(taken.values()) or 1
    rows = [
        (
            language,
            size,
            f"{taken[language]:,.0f}",
            f"{taken[language] / total:.1%}",
            f"{taken[language] / max(size, 1):.3g}",
        )
        for language, size in sizes.items()
    ]
    columns = ["language", "characters", "taken, about", "share", "times"]
    return markdown.table(columns, rows, right=range(1, 5))


class _Progress:
    """A line every ten seconds."""

    def __init__(self, what: str, total: int = 0):
        self._what, self._total, self._documents, self._done = what, total, 0, 0
        self._clock = Clock()

    def add(self, characters: int) -> None:
        self._documents += 1
        self._done += characters
        if not self._clock.due():
            return
        line = f"{self._what}: {self._documents:,} documents, {self._done:,} characters"
        if self._total:
            line += f"  {self._clock.eta(self._done, self._total)}"
        log.info("%s", line)
