"""Language identification: sets the language where none is declared, removes what contradicts it.

The identifier is py3langid (naive Bayes over byte n-grams, 139 languages). Those with their model
in their wheel were compared on medical text in en, es, fr, it, eu, ru, zh and ja, in pieces of 20,
50, 200 and 1,000 characters (a third of it in zh and ja), 8,919 in all: mean over languages of the
right answers in %; wrong ones with a confidence of 0.9 and more, in % of all pieces (many of these
are Latin names in Japanese and infoboxes in Basque text); MB per second of CPU on pieces of 1,000
characters; memory that the model takes.

    library                        20    50   200  1000   sure, wrong   MB/s    MB
    py3langid 0.4.0              75.2  91.0  96.8  99.3           0.8    0.8   132
    fasttext lid.176.ftz         72.0  87.2  96.0  98.9           0.7    2.1    35
    pycld2 0.42                  50.0  77.7  92.5  98.7           4.2   15.8    16
    cld3-py 3.1.0                58.6  83.9  93.8  99.4           6.1    2.5    12
    lingua 2.1.1 of 11 languages 83.4  93.5  96.9  99.4           1.7    0.8   201

lingua is better on short pieces because it was told the languages; text in any other then gets one
of these. py3langid is the best without that, and plain numpy under a BSD licence (the fastText
model is CC BY-SA). Its speed matters little, as a document's beginning, middle and end suffice.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Sequence

from medmt5.corpus.decompression import library
from medmt5.corpus.documents import Document, Removed

# Written Chinese is also labelled as its Wu and Cantonese Wikipedias: one language here.
_SAME = {"wuu": "zh", "yue": "zh"}
# ISO 639-1 codes that the identifier can give.
KNOWN = frozenset(
    """
    af am an ar as az ba be bg bn br bs ca cs cy da de dz el en eo es et eu fa fi fo fr fy
    ga gd gl gu ha he hi hr ht hu hy id ig is it ja jv ka kk km kn ko ku ky la lb lg ln lo
    lt lv mg mk ml mn mr ms mt my ne nl nn no oc om or pa pl ps pt qu ro ru rw sa se si sk
    sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk ur uz vi vo wa xh yo zh zu
    """.split()
)
LANGUAGES = ("en", "es", "fr", "it", "ru", "zh", "ja", "eu", "de", "pt")
# Characters read of a document, in three pieces: the table says that more would not help.
_SAMPLE = 1200


@functools.cache
def _model():
    langid = library("py3langid.langid")
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


def identify(text: str) -> tuple[str, float]:
    """The likeliest language and its probability, between 0 and 1."""
    if len(text) > _SAMPLE:
        third = _SAMPLE // 3
        middle = len(text) // 2
        text = f"{text[:third]}\n{text[middle : middle + third]}\n{text[-third:]}"
    chances: dict[str, float] = {}
    for label, chance in _model().rank(text):
        language = _SAME.get(str(label), str(label))
        chances[language] = chances.get(language, 0.0) + chance
    language = max(chances, key=chances.__getitem__)
    return language, chances[language]


@dataclasses.dataclass(frozen=True)
class Language:
    """Sets or checks the language of a document.

    Args:
      wanted: languages of the corpus, ISO 639-1; documents in others are removed.
      contradiction: a declared language is given up, and the document with it, where another
        one is at least so likely. Our choice: see the table above.
      assignment: an undeclared language is set where it is at least so likely; else the document
        is removed. CulturaX asks for 0.5 of its identifier too.
    """

    wanted: Sequence[str] = LANGUAGES
    contradiction: float = 0.9
    assignment: float = 0.7

    def __post_init__(self) -> None:
        for code in self.wanted:
            if code not in KNOWN:
                near = difflib.get_close_matches(str(code), sorted(KNOWN), n=3, cutoff=0.3)
                raise ValueError(
                    f"language: wanted has {code!r}, no ISO 639-1 code that can be identified"
                    + (f"; did you mean {' or '.join(near)}?" if near else "")
                )
        object.__setattr__(self, "wanted", tuple(self.wanted))

    def __call__(self, document: Document) -> Document | Removed:
        declared = document.language
        if declared and declared not in self.wanted:
            return Removed("language not wanted", declared)
        found, chance = identify(document.text)
        detail = f"{found} {chance:.2f}"
        if declared:
            if found != declared and chance >= self.contradiction:
                return Removed("language contradicted", f"{declared} declared, {detail}")
            return document
        if chance < self.assignment:
            return Removed("language not certain", detail)
        if found not in self.wanted:
            return Removed("language not wanted", detail)
        return dataclasses.replace(document, language=found)
