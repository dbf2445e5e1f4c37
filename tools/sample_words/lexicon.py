"""Composes disease and drug names from `terms` and shares them out over the splits.

A concept is a tuple of four nouns, one per language. Every combination of parts (stem and affix,
head and organ, onset and drug stem) goes to exactly one split, so the parts of a test name are
known from training but the name is not.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable

from sample_words import terms
from sample_words.grammar import Noun, join

LANGS = ("en", "es", "fr", "it")
SPLITS = ("train", "dev", "test")
SHARES = {"train": 0.55, "dev": 0.1, "test": 0.35}

Concept = tuple[Noun, ...]


def rows(table: str) -> list[list[str]]:
    """Cells of an aligned table; an indented line continues the one above."""
    lines = re.sub(r"\n +", " ", table.strip()).split("\n")
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def concept(cells: list[str], label: str | None) -> Concept:
    """Nouns of one row, from cells such as `anemia/f`."""
    nouns = []
    for cell in cells:
        text, _, gender = cell.partition("/")
        nouns.append(Noun(text, gender, label))
    return tuple(nouns)


def _spell(stem: str, affix: str, lang: str) -> str:
    """Joins stem and affix; -k is a /k/ that es and it spell by the vowel that follows."""
    if stem.endswith("k"):
        soft = {"es": "qu", "it": "ch"}[lang] if affix[0] in "ie" else "c"
        stem = stem[:-1] + soft
    return stem + affix


def affixed(stem: list[str], affix: list[str], label: str | None) -> Concept:
    """hepat + itis, in the four languages."""
    cells = [_spell(s, a, lang) for s, a, lang in zip(stem, affix, LANGS, strict=True)]
    return concept(cells, label)


def qualified(noun: Concept, adjective: list[str]) -> Concept:
    """Adds an adjective: before the noun in English, after it and agreeing elsewhere."""
    out = []
    for lang, n, adj in zip(LANGS, noun, adjective, strict=True):
        masculine, _, feminine = adj.partition(",")
        if not feminine:
            ends_in_o = lang in ("es", "it") and masculine.endswith("o")
            feminine = masculine[:-1] + "a" if ends_in_o else masculine
        form = feminine if n.gender == "f" else masculine
        text = f"{form} {n.text}" if lang == "en" else f"{n.text} {form}"
        out.append(n._replace(text=text))
    return tuple(out)


def filled(pattern: list[str], names: list[str], label: str) -> Concept:
    """Puts names into patterns such as `enfermedad de {}/f`, with elision."""
    cells = []
    for lang, cell, name in zip(LANGS, pattern, names, strict=True):
        before, _, after = cell.partition("{}")
        cells.append(join(before, name, lang) + name + after)
    return concept(cells, label)


def shared(pairs: list, rng: random.Random) -> dict[str, list]:
    """Shuffles the combinations and cuts them into disjoint parts, one per split."""
    pairs = list(pairs)
    rng.shuffle(pairs)
    first, second = (int(len(pairs) * share) for share in (0.55, 0.65))
    return {"train": pairs[:first], "dev": pairs[first:second], "test": pairs[second:]}


def _texts(noun: Concept) -> list[str]:
    return [n.text for n in noun]


# How many names of each kind a lexicon takes, before the share of the split.
DISEASE_COUNTS = {"affixed": 220, "organ": 180, "tumor": 60, "deficit": 40}
DRUG_COUNT = 240


def diseases(rng: random.Random) -> dict[str, list[Concept]]:
    """Disease names of each split; no name, and no pair of parts, is in two splits."""
    table = {name: rows(getattr(terms, name)) for name in (
        "STEMS DISEASE_AFFIXES HEADS ORGAN_ADJECTIVES TUMORS ORGANS MODIFIERS ELEMENTS DEFICITS "
        "EPONYMS"
    ).split()}  # fmt: skip
    makers: dict[str, tuple[Callable[[list, list], Concept], str, str]] = {
        "affixed": (lambda a, b: affixed(a, b, "Disease"), "STEMS", "DISEASE_AFFIXES"),
        "organ": (lambda a, b: qualified(concept(a, "Disease"), b), "HEADS", "ORGAN_ADJECTIVES"),
        "tumor": (
            lambda a, b: tuple(
                n._replace(text=f"{n.text} {organ}")
                for n, organ in zip(concept(a, "Disease"), b, strict=True)
            ),
            "TUMORS",
            "ORGANS",
        ),
        "deficit": (
            lambda a, b: filled(b, _texts(concept(a, None)), "Disease"),
            "ELEMENTS",
            "DEFICITS",
        ),
    }
    out: dict[str, list[Concept]] = {split: [] for split in SPLITS}
    for kind, (make, first, second) in makers.items():
        parts = shared(itertools.product(table[first], table[second]), rng)
        for split in SPLITS:
            for a, b in parts[split][: int(DISEASE_COUNTS[kind] * SHARES[split])]:
                noun = make(a, b)
                if kind in ("affixed", "organ") and rng.random() < 0.45:
                    noun = qualified(noun, rng.choice(table["MODIFIERS"]))
                out[split].append(noun)
    for split in SPLITS:
        for name in terms.EPONYM_NAMES[split].split():
            out[split].append(filled(rng.choice(table["EPONYMS"]), [name] * 4, "Disease"))
        out[split] += [concept(row, "Disease") for row in rows(terms.NAMED_DISEASES[split])]
    return out


def drugs(rng: random.Random) -> dict[str, list[Concept]]:
    """Drug names of each split, built as WHO names are: a free onset before a stem of its class."""
    onsets = shared(itertools.product(terms.DRUG_ONSETS.split(), terms.DRUG_MIDDLES.split()), rng)
    stems, salts, acid = rows(terms.DRUG_STEMS), rows(terms.SALTS), rows(terms.ACID)[0]
    out, used = {}, set()
    for split in SPLITS:
        names = []
        for onset in onsets[split][: int(DRUG_COUNT * SHARES[split])]:
            stem, start = rng.choice(stems), "".join(onset)
            if stem[0][0] in "ao":
                start = start.rstrip("aeio")
            if start + stem[0] in used:
                continue
            used.add(start + stem[0])
            noun = affixed([start] * 4, stem, "Chemical")
            if rng.random() < 0.15:
                noun = filled(rng.choice(salts), _texts(noun), "Chemical")
            names.append(noun)
        for stem in terms.ACID_STEMS[split].split():
            # Spanish stresses the vowel before -ico, and writes it: ácido valdrónico.
            accented = re.sub(r"[aeo](?=[^aeiou]+$)", lambda m: "áéó"["aeo".index(m[0])], stem)
            names.append(filled(acid, [stem, accented, stem, stem], "Chemical"))
        out[split] = names + [concept(row, "Chemical") for row in rows(terms.NAMED_DRUGS[split])]
    return out


def elements(label: str | None) -> list[Concept]:
    """Elements and vitamins as drugs, or (label None) the minerals as plain matter."""
    cells = rows(terms.ELEMENTS)
    return [concept(row, label) for row in (cells if label else cells[:10])]


def non_entities(lang: str) -> dict[str, list[Noun]]:
    """Procedures `px` and symptoms `sx`, built from the stems that diseases are built from."""
    column = LANGS.index(lang)
    stems = rows(terms.STEMS)
    return {
        slot: [affixed(stem, affix, None)[column] for stem in stems for affix in rows(affixes)]
        for slot, affixes in (("px", terms.PROCEDURE_AFFIXES), ("sx", terms.SYMPTOM_AFFIXES))
    }


def initials(text: str) -> str:
    """Abbreviation of a name, from its words of more than three letters: RF for renal failure."""
    return "".join(word[0].upper() for word in re.findall(r"\w{4,}", text))
