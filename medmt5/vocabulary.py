"""SentencePiece vocabularies of the T5 family, without TensorFlow.

mT5's model holds its 100 sentinels inside (`<extra_id_0>` is the last piece); T5's gets them
appended. The embedding has more rows than there are ids: the padding rows and, after them, the
last sentinels are where tags go.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from etils import epath

PAD_ID = 0
NUM_SENTINELS = 100
ROW_MULTIPLE = 128  # T5 rounds its vocabulary up to this: 250,100 pieces have 250,112 rows.


class Vocabulary:
    """Token ids of words and texts.

    Attributes:
      path: the `.model` file.
      size: ids in use, sentinels included.
      rows: rows of an embedding for it: size, rounded up to a multiple of 128.
      eos_id, unk_id: as in the model (T5: 1 and 2).
    """

    def __init__(self, path: str):
        import sentencepiece

        if not epath.Path(path).exists():
            raise ValueError(f"no vocabulary at {path}; give the path of a SentencePiece .model")
        self.path = path
        content = epath.Path(path).read_bytes()
        try:
            if not content:
                raise RuntimeError("the file is empty")
            self.processor = sentencepiece.SentencePieceProcessor(model_proto=content)
        except (RuntimeError, OSError) as error:
            raise ValueError(f"{path} is not a SentencePiece model: {error}") from error
        pieces = self.processor.get_piece_size()
        if self.processor.pad_id() != PAD_ID:
            raise ValueError(
                f"{path} has padding id {self.processor.pad_id()}; T5's vocabularies, and this "
                "code, have 0"
            )
        first = [self._piece_id("▁<extra_id_0>"), self._piece_id("<extra_id_0>")]
        inside = [i for i in first if i is not None]
        self.size = pieces if inside else pieces + NUM_SENTINELS
        self._first_sentinel = inside[0] if inside else self.size - 1
        self.rows = -(-self.size // ROW_MULTIPLE) * ROW_MULTIPLE
        self.eos_id = self.processor.eos_id()
        self.unk_id = self.processor.unk_id()
        self._words = functools.lru_cache(maxsize=2**18)(self._encode_word)
        self._segmentations = functools.lru_cache(maxsize=2**18)(self._n_best)

    def _piece_id(self, piece: str) -> int | None:
        i = self.processor.piece_to_id(piece)
        return i if self.processor.id_to_piece(i) == piece else None

    def sentinel(self, index: int) -> int:
        """The id of `<extra_id_index>`: they count downwards from the top of the vocabulary."""
        if not 0 <= index < NUM_SENTINELS:
            raise ValueError(f"sentinel {index} does not exist; there are {NUM_SENTINELS}")
        return self._first_sentinel - index

    def is_reserved(self, token: int) -> bool:
        """Padding, end of sequence, sentinels and padding rows: never text."""
        last = self._first_sentinel - NUM_SENTINELS
        return token in (PAD_ID, self.eos_id) or token > last

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without end of sequence."""
        return self.processor.encode(text)

    def encode_word(self, word: str) -> tuple[int, ...]:
        """Ids of one word: at least one, and none of them reserved.

        A word that the normaliser erases (a zero-width space) is `<unk>`; so is a piece that the
        text merely spells like a sentinel. Labelling maps back by index, so no text is lost.
        """
        return self._words(word)

    def _encode_word(self, word: str) -> tuple[int, ...]:
        # A lone surrogate is no character; SentencePiece refuses it.
        text = word.encode("utf-8", "replace").decode("utf-8")
        ids = self.processor.encode(text)
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
        best = self.processor.nbest_encode(word, nbest_size=8) or [self.encode_word(word)]
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
                index = self._first_sentinel - i
                if 0 <= index < NUM_SENTINELS:
                    parts.append(f"<extra_id_{index}>")
                elif i >= self.size:
                    parts.append(f"<row {i}>")
            else:
                run.append(i)
        return " ".join(part for part in parts if part)

    def free_ids(self, count: int, *, rows: int | None = None) -> tuple[int, ...]:
        """Ids for added tokens: the padding rows upwards, then sentinels from `<extra_id_99>` up.

        Span corruption seldom reaches the last sentinels, and a fine-tuned model needs none.

        Raises:
          ValueError: more than the padding rows and half of the sentinels are asked for.
        """
        rows = self.rows if rows is None else rows
        free = [*range(self.size, rows)]
        free += [self.sentinel(NUM_SENTINELS - 1 - i) for i in range(NUM_SENTINELS // 2)]
        if count > len(free):
            raise ValueError(
                f"{count} added tokens asked for, but {self.path} has {rows - self.size} padding "
                f"rows and {NUM_SENTINELS // 2} sentinels to spare; use fewer labels"
            )
        return tuple(free[:count])
