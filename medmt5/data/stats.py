"""What is in data files: counts, lengths, what test sets share with training. `medmt5 data stats`.

Files are read as for training, so the first malformed row ends it: `medmt5 data check` finds all.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from medmt5.data.check import NAME, kind_of
from medmt5.formats.conll import read_conll
from medmt5.formats.general import read_general
from medmt5.formats.instructions import read_instructions
from medmt5.formats.questions import read_questions
from medmt5.formats.spans import spans_of
from medmt5.vocabulary import Vocabulary


def describe(
    paths: Sequence[str],
    vocabulary: Vocabulary | None = None,
    lengths: Mapping[str, int | None] = {},
) -> list[dict[str, Any]]:
    """What is in each file.

    Args:
      paths: of files, of any kind of `check.kind_of`.
      vocabulary: to count tokens.
      lengths: `inputs` and `targets` in tokens; longer ones are counted as cut.

    Returns:
      A dictionary per file; that of a split that is not `train` has what it shares with the
      training split, if that is among the files.

    Raises:
      ValueError: a file that cannot be read; says where.
    """
    read = {
        "sentences": _sentences,
        "questions": _questions,
        "instructions": _instructions,
        "rows": _rows,
    }
    found = [read[kind_of(path)](path, vocabulary, lengths) for path in paths]
    training = {}
    for path, (_, seen) in zip(paths, found, strict=True):
        if _name(path, "split") == "train":
            training[_set(path)] = seen
    for path, (facts, seen) in zip(paths, found, strict=True):
        train = training.get(_set(path))
        if train is None or _name(path, "split") == "train":
            continue
        for kind, items in seen.items():
            shared = sum(number for item, number in items.items() if item in train[kind])
            share = round(100 * shared / max(items.total(), 1), 1)
            facts[f"{kind}_in_train"] = {"count": shared, "percent": share}
    return [facts for facts, _ in found]


def _name(path: str, part: str) -> str:
    match = NAME.fullmatch(os.path.basename(path))
    return match[part] if match else ""


def _set(path: str) -> tuple[str, str, str]:
    return os.path.dirname(path), _name(path, "lang"), _name(path, "data") or path


Seen = dict[str, Counter[Any]]


def _sentences(path: str, vocabulary, lengths) -> tuple[dict[str, Any], Seen]:
    """Facts of a CoNLL file, its sentences and its mentions."""
    labels: Counter[str] = Counter()
    seen: Seen = {"sentences": Counter(), "mentions": Counter()}
    sizes: dict[str, list[int]] = {"words": [], "input_tokens": [], "target_tokens": []}
    for sentence in read_conll(path):
        spans = spans_of(sentence.tags)
        labels.update(span.label for span in spans)
        seen["sentences"][" ".join(sentence.words)] += 1
        for start, end, label in spans:
            seen["mentions"][label, " ".join(sentence.words[start:end])] += 1
        sizes["words"].append(len(sentence.words))
        if vocabulary:
            # As `formats.labelling` writes them: the end of sequence, and two tags per span.
            tokens = sum(map(len, vocabulary.encode_words(sentence.words))) + 1
            sizes["input_tokens"].append(tokens)
            sizes["target_tokens"].append(tokens + 2 * len(spans))
    facts: dict[str, Any] = {
        "path": path,
        "sentences": len(sizes["words"]),
        "words": sum(sizes["words"]),
        "spans": labels.total(),
        "labels": dict(labels.most_common()),
    }
    return facts | dict(_lengths(sizes, lengths)), seen


def _questions(path: str, vocabulary, lengths) -> tuple[dict[str, Any], Seen]:
    """Facts of a file of questions, and its questions."""
    options: Counter[int] = Counter()
    several = rationales = 0
    seen: Seen = {"questions": Counter()}
    sizes: dict[str, list[int]] = {"characters": [], "input_tokens": [], "target_tokens": []}
    for record in read_questions(path):
        options[len(record["options"])] += 1
        several += len(record["answers"]) > 1
        rationales += bool(record["rationale"])
        asked = [record["context"], record["question"], *record["options"]]
        text = "\n".join(filter(None, asked))
        seen["questions"][text] += 1
        sizes["characters"].append(len(text))
        if vocabulary:
            # Without what a task writes around them.
            sizes["input_tokens"].append(len(vocabulary.encode(text)) + 1)
            answer = record["rationale"] or ", ".join(record["answers"])
            sizes["target_tokens"].append(len(vocabulary.encode(answer)) + 1)
    facts: dict[str, Any] = {
        "path": path,
        "questions": len(sizes["characters"]),
        "options": {str(number): count for number, count in sorted(options.items())},
        "several_answers": several,
        "with_rationale": rationales,
    }
    return facts | dict(_lengths(sizes, lengths)), seen


def _instructions(path: str, vocabulary, lengths) -> tuple[dict[str, Any], Seen]:
    """Facts of a file of instructions, and its instructions with what came before them."""
    turns = inputs = options = 0
    seen: Seen = {"instructions": Counter()}
    sizes: dict[str, list[int]] = {"characters": [], "input_tokens": [], "target_tokens": []}
    for record in read_instructions(path):
        turns += bool(record["history"])
        inputs += bool(record["input"])
        options += bool(record["letters"])
        asked = [record["system"], *record["history"], record["instruction"], record["input"]]
        text = "\n".join(filter(None, asked))
        seen["instructions"][text] += 1
        sizes["characters"].append(len(text))
        if vocabulary:
            # Without what a template writes around them.
            sizes["input_tokens"].append(len(vocabulary.encode(text)) + 1)
            sizes["target_tokens"].append(len(vocabulary.encode(record["answers"][0])) + 1)
    facts: dict[str, Any] = {
        "path": path,
        "instructions": len(sizes["characters"]),
        "with_earlier_turns": turns,
        "with_input": inputs,
        "with_options": options,
    }
    return facts | dict(_lengths(sizes, lengths)), seen


def _rows(path: str, vocabulary, lengths) -> tuple[dict[str, Any], Seen]:
    """Facts of a file of a general task; of texts, the last is what is to be written."""
    labels: Counter[str] = Counter()
    seen: Seen = {"rows": Counter()}
    sizes: dict[str, list[int]] = {"characters": [], "input_tokens": [], "target_tokens": []}
    for record in read_general(path):
        names = [key for key in record if key not in ("task", "id", "src_lang", "tgt_lang")]
        texts = [record[key] for key in names if isinstance(record[key], str)]
        *given, wanted = texts + [answer for answer in record.get("answers", ())[:1]]
        if "label" in record:
            labels[record["label"]] += 1
        seen["rows"]["\n".join(given)] += 1
        sizes["characters"].append(sum(map(len, given)))
        if vocabulary:
            sizes["input_tokens"].append(len(vocabulary.encode("\n".join(given))) + 1)
            sizes["target_tokens"].append(len(vocabulary.encode(wanted)) + 1)
    facts: dict[str, Any] = {"path": path, "rows": len(sizes["characters"])}
    if labels:
        facts["labels"] = dict(labels.most_common())
    return facts | dict(_lengths(sizes, lengths)), seen


def _lengths(
    sizes: Mapping[str, Sequence[int]], lengths: Mapping[str, int | None]
) -> Iterator[tuple[str, Any]]:
    """Mean, median, 99th percentile and maximum of each size, and how many are cut."""
    for name, values in sizes.items():
        if not values:
            continue
        yield (
            f"{name}_each",
            {
                "mean": round(float(np.mean(values)), 1),
                "median": float(np.median(values)),
                "99%": float(np.percentile(values, 99)),
                "longest": max(values),
            },
        )
        limit = lengths.get(name.split("_")[0] + "s")
        if limit:
            yield f"{name}_cut", sum(value > limit for value in values)


def table(files: Sequence[Mapping[str, Any]]) -> str:
    """Readable lines, a block per file."""
    lines = []
    for facts in files:
        lines.append(facts["path"])
        for key, value in facts.items():
            if key == "path":
                continue
            if key.endswith("_in_train"):
                value = f"{_number(value['count'])} ({value['percent']} %)"
            elif isinstance(value, dict):
                value = ", ".join(f"{name} {_number(number)}" for name, number in value.items())
            else:
                value = _number(value)
            lines.append(f"  {key.replace('_', ' '):24} {value}")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.1f}" if value != int(value) else f"{int(value):,}"
