"""From the annotations of a file to flat entities, and what could not be kept.

Files hold nested, crossing and discontinuous annotations; a `Document` is flat. What does not fit
is counted and logged with its place, one by one, and kept in the report: nothing vanishes.
"""

from __future__ import annotations

import bisect
import logging
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from medmt5.formats.documents import BREAK, Document, Entity, one_line

log = logging.getLogger(__name__)


class Annotation(NamedTuple):
    """An entity as a file has it.

    `spans` are half-open offsets in code points, several where it is discontinuous; `quote` is
    its text as the file repeats it, None where it does not; `place` is for messages.
    """

    label: str
    spans: tuple[tuple[int, int], ...]
    quote: str | None = None
    place: str = ""
    score: float = 1.0


class Lost(NamedTuple):
    """An annotation that a flat document cannot hold, and why."""

    why: str  # discontinuous, nested, crossing, repeated, two labels
    annotation: Annotation


class BadRecord(ValueError):
    """Something in a file cannot be read; `Report(skip_bad=True)` passes over it."""

    def __init__(self, fault: str, place: str = ""):
        super().__init__(f"{place}: {fault}" if place else fault)
        self.fault, self.place = fault, place


class Report:
    """What reading found; fill one over as many files as you like.

    Args:
      skip_bad: report broken lines, records and annotations, and go on; else they raise BadRecord.
      texts_only: leave annotations aside, counted in `unread`.

    Attributes:
      documents: read.
      entities: kept in them.
      lost: annotations that a flat document cannot hold.
      other: kind -> count of what is not an entity, such as relations and concept identifiers.
      unread: annotations left aside because of texts_only.
      skipped: broken lines, records and annotations that were passed over.
      read_bytes: read so far, for progress.
    """

    def __init__(self, *, skip_bad: bool = False, texts_only: bool = False):
        self.skip_bad, self.texts_only = skip_bad, texts_only
        self.documents = self.entities = self.unread = self.skipped = self.read_bytes = 0
        self.lost: list[Lost] = []
        self.other: Counter[str] = Counter()

    def bad(self, place: str, fault: str) -> None:
        """Raise BadRecord, or count and log it where broken records are to be skipped."""
        if not self.skip_bad:
            raise BadRecord(fault, place)
        self.skipped += 1
        log.warning("%s: %s; skipped", place, fault)

    def lose(self, why: str, annotation: Annotation, reason: str) -> None:
        self.lost.append(Lost(why, annotation))
        label, spans = annotation.label, " ".join(f"{a}-{b}" for a, b in annotation.spans)
        log.warning("%s: %s %s %s: not kept", annotation.place, label, spans, reason)

    def summary(self) -> str:
        """One line: what was read, what was not kept."""
        parts = [f"{self.documents} documents, {self.entities} entities"]
        for why, count in sorted(Counter(lost.why for lost in self.lost).items()):
            parts.append(f"{count} {why} not kept")
        parts += [f"{count} {kind} not kept" for kind, count in sorted((+self.other).items())]
        if self.unread:
            parts.append(f"{self.unread} annotations left aside")
        if self.skipped:
            parts.append(f"{self.skipped} broken ones skipped")
        return "; ".join(parts)


def flat(
    text: str,
    annotations: Sequence[Annotation],
    report: Report,
    *,
    id: str = "",
    words: Sequence[tuple[int, int]] = (),
    splits: Sequence[int] = (),
) -> Document:
    """A document of the annotations that fit into one that is flat; the others go to the report.

    Fragments with only white space between them are one stretch. Of annotations that overlap the
    longest stays, of equally long ones the first in the text, then in the file.

    Raises:
      BadRecord: offsets outside the text, or a quote that is not the text there (unless
        skip_bad).
    """
    report.documents += 1
    kept: list[Annotation] = []
    if report.texts_only:
        report.unread += len(annotations)
        annotations = ()
    for annotation in annotations:
        if fault := _fault(text, annotation):
            report.bad(annotation.place, fault)
            continue
        joined = annotation._replace(spans=_join(text, annotation.spans))
        if len(joined.spans) > 1:
            report.lose("discontinuous", annotation, "is discontinuous")
        else:
            kept.append(joined)
    entities = []
    for annotation in _without_overlap(kept, report):
        ((start, end),) = annotation.spans
        label, score = annotation.label, annotation.score
        entities.append(Entity(start, end, label, text[start:end], score))
    report.entities += len(entities)
    return Document(text, tuple(entities), tuple(words), tuple(splits), id)


def _without_overlap(annotations: Sequence[Annotation], report: Report) -> list[Annotation]:
    kept: list[Annotation] = []  # in order of the text
    starts: list[int] = []
    for annotation in sorted(annotations, key=lambda a: (a.spans[0][0] - a.spans[0][1], a.spans)):
        start, end = annotation.spans[0]
        at = bisect.bisect(starts, start)
        near = kept[max(at - 1, 0) : at + 1]
        other = next((o for o in near if o.spans[0][0] < end and start < o.spans[0][1]), None)
        if other is None:
            kept.insert(at, annotation)
            starts.insert(at, start)
            continue
        (first, last), label = other.spans[0], other.label
        if (first, last) == (start, end):
            why = "repeated" if label == annotation.label else "two labels"
        else:
            why = "nested" if first <= start and end <= last else "crossing"
        known = {
            "repeated": "is there twice",
            "two labels": f"is a second label of what is {label}",
            "nested": f"lies within {label} {first}-{last}",
            "crossing": f"crosses {label} {first}-{last}, which is not shorter",
        }
        report.lose(why, annotation, known[why])
    return kept


def _join(text: str, spans: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and (start <= joined[-1][1] or text[joined[-1][1] : start].isspace()):
            start, end = joined[-1][0], max(end, joined.pop()[1])
        joined.append((start, end))
    return tuple(joined)


def _fault(text: str, annotation: Annotation) -> str:
    """What is wrong with an annotation, or nothing."""
    label, spans, quote, *_ = annotation
    if not label or BREAK.search(label):
        return f"label {label!r} is empty, or has a tab or line break; rename it"
    outside = not spans or not all(0 <= start < end <= len(text) for start, end in spans)
    found = " ".join(text[start:end] for start, end in spans)
    if quote is None and outside:
        return f"offsets {spans} are empty or outside the text of {len(text)} characters"
    if quote is None or (not outside and one_line(quote) == one_line(found)):
        return ""
    for encoding, unit, name in (("utf-8", 1, "bytes"), ("utf-16-le", 2, "UTF-16 units")):
        data = text.encode(encoding, "surrogatepass")
        pieces = [data[a * unit : b * unit].decode(encoding, "replace") for a, b in spans]
        inside = all(0 <= a < b <= len(data) // unit for a, b in spans)
        if inside and one_line(" ".join(pieces)) == one_line(quote):
            return f"offsets {spans} count {name}; they must count Unicode code points"
    return f"quotes {quote[:60]!r}, but the text at {spans} is {found[:60]!r}; check the offsets"
