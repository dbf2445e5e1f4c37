"""The sample data that ships with medmt5: generated text in four languages, two entity types.

Tasks: `sample_text_<lang>` (span corruption) and `sample_clinical_<lang>` (labelling); mixtures
`sample_text` and `sample_clinical` over en, es, fr and it.
"""

import functools
import importlib.resources

import seqio

from medmt5.formats import task
from medmt5.formats.labelling import Labelling
from medmt5.formats.span_corruption import SpanCorruption

LANGUAGES = ("en", "es", "fr", "it")
LABELS = ("Disease", "Chemical")


def sample_path(relative: str) -> str:
    return str(importlib.resources.files("medmt5") / "sample_data" / relative)


def read_corpus(lang: str, split: str):
    del split
    return task.read_jsonl(sample_path(f"corpus/{lang}.jsonl"))


VOCABULARY = sample_path("vocabulary/sentencepiece.model")

for lang in LANGUAGES:
    task.register_text(
        f"sample_text_{lang}",
        read=functools.partial(read_corpus, lang),
        make_format=functools.partial(SpanCorruption, copy_rate=0.85, split_words=True),
        vocabulary_path=VOCABULARY,
    )
    task.register_conll(
        f"sample_clinical_{lang}",
        {
            split: functools.partial(sample_path, f"labelled/{lang}-clinical-{file}.tsv")
            for split, file in (("train", "train"), ("validation", "dev"), ("test", "test"))
        },
        make_format=functools.partial(Labelling, labels=LABELS, tag_weight=3.0),
        vocabulary_path=VOCABULARY,
    )

for kind in ("text", "clinical"):
    seqio.MixtureRegistry.add(
        f"sample_{kind}", [f"sample_{kind}_{lang}" for lang in LANGUAGES], default_rate=1.0
    )
