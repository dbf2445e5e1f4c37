"""Raw text for span-corruption pre-training, JSONL files under MEDMT5_DATA_DIR.

Every `raw/<lang>/*.jsonl` (a `text` field per line) makes `raw_text_<lang>`, and the mixture
`raw_text` is en, es, fr and it in natural proportion; in `raw_text_tempered` the small ones have
more, by mT5's temperature of 1 / 0.3. `raw_text_and_copy` has copying mixed in. The texts used here
are layer 3 of github.com/hltfbk/E3C-Corpus and, for en, the abstracts of
github.com/pubmedqa/pubmedqa (`qa/en/en-pubmedqa-dev.jsonl`, question and rationale).

`general_text` is what medical text is compared with: the sentences of `general/*.jsonl` in these
languages, whatever task they were made for.
"""

import functools
import glob
import os

import seqio

from medmt5.formats import task
from medmt5.formats.span_corruption import SpanCorruption

ORIGIN = "github.com/hltfbk/E3C-Corpus, data_collection/<language>/layer3"
LANGUAGES = ("en", "es", "fr", "it", "eu", "ru", "zh", "ja")
MIXED = ("en", "es", "fr", "it")
ALPHA = 0.3
GENERAL = {"rte": ("premise", "hypothesis"), "xnli": ("premise", "hypothesis"), "sst2": ("text",)}
ABSTRACTS = "qa/en/en-pubmedqa-dev.jsonl"


def read(lang, split):
    del split
    folder = task.data_path(f"raw/{lang}", origin=ORIGIN)
    for path in sorted(glob.glob(os.path.join(folder, "*.jsonl"))):
        yield from task.read_jsonl(path)
    if lang == "en":
        path = task.data_path(ABSTRACTS, origin="github.com/pubmedqa/pubmedqa")
        for row in task.read_jsonl(path, field="question"):
            yield {"text": f"{row['question']} {row['rationale']}"}


def read_general(lang, split):
    del split
    folder = task.data_path("general", origin="docs/data.md, general tasks")
    for path in sorted(glob.glob(os.path.join(folder, "*.jsonl"))):
        name = os.path.basename(path)
        for row in task.read_jsonl(path, field=None):
            if "tgt_lang" in row:
                sides = {row["src_lang"]: [row["src"]]}
                sides[row["tgt_lang"]] = [row["tgt"], *row.get("extra_refs", ())]
                yield from ({"text": text} for text in sides.get(lang, ()))
            elif name.startswith(f"{lang}-") and row.get("task") in GENERAL:
                yield {"text": " ".join(row[key] for key in GENERAL[row["task"]])}


def size(one_task):
    """Mixing rate: characters of the task's text."""
    return float(sum(len(raw["text"]) for raw in one_task.source.read("train")))


def tempered(one_task):
    """Mixing rate: `size` to the power of 0.3, as in mT5."""
    return size(one_task) ** ALPHA


# The variant `_and_copy` is for small models that are to label text; see SpanCorruption.
for variant, options in (("", {}), ("_and_copy", {"copy_rate": 0.85, "split_words": True})):
    make_format = functools.partial(SpanCorruption, **options)
    for kind, languages, reader in (
        ("raw_text", LANGUAGES, read),
        ("general_text", MIXED, read_general),
    ):
        for lang in languages:
            task.register_text(
                f"{kind}{variant}_{lang}",
                read=functools.partial(reader, lang),
                make_format=make_format,
            )
        members = [f"{kind}{variant}_{lang}" for lang in MIXED]
        seqio.MixtureRegistry.add(f"{kind}{variant}", [(member, size) for member in members])
        if kind == "raw_text":
            rates = [(member, tempered) for member in members]
            seqio.MixtureRegistry.add(f"{kind}_tempered{variant}", rates)
