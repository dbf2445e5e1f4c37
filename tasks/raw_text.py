"""Raw medical text for span-corruption pre-training, JSONL files under MEDMT5_DATA_DIR.

Every `raw/<lang>/*.jsonl` (a `text` field per line) makes `raw_text_<lang>`, and the mixture
`raw_text` is en, es, fr and it in natural proportion. `raw_text_and_copy` has copying mixed in.
The texts used here are layer 3 of github.com/hltfbk/E3C-Corpus and, for en, the abstracts of
github.com/pubmedqa/pubmedqa (`qa/en/en-pubmedqa-dev.jsonl`, question and rationale).
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


def size(one_task):
    """Mixing rate: characters of the task's text."""
    return float(sum(len(raw["text"]) for raw in one_task.source.read("train")))


for lang in LANGUAGES:
    task.register_text(
        f"raw_text_{lang}",
        read=functools.partial(read, lang),
        make_format=SpanCorruption,
    )
    # The variant for small models that are to label text; see SpanCorruption.
    task.register_text(
        f"raw_text_and_copy_{lang}",
        read=functools.partial(read, lang),
        make_format=functools.partial(SpanCorruption, copy_rate=0.85, split_words=True),
    )

for kind in ("raw_text", "raw_text_and_copy"):
    seqio.MixtureRegistry.add(kind, [(f"{kind}_{lang}", size) for lang in MIXED])
