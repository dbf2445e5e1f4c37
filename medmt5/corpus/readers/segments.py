"""Corpora of aligned segments, most of them sentences: some in a row make a document."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from medmt5.corpus.decompression import Unreadable
from medmt5.corpus.documents import Bad, Document
from medmt5.corpus.readers.base import Reader


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segments(Reader):
    """Settings of parallel corpora, of which one language is taken.

    Attributes:
      segments_per_document: OPUS keeps the order of segments and drops the borders of documents;
        more than one gives context and lets quality rules count words.
    """

    segments_per_document: int = 1

    def __post_init__(self):
        super().__post_init__()
        if not self.language:
            raise ValueError("set language, the one to take of the pair")
        if self.segments_per_document < 1:
            raise ValueError("segments_per_document must be at least 1")

    def grouped(self, segments: Iterable[tuple[str, str] | Bad]) -> Iterator[Document | Bad]:
        """Documents of pairs (id, segment); the id is that of the first segment."""
        group: list[tuple[str, str]] = []
        try:
            for item in segments:
                if isinstance(item, Bad):
                    yield item
                    continue
                group.append(item)
                if len(group) == self.segments_per_document:
                    yield self._joined(group)
                    group = []
        except Unreadable:
            if group:
                yield self._joined(group)
            raise
        if group:
            yield self._joined(group)

    def _joined(self, group: list[tuple[str, str]]) -> Document:
        text = "\n".join(segment for _, segment in group)
        return self.document(text, group[0][0], language=self.language)
