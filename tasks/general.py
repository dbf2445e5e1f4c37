"""General tasks, to see what in-context ability a tuned model keeps.

Files `general/<languages>-<file>-<split>*.jsonl` under MEDMT5_DATA_DIR, rows as `formats.general`
reads them, prompts as in ProMoT; docs/data.md says where to get each. Every task is `<set>_<lang>`,
and `<set>_1shot_<lang>` and `<set>_4shot_<lang>` with so many answered examples before each source:
rows of the training split, drawn for each source by itself; where its file is not there, other rows
of the source's own file. Training on these puts examples before each training source too.

`in_context_1shot` and `in_context_4shot` are the eight tasks of ProMoT's normalised average, and
`in_context_open_1shot`, `in_context_open_4shot` eight whose files are on public repositories. All
have a test split: where the labels of a set's test are secret, its development set, as in ProMoT.
Other draws of examples are `<set>_1shot_seed1_<lang>`, `in_context_1shot_seed1`, ...: see
`in_context_seeds`. `rte_and_wmt14` are the two sets that ProMoT was tuned on.
"""

import functools
from typing import NamedTuple

import seqio

from medmt5.formats import task
from medmt5.formats.general_tasks import LAST_FIFTH, register_general

TATOEBA = ("es", "fr", "it", "ru", "zh", "ja")


class Set(NamedTuple):
    """A data set: prompt, key of its rows, languages and splits of its files, origin."""

    prompt: str
    key: str
    languages: tuple[str, ...]
    splits: dict[str, str]
    origin: str
    fifths: dict[str, tuple[int, int]] = {}


TRAIN_DEV = {"train": "-train", "validation": "-dev", "test": "-dev"}
DEV, TEST = {"validation": "-dev", "test": "-dev"}, {"test": "-test"}
ALL = TRAIN_DEV | TEST
XNLI = ("en", "es", "fr", "de", "ru", "zh")

SETS = {
    "rte": Set("rte", "premise", ("en",), TRAIN_DEV, "gluebenchmark.com"),
    "cb": Set("nli", "premise", ("en",), TRAIN_DEV, "super.gluebenchmark.com"),
    "wic": Set("wic", "sentence1", ("en",), TRAIN_DEV, "super.gluebenchmark.com"),
    "xnli": Set("nli", "premise", XNLI, TEST, "github.com/facebookresearch/XNLI"),
    "sst2": Set("sentiment", "text", ("en",), DEV, "gluebenchmark.com"),
    "wmt14": Set("translation", "src", ("en-fr",), ALL, "statmt.org/wmt14"),
    "wmt16": Set("translation", "src", ("en-de", "en-ro"), ALL, "statmt.org/wmt16"),
    "multi30k": Set("translation", "src", ("en-fr",), TEST, "github.com/multi30k/dataset"),
    "tatoeba": Set(
        "translation",
        "src",
        tuple(f"en-{lang}" for lang in TATOEBA),
        {"test": ""},
        "github.com/facebookresearch/LASER, data/tatoeba/v1",
    ),
    "xsum": Set("summary", "document", ("en",), ALL, "github.com/EdinburghNLP/XSum"),
    "wikilingua": Set("summary", "document", ("en",), ALL, "github.com/esdurmus/Wikilingua"),
    "meqsum": Set(
        "summary",
        "document",
        ("en",),
        dict.fromkeys(LAST_FIFTH, "-train"),  # it comes as one file
        "github.com/abachaa/MeQSum",
        LAST_FIFTH,
    ),
    "triviaqa": Set("question", "question", ("en",), TRAIN_DEV, "nlp.cs.washington.edu/triviaqa"),
    "webquestions": Set(
        "question",
        "question",
        ("en",),
        {"train": "-train"} | TEST,
        "nlp.stanford.edu/software/sempre",
    ),
}
# ProMoT's, and others for which every file is to be had.
IN_CONTEXT = {
    "in_context": (
        *("cb_en", "wic_en", "triviaqa_en", "webquestions_en"),
        *("wmt16_en_de", "wmt16_en_ro", "xsum_en", "wikilingua_en"),
    ),
    "in_context_open": (
        *("rte_en", "sst2_en", "xnli_es", "wmt14_en_fr"),
        *("multi30k_en_fr", "tatoeba_en_es", "tatoeba_en_it", "meqsum_en"),
    ),
}


def named(name: str, variant: str) -> str:
    """A task's name with a variant: `cb_1shot_en` of `cb_en`."""
    first, _, languages = name.partition("_")
    return f"{first}{variant}_{languages}"


def register(shots: int, seed: int) -> None:
    """Register all sets with so many examples drawn by a seed, and the mixtures of them."""
    variant = (f"_{shots}shot" if shots else "") + (f"_seed{seed}" if seed else "")
    for name, data in SETS.items():
        for languages in data.languages:
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
                fifths=data.fifths,
                shots=shots,
                seed=seed,
            )
    if shots:
        for mixture, members in IN_CONTEXT.items():
            tasks = [named(member, variant) for member in members]
            seqio.MixtureRegistry.add(f"{mixture}{variant}", tasks, 1.0)


for number in (0, 1, 4):
    register(number, seed=0)
seqio.MixtureRegistry.add("rte_and_wmt14", ["rte_en", "wmt14_en_fr"], 1.0)
