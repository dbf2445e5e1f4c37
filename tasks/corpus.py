"""A corpus made by `medmt5 corpus build`, for span-corruption pre-training.

MEDMT5_CORPUS_DIR names its folder. Every language there makes `corpus_<lang>`; the mixture `corpus`
is all of them in natural proportion, by characters, and in `corpus_tempered` the small ones have
more, by mT5's temperature of 1 / 0.3. With `_and_copy` in the name copying is mixed in, for small
models that are to label text; with `_words` it is the same text without the copying, for its loss.

The split `validation` holds the documents that training never sees: one in 200 by a hash of source
and id (`medmt5.corpus.built`), or one in MEDMT5_CORPUS_HELD_OUT.
"""

import functools
import os

import seqio
import tensorflow as tf

from medmt5.corpus import built
from medmt5.corpus.steps.language import LANGUAGES as USUAL
from medmt5.formats import task
from medmt5.formats.span_corruption import SpanCorruption

FOLDER, HELD_OUT = "MEDMT5_CORPUS_DIR", "MEDMT5_CORPUS_HELD_OUT"
ALPHA = 0.3
VARIANTS = {
    "": {},
    "_words": {"split_words": True},
    "_and_copy": {"copy_rate": 0.85, "split_words": True},
}


def folder():
    """The corpus.

    Raises:
      ValueError: the variable is unset.
    """
    path = os.environ.get(FOLDER)
    if not path:
        raise ValueError(f"{FOLDER} is not set; set it to a folder that `medmt5 corpus build` made")
    return path


def one_in():
    """Of so many documents one is held out."""
    given = os.environ.get(HELD_OUT, str(built.HELD_OUT))
    if not given.isdecimal() or int(given) < 2:
        raise ValueError(f"{HELD_OUT} is {given!r}; use a whole number from 2, such as 200")
    return int(given)


def there():
    """Languages of the corpus; none where there is no corpus."""
    try:
        return built.languages(folder())
    except ValueError:
        return []


def read(lang, split):
    """Texts of a language: those that are held out, or all others."""
    path, number, found = folder(), one_in(), False
    for document in built.documents(path, lang):
        if built.is_held_out(document, number) == (split == "validation"):
            found = True
            yield {"text": document.text}
    if not found:
        raise ValueError(
            f"of the documents in {lang!r} in {path} none is in the split {split}: one in {number} "
            f"is held out; set {HELD_OUT} to another number"
        )


@functools.lru_cache
def characters(path, lang, number):
    """Characters of the training text; the arguments are what they depend on."""
    del path, number
    return float(sum(len(raw["text"]) for raw in read(lang, "train")))


def size(one_task):
    """Mixing rate: characters of the task's text; 0 if the corpus has no such language."""
    lang = one_task.name.rpartition("_")[2]
    return characters(folder(), lang, one_in()) if lang in there() else 0.0


def tempered(one_task):
    """Mixing rate: `size` to the power of 0.3, as in mT5."""
    return size(one_task) ** ALPHA


class OfCorpus(seqio.Mixture):
    """A mixture of the languages that the corpus has; of all while there is none."""

    @property
    def tasks(self):
        found = there()
        every = super().tasks
        return [t for t in every if t.name.rpartition("_")[2] in found] or every


# A language beyond the usual ones is known by its folder, when this module is imported.
LANGUAGES = tuple(dict.fromkeys((*USUAL, *there())))
for variant, options in VARIANTS.items():
    for language in LANGUAGES:
        task.register(
            f"corpus{variant}_{language}",
            read=functools.partial(read, language),
            splits=["train", "validation"],
            signature={"text": tf.TensorSpec([], tf.string)},
            make_format=functools.partial(SpanCorruption, **options),
        )
    for name, rate in (("corpus", size), ("corpus_tempered", tempered)):
        members = [(f"corpus{variant}_{language}", rate) for language in LANGUAGES]
        seqio.MixtureRegistry.add(f"{name}{variant}", members, mixture_cls=OfCorpus)
