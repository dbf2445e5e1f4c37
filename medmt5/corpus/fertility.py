"""How well a vocabulary fits a language: tokens per word, words in one piece, what has no piece.

A word is what steps and manifests count: a run of letters and digits, in scripts without spaces a
character, so for Chinese and Japanese it is tokens per character. A vocabulary without byte pieces
has one `<unk>` for a run of characters that it lacks: few tokens, and nothing in them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medmt5.corpus.steps.words import WORD, has_unspaced


@dataclasses.dataclass(frozen=True)
class Fit:
    """Counts of one vocabulary on the texts of one language.

    Attributes:
      tokens: of the whole texts, punctuation included.
      whole: words that are one piece.
      spelt: tokens that are `<unk>` or a byte: characters without a piece.
    """

    words: int
    tokens: int
    whole: int
    spelt: int

    def rates(self) -> dict[str, float]:
        """Tokens per word, and shares of words and of tokens."""
        return {
            "tokens_per_word": self.tokens / max(self.words, 1),
            "whole_words": self.whole / max(self.words, 1),
            "spelt_tokens": self.spelt / max(self.tokens, 1),
        }


def measure(processor: Any, texts: Iterable[str]) -> Fit:
    """Cut texts with a vocabulary.

    Args:
      processor: `sentencepiece.SentencePieceProcessor`.
    """
    words: Counter[str] = Counter()
    tokens: Counter[int] = Counter()
    for text in texts:
        tokens.update(processor.encode(text))
        words.update(WORD.findall(text))
    spelt = sum(count for token, count in tokens.items() if _is_spelt(processor, token))
    whole = sum(count for word, count in words.items() if _is_whole(processor, word))
    return Fit(words.total(), tokens.total(), whole, spelt)


def _is_spelt(processor: Any, token: int) -> bool:
    return processor.is_unknown(token) or processor.is_byte(token)


def _is_whole(processor: Any, word: str) -> bool:
    ids = processor.encode(word)
    # The mark of a space before it, which in such scripts is not there.
    if len(ids) == 2 and has_unspaced(word) and processor.id_to_piece(ids[0]) == "▁":
        del ids[0]
    return len(ids) == 1 and not _is_spelt(processor, ids[0])


def means(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of rows with `language`, `vocabulary` and rates, one more per vocabulary: over languages."""
    made = []
    for name in dict.fromkeys(row["vocabulary"] for row in rows):
        own = [row for row in rows if row["vocabulary"] == name]
        rates = {
            rate: sum(row[rate] for row in own) / len(own)
            for rate in ("tokens_per_word", "whole_words", "spelt_tokens")
        }
        made.append({"language": "mean", "vocabulary": name, "pieces": own[0]["pieces"], **rates})
    return made


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as Markdown."""
    lines = [
        "| language | words | vocabulary | pieces | tokens per word | words in one piece "
        "| `<unk>` or bytes |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        words = f"{row['words']:,}" if "words" in row else ""
        lines.append(
            f"| {row['language']} | {words} | {row['vocabulary']} | {row['pieces']:,} "
            f"| {row['tokens_per_word']:.3f} | {row['whole_words']:.1%} "
            f"| {row['spelt_tokens']:.2%} |"
        )
    return "\n".join(lines)
