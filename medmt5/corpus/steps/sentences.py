"""Sentence splitting where it is needed: documents that are too long become chunks of sentences.

Sentences are those of `formats.text`, which the labeller cuts with too. A chunk is a stretch of
the document as it stands, line breaks and all; a document that is short enough stays whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from medmt5.corpus.documents import Document
from medmt5.formats.text import sentence_ends, split_words


def _sentences(text: str, max_words: int) -> Iterator[tuple[int, int]]:
    """Where each sentence ends, and its number of words; one of too many is cut between words.

    Line by line, because a line break ends a sentence anyway and a book's words fill the memory.
    """
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        words = split_words(text[start:end])
        first = 0
        for last in sentence_ends(text[start:end], words):
            while first <= last:
                cut = min(last, first + max_words - 1)
                yield start + words[cut][1], cut - first + 1
                first = cut + 1
        start = end


@dataclasses.dataclass(frozen=True)
class Sentences:
    """Splits documents that are too long.

    Args:
      max_words: of a chunk, as `formats.text` counts them: punctuation is a word, a character of
        Chinese or Japanese is one. 2,000 is our choice: about three rows of 1,024 tokens, so that
        rows rarely begin in a sentence's middle, and small beside a book in everything that is
        decided per document (duplicates, contamination).
    """

    max_words: int = 2000

    def __post_init__(self) -> None:
        if self.max_words < 1:
            raise ValueError(f"sentences: max_words is {self.max_words}; it must be at least 1")

    def __call__(self, document: Document) -> Document | list[Document]:
        text = document.text
        # A word has at least one character: most documents need no counting.
        if len(text) <= self.max_words:
            return document
        sentences = list(_sentences(text, self.max_words))
        total = sum(count for _, count in sentences)
        if total <= self.max_words:
            return document
        # Chunks of about one length, so that the last one is no scrap.
        aim = -(-total // -(-total // self.max_words))
        chunks: list[str] = []
        begin = end = words = 0
        for stop, count in sentences:
            if words and (words + count > self.max_words or words >= aim):
                chunks.append(text[begin:end].strip())
                begin, words = end, 0
            end, words = stop, words + count
        chunks.append(text[begin:].strip())
        return [
            dataclasses.replace(document, text=chunk, id=f"{document.id}#{number}")
            for number, chunk in enumerate(chunks, 1)
        ]
