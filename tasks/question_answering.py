"""Medical questions: multiple choice, with and without rationales, and abstractive answers.

Files `qa/<lang>/<lang>-<file>-{train,dev,test}` under MEDMT5_DATA_DIR, as `.jsonl`, `.json` or
`.csv` in any schema that `formats.questions` reads; MMedBench as it is released,
`mmedbench/{Train,Test}/<Language>.jsonl`. docs/data.md says where to get each. Tasks are
`<set>_<lang>`, mixtures over languages `<set>`.

A question is put in its own language and answered with letters. `<set>_explained_<lang>` writes the
rationale first, for sets that have some. MMedBench is put as its authors put it:
`mmedbench_<lang>`, `mmedbench_rationale_<lang>`; `mmedbench_plain_<lang>` in our own way.
"""

import functools
from typing import NamedTuple

import seqio
from medmt5.tasks.mixtures import examples

from medmt5.formats import task
from medmt5.formats.text_tasks import register_questions

SPLITS = {"train": "train", "validation": "dev", "test": "test"}
ENDINGS = (".jsonl", ".json", ".csv")
EVALUATION = ("validation", "test")
FOUR = ("en", "es", "fr", "it")


class Set(NamedTuple):
    """A data set: name of its files, languages, origin, what questions are like, its splits."""

    file: str
    languages: tuple[str, ...]
    origin: str
    several: bool = False
    rationales: bool = False
    choices: bool = True
    splits: tuple[str, ...] = ("train", "validation", "test")


SETS = {
    "medqa": Set("medqa_us", ("en",), "github.com/jind11/MedQA"),
    "medmcqa": Set("medmcqa", ("en",), "github.com/medmcqa/medmcqa", rationales=True),
    "mmlu_medical": Set("mmlu_med", ("en",), "github.com/hendrycks/test", splits=EVALUATION),
    "medbullets": Set(
        "medbullets", ("en",), "github.com/HanjieChen/ChallengeClinicalQA", splits=("test",)
    ),
    "pubmedqa": Set("pubmedqa", ("en",), "github.com/pubmedqa/pubmedqa", splits=EVALUATION),
    "headqa": Set("headqa", ("es",), "github.com/aghie/head-qa"),
    "frenchmedmcqa": Set(
        "frenchmedmcqa", ("fr",), "github.com/qanastek/FrenchMedMCQA", several=True
    ),
    "igakuqa": Set("igakuqa", ("ja",), "github.com/jungokasai/IgakuQA", several=True),
    "rumeddanet": Set("rumeddanet", ("ru",), "github.com/sb-ai-lab/RuMedBench"),
    "cmexam": Set("cmexam", ("zh",), "github.com/williamliujl/CMExam", rationales=True),
    "casimedicos": Set(
        "casimedicos", FOUR, "github.com/ixa-ehu/antidote-casimedicos", rationales=True
    ),
    "medexpqa": Set("medexpqa", FOUR, "huggingface.co/datasets/HiTZ/MedExpQA", rationales=True),
    "bioasq": Set("bioasq", FOUR, "bioasq.org, task b", choices=False),
}

# Folder and file names of the release; several answers may be right where its sources have them.
MMEDBENCH = {
    "en": ("English", False),
    "zh": ("Chinese", False),
    "ja": ("Japanese", True),
    "fr": ("French", True),
    "ru": ("Russian", False),
    "es": ("Spanish", False),
}
PROMPTS = {
    "mmedbench": "mmedbench",
    "mmedbench_rationale": "mmedbench_explained",
    "mmedbench_plain": "plain",
}


def paths(data, lang):
    return {
        split: functools.partial(
            task.data_path,
            *(f"qa/{lang}/{lang}-{data.file}-{SPLITS[split]}{ending}" for ending in ENDINGS),
            origin=data.origin,
        )
        for split in data.splits
    }


def add(name, data, prompt):
    for lang in data.languages:
        register_questions(
            f"{name}_{lang}", paths(data, lang), prompt=prompt, lang=lang, several=data.several
        )
    members = [f"{name}_{lang}" for lang in data.languages]
    seqio.MixtureRegistry.add(name, [(member, examples) for member in members])


for name, data in SETS.items():
    add(name, data, "plain" if data.choices else "plain_open")
    if data.rationales:
        add(f"{name}_explained", data, "plain_explained")

for name, prompt in PROMPTS.items():
    for lang, (language, several) in MMEDBENCH.items():
        files = {
            split: functools.partial(
                task.data_path,
                f"mmedbench/{folder}/{language}.jsonl",
                origin="huggingface.co/datasets/Henrychur/MMedBench",
            )
            for split, folder in (("train", "Train"), ("test", "Test"))
        }
        register_questions(f"{name}_{lang}", files, prompt=prompt, lang=lang, several=several)
    seqio.MixtureRegistry.add(name, [(f"{name}_{lang}", examples) for lang in MMEDBENCH])
# Every question twice, with its rationale and without, as MMedLM was tuned.
seqio.MixtureRegistry.add(
    "mmedbench_both",
    [(f"{name}_{lang}", examples) for name in list(PROMPTS)[:2] for lang in MMEDBENCH],
)
