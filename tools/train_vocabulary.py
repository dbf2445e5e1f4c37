"""Trains a SentencePiece vocabulary laid out like mT5's.

Ids: pad 0, eos 1, unk 2, the 256 byte pieces at 3-258, the learned pieces, and at the top the
sentinels, `▁<extra_id_0>` last. In mT5 the sentinels are pieces of the model itself (T5 adds them
in the tokenizer), so code that counts down from the end of the vocabulary works with both.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2

RESERVED = 3 + 256  # pad, eos, unk, and one piece for each byte


def train_vocabulary(
    texts: Iterable[str],
    path: str | Path,
    *,
    size: int,
    sentinels: int = 100,
    seed_sentencepiece_size: int = 100_000,
    character_coverage: float = 0.9999,
    split_digits: bool = False,
    max_text_length: int = 16_384,
) -> None:
    """Writes a unigram model with byte fallback; the same texts give the same bytes.

    Args:
      texts: sentences or documents.
      path: file to write, usually `sentencepiece.model`.
      size: pieces in all, special, byte and sentinel pieces included.
      sentinels: sentinel pieces, at the top of the ids.
      seed_sentencepiece_size: substrings that training starts from, before it prunes.
      character_coverage: share of characters that get a piece; the rest is spelt in bytes.
      split_digits: give each digit its own piece.
      max_text_length: bytes; SentencePiece drops a longer text, so it is cut at a space here.

    Raises:
      ValueError: no text, or a size that leaves no room or that the texts cannot fill.
    """
    learned = size - RESERVED - sentinels
    if learned < 1:
        raise ValueError(
            f"size {size} leaves no learned piece beside {RESERVED} special and byte pieces and "
            f"{sentinels} sentinels; use at least {RESERVED + sentinels + 1}"
        )
    sentences = [part for text in texts for part in _parts(text, max_text_length)]
    if not sentences:
        raise ValueError("no text to train on")
    buffer = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=buffer,
            model_type="unigram",
            vocab_size=size - sentinels,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            byte_fallback=True,
            normalization_rule_name="nmt_nfkc",
            character_coverage=character_coverage,
            split_digits=split_digits,
            seed_sentencepiece_size=seed_sentencepiece_size,
            max_sentence_length=max_text_length,
            # One thread and no shuffling: the sums, and so the bytes, come out the same.
            num_threads=1,
            shuffle_input_sentence=False,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(
            f"SentencePiece could not make {learned} pieces of these {len(sentences)} texts; "
            f"give more text or a smaller size ({error})"
        ) from error
    model = model_pb2.ModelProto.FromString(buffer.getvalue())
    for index in reversed(range(sentinels)):
        model.pieces.add(
            piece=f"▁<extra_id_{index}>",
            score=0.0,
            type=model_pb2.ModelProto.SentencePiece.USER_DEFINED,
        )
    model.trainer_spec.vocab_size = size
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _parts(text: str, limit: int) -> Iterator[str]:
    """The text cut at spaces into parts of at most `limit` bytes; blank text gives none."""
    part: list[str] = []
    length = 0
    # A newline inside a text would be an unknown character to SentencePiece.
    for word in text.split():
        cost = len(word.encode()) + 1
        if part and length + cost > limit:
            yield " ".join(part)
            part, length = [], 0
        part.append(word)
        length += cost
    if part:
        yield " ".join(part)


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
