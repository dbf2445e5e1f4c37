"""Spans over words, and IOB tags: what is labelled, before any token ids.

How spans are written into a target is left to `tags`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """Words start to end (half-open) carry a label."""

    start: int
    end: int
    label: str


class ScoredSpan(NamedTuple):
    """A predicted span; `score` is its probability, as `predictor.Search` says."""

    start: int
    end: int
    label: str
    score: float


def spans_of(tags: Sequence[str]) -> list[Span]:
    """Spans of IOB or IOB2 tags; an I- that continues nothing begins a span (as in seqeval)."""
    spans: list[Span] = []
    start, label = 0, ""
    for i, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if label and (prefix != "I" or name != label):
            spans.append(Span(start, i, label))
            label = ""
        if prefix != "O" and not label:
            start, label = i, name
    return spans


def tags_of(length: int, spans: Sequence[Span]) -> list[str]:
    """IOB2 tags of spans over `length` words."""
    tags = ["O"] * length
    for start, end, label, *_ in spans:
        tags[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return tags


def check_spans(length: int, spans: Sequence[Span], labels: Sequence[str]) -> list[Span]:
    """The spans in order; ValueError unless flat, non-empty, inside and of known labels."""
    ordered = sorted(Span(*span[:3]) for span in spans)
    at = 0
    for span in ordered:
        if not at <= span.start < span.end <= length:
            raise ValueError(
                f"{span} is empty, overlaps another span or leaves the sentence of {length} words"
            )
        if span.label not in labels:
            raise ValueError(f"label {span.label!r} is unknown; labels are {', '.join(labels)}")
        at = span.end
    return ordered
