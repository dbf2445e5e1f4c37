"""Tokenizers as Hugging Face keeps them: written for a vocabulary and its tags, and read back.

What is written is `tokenizer.json`, spelt out so that its ids are SentencePiece's. The model
alone is not enough: from a `spiece.model`, transformers 5 builds an mT5 tokenizer without the byte
pieces, in which characters that have no piece are `<unk>`. Parameters are left to `huggingface`.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from etils import epath

from medmt5.files import absolute, read_json_object, target, write_text
from medmt5.vocabulary import PAD_ID, Vocabulary

FAMILIES = ("mt5", "t5", "umt5")
MODEL_FILE = "spiece.model"
MODEL_FILES = (MODEL_FILE, "sentencepiece.model", "sentencepiece.bpe.model")
TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
SPECIAL_FILE = "special_tokens_map.json"
OLD_ADDED_FILE = "added_tokens.json"  # name -> id, before transformers 5
ROLES = ("pad_token", "eos_token", "unk_token")

DECODERS = [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
]
SENTINEL = re.compile(r"▁?<extra_id_\d+>")

# No characters, by Unicode's definition: no text should have them.
UNSORTED, APART = "\ufdd0", "\ufdd1"


def find_vocabulary(folder: str) -> str | None:
    """The SentencePiece model in a directory of Hugging Face, T5X or ours; None without any.

    Raises:
      ValueError: several that differ, or only a `tokenizer.json`, which is no SentencePiece model.
    """
    found = [path for name in MODEL_FILES if (path := epath.Path(folder, name)).is_file()]
    if len({path.read_bytes() for path in found}) > 1:
        names = " and ".join(path.name for path in found)
        raise ValueError(f"{folder} has {names}, which differ; remove all but the model's own")
    if found:
        return str(found[0])
    if epath.Path(folder, TOKENIZER_FILE).is_file():
        raise ValueError(
            f"{folder} has a {TOKENIZER_FILE} but no SentencePiece model, which medmt5 needs; copy "
            f"it there from the model that this one was made from ({' or '.join(MODEL_FILES)})"
        )
    return None


def write_tokenizer(
    folder: str, vocabulary: Vocabulary, added: Mapping[int, str] | None = None, *, family: str
) -> None:
    """Write what `transformers.AutoTokenizer` needs to give a text the ids that we give it.

    Written are `spiece.model` (a copy), `tokenizer.json`, `tokenizer_config.json` and
    `special_tokens_map.json`. Ids are those of `Vocabulary.encode`, then end of sequence. They
    differ in three cases:

    - Where a text spells a special token (`</s>`, `<pad>`, `<unk>`, an added one and, but for mT5,
      `<extra_id_0>` inside a word), Hugging Face gives the token's id and we give text.
    - In texts of hundreds of tokens SentencePiece, which sums scores of the whole text in float32,
      sometimes takes the second best of two segmentations that are nearly as likely. Hugging Face
      sums each word in float64, so its ids are those of `Vocabulary.encode_word`, but for exact
      ties (`xxx` as `x xx` or `xx x`). Measured on mT5's pieces: none of 2,099 texts of up to 500
      characters, 30 of the same texts whole (350,000 words).
    - Accents may differ that stand in an order which Unicode would change, or after a ligature or
      fraction (`ﬁ`, `½`).

    An added token has its name in its row, and `read_added` finds it there. In a sentinel's row
    it takes the sentinel's place: that tokenizer has no such sentinel any more, although
    `spiece.model` still has. Rows between the pieces and an added token are named `<row 250100>`;
    no text has their ids.

    Args:
      folder: gets the files, and should get a `config.json` with a `model_type`.
      vocabulary: of the model.
      added: id -> name of added tokens; the ids are sentinels or from `vocabulary.size` on.
      family: "mt5": sentinels are pieces `▁<extra_id_0>` that only begin words, as in SeqIO;
        "t5" or "umt5": they are special tokens `<extra_id_0>`. So Google's own directories are.

    Raises:
      ValueError: another family, an added token that cannot be had, or a vocabulary whose ids
        Hugging Face's tokenizers cannot give.
    """
    from sentencepiece import sentencepiece_model_pb2

    model_pb2: Any = sentencepiece_model_pb2  # made when imported: type checkers see nothing
    if family not in FAMILIES:
        raise ValueError(f"family is {family!r}; use {', '.join(FAMILIES)}")
    added = dict(added or {})
    model = model_pb2.ModelProto.FromString(vocabulary.processor.serialized_model_proto())
    _check_model(model, vocabulary.path)
    _check_added(added, vocabulary)

    sentinels = [vocabulary.sentinel(i) for i in range(vocabulary.num_sentinels)]
    pieces = {i: (piece.piece, piece.score) for i, piece in enumerate(model.pieces)}
    text_pieces = [piece.piece for piece in model.pieces if piece.type == piece.NORMAL]
    special = dict(zip(ROLES, (PAD_ID, vocabulary.eos_id, vocabulary.unk_id), strict=True))
    names = {i: pieces[i][0] for i in special.values()}
    sentinel_names: list[str] = []
    if family != "mt5":
        kept = {token: f"<extra_id_{i}>" for i, token in enumerate(sentinels) if token not in added}
        names |= kept
        sentinel_names = list(kept.values())
    names |= added
    pieces |= {i: (name, 0.0) for i, name in names.items()}
    rows = max(pieces) + 1
    # Spaces never reach the model, so that no text has a piece with one.
    vocab = [pieces.get(i, (f"<row {i}>", 0.0)) for i in range(rows)]
    never_text = [piece.piece for piece in model.pieces if piece.type == piece.BYTE]
    never_text += names.values()

    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        # Special tokens are left out when people decode; tags are what they want to see.
        "added_tokens": [
            _token(i, name, special=i not in added) for i, name in sorted(names.items())
        ],
        "normalizer": _normalizer(model.normalizer_spec.precompiled_charsmap),
        "pre_tokenizer": _pre_tokenizer(never_text, text_pieces),
        "post_processor": _post_processor(names[vocabulary.eos_id], vocabulary.eos_id),
        "decoder": {"type": "Sequence", "decoders": DECODERS},
        "model": {
            "type": "Unigram",
            "unk_id": vocabulary.unk_id,
            "vocab": vocab,
            "byte_fallback": model.trainer_spec.byte_fallback,
        },
    }
    special_map: dict[str, Any] = {role: names[i] for role, i in special.items()}
    if sentinel_names:
        special_map["additional_special_tokens"] = sentinel_names
    config = special_map | {
        # Not T5Tokenizer: transformers 5 rebuilds that one, without byte pieces.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        "extra_ids": vocabulary.extra_ids,
    }
    _copy(vocabulary.path, str(epath.Path(folder, MODEL_FILE)))
    for name, content in (
        (TOKENIZER_FILE, tokenizer),
        (SPECIAL_FILE, special_map),
        (CONFIG_FILE, config),
    ):
        text = json.dumps(content, ensure_ascii=False, indent=None if content is tokenizer else 2)
        write_text(str(epath.Path(folder, name)), text + "\n")


def read_added(folder: str) -> dict[int, str]:
    """Added tokens of a Hugging Face directory, id -> name; not special tokens nor sentinels.

    Raises:
      ValueError: a file that is not JSON.
    """
    config = _read_json(folder, CONFIG_FILE)
    special = _read_json(folder, SPECIAL_FILE)
    found: dict[int, str] = {}
    for name, i in _read_json(folder, OLD_ADDED_FILE).items():
        found[int(i)] = name
    for i, token in (config.get("added_tokens_decoder") or {}).items():
        found[int(i)] = token["content"]
    for token in _read_json(folder, TOKENIZER_FILE).get("added_tokens") or []:
        found[int(token["id"])] = token["content"]
    roles = {"<pad>", "</s>", "<unk>"}
    for role in ROLES:
        for token in (config.get(role), special.get(role)):
            roles.add(str(token["content"] if isinstance(token, dict) else token))
    return {
        i: name
        for i, name in sorted(found.items())
        if name not in roles and not SENTINEL.fullmatch(name)
    }


def _token(i: int, content: str, *, special: bool) -> dict[str, Any]:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": i, "content": content, **plain, "special": special}


def _check_model(model: Any, path: str) -> None:
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    wrong = None
    if trainer.model_type != trainer.UNIGRAM:
        wrong = f"is of type {trainer.ModelType.Name(trainer.model_type)}, not UNIGRAM"
    elif trainer.treat_whitespace_as_suffix or not (
        normalizer.add_dummy_prefix
        and normalizer.remove_extra_whitespaces
        and normalizer.escape_whitespaces
    ):
        wrong = "treats spaces in another way than T5"
    elif crossing := next((p.piece for p in model.pieces if "▁" in p.piece[1:]), None):
        wrong = f"has a piece across words: {crossing!r}"
    if wrong:
        raise ValueError(
            f"{path} {wrong}; only T5's kind of SentencePiece model (unigram, pieces within words) "
            "has the same ids in Hugging Face's tokenizers"
        )


def _check_added(added: Mapping[int, str], vocabulary: Vocabulary) -> None:
    processor, size = vocabulary.processor, vocabulary.size
    sentinels = [vocabulary.sentinel(i) for i in range(vocabulary.num_sentinels)]
    for i, name in added.items():
        if i not in sentinels and i < size:
            raise ValueError(
                f"added token {name!r} has id {i}, which is text or special; use {size} upwards, "
                "or sentinels: Vocabulary.free_ids gives both"
            )
        # piece_to_id gives <unk> for what is no piece.
        known = processor.id_to_piece(processor.piece_to_id(name)) == name
        if not name or name != name.strip() or SENTINEL.fullmatch(name) or known:
            raise ValueError(
                f"added token {i} is named {name!r}; use a name that is no piece of "
                f"{vocabulary.path}, no sentinel, and neither begins nor ends with a space"
            )
    if len(set(added.values())) < len(added):
        raise ValueError(f"added tokens {sorted(added.values())} are not all different")


def _normalizer(charsmap: bytes) -> dict[str, Any] | None:
    """SentencePiece's table of characters, applied as SentencePiece does.

    SentencePiece replaces the longest match. Hugging Face's `Precompiled` looks at a character
    with its accents as a whole if it has fewer than six bytes (and keeps the shortest match, so
    that accents are lost), else at each code point alone (so that half-width `ｶﾞ` and decomposed
    kana and Hangul stay apart). Here it gets code points one by one, between composing and
    composing again. Composing also sorts accents, which SentencePiece does not: so those of
    Hebrew and Arabic, which people write in another order, are kept apart meanwhile.
    """
    if not charsmap:
        return None

    def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
        return {"type": "Replace", "pattern": pattern, "content": content}

    table = base64.b64encode(charsmap).decode("ascii")
    return {
        "type": "Sequence",
        "normalizers": [
            replace({"Regex": r"(?<=[\u0591-\u06ed])(?<=\p{Mn})(?=\p{Mn})"}, UNSORTED),
            {"type": "NFC"},
            replace({"Regex": r"(?<=.)(?=[\p{M}\u200c\u200d\uff9e\uff9f])"}, APART),
            {"type": "Precompiled", "precompiled_charsmap": table},
            replace({"String": APART}, ""),
            {"type": "NFC"},
            replace({"String": UNSORTED}, ""),
        ],
    }


def _pre_tokenizer(never: Iterable[str], text_pieces: Iterable[str]) -> dict[str, Any]:
    """Words, each with `▁` before it, and a seam inside the pieces that are never text.

    Hugging Face's unigram model would take any piece that a text spells, so `<0x41>` would be a
    byte and a full-width `＜/s＞` the end of sequence. Names of added tokens are taken out of the
    text before, so that the seam does not concern them.

    Args:
      never: pieces that the model must not find in a text.
      text_pieces: those that it may.
    """
    splits: list[dict[str, Any]] = [
        {"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": False},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False},
    ]
    if seams := _seams(never, "\n".join(text_pieces)):
        pattern = {"Regex": seams}
        splits.append(
            {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
        )
    return {"type": "Sequence", "pretokenizers": splits}


def _seams(names: Iterable[str], text_pieces: str) -> str:
    """A pattern of empty matches, one inside each name, where no piece of text would be cut."""
    pairs: dict[str, bool] = {}

    def cuts(pair: str) -> bool:
        if pair not in pairs:
            pairs[pair] = pair in text_pieces
        return pairs[pair]

    befores: dict[str, list[str]] = {}
    for name in names:
        places = range(len(name) - 1, 0, -1)
        # Where every place cuts some piece, the last does; such a name is rare as text.
        at = next((k for k in places if not cuts(name[k - 1 : k + 1])), len(name) - 1)
        if at > 0:
            befores.setdefault(re.escape(name[at:]), []).append(re.escape(name[:at]))
    return "|".join(f"(?={after})(?<={'|'.join(b)})" for after, b in befores.items())


def _post_processor(eos: str, eos_id: int) -> dict[str, Any]:
    def part(sequence: str) -> list[dict[str, Any]]:
        return [
            {"Sequence": {"id": sequence, "type_id": 0}},
            {"SpecialToken": {"id": eos, "type_id": 0}},
        ]

    return {
        "type": "TemplateProcessing",
        "single": part("A"),
        "pair": part("A") + part("B"),
        "special_tokens": {eos: {"id": eos, "ids": [eos_id], "tokens": [eos]}},
    }


def _copy(source: str, copy: str) -> None:
    """Copy a file whole or not at all, making its folder."""
    if absolute(source) == absolute(copy):
        return
    with target(copy) as temporary:
        epath.Path(temporary).write_bytes(epath.Path(source).read_bytes())


def _read_json(folder: str, name: str) -> dict[str, Any]:
    path = epath.Path(folder, name)
    return read_json_object(os.fspath(path)) if path.is_file() else {}
