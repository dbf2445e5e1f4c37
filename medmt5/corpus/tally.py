"""What a build counts: documents, words, bytes and tokens, before and after every step."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from medmt5.corpus.documents import Document, Removed
from medmt5.corpus.steps.words import WORD

UNITS = ("documents", "words", "bytes", "tokens")
UNKNOWN = "und"  # the language of documents without one, as ISO 639-2 has it
# Names and addresses of licences are few; a notice has year and holder, in PubMed per document.
_NAME = re.compile(r"(?!.*(©|\(c\)|copyright|rights reserved)).{,100}", re.DOTALL | re.IGNORECASE)
IN_WORDS = "in words"


def language_of(document: Document) -> str:
    return document.language or UNKNOWN


def _by_language() -> defaultdict[str, defaultdict[str, Counter]]:
    return defaultdict(lambda: defaultdict(Counter))


@dataclasses.dataclass
class Tally:
    """Counts of one file.

    A word is a run of letters and digits, in scripts without spaces a character.

    Attributes:
      vocabulary: a SentencePiece model to count tokens with, or "".
      counts: stage -> language -> unit -> number, of what came out of the stage.
      removed: step -> language -> reason -> documents.
      changed: step -> "documents" changed, documents "split", or places by kind -> number.
      bad: reason -> what could not be read.
      licences: of the documents that stay; those with more than a name are one, `IN_WORDS`.
      lengths: language -> least number of words, a power of two -> documents that stay.
    """

    vocabulary: str = ""
    counts: dict[str, dict[str, Counter]] = dataclasses.field(default_factory=_by_language)
    removed: dict[str, dict[str, Counter]] = dataclasses.field(default_factory=_by_language)
    changed: dict[str, Counter] = dataclasses.field(default_factory=lambda: defaultdict(Counter))
    bad: Counter = dataclasses.field(default_factory=Counter)
    licences: Counter = dataclasses.field(default_factory=Counter)
    lengths: dict[str, Counter] = dataclasses.field(default_factory=lambda: defaultdict(Counter))

    def __post_init__(self):
        self._text: str | None = None
        self._sizes: Counter = Counter()
        self._processor: Any = None

    def add(self, stage: str, document: Document) -> None:
        """A document that came out of a stage."""
        self.counts[stage][language_of(document)].update(self._measured(document.text))

    def remove(self, stage: str, document: Document, removed: Removed) -> None:
        """A document that a stage removed."""
        self.removed[stage][language_of(document)][removed.reason] += 1

    def stay(self, document: Document) -> None:
        """A document of the corpus."""
        self.licences[document.licence if _NAME.fullmatch(document.licence) else IN_WORDS] += 1
        words = self._measured(document.text)["words"]
        least = 1 << words.bit_length() - 1 if words else 0
        self.lengths[language_of(document)][str(least)] += 1

    def _measured(self, text: str) -> Counter:
        if text is not self._text:  # most steps leave it alone
            self._text = text
            self._sizes = Counter(
                documents=1,
                words=sum(1 for _ in WORD.finditer(text)),
                bytes=len(text.encode()),
            )
            if self.vocabulary:
                self._sizes["tokens"] = len(self._loaded().encode(text))
        return self._sizes

    def _loaded(self) -> Any:
        if self._processor is None:
            from medmt5.corpus.sentencepiece_model import load

            self._processor = load(self.vocabulary)
        return self._processor

    def to_json(self) -> dict[str, Any]:
        """Plain values, sorted, so that equal tallies are equal texts."""
        fields = (field.name for field in dataclasses.fields(self) if field.name != "vocabulary")
        return {name: _plain(getattr(self, name)) for name in fields}


def total(tallies: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of some tallies."""
    result: dict[str, Any] = Tally().to_json()
    for tally in tallies:
        _add(result, tally)
    return _plain(result)


def _add(result: dict[str, Any], tally: Mapping[str, Any]) -> None:
    for key, value in tally.items():
        if isinstance(value, Mapping):
            _add(result.setdefault(key, {}), value)
        else:
            result[key] = result.get(key, 0) + value


def _plain(table: Any) -> Any:
    if not isinstance(table, Mapping):
        return table
    return {key: _plain(value) for key, value in sorted(table.items())}
