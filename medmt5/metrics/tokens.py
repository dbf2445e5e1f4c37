"""Text to tokens that are compared: in any script, and as the usual libraries cut it.

Chinese and Japanese have no spaces: each Han or kana character is a token, unless jieba or Janome
is asked for by name.
"""

from __future__ import annotations

import functools
import importlib
import logging
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

Tokenizer = Callable[[str, str], list[str]]

_CUT = ("CJK ", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA")
_SCRIPTS = {"CJK": "zh", "HIRAGANA": "ja", "KATAKANA": "ja", "CYRILLIC": "ru"}
# Other names of the same languages that data sets use.
_ALIASES = {"cn": "zh", "jp": "ja"}


def language_of(texts: Sequence[str], lang: str = "") -> str:
    """The language as two letters: `lang` if it is given, else told by the script of most words.

    A Han or kana character is a word, so Latin units and drug names do not decide. Han without
    kana is "zh", Han with kana "ja", Cyrillic "ru", anything else "en".
    """
    if lang:
        code = re.split("[-_]", lang.lower())[0]
        return _ALIASES.get(code, code)
    scripts = Counter(_script(word[0]) for text in texts for word in words(text))
    del scripts[""]
    if not scripts:
        return "en"
    most = scripts.most_common(1)[0][0]
    return "ja" if most == "zh" and scripts["ja"] else most


@functools.cache
def _script(character: str) -> str:
    if not character.isalpha():
        return ""
    return _SCRIPTS.get(unicodedata.name(character, "").split(" ")[0], "en")


class _Characters(dict):
    """For `str.translate`, filled as characters are met: what stays, what is cut, what goes."""

    def __init__(self, keep: Callable[[str], bool], otherwise: str):
        super().__init__()
        self.keep, self.otherwise = keep, otherwise

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if not self.keep(character):
            self[code] = self.otherwise
        elif unicodedata.name(character, "").startswith(_CUT):
            self[code] = f" {character} "
        else:
            self[code] = character
        return self[code]


# Letters, marks (vowels of some scripts, accents) and numbers.
_WORDS = _Characters(lambda character: unicodedata.category(character)[0] in "LMN", " ")


def words(text: str, language: str = "") -> list[str]:
    """Lower-case runs of letters, marks and digits; Han and kana one by one.

    On ASCII text equal to rouge-score's default tokeniser, which knows no other script.
    """
    return unicodedata.normalize("NFKC", text).lower().translate(_WORDS).split()


# SQuAD removes ASCII punctuation, which includes symbols such as +; others by their category.
_ANSWERS = _Characters(
    lambda c: c not in string.punctuation and unicodedata.category(c)[0] != "P", ""
)
_APOSTROPHES = re.compile("['’ʼ]")
# en as SQuAD, es as MLQA. In fr and it an elided article counts: "l'aspirine" is "aspirine".
ARTICLES = {
    "en": {"a", "an", "the"},
    "es": {"el", "la", "los", "las", "un", "una", "unos", "unas"},
    "fr": {"le", "la", "les", "l", "un", "une", "des"},
    "it": {"il", "lo", "la", "i", "gli", "le", "l", "un", "uno", "una"},
}


def answer_words(text: str, language: str) -> list[str]:
    """SQuAD's normalisation for more languages: no case, punctuation, or articles.

    An answer of articles alone is kept: "A" may be a blood group.

    Source: Rajpurkar et al. 2016; for other languages as MLQA (Lewis et al. 2020).
    """
    text = unicodedata.normalize("NFKC", text).lower()
    if language in ("fr", "it"):
        text = _APOSTROPHES.sub(" ", text)
    found = text.translate(_ANSWERS).split()
    articles = ARTICLES.get(language, ())
    return [word for word in found if word not in articles] or found


# The rules of mteval-v13a, which sacrebleu's tokenisers 13a and zh share: cut off ASCII
# punctuation, points and commas not between digits, dashes after digits.
_RULES = [
    (re.compile(r"([!-&(-+/:-@\[-`{-~])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
]
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
# Han and its punctuation as in sacrebleu's zh, and kana, which it leaves in one piece.
_EACH = re.compile(
    "([\u2001-\u2a6d\u2e80-\u312f\u31a0-\u9fff\uf900-\ufaff\ufe10-\ufe1f\ufe30-\ufe4f\uff00-\uffef"
    "\U00020000-\U0003ffff])"
)


def bleu_words(text: str, language: str = "") -> list[str]:
    """Words and punctuation with their case, as sacrebleu's 13a; for zh and ja by character.

    Chinese as sacrebleu's zh. For Japanese sacrebleu takes MeCab; see `janome`.
    """
    if language in ("zh", "ja"):
        text = _EACH.sub(r" \1 ", text.strip())
    else:
        text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
        for entity, character in _ENTITIES:
            text = text.replace(entity, character)
        text = f" {text} "
    for rule, replacement in _RULES:
        text = rule.sub(replacement, text)
    return text.split()


def jieba(text: str, language: str = "zh") -> list[str]:
    """Chinese words by jieba."""
    library = _library("jieba")
    library.setLogLevel(logging.WARNING)  # it tells of its dictionary at each start
    return list(library.cut(text))


def janome(text: str, language: str = "ja") -> list[str]:
    """Japanese words by Janome."""
    return [token.surface for token in _janome().tokenize(text)]


@functools.cache
def _janome():
    return _library("janome.tokenizer").Tokenizer()


def nltk(text: str, language: str = "en") -> list[str]:
    """Words by NLTK's `word_tokenize`.

    Raises:
      ValueError: NLTK or its data is missing.
    """
    try:
        return _library("nltk.tokenize").word_tokenize(text)
    except LookupError as error:
        raise ValueError(
            "NLTK's sentence splitter is missing; get it with: python -m nltk.downloader punkt_tab"
        ) from error


def _library(name: str):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise ValueError(f"{package} is not installed; pip install 'medmt5[metrics]'") from error


# Segmenters by name, and the language that each is for.
SEGMENTERS = {"jieba": ("zh", jieba), "janome": ("ja", janome)}


def segmented(name: str, otherwise: Tokenizer) -> Tokenizer:
    """`otherwise`, but Chinese in words of "jieba", or Japanese in words of "janome".

    What becomes of case and punctuation is left to `otherwise`.
    """
    language, cut = SEGMENTERS[name]

    def tokenize(text: str, of: str) -> list[str]:
        if of != language:
            return otherwise(text, of)
        return [word for word in ("".join(otherwise(piece, of)) for piece in cut(text, of)) if word]

    return tokenize
