"""General tasks, to see what in-context ability a tuned model keeps.

Files `general/<languages>-<file>-<split>*.jsonl` under MEDMT5_DATA_DIR, rows as `formats.general`
reads them, prompts as in ProMoT; docs/data.md says where to get each. Every task is `<set>_<lang>`,
and `<set>_1shot_<lang>` and `<set>_4shot_<lang>` with so many answered examples before each source.
"""

import functools
from typing import NamedTuple

from medmt5.formats import task
from medmt5.formats.text_tasks import register_general

SHOTS = {"": 0, "_1shot": 1, "_4shot": 4}
TATOEBA = ("es", "fr", "it", "ru", "zh", "ja")


class Set(NamedTuple):
    """A data set: prompt, key of its rows, languages and splits of its files, origin."""

    prompt: str
    key: str
    languages: tuple[str, ...]
    splits: dict[str, str]
    origin: str


TRAIN_DEV = {"train": "-train", "validation": "-dev"}
DEV, TEST = {"validation": "-dev"}, {"test": "-test"}
ALL = TRAIN_DEV | TEST
XNLI = ("en", "es", "fr", "de", "ru", "zh")

SETS = {
    "rte": Set("rte", "premise", ("en",), TRAIN_DEV, "gluebenchmark.com"),
    "cb": Set("nli", "premise", ("en",), TRAIN_DEV, "super.gluebenchmark.com"),
    "wic": Set("wic", "sentence1", ("en",), TRAIN_DEV, "super.gluebenchmark.com"),
    "xnli": Set("nli", "premise", XNLI, TEST, "github.com/facebookresearch/XNLI"),
    "sst2": Set("sentiment", "text", ("en",), DEV, "gluebenchmark.com"),
    "wmt14": Set("translation", "src", ("en-fr",), TEST, "statmt.org/wmt14"),
    "wmt16": Set("translation", "src", ("en-de", "en-ro"), TEST, "statmt.org/wmt16"),
    "multi30k": Set("translation", "src", ("en-fr",), TEST, "github.com/multi30k/dataset"),
    "tatoeba": Set(
        "translation",
        "src",
        tuple(f"en-{lang}" for lang in TATOEBA),
        {"test": ""},
        "github.com/facebookresearch/LASER, data/tatoeba/v1",
    ),
    "xsum": Set("summary", "document", ("en",), TEST, "github.com/EdinburghNLP/XSum"),
    "wikilingua": Set("summary", "document", ("en",), TEST, "github.com/esdurmus/Wikilingua"),
    "meqsum": Set("summary", "document", ("en",), {"train": "-train"}, "github.com/abachaa/MeQSum"),
    "triviaqa": Set("question", "question", ("en",), DEV, "nlp.cs.washington.edu/triviaqa"),
    "webquestions": Set("question", "question", ("en",), TEST, "nlp.stanford.edu/software/sempre"),
}

for name, data in SETS.items():
    for languages in data.languages:
        for variant, shots in SHOTS.items():
            register_general(
                f"{name}{variant}_{languages.replace('-', '_')}",
                {
                    split: functools.partial(
                        task.data_path,
                        f"general/{languages}-{name}{suffix}.jsonl",
                        f"general/{languages}-{name}{suffix}*.jsonl",
                        origin=data.origin,
                    )
                    for split, suffix in data.splits.items()
                },
                prompt=data.prompt,
                key=data.key,
                lang=languages[-2:],
                shots=shots,
            )
