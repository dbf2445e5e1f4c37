"""What a labelled sentence or a question becomes as instructions, in the wordings of its language.

Which sentences and questions, and for training or validation, is left to `instructions`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from medmt5.data.instruction_texts import TEXTS
from medmt5.formats.gold import Report
from medmt5.formats.prompts import MOST_OPTIONS, WORDS, listed
from medmt5.formats.spans import spans_of
from medmt5.vocabulary import follows_unspaced

# Most sentences mention nothing: of those that lack a label, one in so many is kept.
LACKING = 5
# The labels of some files, spelt out as the labelling tasks spell them.
RENAMED = {"dis": "Disability", "ety": "ClinicalEntity"}
NO_MENTION = "sentences without a label"
NO_WORDING = "questions in a language without wordings"
TOO_MANY = "questions with too many options"


class Item(NamedTuple):
    """A sentence or a question, and the text that makes it the same as another.

    Of a question `question` is the key without the options, of a sentence all of it.
    """

    key: str
    question: str
    id: str
    content: Any


# What an item becomes: for each row, the label that it asks for, "" of questions.
Rows = Iterator[tuple[str, dict[str, Any]]]


def draw(*parts: Any) -> int:
    """A number that these parts alone decide, the same on every machine."""
    text = json.dumps(parts, ensure_ascii=False)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def folded(text: str) -> str:
    return " ".join(text.casefold().split())


def joined(words: Sequence[str]) -> str:
    """Words with a space between, but where their script has none."""
    spaces = ["" if follows_unspaced(a, b) else " " for a, b in zip(words, words[1:], strict=False)]
    return "".join(part for pair in zip(["", *spaces], words, strict=True) for part in pair)


def _worded(wordings: Sequence[str], seed: int, item: Item, kind: str) -> str:
    return wordings[draw(seed, item.key, kind) % len(wordings)]


def label_rows(item: Item, lang: str, seed: int, report: Report, *, labels: Sequence[str]) -> Rows:
    """Lists of what a sentence mentions, a row for each of the set's labels."""
    texts, sentence = TEXTS[lang], item.content
    spans = spans_of(sentence.tags)
    for label in labels:
        mentions = dict.fromkeys(
            joined(sentence.words[span.start : span.end]) for span in spans if span.label == label
        )
        if not mentions and draw(seed, item.key, label) % (LACKING * len(labels)):
            report.other[NO_MENTION] += 1
            continue
        name = RENAMED.get(label, label)
        what = texts.named.get(name) or texts.other.format(label)
        row = {
            "kind": "label",
            "instruction": _worded(texts.label, seed, item, label).format(what),
            "input": joined(sentence.words),
            "output": "; ".join(mentions) or texts.none,
        }
        yield name, row


def choice_rows(item: Item, lang: str, seed: int, report: Report, *, several: bool) -> Rows:
    """A question with options, answered with letters.

    Where several may be right in one question of a set, the wordings of all of them say so.
    """
    record = item.content
    wordings = TEXTS[lang].choices if several else TEXTS[lang].choice
    if not wordings or (several and len(record["options"]) > MOST_OPTIONS):
        report.other[NO_WORDING if not wordings else TOO_MANY] += 1
    elif record["options"]:
        # A context comes first: where it is too long, its beginning is what goes.
        parts = [_context(record, lang), record["question"], listed(record)]
        yield (
            "",
            {
                "kind": "choice",
                "instruction": _worded(wordings, seed, item, "choice"),
                "input": "\n".join(filter(None, parts)),
                "output": ",".join(record["answers"]),
                "options": dict(zip(record["letters"], record["options"], strict=True)),
                "several": several,
            },
        )


def general_rows(item: Item, lang: str, seed: int, report: Report) -> Rows:
    """A question to be explained, and one to be answered in words."""
    texts, record = TEXTS[lang], item.content
    if texts.closed is None:
        report.other[NO_WORDING] += 1
        return
    options = dict(zip(record["letters"], record["options"], strict=True))
    right = [options.get(answer, answer) for answer in record["answers"]]
    context = _context(record, lang)
    if record["rationale"].strip():
        said = [
            f"{a}. {b}" if options else b for a, b in zip(record["answers"], right, strict=True)
        ]
        answer = f"{WORDS[lang].answer}: {'; '.join(said)}"
        parts = [record["question"], listed(record), answer, context]
        yield (
            "",
            {
                "kind": "explain",
                "instruction": _worded(texts.explain, seed, item, "explain"),
                "input": "\n".join(filter(None, parts)),
                "output": record["rationale"].strip(),
            },
        )
    if options and (
        len(right) > 1 or context or _needs_options(record["question"], right[0], lang)
    ):
        return
    yield (
        "",
        {
            "kind": "open",
            "instruction": _worded(texts.short if options else texts.open, seed, item, "open"),
            "input": "\n".join(filter(None, [record["question"], context])),
            "output": right[0],
        },
    )


def _needs_options(question: str, answer: str, lang: str) -> bool:
    """Whether a question cannot be answered without its options, as far as words tell.

    Questions in English are among those of other languages.
    """
    texts = [TEXTS[lang], TEXTS["en"]]
    return any(
        folded(answer) in each.yes_no or each.closed.search(f"{question}\n{answer}")
        for each in texts
        if each.closed
    )


def _context(record: Mapping[str, Any], lang: str) -> str:
    return f"{WORDS[lang].context}: {record['context']}" if record["context"] else ""
