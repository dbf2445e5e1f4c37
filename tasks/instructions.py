"""Instructions made of the questions and labelled sentences under MEDMT5_DATA_DIR, in two stages.

`instructions_general_<lang>` are explanations, open answers and lists of what a text mentions;
`instructions_choice_<lang>` are questions with options, answered with letters. They are the rows of
`medmt5 data instructions`, made as they are read, of whatever sets of the language are there. They
are put as a chat; `instructions_general_alpaca_<lang>` in Alpaca's template, `..._plain_<lang>` in
none.

`instructions_general`, `instructions_choice` and their variants are mixtures over all languages,
each row as often as any other. All languages must have data; the files of `medmt5 data
instructions` are mixtures of those that have.
"""

import functools
import os

import seqio
from medmt5.tasks.mixtures import examples

from medmt5.data.instructions import build
from medmt5.formats import task
from medmt5.formats.instructions_schemas import to_examples
from medmt5.formats.instructions_tasks import register_instructions

LANGUAGES = {
    "general": ("en", "zh", "ja", "fr", "ru", "es", "it", "eu"),
    "choice": ("en", "zh", "ja", "fr", "ru", "es", "it"),
}
VARIANTS = {"": "chat", "_alpaca": "alpaca", "_plain": "instruction"}


def read(stage, lang, split):
    folder = os.environ.get(task.DATA_DIR_VARIABLE)
    if not folder:
        raise ValueError(f"{task.DATA_DIR_VARIABLE} is not set; set it to the folder of the data")
    rows = [row for key, rows in build(folder, lang, stage).items() if split in key for row in rows]
    if not rows:
        raise ValueError(
            f"{folder} has nothing in {lang!r} to make {stage} instructions of for {split} "
            f"(qa/{lang}/, mmedbench/, seqlab/{lang}/: docs/data.md). Name another language, or "
            "train on files of those that are there: medmt5 data instructions --help"
        )
    return [example for row in rows for example in to_examples(row, lang)]


for stage, languages in LANGUAGES.items():
    for variant, template in VARIANTS.items():
        members = [f"instructions_{stage}{variant}_{lang}" for lang in languages]
        for lang, name in zip(languages, members, strict=True):
            register_instructions(
                name,
                functools.partial(read, stage, lang),
                ("train", "validation"),
                template=template,
                closed=stage == "choice",
            )
        seqio.MixtureRegistry.add(
            f"instructions_{stage}{variant}", [(member, examples) for member in members]
        )
