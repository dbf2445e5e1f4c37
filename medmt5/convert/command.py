"""`medmt5 convert`: a checkpoint of one kind in, the same model as another kind out.

Arrays go through one at a time. What is written is read again and its logits are compared before
the target gets its name; a conversion that fails leaves nothing, one that is killed a folder
`TARGET.incomplete-...`.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from medmt5 import checkpoints, restore
from medmt5.adapters.adapted import beneath, open_with
from medmt5.adapters.merging import MergedSource
from medmt5.convert import check, huggingface, own, t5x, tokenizer
from medmt5.convert.source import KINDS, Source, View, open_source
from medmt5.files import MANIFEST, is_remote, write_manifest, write_text
from medmt5.formats.labelling import Labelling
from medmt5.models.t5 import T5Config
from medmt5.progress import Clock
from medmt5.vocabulary import Vocabulary

log = logging.getLogger(__name__)

DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}


def convert(
    source: str,
    target: str,
    to: str,
    *,
    vocabulary: str | None = None,
    extra_ids: int | None = None,
    mlp_activations: Sequence[str] | None = None,
    dtype: str = "float32",
    params_only: bool = False,
    overwrite: bool = False,
    check_logits: bool = True,
    dry_run: bool = False,
    max_shard_bytes: int = huggingface.MAX_SHARD_BYTES,
    adapter: str | None = None,
    drop_prompt: bool = False,
) -> float | None:
    """Convert a checkpoint.

    Args:
      source: of any kind; local or, but for Hugging Face's, `gs://`.
      target: a folder that does not exist yet. With "t5x" it becomes the checkpoint itself.
      to: "medmt5", "t5x" or "hf".
      vocabulary: a SentencePiece model, if none is beside the source.
      extra_ids: sentinels to append to it; see `Vocabulary`.
      mlp_activations: of a T5X checkpoint, which does not say: by default ("gelu", "linear") where
        the feed-forward block is gated, else ("relu",).
      dtype: of the parameters on disk, "float32" or, for t5x and hf, "bfloat16".
      params_only: leave the optimiser's state behind.
      overwrite: replace the target if it exists.
      check_logits: compare the logits of source and target.
      dry_run: open the source and say what would be done.
      max_shard_bytes: of Hugging Face's files.
      adapter: folder of an adapter that was saved alone, to be added to the source.
      drop_prompt: leave a soft prompt behind.

    Returns:
      The largest difference of logits, relative to the largest logit; None if it was not measured.

    Raises:
      ValueError: anything that does not fit, with nothing at `target`.
    """
    if to not in KINDS:
        raise ValueError(f"--to is {to!r}; use {', '.join(KINDS)}")
    if dtype not in DTYPES or (to == "medmt5" and dtype != "float32"):
        raise ValueError(
            f"--dtype {dtype} is not written as {to}: medmt5 keeps float32, t5x and hf "
            f"{' or '.join(DTYPES)}"
        )
    if is_remote(target):
        raise ValueError(f"--target {target} is not local; convert, then copy the folder there")
    _check_target(target, overwrite, source, *([adapter] if adapter else []))
    target = os.path.abspath(target)
    opened = open_with(source, adapter, mlp_activations=mlp_activations)
    read = opened
    while read := beneath(read):
        _check_kept(target, [read.path])
    if opened.config.prompt is not None and to != "medmt5" and not drop_prompt:
        raise ValueError(
            f"{source} has a soft prompt, which {to} has no place for; it can be used here, "
            "converted to medmt5, or left behind with --drop_prompt"
        )
    if opened.config.lora is not None:
        log.info("the adapters are added to the matrices that they belong to")
    if opened.config.lora is not None or drop_prompt:
        opened = MergedSource.of(opened, drop_prompt=drop_prompt)
    words = _vocabulary(opened, vocabulary, extra_ids)
    # Which random numbers come next (`key`) is the business of the run that starts from here.
    kept = ("params/",) if to == "hf" else ("params/", "opt_state/", "step")
    keys = [k for k in opened.arrays if k.startswith(kept)]
    if params_only:
        keys = [k for k in keys if not k.startswith("opt_state/")]
    parameters = sum(math.prod(shape) for shape in opened.params.values())
    log.info(
        "%s: %s, step %d, %s parameters in %d arrays, %d arrays of the optimiser, %s",
        opened.path,
        opened.kind,
        opened.step,
        f"{parameters:,}",
        len(opened.params),
        len(opened.slots),
        f"vocabulary {words.path}" if words else "no vocabulary beside it (give --vocabulary)",
    )
    if opened.unused:
        log.warning("not part of the model: %s", ", ".join(opened.unused))
    if dry_run:
        log.info("dry run: %d arrays would be written to %s as %s", len(keys), target, to)
        return None

    os.makedirs(os.path.dirname(target), exist_ok=True)
    unfinished = tempfile.mkdtemp(
        prefix=os.path.basename(target) + ".incomplete-", dir=os.path.dirname(target)
    )
    try:
        folder = os.path.join(unfinished, "new")
        difference = _write(opened, folder, to, keys, words, dtype, max_shard_bytes, check_logits)
        if os.path.exists(target):
            os.rename(target, os.path.join(unfinished, "old"))
        os.rename(folder, target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    log.info("wrote %s", target)
    return difference


def _check_target(target: str, overwrite: bool, *sources: str) -> None:
    """Raise ValueError unless the target can be made without loss of anything else."""
    if not target or os.path.islink(target):
        raise ValueError(f"--target {target!r} is {'a link' if target else 'empty'}; name a folder")
    target = os.path.abspath(target)
    parent = os.path.dirname(target)
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    if not os.path.isdir(parent) or not os.access(parent, os.W_OK):
        raise ValueError(f"--target {target} cannot be made: {parent} is no folder to write in")
    for name in os.listdir(parent):
        if name.startswith(os.path.basename(target) + ".incomplete-"):
            log.warning(
                "%s is of a conversion that goes on or was killed", os.path.join(parent, name)
            )
    if not os.path.exists(target):
        return
    if not overwrite:
        raise ValueError(f"{target} exists; give another --target, or --overwrite to replace it")
    _check_kept(target, sources)
    made = (kind.recognises(target) for kind in (huggingface, own, t5x))
    if not os.path.isdir(target) or not (any(made) or not os.listdir(target)):
        raise ValueError(f"{target} is no checkpoint; --overwrite replaces only checkpoints")


def _check_kept(target: str, sources: Sequence[str]) -> None:
    """Raise ValueError if what is read is in the target, which would be deleted, or around it."""
    for path in sources if os.path.exists(target) else ():
        both = os.path.realpath(path), os.path.realpath(target)
        if not is_remote(path) and os.path.commonpath(both) in both:
            raise ValueError(
                f"--overwrite would delete the source: {target} holds, or is in, {path}; give "
                "another --target"
            )


def _write(
    opened: Source,
    folder: str,
    to: str,
    keys: Sequence[str],
    words: Vocabulary | None,
    dtype: str,
    max_shard_bytes: int,
    check_logits: bool,
) -> float | None:
    """Write everything to a new folder, and compare the logits if asked for."""
    writer = _writer(folder, opened, to, keys, words, DTYPES[dtype], max_shard_bytes)
    _copy_arrays(opened, writer, keys)
    writer.close()
    _write_beside(folder, opened, to, words)
    difference = None
    if check_logits:
        written = open_source(folder, mlp_activations=opened.config.mlp_activations)
        # At bfloat16 the target's numbers are rounded: compare with the source's, rounded alike.
        reference = opened if dtype == "float32" else _Rounded.over(opened)
        difference = check.compare(reference, written)
        log.info("logits agree: the largest difference is %.1e of the largest logit", difference)
    if to == "hf":
        _write_model_card(folder, opened, dtype, difference)
    write_manifest(folder, leave_out=(CARD,))
    return difference


class _Rounded(View):
    """A source whose numbers went through bfloat16."""

    def changed(self, key: str, array: np.ndarray) -> np.ndarray:
        return array.astype(ml_dtypes.bfloat16).astype(np.float32)


def _vocabulary(source: Source, path: str | None, extra_ids: int | None) -> Vocabulary | None:
    if path is None and source.vocabulary is None:
        return None
    if path is None and extra_ids is None:
        words = restore.vocabulary_of(source)
    else:
        words = Vocabulary(path or source.vocabulary, extra_ids)
    if words.size > source.config.vocab_size:
        raise ValueError(
            f"the vocabulary {words.path} has {words.size} ids, the model only "
            f"{source.config.vocab_size} rows; it is not the model's own"
        )
    return words


def _writer(
    folder: str,
    source: Source,
    to: str,
    keys: Sequence[str],
    words: Vocabulary | None,
    dtype: Any,
    max_shard_bytes: int,
) -> Any:
    if to == "medmt5":
        return own.Writer(folder, {key: source.arrays[key] for key in keys}, step=source.step)
    if to == "t5x":
        return t5x.Writer(folder, source.config, keys, dtype=dtype)
    kind = _family(source.config, words)
    return huggingface.Writer(
        folder, source.config, kind, dtype=dtype, max_shard_bytes=max_shard_bytes
    )


def _family(config: T5Config, words: Vocabulary | None) -> str:
    return huggingface.model_type(config, sentinels_appended=bool(words and words.extra_ids))


def _copy_arrays(source: Source, writer: Any, keys: Sequence[str]) -> None:
    total = sum(math.prod(source.arrays[key]) for key in keys)
    clock, done = Clock(), 0
    for key, array in source.stream(keys):
        if key.startswith("params/") and not np.isfinite(array.sum(dtype=np.float64)):
            raise ValueError(f"{source.path}: {key} holds numbers that are not finite")
        writer.write(key, array)
        done += array.size
        del array  # or it stays while the next is read
        if clock.due():
            log.info(
                "%d %% of %s numbers  %s", 100 * done // total, f"{total:,}", clock.eta(done, total)
            )


def _write_beside(folder: str, source: Source, to: str, words: Vocabulary | None) -> None:
    """Vocabulary, tags and sizes, in the way of each kind."""
    if to == "medmt5":
        checkpoints.write_card(folder, source.config, words, source.formats)
    elif to == "hf":
        if words is not None:
            kind = _family(source.config, words)
            tokenizer.write_tokenizer(folder, words, added_tags(source, words), family=kind)
        if source.formats:
            text = json.dumps({"formats": source.formats}, indent=2, ensure_ascii=False)
            write_text(os.path.join(folder, huggingface.FORMATS), text)
    elif words is not None:
        shutil.copy(words.path, os.path.join(folder, checkpoints.VOCABULARY))


def added_tags(source: Source, words: Vocabulary) -> dict[int, str]:
    """The rows that labelling tags took, and their spelling: `<Disease>`, `</Disease>`.

    They are a function of labels and vocabulary, so they are the same on the way home.
    """
    tags: dict[int, str] = {}
    for description in source.formats.values():
        if description.get("kind") == Labelling.kind:
            names = Labelling.from_description(description, words).tag_names
            tags |= {i: name for i, name in names.items() if words.is_reserved(i)}
    return tags


CARD = "README.md"  # people add to it, so it has no checksum

_CARD = """\
---
license: other
library_name: transformers
tags: [{kind}, text2text-generation, medical]
---

