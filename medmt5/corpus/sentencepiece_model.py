"""Loads SentencePiece models, and trains those laid out like mT5's.

Ids: pad 0, eos 1, unk 2, the 256 byte pieces at 3-258, the learned pieces, and at the top the
sentinels, `▁<extra_id_0>` last. In mT5 the sentinels are pieces of the model itself (T5 adds them
in the tokenizer), so code that counts down from the end of the vocabulary works with both.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from typing import Any

from etils import epath

from medmt5.vocabulary import NUM_SENTINELS

RESERVED = 3 + 256  # pad, eos, unk, and one piece for each byte


def load(path: str | os.PathLike[str]) -> Any:
    """A `sentencepiece.SentencePieceProcessor` of a file.

    Raises:
      ValueError: the file is not there, or is no model.
    """
    import sentencepiece

    try:
        model = epath.Path(path).read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ValueError(f"{path}: no SentencePiece model there; give a .model file") from error
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model)
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{path} is no SentencePiece model: {error}") from error


def train_vocabulary(
    texts: Iterable[str],
    path: str | os.PathLike[str],
    *,
    size: int,
    sentinels: int = NUM_SENTINELS,
    seed_sentencepiece_size: int = 100_000,
    character_coverage: float = 0.9999,
    split_digits: bool = False,
    max_text_length: int = 16_384,
    threads: int = 1,
    log_level: int = 2,
) -> None:
    """Writes a unigram model with byte fallback; the same texts give the same bytes.

    Args:
      texts: sentences or documents; all are held in memory.
      path: file to write, usually `sentencepiece.model`; local or `gs://`.
      size: pieces in all, special, byte and sentinel pieces included.
      sentinels: sentinel pieces, at the top of the ids.
      seed_sentencepiece_size: substrings that training starts from, before it prunes.
      character_coverage: share of characters that get a piece; the rest is spelt in bytes.
      split_digits: give each digit its own piece.
      max_text_length: bytes; SentencePiece drops a longer text, so it is cut at a space here.
      threads: another number may round sums otherwise, and so give other bytes.
      log_level: of SentencePiece, which writes to stderr: 0 tells of every round, 2 of errors.

    Raises:
      ValueError: no text, or a size that leaves no room or that the texts cannot fill.
    """
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as model_pb2

    learned = learned_pieces(size, sentinels)
    sentences = [part for text in texts for part in parts(text, max_text_length)]
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
            # No shuffling: the sums, and so the bytes, come out the same.
            num_threads=threads,
            shuffle_input_sentence=False,
            minloglevel=log_level,
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
    file = epath.Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(model.SerializeToString(deterministic=True))


def learned_pieces(size: int, sentinels: int = NUM_SENTINELS) -> int:
    """Pieces that are learned in a vocabulary of so many.

    Raises:
      ValueError: none.
    """
    learned = size - RESERVED - sentinels
    if learned < 1:
        raise ValueError(
            f"size {size} leaves no learned piece beside {RESERVED} special and byte pieces and "
            f"{sentinels} sentinels; use at least {RESERVED + sentinels + 1}"
        )
    return learned


def parts(text: str, limit: int) -> Iterator[str]:
    """The text cut at spaces into parts of at most `limit` bytes; blank text gives none."""
    part: list[str] = []
    length = 0
    # A newline inside a text would be an unknown character to SentencePiece.
    for word in words(text, limit):
        cost = len(word.encode()) + 1
        if part and length + cost > limit:
            yield " ".join(part)
            part, length = [], 0
        part.append(word)
        length += cost
    if part:
        yield " ".join(part)


def words(text: str, limit: int) -> Iterator[str]:
    """Words, in pieces where one is longer than the limit, as a Chinese paragraph may be."""
    for word in text.split():
        if len(word.encode()) < limit:
            yield word
        else:
            step = max(limit // 4 - 1, 1)  # a character has up to four bytes
            yield from (word[start : start + step] for start in range(0, len(word), step))
