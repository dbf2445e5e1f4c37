"""SentencePiece vocabularies of the T5 family, without TensorFlow.

Sentinels end the ids and count downwards. mT5's are pieces of its model, T5's and umT5's are
appended to it. The embedding has more rows than there are ids: the padding rows and, after them,
the last sentinels are where tags go.

| family | pieces | appended | sentinel 0, 1, ... | ids | rows | padding rows |
|---|---:|---:|---|---:|---:|---:|
| mT5 | 250,100 | 0 | 250,099 down to 250,000 | 250,100 | 250,112 | 12 |
| T5 | 32,000 | 100 | 32,099 down to 32,000 | 32,100 | 32,128 | 28 |
| umT5 | 256,000 | 300 | 256,299 down to 256,000 | 256,300 | 256,384 | 84 |

Source: T5X's gin files and SeqIO's `SentencePieceVocabulary`, whose ids these are.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

PAD_ID = 0
NUM_SENTINELS = 100  # of T5 and mT5; umT5 has 300
# Scripts that are written without spaces, and their punctuation.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3000-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)
ROW_MULTIPLE = 128  # T5 rounds its vocabulary up to this: 250,100 pieces have 250,112 rows.


class Vocabulary:
    """Token ids of words and texts.

    Args:
      path: the `.model` file.
      extra_ids: sentinels to append, as in SeqIO; by default 100, or 0 if the model has its own.
        umT5 needs 300.

    Attributes:
      path: the `.model` file.
      extra_ids: sentinels that were appended.
      num_sentinels: sentinels in all.
      size: ids in use, sentinels included.
      rows: rows of an embedding for it: size, rounded up to a multiple of 128. Those from size on
        are padding rows: no text has their ids.
      eos_id, unk_id: as in the model (T5: 1 and 2).

    Raises:
      ValueError: no file, not SentencePiece, padding is not 0, or sentinels are appended to a
        model that has its own.
    """

    def __init__(self, path: str, extra_ids: int | None = None):
        import sentencepiece

        if not _exists(path):
            raise ValueError(f"no vocabulary at {path}; give the path of a SentencePiece .model")
        self.path = path
        content = epath.Path(path).read_bytes()
        try:
            if not content:
                raise RuntimeError("the file is empty")
            self.processor = sentencepiece.SentencePieceProcessor(model_proto=content)
        except (RuntimeError, OSError) as error:
            raise ValueError(f"{path} is not a SentencePiece model: {error}") from error
        if self.processor.pad_id() != PAD_ID:
            raise ValueError(
                f"{path} has padding id {self.processor.pad_id()}; T5's vocabularies, and this "
                "code, have 0"
            )
        inside = self._sentinels_inside()
        if extra_ids is None:
            extra_ids = 0 if inside else NUM_SENTINELS
        if extra_ids < 0 or (extra_ids and inside):
            raise ValueError(
                f"extra_ids is {extra_ids}, but {path} has {len(inside)} sentinels of its own; "
                f"use {'0' if inside else '0 or more'}, or leave it out"
            )
        if extra_ids:
            content += _sentinel_pieces(extra_ids)
            self.processor.load_from_serialized_proto(content)
        self._model = content
        self.extra_ids = extra_ids
        self.size = self.processor.get_piece_size()
        self.rows = -(-self.size // ROW_MULTIPLE) * ROW_MULTIPLE
        self.eos_id = self.processor.eos_id()
        self.unk_id = self.processor.unk_id()
        self._sentinels = inside or range(self.size - extra_ids, self.size)
        self.num_sentinels = len(self._sentinels)
        self._control = {PAD_ID, self.eos_id, self.processor.bos_id()}  # no bos: -1
        self._words = functools.lru_cache(maxsize=2**18)(self._encode_word)
        self._glued = functools.lru_cache(maxsize=2**16)(self._encode_glued)
        self._segmentations = functools.lru_cache(maxsize=2**18)(self._n_best)

    def _sentinels_inside(self) -> range:
        """Ids of the model's own sentinels: consecutive, `<extra_id_0>` the last."""

        def has(i: int, index: int) -> bool:
            piece = self.processor.id_to_piece(i) if i >= 0 else ""
            return piece in (f"▁<extra_id_{index}>", f"<extra_id_{index}>")

        for piece in ("▁<extra_id_0>", "<extra_id_0>"):
            first = self.processor.piece_to_id(piece)
            if has(first, 0):
                count = next(n for n in itertools.count(1) if not has(first - n, n))
                return range(first - count + 1, first + 1)
        return range(0)

    def sentinel(self, index: int) -> int:
        """The id of `<extra_id_index>`: they count downwards from the top of the vocabulary."""
        if not 0 <= index < self.num_sentinels:
            raise ValueError(f"sentinel {index} does not exist; there are {self.num_sentinels}")
        return self._sentinels[-1 - index]

    def is_reserved(self, token: int) -> bool:
        """Padding, end of sequence, sentinels, padding rows and what lies beyond: never text.

        `<unk>` and the byte pieces, which spell characters that have no piece, are text.
        """
        return token in self._control or token in self._sentinels or not 0 <= token < self.size

    def begins_word(self, token: int) -> bool:
        """Whether a piece starts with the mark `▁` of a space before it."""
        return 0 <= token < self.size and self.processor.id_to_piece(token).startswith("▁")

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without end of sequence: those of SeqIO with the same `extra_ids`.

        `<extra_id_0>` at the start of a word is the sentinel, as in SeqIO; inside a word it is
        text, and so are `</s>` and `<pad>` everywhere. For text that nobody has checked, use
        `encode_word`.
        """
        return self.processor.encode(_characters(text))

    def encode_word(self, word: str) -> tuple[int, ...]:
        """Ids of one word: at least one, and none of them reserved.

        A word that the normaliser erases (a zero-width space) is `<unk>`; so is a piece that the
        text merely spells like a sentinel. Labelling maps back by index, so no text is lost.
        """
        return self._words(word)

    def encode_words(self, words: Sequence[str]) -> list[tuple[int, ...]]:
        """Ids of each word of a sentence.

        As `encode_word`, but for words of scripts without spaces, often single characters: one
        that follows another gets no piece `▁`, which stands for a space.
        """
        return [
            self._glued(word) if follows_unspaced(before, word) else self._words(word)
            for before, word in zip(["", *words], words, strict=False)
        ]

    def _encode_word(self, word: str) -> tuple[int, ...]:
        return self._safe(self.processor.encode(_characters(word)))

    def _encode_glued(self, word: str) -> tuple[int, ...]:
        return self._safe(self._without_space.encode(_characters(word)))

    @functools.cached_property
    def _without_space(self) -> Any:
        import sentencepiece

        processor = sentencepiece.SentencePieceProcessor(model_proto=self._model)
        processor.override_normalizer_spec(add_dummy_prefix=False)
        return processor

    def _safe(self, ids: Sequence[int]) -> tuple[int, ...]:
        return tuple(self.unk_id if self.is_reserved(i) else i for i in ids) or (self.unk_id,)

    def sample_word(self, word: str, rng: np.random.Generator) -> tuple[int, ...]:
        """One of the word's eight best segmentations, all equally likely.

        Drawn with numpy, not with SentencePiece's own sampler, whose seed belongs to the thread:
        so the same example is made again after a restart.

        Source: subword regularisation, Kudo 2018.
        """
        choices = self._segmentations(word)
        return choices[rng.integers(len(choices))]

    def _n_best(self, word: str) -> tuple[tuple[int, ...], ...]:
        best = self.processor.nbest_encode(_characters(word), nbest_size=8) or [
            self.encode_word(word)
        ]
        safe = [tuple(ids) for ids in best if ids and not any(map(self.is_reserved, ids))]
        return tuple(safe) or (self.encode_word(word),)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, with sentinels and added rows spelt out; for people to read."""
        parts: list[str] = []
        run: list[int] = []
        for i in [*map(int, ids), PAD_ID]:
            if self.is_reserved(i):
                if run:
                    parts.append(self.processor.decode(run))
                run = []
                if i in self._sentinels:
                    parts.append(f"<extra_id_{self._sentinels[-1] - i}>")
                elif i >= self.size:
                    parts.append(f"<row {i}>")
            else:
                run.append(i)
        return " ".join(part for part in parts if part)

    @property
    def num_free_ids(self) -> int:
        """How many ids `free_ids` can give: the padding rows and half of the sentinels."""
        return self.rows - self.size + self.num_sentinels // 2

    def free_ids(self, count: int, *, rows: int | None = None) -> tuple[int, ...]:
        """Ids for added tokens: the padding rows upwards, then sentinels from the last one up.

        The last is `<extra_id_99>` in T5 and mT5. Span corruption seldom reaches it, and a
        fine-tuned model needs none.

        Args:
          count: how many.
          rows: of the embedding, where it has more than `Vocabulary.rows`.

        Raises:
          ValueError: more than the padding rows and half of the sentinels are asked for.
        """
        rows = self.rows if rows is None else rows
        free = [*range(self.size, rows), *self._sentinels[: self.num_sentinels // 2]]
        if count > len(free):
            raise ValueError(
                f"{count} added tokens asked for, but {self.path} has {rows - self.size} padding "
                f"rows and {self.num_sentinels // 2} sentinels to spare; use fewer labels"
            )
        return tuple(free[:count])


def follows_unspaced(before: str, word: str) -> bool:
    """Whether a word follows another without a space, by the scripts where they meet."""
    return bool(before and word and _UNSPACED.match(before[-1]) and _UNSPACED.match(word[0]))


def _exists(path: str) -> bool:
    try:
        return epath.Path(path).exists()
    except Exception as error:  # of whatever library reads remote paths
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{path} cannot be reached ({reason}); give a local copy as VOCABULARY, or start from "
            "a checkpoint that has its vocabulary beside it"
        ) from error


def _sentinel_pieces(count: int) -> bytes:
    """Sentinels to append to a serialised model; they are its last ids, `<extra_id_0>` the last.

    User-defined pieces with this spelling, as SeqIO makes them, so that the ids of a text that
    spells a sentinel are SeqIO's too. Serialised messages merge by being joined.
    """
    from sentencepiece import sentencepiece_model_pb2

    model_pb2: Any = sentencepiece_model_pb2  # made when imported: type checkers see nothing
    defined = model_pb2.ModelProto.SentencePiece.USER_DEFINED
    pieces = [
        model_pb2.ModelProto.SentencePiece(piece=f"▁<extra_id_{i}>", score=0.0, type=defined)
        for i in reversed(range(count))
    ]
    return model_pb2.ModelProto(pieces=pieces).SerializeToString()


def _characters(text: str) -> str:
    """The text with `?` for each lone surrogate: it is no character, SentencePiece refuses it."""
    return text.encode("utf-8", "replace").decode("utf-8")
