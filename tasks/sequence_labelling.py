"""Sequence labelling: the sets of Medical mT5's evaluation, CasiMedicos-Arg and QUAERO.

Files `seqlab/<lang>/<lang>-<file>-{train,dev,test}.tsv` under MEDMT5_DATA_DIR, named as Medical
mT5's scripts name them; docs/data.md says where to get each. Every set makes

* a task per language, `<set>_<lang>`, in the variants of `VARIANTS`: `<set><variant>_<lang>`;
* a mixture of its languages at equal rates, `<set><variant>`.

Mixtures over several sets are in `tasks/mixtures.py`. Another set is one entry of `SETS`, or no
code at all: name the folder of its files, as docs/data.md says.
"""

import functools
from typing import Any, NamedTuple

import seqio

from medmt5.formats import task
from medmt5.formats.labelling import Labelling

SPLITS = {"train": "train", "validation": "dev", "test": "test"}
WITH_TRAINING = ("train", "validation", "test")
ABSTRCT = "github.com/hitz-zentroa/multilingual-abstrct"
BC5CDR = "github.com/cambridgeltl/MTL-Bioinformatics-2016, data/BC5CDR-{}-IOB"
FOUR = ("en", "es", "fr", "it")
ARGUMENTS = ("Premise", "Claim")
QUAERO = ("ANAT", "CHEM", "DEVI", "DISO", "GEOG", "LIVB", "OBJC", "PHEN", "PHYS", "PROC")


class Set(NamedTuple):
    """A data set.

    Attributes:
      file: its name within those of its files.
      languages: with files of their own; its mixture is over `mixed`, or all of them.
      labels: what its spans are called.
      origin: where it comes from, for messages.
      rename: labels of the files that are spelt out, as Medical mT5 does.
      splits: those that it has.
    """

    file: str
    languages: tuple[str, ...]
    labels: tuple[str, ...]
    origin: str
    rename: dict[str, str] = {}
    splits: tuple[str, ...] = WITH_TRAINING
    mixed: tuple[str, ...] = ()


SETS = {
    "ncbi_disease": Set(
        "ncbi-disease",
        ("en",),
        ("Disease",),
        "github.com/cambridgeltl/MTL-Bioinformatics-2016, data/NCBI-disease-IOB",
    ),
    "bc5cdr_disease": Set("bc5cdr_disease", ("en",), ("Disease",), BC5CDR.format("disease")),
    "bc5cdr_chemical": Set("bc5cdr_chemical", ("en",), ("Chemical",), BC5CDR.format("chem")),
    "diann": Set(
        "diann",
        ("en", "es"),
        ("Disability",),
        "github.com/gildofabregat/DIANN-IBEREVAL-2018",
        {"dis": "Disability"},
    ),
    "e3c": Set(
        "e3c",
        (*FOUR, "eu"),
        ("ClinicalEntity",),
        "github.com/hltfbk/E3C-Corpus, preprocessed_data/clinical_entities/layer1",
        {"ety": "ClinicalEntity"},
        mixed=FOUR,
    ),
    "pharmaconer": Set(
        "pharmaconer-bsc",
        ("es",),
        ("NORMALIZABLES", "NO_NORMALIZABLES", "PROTEINAS", "UNCLEAR"),
        "huggingface.co/datasets/PlanTL-GOB-ES/pharmaconer",
    ),
    "neoplasm": Set("neoplasm", FOUR, ARGUMENTS, ABSTRCT),
    "glaucoma": Set("glaucoma", FOUR, ARGUMENTS, ABSTRCT, splits=("test",)),
    "mixed": Set("mixed", FOUR, ARGUMENTS, ABSTRCT, splits=("test",)),
    "casimedicos_arg": Set(
        "casimedicos-arg", FOUR, ARGUMENTS, "github.com/ixa-ehu/antidote-casimedicos"
    ),
    "quaero_emea": Set("quaero_emea", ("fr",), QUAERO, "quaerofrenchmed.limsi.fr"),
    "quaero_medline": Set("quaero_medline", ("fr",), QUAERO, "quaerofrenchmed.limsi.fr"),
}

# The tags that one model needs to label all sets of Medical mT5.
INVENTORY = (
    "Disease",
    "Chemical",
    "Disability",
    "ClinicalEntity",
    *SETS["pharmaconer"].labels,
    *ARGUMENTS,
)

VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    # For small models from scratch: heavier tags, random segmentations in training.
    "_small": {"tag_weight": 3.0, "subword_rate": 0.3},
    # For one model of many sets: the same tag for a label in all of them ...
    "_shared": {"inventory": INVENTORY},
    # ... and the labels that are asked for before the sentence, as in Medical mT5.
    "_prompted": {"inventory": INVENTORY, "label_prompt": True},
}


def paths(data: Set, lang: str) -> dict[str, Any]:
    return {
        split: functools.partial(
            task.data_path,
            f"seqlab/{lang}/{lang}-{data.file}-{SPLITS[split]}.tsv",
            origin=data.origin,
        )
        for split in data.splits
    }


for name, data in SETS.items():
    for variant, options in VARIANTS.items():
        if "inventory" in options and not set(data.labels) <= set(INVENTORY):
            continue
        for lang in data.languages:
            task.register_conll(
                f"{name}{variant}_{lang}",
                paths(data, lang),
                rename=data.rename,
                make_format=functools.partial(Labelling, labels=data.labels, **options),
            )
        languages = data.mixed or data.languages
        seqio.MixtureRegistry.add(
            f"{name}{variant}", [f"{name}{variant}_{lang}" for lang in languages], 1.0
        )
