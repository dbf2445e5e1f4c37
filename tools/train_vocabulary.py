"""Trains a SentencePiece vocabulary laid out like mT5's.

How it is laid out is said by `medmt5.corpus.sentencepiece_model`. This is for a few files, CoNLL
among them; `medmt5 corpus vocabulary` samples the languages of a corpus and compares vocabularies.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import sentencepiece

from medmt5.corpus.sentencepiece_model import train_vocabulary


def read_texts(path: str | Path) -> Iterator[str]:
    """Texts of a file, by its ending: .jsonl (field "text"), .tsv (CoNLL), else one per line.

    Raises:
      ValueError: with file and line, for text that is not UTF-8, JSON that does not parse, or an
        object without a string in "text".
    """
    path = Path(path)
    words: list[str] = []
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            where = f"{path}:{number}"
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(f"{where}: not UTF-8 ({error.reason}); convert the file") from None
            if path.suffix == ".tsv":
                if line.strip():
                    words.append(line.split("\t")[0])
                elif words:
                    yield " ".join(words)
                    words = []
            elif not line.strip():
                continue
            elif path.suffix == ".jsonl":
                yield _json_text(line, where)
            else:
                yield line
    if words:
        yield " ".join(words)


def _json_text(line: str, where: str) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error.msg} at column {error.colno})") from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        keys = sorted(row) if isinstance(row, dict) else type(row).__name__
        raise ValueError(f'{where}: want an object with a string in "text", got {keys}')
    return row["text"]


def fertility(model: sentencepiece.SentencePieceProcessor, texts: Iterable[str]) -> float:
    """Pieces per whitespace word: 1 where every word has its own piece."""
    words = pieces = 0
    for text in texts:
        words += len(text.split())
        pieces += len(model.encode(text))
    return pieces / max(words, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("inputs", nargs="+", type=Path, metavar="FILE", help=".jsonl, .tsv or text")
    parser.add_argument("--output", type=Path, default=Path("sentencepiece.model"), metavar="FILE")
    parser.add_argument("--size", type=int, required=True, help="pieces in all")
    parser.add_argument("--sentinels", type=int, default=100)
    parser.add_argument("--seed-sentencepiece-size", type=int, default=100_000)
    parser.add_argument("--character-coverage", type=float, default=0.9999)
    parser.add_argument("--split-digits", action="store_true")
    parser.add_argument("--dry-run", action="store_true", help="read and count the input only")
    args = parser.parse_args()
    try:
        texts = {path: list(read_texts(path)) for path in args.inputs}
        for path, lines in texts.items():
            words = sum(len(line.split()) for line in lines)
            print(f"{path}: {len(lines)} texts, {words} words, {sum(map(len, lines))} characters")
        if args.dry_run:
            return
        train_vocabulary(
            (line for lines in texts.values() for line in lines),
            args.output,
            size=args.size,
            sentinels=args.sentinels,
            seed_sentencepiece_size=args.seed_sentencepiece_size,
            character_coverage=args.character_coverage,
            split_digits=args.split_digits,
        )
    except (ValueError, OSError) as error:
        parser.exit(1, f"train_vocabulary: {error}\n")
    model = sentencepiece.SentencePieceProcessor(model_file=str(args.output))
    print(f"{args.output}: {model.get_piece_size()} pieces")
    for path, lines in texts.items():
        print(f"{path}: {fertility(model, lines):.2f} tokens per word")


if __name__ == "__main__":
    main()
