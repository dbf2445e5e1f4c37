"""E3C (en, es, fr, it, eu): clinical entities in case reports. Magnini et al. 2020.

Files `seqlab/<lang>/<lang>-e3c-{train,dev,test}.tsv` under MEDMT5_DATA_DIR, layer 1 of
github.com/hltfbk/E3C-Corpus (preprocessed_data/clinical_entities). The label `ety` is spelt out as
in Medical mT5. Tasks `e3c_<lang>`; mixture `e3c` over en, es, fr and it.
"""

import functools

import seqio

from medmt5.formats import task
from medmt5.formats.labelling import Labelling

ORIGIN = "github.com/hltfbk/E3C-Corpus, preprocessed_data/clinical_entities/layer1"

VARIANTS = {
    "e3c": functools.partial(Labelling, labels=("ClinicalEntity",)),
    # For small models from scratch: heavier tags, random segmentations in training.
    "e3c_small": functools.partial(
        Labelling, labels=("ClinicalEntity",), tag_weight=3.0, subword_rate=0.3
    ),
}


def paths(lang):
    return {
        split: functools.partial(
            task.data_path, f"seqlab/{lang}/{lang}-e3c-{file}.tsv", origin=ORIGIN
        )
        for split, file in (("train", "train"), ("validation", "dev"), ("test", "test"))
    }


for name, make_format in VARIANTS.items():
    for lang in ("en", "es", "fr", "it", "eu"):
        task.register_conll(
            f"{name}_{lang}",
            paths(lang),
            rename={"ety": "ClinicalEntity"},
            make_format=make_format,
        )
    seqio.MixtureRegistry.add(name, [f"{name}_{lang}" for lang in ("en", "es", "fr", "it")], 1.0)
