"""What stands where in a results book: its sections, the order of their rows, the metric of each.

Another data set needs no entry here: it gets its row in the section of its kind.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

# What `--metric FAMILY=NAME` can be said of.
FAMILIES = ("labelling", "choice", "rationale", "text")

# Medical mT5's test sets, in the order of its table.
_MEDICAL_MT5 = (
    ("NCBI-Disease", "ncbi_disease_en"),
    ("BC5CDR Disease", "bc5cdr_disease_en"),
    ("BC5CDR Chemical", "bc5cdr_chemical_en"),
    ("DIANN", "diann_en"),
    ("DIANN", "diann_es"),
    *(("E3C", f"e3c_{lang}") for lang in ("en", "es", "fr", "it")),
    ("PharmaCoNER", "pharmaconer_es"),
    *(
        (part.capitalize(), f"{part}_{lang}")
        for lang in ("en", "es", "fr", "it")
        for part in ("neoplasm", "glaucoma", "mixed")
    ),
)
# Test questions of MMedBench. Confirmed by what is published: they add up to 8,518, and times them
# nearly all accuracies are whole numbers (tests/test_published.py names the others).
MMEDBENCH = {"en": 1273, "zh": 3426, "ja": 199, "fr": 622, "ru": 256, "es": 2742}
# General tasks with the metric of each: the two that ProMoT tuned on, the eight that its normalised
# average is of, and others for which every file is to be had.
_TUNED = (("RTE", "rte", "en", "accuracy"), ("WMT14 En-Fr", "wmt14", "en_fr", "bleu"))
_IN_CONTEXT = (
    ("CB", "cb", "en", "accuracy"),
    ("WiC", "wic", "en", "accuracy"),
    ("TriviaQA", "triviaqa", "en", "exact_match"),
    ("WebQuestions", "webquestions", "en", "exact_match"),
    ("WMT16 En-De", "wmt16", "en_de", "bleu"),
    ("WMT16 En-Ro", "wmt16", "en_ro", "bleu"),
    ("XSum", "xsum", "en", "rouge2"),
    ("WikiLingua", "wikilingua", "en", "rouge2"),
)
_OPEN = (
    ("SST-2", "sst2", "en", "accuracy"),
    *(("XNLI", "xnli", lang, "accuracy") for lang in ("en", "es", "fr", "de", "ru", "zh")),
    ("Multi30k", "multi30k", "en_fr", "bleu"),
    *(
        ("Tatoeba", "tatoeba", f"en_{lang}", "bleu")
        for lang in ("es", "fr", "it", "ru", "zh", "ja")
    ),
    ("MeQSum", "meqsum", "en", "rouge2"),
)


def _shown(sets: Iterable[tuple[str, str, str, str]], shots: int) -> dict[str, str]:
    """Task -> title, of sets with so many examples before each question."""
    variant, said = (f"_{shots}shot", f", {shots}-shot") if shots else ("", "")
    return {f"{name}{variant}_{lang}": f"{title}{said}" for title, name, lang, _ in sets}


# Those that the sources score come first.
_GENERAL = {
    **_shown(_TUNED, 0),
    **_shown(_IN_CONTEXT, 1),
    **_shown(_IN_CONTEXT, 4),
    **_shown(_IN_CONTEXT, 0),
    **_shown(_TUNED, 1),
    **_shown(_TUNED, 4),
    **_shown(_OPEN, 1),
    **_shown(_OPEN, 4),
    **_shown(_OPEN, 0),
}
_METRICS = {
    task: each[-1]
    for shots in (0, 1, 4)
    for each in (*_TUNED, *_IN_CONTEXT, *_OPEN)
    for task in _shown([each], shots)
}
# Plain means of what each row is scored by.
_NORMALISED = {
    f"normalised average{what}, {shots}-shot": tuple(_shown(sets, shots))
    for shots in (1, 4)
    for what, sets in (("", _IN_CONTEXT), (" of other sets", (*_TUNED, *_OPEN)))
}


class Section(NamedTuple):
    """A table of the book.

    Attributes:
      name: short; `published.Column.section` and the CSV name it.
      title: its heading.
      family: of its tasks; "" where each has its own.
      titles: task -> data set as printed, for tasks in a fixed order; others come after them.
      questions: language -> test questions, where a question-weighted average makes sense.
      normalised: title -> tasks of different metrics, of which a plain mean is taken all the same.
    """

    name: str
    title: str
    family: str
    titles: Mapping[str, str] = {}
    questions: Mapping[str, int] = {}
    normalised: Mapping[str, tuple[str, ...]] = {}


SECTIONS = (
    Section(
        "labelling",
        "Labelling: the test sets of Medical mT5",
        "labelling",
        {task: title for title, task in _MEDICAL_MT5},
    ),
    Section("labelling_other", "Labelling: other sets", "labelling"),
    Section(
        "mmedbench",
        "Multiple choice: MMedBench",
        "choice",
        {f"mmedbench_{lang}": "MMedBench" for lang in MMEDBENCH},
        MMEDBENCH,
    ),
    Section(
        "mmedbench_rationale",
        "Multiple choice: MMedBench, a rationale before the answer",
        "choice",
        {f"mmedbench_rationale_{lang}": "MMedBench" for lang in MMEDBENCH},
        MMEDBENCH,
    ),
    Section("choice", "Multiple choice: other sets", "choice"),
    Section(
        "rationales",
        "Rationales",
        "rationale",
        {f"mmedbench_rationale_{lang}": "MMedBench" for lang in MMEDBENCH},
    ),
    Section("general", "General tasks, as in ProMoT", "", _GENERAL, normalised=_NORMALISED),
    Section("text", "Text", "text"),
)
_NAMED = {section.name: section for section in SECTIONS}

# Variants of a task (`e3c_prompted_es`, `mmedbench_plain_en`) have its test set, hence its row.
_VARIANT = re.compile(r"_(small|shared|prompted|plain|seed\d+)(?=_[a-z]{2}(_[a-z]{2})?$)")
# Two-letter words that are no languages (`medqa_us_en`) must not make a translation.
_CODE = "(ar|cs|de|en|es|eu|fi|fr|hi|it|ja|ko|nl|pl|pt|ro|ru|sv|tr|uk|vi|zh)"
_PAIR = re.compile(f"_{_CODE}_{_CODE}$")
_RATIONALE_METRICS = ("rationale_rouge1", "rationale_bleu1")
_MAIN = {
    "labelling": ("f1",),
    "choice": ("accuracy",),
    "rationale": _RATIONALE_METRICS,
    "text": ("rouge1", "bleu"),
    "translation": ("bleu", "rouge1"),
}
# Parts of a score that measure nothing.
_COUNTS = {"support", "examples"}


def plain_names(tasks: Iterable[str]) -> dict[str, str]:
    """Task -> the name of its row: without its variant, unless two would then be one."""
    tasks = list(tasks)
    plain = [_VARIANT.sub("", task) for task in tasks]
    return {
        task: name if plain.count(name) == 1 else task
        for task, name in zip(tasks, plain, strict=True)
    }


def language(task: str) -> str:
    """`es` of `e3c_es`, `en-fr` of `wmt14_en_fr`, "" where the name ends with none."""
    if pair := _PAIR.search(task):
        return f"{pair[1]}-{pair[2]}"
    ending = task.rpartition("_")[2]
    return ending if re.fullmatch(_CODE, ending) else ""


def sections_of(task: str, metrics: Mapping[str, Any]) -> list[Section]:
    """Where a task that was scored with these metrics has a row; with a rationale, in two."""
    found = [
        section for section in SECTIONS if section.family != "rationale" and task in section.titles
    ]
    if not found:
        kinds = {"labelling": "labelling_other", "choice": "choice", "text": "text"}
        found = [_NAMED[kinds[_kind(metrics)]]]
    if any(metric in metrics for metric in _RATIONALE_METRICS):
        found.append(_NAMED["rationales"])
    return found


def family_of(section: Section, metrics: Collection[str]) -> str:
    """The family of a row, which says its metric."""
    return section.family or ("choice" if "accuracy" in metrics else "text")


def main_metric(task: str, family: str, metrics: Collection[str]) -> str:
    """The metric that is shown of a task unless another is asked for; "" where none is known."""
    if family in ("choice", "text") and _METRICS.get(task) in metrics:
        return _METRICS[task]
    kind = "translation" if family == "text" and _PAIR.search(task) else family
    others = [metric for metric in metrics if metric not in _COUNTS]
    candidates = [metric for metric in _MAIN[kind] if metric in metrics]
    return (candidates or others or [""])[0]


def _kind(metrics: Mapping[str, Any]) -> str:
    if "per_label" in metrics:
        return "labelling"
    return "choice" if "accuracy" in metrics else "text"
