"""Mixtures over several data sets: Medical mT5's multi-task training and its zero-shot tests.

* `medical_mt5`: its 14 training sets with label prompts, each sentence as often as any other, as
  the published model was trained; `medical_mt5_balanced`: each set as often as any other. With
  `_shared` for prompts left out: `medical_mt5_shared`, `medical_mt5_shared_balanced`.
* `medical_mt5_test`, `medical_mt5_shared_test`: the 22 test sets of its tables.
* `<set>_zero_shot`: es, fr and it of a set that is trained on in English alone.
* `laptop_labelling` and its variants: those that tools/experiments.py trains on.
* `open_labelling` and its variants: those of the training sets whose files are on public
  repositories, chemicals left out.
"""

import functools

import seqio
from medmt5.tasks import sequence_labelling

TRAINED = (
    "ncbi_disease",
    "bc5cdr_disease",
    "bc5cdr_chemical",
    "diann",
    "e3c",
    "pharmaconer",
    "neoplasm",
)
TESTED = (*TRAINED, "glaucoma", "mixed")
LAPTOP = ("ncbi_disease", "diann", "e3c")
OPEN = ("ncbi_disease", "bc5cdr_disease", "diann", "e3c", "neoplasm")


def names(sets, variant):
    """The tasks of several sets, in the languages of their mixtures."""
    for name in sets:
        data = sequence_labelling.SETS[name]
        for lang in data.mixed or data.languages:
            yield f"{name}{variant}_{lang}"


@functools.cache
def size(name):
    return float(sum(1 for _ in seqio.TaskRegistry.get(name).source.read("train")))


def examples(one_task):
    """Mixing rate: the examples of a task's training split, so that all are seen equally often.

    Where they cannot be read it is 1: an evaluation needs none, and training says what is wrong.
    """
    try:
        return size(one_task.name) if "train" in one_task.splits else 1.0
    except ValueError:
        return 1.0


for mixture, sets in (
    ("medical_mt5", TRAINED),
    ("open_labelling", OPEN),
    ("laptop_labelling", LAPTOP),
):
    for variant, suffix in (("_prompted", ""), ("_shared", "_shared")):
        members = list(names(sets, variant))
        add = seqio.MixtureRegistry.add
        add(f"{mixture}{suffix}", [(member, examples) for member in members])
        add(f"{mixture}{suffix}_balanced", members, 1.0)
for variant, suffix in (("_prompted", ""), ("_shared", "_shared")):
    seqio.MixtureRegistry.add(f"medical_mt5{suffix}_test", list(names(TESTED, variant)), 1.0)
for name in ("e3c", "neoplasm", "casimedicos_arg"):
    members = [f"{name}_{lang}" for lang in ("es", "fr", "it")]
    seqio.MixtureRegistry.add(f"{name}_zero_shot", members, 1.0)
