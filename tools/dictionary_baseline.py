"""The baseline that a labelling model must beat: longest match of the training mentions.

    python tools/dictionary_baseline.py --train TRAIN.tsv [...] --test TEST.tsv [...]

Words are compared in lower case; a mention takes the label it had most often in training.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Sequence

from medmt5.formats.conll import read_conll
from medmt5.formats.spans import Span, spans_of
from medmt5.launch import errors_to_exit
from medmt5.metrics import span_f1

Dictionary = dict[tuple[str, ...], str]


def build(paths: Sequence[str]) -> Dictionary:
    """Lower-cased mentions of the training files, with their most frequent label."""
    counts: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for path in paths:
        for sentence in read_conll(path):
            words = [word.lower() for word in sentence.words]
            for start, end, label in spans_of(sentence.tags):
                counts[tuple(words[start:end])][label] += 1
    return {mention: labels.most_common(1)[0][0] for mention, labels in counts.items()}


def match(words: Sequence[str], dictionary: Dictionary, longest: int) -> list[Span]:
    """Spans of the longest mentions, from left to right."""
    lower = [word.lower() for word in words]
    spans, start = [], 0
    while start < len(lower):
        for end in range(min(len(lower), start + longest), start, -1):
            if label := dictionary.get(tuple(lower[start:end])):
                spans.append(Span(start, end, label))
                start = end
                break
        else:
            start += 1
    return spans


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--train", nargs="+", required=True, help="CoNLL files")
    flags.add_argument("--test", nargs="+", required=True, help="CoNLL files, scored one by one")
    given = flags.parse_args()
    with errors_to_exit():
        dictionary = build(given.train)
        longest = max(map(len, dictionary), default=0)
        for path in given.test:
            sentences = list(read_conll(path))
            golds = [spans_of(sentence.tags) for sentence in sentences]
            found = [match(sentence.words, dictionary, longest) for sentence in sentences]
            print(json.dumps({"test": path, "mentions": len(dictionary)} | span_f1(golds, found)))


if __name__ == "__main__":
    main()
