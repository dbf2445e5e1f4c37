"""`medmt5 corpus vocabulary`: train a vocabulary as mT5's was, and compare it with others.

Text is sampled by language at a temperature; some documents are never trained on, and what the
vocabulary makes of them is compared. How a model is laid out is said by `sentencepiece_model`.

Source of the settings: Xue et al. 2021, section 3, and the `trainer_spec` inside mT5's own model.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from medmt5.convert.tokenizer import MODEL_FILES
from medmt5.corpus import built, fertility
from medmt5.corpus.documents import Bad, Document
from medmt5.corpus.readers import inputs
from medmt5.corpus.readers.jsonl import JSONL
from medmt5.corpus.readers.text import Text
from medmt5.corpus.sentencepiece_model import learned_pieces, train_vocabulary
from medmt5.files import write_text

log = logging.getLogger(__name__)

SEED_PIECES = 1_000_000  # as for mT5
# Bytes that text is cut into. SentencePiece's time for text that comes twice, as that of a small
# language does, grows with the length of the parts: whole documents took a hundred times as long.
PART = 512
# Four times the same text is nearly as good as new, more is not (Muennighoff et al. 2023).
REPEATS = 4
MEASURED = 1_000_000  # characters per language that vocabularies are compared on
PERIOD = 10.0  # seconds between lines of progress
NO_LANGUAGE = "und"
_WITH_LANGUAGE = re.compile("([a-z]{2,3})=(.+)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a built corpus, or text (a document per line) and JSONL files: folders and patterns "
        "too, with the language in front where files do not say it: es=notes/*.jsonl.gz",
    )
    parser.add_argument(
        "--size", type=int, help="pieces in all (mT5: 250,100); without it, only compare"
    )
    parser.add_argument("--output", default="sentencepiece.model", metavar="FILE")
    parser.add_argument(
        "--compare",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="SentencePiece models, or folders of checkpoints that have one",
    )
    parser.add_argument(
        "--alpha",
        type=float,
        default=0.3,
        help="a language with n characters has a share as n to the power of it (default: 0.3)",
    )
    parser.add_argument(
        "--characters",
        type=float,
        default=2e8,
        help="to train on, about; all are held in memory (default: 2e8)",
    )
    parser.add_argument("--character_coverage", type=float, default=0.99999)
    parser.add_argument(
        "--held_out", type=int, default=20, help="of so many documents one is measured on"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument(
        "--threads", type=int, default=1, help="the model depends on it in its last digits"
    )
    parser.add_argument("--json", metavar="FILE", help="figures; by default OUTPUT with .json")
    parser.add_argument("--dry_run", action="store_true", help="count, and train nothing")


def run(arguments: argparse.Namespace) -> None:
    """The command.

    Raises:
      ValueError: no text, a size that does not fit, or a model that is none.
    """
    given = arguments
    _check(given)
    # Before the hours of training.
    others = {name: _processor(name) for name in given.compare}
    corpus = Corpus(given.paths, given.held_out)
    sizes = corpus.sizes()
    taken = shares(sizes, given.alpha, given.characters)
    print(sample_table(sizes, taken), flush=True)
    if given.dry_run:
        return
    texts, measured = corpus.sample(sizes, taken, given.seed)
    vocabularies = others
    if given.size:
        log.info(
            "training %s pieces on %s characters; what follows is SentencePiece's own log",
            f"{given.size:,}",
            f"{sum(map(len, texts)):,}",
        )
        train_vocabulary(
            texts,
            given.output,
            size=given.size,
            character_coverage=given.character_coverage,
            seed_sentencepiece_size=SEED_PIECES,
            max_text_length=PART,
            threads=given.threads,
            log_level=0,
        )
        vocabularies = {given.output: _processor(given.output), **others}
    del texts
    rows = []
    for language, held_out in measured.items():
        for name, processor in vocabularies.items():
            fit = fertility.measure(processor, held_out)
            about = {"language": language, "words": fit.words, "vocabulary": name}
            rows.append(about | {"pieces": processor.get_piece_size()} | fit.rates())
    rows += fertility.means(rows)
    print(fertility.table(rows))
    report = {
        "arguments": {name: value for name, value in vars(given).items() if _is_plain(value)},
        "characters": sizes,
        "taken": taken,
        "bad": [f"{bad.where}: {bad.reason}" for bad in corpus.bad],
        "rows": rows,
    }
    path = given.json or f"{os.path.splitext(given.output)[0]}.json"
    write_text(path, json.dumps(report, indent=1, ensure_ascii=False))
    log.info("figures are in %s", path)


def _check(given: argparse.Namespace) -> None:
    if not given.size and not given.compare:
        raise ValueError("give --size to train a vocabulary, --compare to compare some, or both")
    if given.size:
        learned_pieces(given.size)
    for name, low, high in (
        ("alpha", 0.0, 1.0),
        ("character_coverage", 0.9, 1.0),
        ("characters", 1.0, float("inf")),
        ("held_out", 2, 10**9),
        ("threads", 1, 1024),
    ):
        if not low <= getattr(given, name) <= high:
            raise ValueError(f"--{name} is {getattr(given, name)}; it is from {low} to {high}")


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool, list, type(None)))


class Corpus:
    """Documents of built corpora and of other files, read twice: to count, and to sample.

    Args:
      paths: as on the command line.
      held_out: of so many documents one is not trained on.

    Attributes:
      bad: what could not be read, of the last reading.

    Raises:
      ValueError: a path that matches nothing.
    """

    def __init__(self, paths: Sequence[str], held_out: int):
        self.bad: list[Bad] = []
        self._held_out = held_out
        self._built: list[str] = []
        self._files: list[tuple[str, str]] = []  # language, path
        for given in paths:
            match = _WITH_LANGUAGE.fullmatch(given)
            if not match and (epath.Path(given) / built.DOCUMENTS).exists():
                self._built.append(given)
                continue
            language, path = match.groups() if match else ("", given)
            self._files += [(language, file) for file in inputs({"name": given, "paths": path})]

    def sizes(self) -> dict[str, int]:
        """Characters by language of what may be trained on.

        Raises:
          ValueError: there are none.
        """
        sizes: Counter[str] = Counter()
        progress = _Progress("counting")
        for document in self._documents():
            sizes[_language(document)] += len(document.text) * (not self._held(document))
            progress.add(len(document.text))
        for bad in self.bad[:3]:
            log.warning("not read: %s: %s %s", bad.where, bad.reason, bad.detail)
        if len(self.bad) > 3:
            log.warning("not read: %d more", len(self.bad) - 3)
        if not sizes:
            raise ValueError("there are no documents in these paths")
        return dict(sorted(sizes.items()))

    def sample(
        self, sizes: Mapping[str, int], taken: Mapping[str, float], seed: int
    ) -> tuple[list[str], dict[str, list[str]]]:
        """Texts to train on, and by language those to measure on.

        A language of which nothing is held out is measured on its first document.
        """
        texts: list[str] = []
        measured: dict[str, list[str]] = defaultdict(list)
        first: dict[str, str] = {}
        characters: Counter[str] = Counter()
        # One for each language: another language's documents do not change its sample.
        random = {lang: np.random.default_rng([seed, *lang.encode()]) for lang in sizes}
        progress = _Progress("sampling", sum(sizes.values()))
        for document in self._documents():
            language, text = _language(document), document.text
            if self._held(document):
                if characters[language] < MEASURED:
                    characters[language] += len(text)
                    measured[language].append(text)
                continue
            times = taken[language] / sizes[language] + random[language].random()
            texts += [text] * int(times)
            first.setdefault(language, text)
            progress.add(len(text))
        for language, text in first.items():
            if language not in measured:
                log.warning(
                    "%s: no document is held out; one that is trained on is measured", language
                )
                measured[language].append(text)
        return texts, dict(sorted(measured.items()))

    def _held(self, document: Document) -> bool:
        return built.is_held_out(document, self._held_out)

    def _documents(self) -> Iterator[Document]:
        self.bad.clear()
        for folder in self._built:
            for language in built.languages(folder):
                yield from built.documents(folder, language)
        for language, path in self._files:
            name = os.path.basename(path)
            reader: Any = JSONL if ".json" in name else Text
            options = {} if reader is JSONL else {"unit": "line"}
            for item in reader(source=name, language=language, **options)(path):
                if isinstance(item, Bad):
                    self.bad.append(item)
                else:
                    yield item


def _language(document: Document) -> str:
    return document.language or NO_LANGUAGE


def shares(sizes: Mapping[str, int], alpha: float, total: float) -> dict[str, float]:
    """Characters to take of each language.

    Args:
      sizes: characters that there are.
      alpha: shares are as size to the power of it; 1 is their own proportion, 0 makes them equal.
      total: to take, and no more than there are.

    Returns:
      Characters; a language that would be taken more than `REPEATS` times gives so much, and the
      others share the rest.
    """
    left = {language: size for language, size in sizes.items() if size}
    taken = dict.fromkeys(sizes, 0.0)
    total = min(total, sum(left.values()))
    while left:
        weight = sum(size**alpha for size in left.values())
        wanted = {language: total * size**alpha / weight for language, size in left.items()}
        short = [language for language in left if wanted[language] > REPEATS * left[language]]
        if not short:
            return taken | wanted
        for language in short:
            taken[language] = float(REPEATS * left.pop(language))
            total -= taken[language]
    return taken


def sample_table(sizes: Mapping[str, int], taken: Mapping[str, float]) -> str:
    """What is there and what is taken of it, as Markdown."""
    lines = [
        "| language | characters | taken, about | share | times |",
        "|---|---:|---:|---:|---:|",
    ]
    total = sum(taken.values()) or 1
    lines += [
        f"| {language} | {size:,} | {taken[language]:,.0f} | {taken[language] / total:.1%} "
        f"| {taken[language] / max(size, 1):.3g} |"
        for language, size in sizes.items()
    ]
    return "\n".join(lines)


def _processor(path: str) -> Any:
    """A SentencePiece model from its file, or from the folder of a checkpoint.

    Raises:
      ValueError: there is none.
    """
    import sentencepiece

    place = epath.Path(path)
    if place.exists() and place.is_dir():
        # A checkpoint of a run has its vocabulary one folder up.
        folders = (place, place.parent)
        files = [folder / name for folder in folders for name in MODEL_FILES]
        place = next((file for file in files if file.exists()), place / MODEL_FILES[0])
    if not place.exists():
        raise ValueError(f"{path}: no SentencePiece model there; give a .model file")
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=place.read_bytes())
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{place} is no SentencePiece model: {error}") from error


class _Progress:
    """A line every ten seconds."""

    def __init__(self, what: str, total: int = 0):
        self._what, self._total, self._documents, self._done = what, total, 0, 0
        self._began = self._said = time.monotonic()

    def add(self, characters: int) -> None:
        self._documents += 1
        self._done += characters
        now = time.monotonic()
        if now - self._said < PERIOD:
            return
        self._said = now
        line = f"{self._what}: {self._documents:,} documents, {self._done:,} characters"
        if self._total:
            from medmt5.reporting import duration

            left = (now - self._began) / self._done * max(self._total - self._done, 0)
            line += f"  ETA {duration(left)}"
        log.info("%s", line)
