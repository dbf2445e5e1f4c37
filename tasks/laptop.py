"""Small general tasks and one to tune on: what tools/adapter_experiments.py forgets and learns.

All end with a sentinel, as in-context tasks do, so that answers are read from what is written.

* `laptop_<set>_<lang>` and `laptop_<set>_1shot_<lang>`: general sets that each come as one file, of
  which the last fifth is the test. `laptop_general` is the mixture that a base is trained on: these
  and span corruption; `laptop_others` are its tests without examples, `laptop_scored` all tests.
* `laptop_argument_en`: whether a sentence of an abstract is a claim, a premise or neither, from the
  annotation of `neoplasm_en`, which it spans in nearly all cases. The target.
"""

import functools

import seqio
from medmt5.tasks import general, raw_text  # noqa: F401 (raw_text registers what is mixed in)

from medmt5.formats import task
from medmt5.formats.conll import read_conll
from medmt5.formats.general_tasks import LAST_FIFTH, register_general

MAX_ANSWER = 64  # tokens; a small model that has lost its way does not end

# Set, languages, suffix of its file.
OTHERS = (
    ("sst2", "en", "-dev"),
    ("multi30k", "en-fr", "-test"),
    ("tatoeba", "en-es", ""),
    ("meqsum", "en", "-train"),
)
TARGET = "laptop_argument_en"


def sentences(path):
    """Sentences of a CoNLL file with the label of their first tagged word."""
    for number, sentence in enumerate(read_conll(path), 1):
        labels = [tag[2:] for tag in sentence.tags if tag != "O"]
        text = " ".join(sentence.words)
        yield {"id": str(number), "text": text, "label": labels[0] if labels else "none"}


def path_of(*relative, origin):
    return functools.partial(task.data_path, *relative, origin=origin)


others = []
for name, languages, suffix in OTHERS:
    data = general.SETS[name]
    file = f"general/{languages}-{name}{suffix}"
    found = path_of(f"{file}.jsonl", f"{file}*.jsonl", origin=data.origin)
    for variant, shots in (("", 0), ("_1shot", 1)):
        others.append(f"laptop_{name}{variant}_{languages.replace('-', '_')}")
        register_general(
            others[-1],
            dict.fromkeys(LAST_FIFTH, found),
            prompt=data.prompt,
            key=data.key,
            lang=languages[-2:],
            fifths=LAST_FIFTH,
            shots=shots,
            sentinel=True,
            max_answer=MAX_ANSWER,
        )
register_general(
    TARGET,
    {
        split: path_of(
            f"seqlab/en/en-neoplasm-{file}.tsv",
            origin="github.com/hitz-zentroa/multilingual-abstrct",
        )
        for split, file in (("train", "train"), ("validation", "dev"), ("test", "test"))
    },
    prompt="argument",
    key="text",
    lang="en",
    reader=sentences,
    sentinel=True,
    max_answer=MAX_ANSWER,
)

# By examples; those of raw text are longer.
raw = [("raw_text_en", 0.5), ("raw_text_es", 0.25), ("raw_text_fr", 0.25)]
seqio.MixtureRegistry.add("laptop_general", [*raw, *((name, 1.0) for name in others)])
seqio.MixtureRegistry.add("laptop_others", [name for name in others if "shot" not in name], 1.0)
seqio.MixtureRegistry.add("laptop_scored", [TARGET, *others], 1.0)
