"""NCBI-Disease (en): disease mentions in PubMed abstracts. Dogan et al. 2014.

Files `seqlab/en/en-ncbi-disease-{train,dev,test}.tsv` under MEDMT5_DATA_DIR, in the IOB2 form of
github.com/cambridgeltl/MTL-Bioinformatics-2016 (data/NCBI-disease-IOB).
"""

import functools

from medmt5.formats import task
from medmt5.formats.labelling import Labelling

ORIGIN = "github.com/cambridgeltl/MTL-Bioinformatics-2016, data/NCBI-disease-IOB"

PATHS = {
    split: functools.partial(task.data_path, f"seqlab/en/en-ncbi-disease-{file}.tsv", origin=ORIGIN)
    for split, file in (("train", "train"), ("validation", "dev"), ("test", "test"))
}

task.register_conll(
    "ncbi_disease", PATHS, make_format=functools.partial(Labelling, labels=("Disease",))
)
# The variant for small models from scratch: heavier tags, random segmentations in training.
task.register_conll(
    "ncbi_disease_small",
    PATHS,
    make_format=functools.partial(Labelling, labels=("Disease",), tag_weight=3.0, subword_rate=0.3),
)