# {kind} in medmt5

A {kind} encoder-decoder with {parameters:,} parameters, converted by medmt5 {version} from a
{origin} checkpoint at step {step}.

| | |
|---|---|
| width, heads x head width, feed-forward | {c.emb_dim}, {c.num_heads} x {c.head_dim}, {c.mlp_dim} |
| encoder + decoder layers | {c.num_encoder_layers} + {c.num_decoder_layers} |
| rows of the embedding | {c.vocab_size:,} |
| numbers on disk | {dtype} |
| logits against the original | {difference} |

The licence is that of the original checkpoint and of the data it was trained on; state it here.

```python
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

model = AutoModelForSeq2SeqLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```

float16 overflows in mT5: use float32 or bfloat16. `{manifest}` lists the checksums of the files.
"""


def _write_model_card(folder: str, source: Source, dtype: str, difference: float | None) -> None:
    from medmt5 import __version__

    with open(os.path.join(folder, huggingface.CONFIG), encoding="utf-8") as file:
        kind = json.load(file)["model_type"]
    text = _CARD.format(
        kind=kind,
        parameters=sum(math.prod(shape) for shape in source.params.values()),
        version=__version__,
        origin={"medmt5": "medmt5", "t5x": "T5X", "hf": "Hugging Face"}[source.kind],
        step=source.step,
        c=source.config,
        dtype=dtype,
        difference="not compared" if difference is None else f"equal to {difference:.1e}",
        manifest=MANIFEST,
    )
    write_text(os.path.join(folder, CARD), text)


def main(arguments: Sequence[str]) -> None:
    """`medmt5 convert`."""
    from medmt5.launch import errors_to_exit, setup_logging

    parser = argparse.ArgumentParser(
        prog="medmt5 convert",
        description="Convert a checkpoint of medmt5, T5X or Hugging Face (T5, mT5, umT5). The kind "
        "of the source is detected. Arrays go through one at a time, so memory is that of the "
        "largest array.",
    )
    add = parser.add_argument
    add("--source", required=True, help="checkpoint or folder, local or (but for hf) gs://")
    add("--target", required=True, help="folder to make")
    add("--to", required=True, choices=KINDS, help="what to make of it")
    add("--vocabulary", help="SentencePiece model, if none is beside the source")
    add("--extra_ids", type=int, help="sentinels to append to it (T5: 100, umT5: 300, mT5: none)")
    add(
        "--mlp_activations",
        type=lambda names: tuple(names.split(",")),
        help="of a T5X checkpoint, which does not say: gelu,linear if gated, else relu",
    )
    add("--dtype", default="float32", choices=DTYPES, help="of the parameters on disk")
    add("--adapter", metavar="FOLDER", help="saved alone, by PEFT or us: it is added to the source")
    add("--drop_prompt", action="store_true", help="leave a soft prompt behind")
    add("--params_only", action="store_true", help="leave the optimiser's state behind")
    add("--overwrite", action="store_true", help="replace the target")
    add("--skip_check", action="store_true", help="do not compare logits")
    add("--dry_run", action="store_true", help="open the source, say what would be done, and stop")
    given = vars(parser.parse_args(arguments))
    setup_logging()
    with errors_to_exit():
        check_logits = not given.pop("skip_check")
        try:
            convert(**given, check_logits=check_logits)
        except KeyboardInterrupt:
            log.warning("interrupted; nothing is left of it")
            sys.exit(130)
