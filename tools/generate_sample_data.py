"""Writes the sample data that ships with the package: a corpus and labelled sentences.

Everything is composed from the word lists and frames in `sample_words`, with one seed; nothing is
taken from elsewhere. The labelled splits share no sentence frame, and most names in the test split
do not occur in training, so a score on it measures more than memory. The last lines printed say
how far that holds.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from sample_words import lexicon
from sample_words.grammar import Noun, Piece, Writer, tagged, templates, word_list

LANGS = lexicon.LANGS
SENTENCES = {"train": 600, "dev": 100, "test": 150}
# Share of entities in dev and test that are drawn from the names of training.
SEEN = {"train": 1.0, "dev": 0.4, "test": 0.35}
STYLES = ("note", "case", "leaflet", "info")
DOCUMENTS = 250
DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "medmt5" / "sample_data"

Rows = list[tuple[str, str]]


class Names:
    """Entities of one language and split.

    Args:
      seen: chance of a name from the training lexicon instead of the split's own.
    """

    def __init__(
        self,
        lang: str,
        split: str,
        *,
        diseases: dict[str, list[lexicon.Concept]],
        drugs: dict[str, list[lexicon.Concept]],
        abbreviations: dict[str, str],
        seen: float,
        rng: random.Random,
    ):
        self._rng, self._seen, self._focus = rng, seen, 0.0
        column = LANGS.index(lang)

        def names(concepts: dict[str, list[lexicon.Concept]], where: str) -> list[Noun]:
            return [concept[column] for concept in concepts[where]]

        self._pools = {
            "own": {"D": names(diseases, split), "C": names(drugs, split)},
            "train": {"D": names(diseases, "train"), "C": names(drugs, "train")},
        }
        for key, where in (("own", split), ("train", "train")):
            pool = self._pools[key]
            pool["AB"] = [Noun(a, "f", "Disease") for a in abbreviations[where].split()]
            pool["DA"] = [
                noun._replace(abbreviation=lexicon.initials(noun.text))
                for noun in pool["D"]
                if 2 <= len(lexicon.initials(noun.text)) <= 5
            ]
            for slot, label in (("E", "Chemical"), ("e", None)):
                pool[slot] = [concept[column] for concept in lexicon.elements(label)]

    def narrowed(self, sizes: dict[str, int]) -> Names:
        """A copy with few names per slot, the first most often: a document has a subject."""
        copy = object.__new__(Names)
        copy._rng, copy._seen, copy._focus = self._rng, 1.0, 0.6
        pool = self._pools["train"]
        copy._pools = {
            "train": {s: self._rng.sample(n, sizes.get(s, len(n))) for s, n in pool.items()}
        }
        return copy

    def __call__(self, slot: str) -> Noun:
        key = "train" if self._rng.random() < self._seen else "own"
        pool = self._pools[key][slot]
        return pool[0] if self._rng.random() < self._focus else self._rng.choice(pool)


def vary_case(pieces: list[Piece], rng: random.Random) -> list[Piece]:
    """Sometimes all capitals or none, sometimes one shouted or capitalised name, as in records."""
    draw = rng.random()
    if draw < 0.04:
        return [(text.upper(), label) for text, label in pieces]
    if draw < 0.08:
        return [(text.lower(), label) for text, label in pieces]
    out = []
    for text, label in pieces:
        if label and rng.random() < 0.05:
            text = rng.choice((str.upper, str.capitalize))(text)
        out.append((text, label))
    return out


def labelled(writer: Writer, frames: list[str], count: int, used: set[str]) -> list[Rows]:
    """`count` different sentences, every frame about equally often; `used` is added to."""
    sentences: list[Rows] = []
    while len(sentences) < count:
        for frame in writer.rng.sample(frames, len(frames)):
            rows = tagged(vary_case(writer.write(frame), writer.rng))
            text = " ".join(word for word, _ in rows)
            if text.lower() not in used and len(sentences) < count:
                used.add(text.lower())
                sentences.append(rows)
    return sentences


def corpus(
    writer: Writer, names: Names, blocks: dict[str, str], train: list[str]
) -> Iterable[dict[str, str]]:
    """Documents for pre-training; their names are those of the training split only."""
    for index in range(DOCUMENTS):
        style = STYLES[index % len(STYLES)]
        frames = templates(blocks[style])
        if style in ("note", "case"):
            # Order is kept as written: a record has a beginning and an end.
            extra = writer.rng.sample([f for f in train if "<" not in f[:1]], 4)
            at = len(frames) // 2
            frames = frames[:at] + extra + frames[at:]
        kept = sorted(writer.rng.sample(range(len(frames)), min(len(frames), 10)))
        writer.entity = names.narrowed({"D": 4, "C": 4, "DA": 2})
        patient = writer.rng.randrange(2)
        sentences = [
            "".join(text for text, _ in writer.write(frames[i], patient=patient)) for i in kept
        ]
        yield {
            "text": " ".join(sentences),
            "lang": writer.lang,
            "source": f"synthetic-{style}",
            "id": f"{writer.lang}-{style}-{index:04d}",
        }


def spans(rows: Rows) -> list[tuple[int, int, str]]:
    """Half-open spans of well-formed IOB2 rows."""
    out: list[tuple[int, int, str]] = []
    for i, (_, tag) in enumerate(rows):
        if tag.startswith("B-"):
            out.append((i, i + 1, tag[2:]))
        elif tag.startswith("I-"):
            start, end, label = out[-1]
            if end != i or label != tag[2:]:
                raise ValueError(f"{tag} at word {i} continues no span")
            out[-1] = start, i + 1, label
    return out


def mention(rows: Rows, start: int, end: int) -> str:
    return " ".join(word for word, _ in rows[start:end]).lower()


def skeleton(rows: Rows) -> str:
    """A sentence with names and numbers blanked: equal for two fillings of the same words."""
    words = [
        tag[2:] if tag[0] == "B" else re.sub(r"\d+", "0", word.lower())
        for word, tag in rows
        if tag[0] != "I"
    ]
    return " ".join(words)


def dictionary_f1(train: list[Rows], test: list[Rows]) -> float:
    """Span F1 of the longest match of training mentions: what memory alone can do."""
    labels: dict[str, Counter[str]] = {}
    for rows in train:
        for start, end, label in spans(rows):
            labels.setdefault(mention(rows, start, end), Counter())[label] += 1
    longest = max(len(name.split()) for name in labels)
    hits = predicted = gold = 0
    for rows in test:
        found, i = set(), 0
        while i < len(rows):
            for size in range(min(longest, len(rows) - i), 0, -1):
                counts = labels.get(mention(rows, i, i + size))
                if counts:
                    found.add((i, i + size, counts.most_common(1)[0][0]))
                    i += size - 1
                    break
            i += 1
        truth = set(spans(rows))
        hits, predicted, gold = hits + len(found & truth), predicted + len(found), gold + len(truth)
    return 2 * hits / (predicted + gold)


def describe(splits: dict[str, list[Rows]]) -> dict[str, float]:
    """Shares and scores that say how hard the test split is."""
    train, test = splits["train"], splits["test"]
    names = {mention(rows, s, e) for rows in train for s, e, _ in spans(rows)}
    asked = [mention(rows, s, e) for rows in test for s, e, _ in spans(rows)]
    skeletons = {skeleton(rows) for rows in train}
    return {
        "unseen_mentions": sum(name not in names for name in asked) / len(asked),
        "unseen_skeletons": sum(skeleton(rows) not in skeletons for rows in test) / len(test),
        "dictionary_f1": dictionary_f1(train, test),
    }


def generate(output: Path, seed: int) -> dict[str, dict[str, list[Rows]]]:
    """Writes `corpus/` and `labelled/` under `output`.

    Returns:
      Labelled sentences by language and split.
    """
    rng = random.Random(seed)
    diseases, drugs = lexicon.diseases(rng), lexicon.drugs(rng)
    for folder in ("corpus", "labelled"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    result: dict[str, dict[str, list[Rows]]] = {}
    for lang in LANGS:
        # A generator per language and split: editing one leaves the files of the others alone.
        module = importlib.import_module(f"sample_words.{lang}")
        words = {slot: word_list(block) for slot, block in module.WORDS.items()}
        words |= lexicon.non_entities(lang)
        used: set[str] = set()
        result[lang] = {}
        for split in lexicon.SPLITS:
            rng = random.Random(f"{seed} {lang} {split}")
            names = Names(
                lang,
                split,
                diseases=diseases,
                drugs=drugs,
                abbreviations=module.ABBREVIATIONS,
                seen=SEEN[split],
                rng=rng,
            )
            writer = Writer(lang, decimal=module.DECIMAL, words=words, entity=names, rng=rng)
            frames = templates(module.FRAMES[split])
            sentences = labelled(writer, frames, SENTENCES[split], used)
            result[lang][split] = sentences
            text = "".join(
                "".join(f"{word}\t{tag}\n" for word, tag in rows) + "\n" for rows in sentences
            )
            path = output / "labelled" / f"{lang}-clinical-{split}.tsv"
            path.write_text(text, encoding="utf-8", newline="\n")
            if split == "train":
                documents = corpus(writer, names, module.CORPUS, frames)
                lines = "".join(json.dumps(d, ensure_ascii=False) + "\n" for d in documents)
                path = output / "corpus" / f"{lang}.jsonl"
                path.write_text(lines, encoding="utf-8", newline="\n")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    result = generate(args.output, args.seed)
    print("lang split  sentences  tokens  Disease  Chemical")
    for lang, splits in result.items():
        for split, sentences in splits.items():
            labels = Counter(label for rows in sentences for _, _, label in spans(rows))
            tokens = sum(len(rows) for rows in sentences)
            print(
                f"{lang:4} {split:5} {len(sentences):10} {tokens:7} "
                f"{labels['Disease']:8} {labels['Chemical']:9}"
            )
    print("lang  unseen mentions  unseen frames  dictionary F1  (test against train)")
    for lang, splits in result.items():
        d = describe(splits)
        print(
            f"{lang:4} {d['unseen_mentions']:16.1%} {d['unseen_skeletons']:14.1%} "
            f"{d['dictionary_f1']:14.1%}"
        )


if __name__ == "__main__":
    main()
