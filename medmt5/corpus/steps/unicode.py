"""Unicode repair: mojibake, normal form, invisible characters, spaces and line ends.

NFC and not NFKC: it keeps what NFKC would flatten for good (`10⁹/L` to `109/L`, `H₂O`, `½`, full
width forms). SentencePiece applies its own NFKC when it cuts tokens, and the text stays readable.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata

from medmt5.corpus.decompression import library
from medmt5.corpus.documents import Document, Removed

# What PDFs in the font Symbol give for what carries a meaning: code points of the private use area
# at 0xF000 plus the font's own. Without them `5 μg` would lose its unit.
_SYMBOL_FONT = {
    **dict(zip(range(0xF061, 0xF07B), "αβχδεφγηιϕκλμνοπθρστυϖωξψζ", strict=True)),
    **{0xF044: "Δ", 0xF057: "Ω", 0xF0A3: "≤", 0xF0B3: "≥", 0xF0B0: "°", 0xF0B1: "±"},
    **{0xF0B4: "×", 0xF0B7: "•", 0xF0A7: "•", 0xF0AE: "→", 0xF0AD: "↑", 0xF0AF: "↓"},
}
# PDFs spell with these; keywords and words of other texts do not.
_LIGATURES = dict(zip(range(0xFB00, 0xFB07), "ff fi fl ffi ffl st st".split(), strict=True))
_REPLACED = _SYMBOL_FONT | _LIGATURES
# Controls but tab and line feed (taken out after the repair: in mojibake they are halves of
# letters), soft hyphens, zero-width space, word joiner, byte order mark, marks of writing
# direction, lone surrogates, private use and noncharacters. Zero-width joiner and non-joiner
# stay: words of Persian and of Indic languages are spelt with them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\ue000-\uf8ff\U000f0000-\U0010ffff]"
)
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# No-break, en, em, thin, hair, narrow and other spaces. The ideographic space is the ordinary one
# of Chinese and Japanese and stays.
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f]")
_RUNS = re.compile(" {2,}")
# Possessive, or begun only where a run begins: a run of a million stays linear.
_LINE_MARGINS = re.compile("(?:(?<![ \t\u3000])[ \t\u3000]++)?\n[ \u3000]*")
_BLANK_LINES = re.compile("\n{3,}")
# A word cut at the end of a line; `\u00ad` is what some PDFs have for the hyphen.
_HYPHENATED = re.compile(r"(?<![^\W\d_])([^\W\d_]{2,}+)[-\u00ad\u2010] ?\n([^\W\d_]{2,}+)")
_COMPOUND = re.compile(r"(?<![^\W\d_])[^\W\d_]++-[^\W\d_]++")
# After these a hyphen at the line's end stands for a word part: `Herz- und`, `pre- and post-`.
_CONJUNCTIONS = frozenset("and or und oder et ou y e o u ed od i eta edo и или".split())


def _repaired(text: str) -> str:
    ftfy, is_bad = library("ftfy"), library("ftfy.badness").is_bad
    # Line by line as ftfy does it, and only those it finds suspect: the rest costs one search.
    lines = text.split("\n")
    return "\n".join(ftfy.fix_encoding(line) if is_bad(line) else line for line in lines)


def whole_words(text: str) -> str:
    """Words cut by a hyphen at a line's end, whole again; `beta-blocker` keeps its hyphen if the
    text has it elsewhere."""

    compounds = set(_COMPOUND.findall(text))

    def join(match: re.Match[str]) -> str:
        first, second = match.groups()
        if not (first[-1].islower() and second[0].islower()) or second in _CONJUNCTIONS:
            return match[0]
        hyphened = f"{first}-{second}"
        return hyphened if hyphened in compounds else first + second

    return _HYPHENATED.sub(join, text)


def without_oddities(text: str) -> str:
    """NFC, letters for those of symbol fonts, spaces for odd ones, nothing that cannot be seen."""
    if not text.isascii():
        text = _SPACES.sub(" ", text.translate(_REPLACED))
    # NFC last: what was unseen may have kept a letter from its accent.
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", text))


@dataclasses.dataclass(frozen=True)
class Unicode:
    """Puts the characters of a text right.

    Args:
      repair: whether mojibake (`Ã©` for `é`) is undone, with ftfy's rules. ftfy's other changes
        (quotes, ligatures, widths) are not made.
      join: whether words hyphenated at the end of a line are joined.
    """

    repair: bool = True
    join: bool = True

    def __call__(self, document: Document) -> Document | Removed:
        text = self.clean(document.text)
        if not text:
            return Removed("empty")
        if text == document.text:
            return document
        return dataclasses.replace(document, text=text)

    def clean(self, text: str) -> str:
        if self.repair and not text.isascii():
            text = _repaired(text)
        text = _LINE_ENDS.sub("\n", text)
        if self.join and "\n" in text:
            text = whole_words(text)
        text = _RUNS.sub(" ", without_oddities(text))
        return _BLANK_LINES.sub("\n\n", _LINE_MARGINS.sub("\n", text)).strip()
