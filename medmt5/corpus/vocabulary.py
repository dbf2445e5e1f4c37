"""`medmt5 corpus vocabulary`: train a vocabulary as mT5's was, and compare it with others.

Which text is trained on and which is measured on is left to `sampling`, how a model is laid out to
`sentencepiece_model`, what is measured to `fertility`.

Source of the settings: Xue et al. 2021, section 3, and the `trainer_spec` inside mT5's own model.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from typing import Any

from etils import epath

from medmt5.convert.tokenizer import MODEL_FILES
from medmt5.corpus import fertility
from medmt5.corpus.sampling import Corpus, sample_table, shares, shuffled
from medmt5.corpus.sentencepiece_model import learned_pieces, load, train_vocabulary
from medmt5.files import write_text

log = logging.getLogger(__name__)

SEED_PIECES = 1_000_000  # as for mT5


def run(given: argparse.Namespace) -> None:
    """The command.

    Args:
      given: flags, as `command` has them.

    Raises:
      ValueError: no text, a size that does not fit, or a model that is none.
    """
    _check(given)
    # Before the hours of training.
    others = {name: _processor(name) for name in given.compare}
    corpus = Corpus(given.paths, given.held_out)
    sizes: dict[str, int] = {}
    taken: dict[str, float] = {}
    if given.size:
        sizes = corpus.sizes()
        taken = shares(sizes, given.alpha, given.characters)
        print(sample_table(sizes, taken), flush=True)
    if given.dry_run:
        return
    counts, measured = corpus.sample(sizes, taken, given.seed)
    vocabularies = others
    if given.size:
        log.info(
            "training %s pieces on %s words; what follows is SentencePiece's own log",
            f"{given.size:,}",
            f"{counts.total():,}",
        )
        train_vocabulary(
            shuffled(counts, given.seed),
            given.output,
            size=given.size,
            character_coverage=given.character_coverage,
            seed_sentencepiece_size=SEED_PIECES,
            threads=given.threads,
            log_level=0,
        )
        vocabularies = {given.output: _processor(given.output), **others}
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


def _processor(path: str) -> Any:
    """A SentencePiece model from its file, or from the folder of a checkpoint.

    Raises:
      ValueError: there is none.
    """
    place = epath.Path(path)
    if place.exists() and place.is_dir():
        # A checkpoint of a run has its vocabulary one folder up.
        folders = (place, place.parent)
        files = [folder / name for folder in folders for name in MODEL_FILES]
        place = next((file for file in files if file.exists()), place / MODEL_FILES[0])
    return load(place)
