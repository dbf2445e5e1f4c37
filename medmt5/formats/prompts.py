"""Prompts: how a question, a pair of sentences or a text becomes a source and an answer, as text.

A prompt is a few functions of a raw example, found by name in `PROMPTS`; another way to ask is one
more entry. Ids, decoding and scores are left to `text_to_text`.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Raw = Mapping[str, Any]
# Texts that may be answered, and what each stands for: the letters of a question's options, or a
# label.
Choices = dict[str, tuple[str, ...]]


class Words(NamedTuple):
    question: str
    context: str
    options: str
    answer: str
    explanation: str


WORDS = {
    "en": Words("Question", "Context", "Options", "Answer", "Explanation"),
    "es": Words("Pregunta", "Contexto", "Opciones", "Respuesta", "Explicación"),
    "fr": Words("Question", "Contexte", "Propositions", "Réponse", "Explication"),
    "it": Words("Domanda", "Contesto", "Opzioni", "Risposta", "Spiegazione"),
    "ru": Words("Вопрос", "Контекст", "Варианты", "Ответ", "Объяснение"),
    "zh": Words("问题", "背景", "选项", "答案", "解析"),
    "ja": Words("問題", "文脈", "選択肢", "解答", "解説"),
}
LANGUAGES = {
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
    "ru": "Russian",
    "zh": "Chinese",
    "ja": "Japanese",
    "de": "German",
    "ro": "Romanian",
}


@dataclasses.dataclass(frozen=True)
class Prompt:
    """How a task is put to a model.

    Attributes:
      source: raw example -> what the model reads.
      answers: raw example -> texts of right answers, the first of which is trained on where not
        drawn at random; for closed answers, one text of `choices`.
      choices: raw example, whether several letters may be right -> the closed list of answers.
      reasons: raw example -> the rationale that is written before the answer.
      marker: raw example -> the text between rationale and answer.
      stops: a free answer ends where one of them begins.
    """

    source: Callable[[Raw], str]
    answers: Callable[[Raw], Sequence[str]]
    choices: Callable[[Raw, bool], Choices] | None = None
    reasons: Callable[[Raw], str] | None = None
    marker: Callable[[Raw], str] = lambda raw: ""
    stops: tuple[str, ...] = ()


def words_of(raw: Raw) -> Words:
    return WORDS.get(raw["lang"], WORDS["en"])


# Options of a question of which several may be right: 1,023 sets of letters to choose from.
MOST_OPTIONS = 10


def letters_of(raw: Raw, several: bool) -> Choices:
    """Each letter of a question, or every set of letters."""
    sizes = range(1, len(raw["letters"]) + 1) if several else (1,)
    sets = itertools.chain(*(itertools.combinations(raw["letters"], n) for n in sizes))
    return {",".join(letters): letters for letters in sets}


def listed(raw: Raw) -> str:
    pairs = zip(raw["letters"], raw["options"], strict=True)
    return " ".join(f"{letter}. {text}" for letter, text in pairs)


def _asked(raw: Raw) -> str:
    words = words_of(raw)
    parts = [f"{words.question}: {raw['question']}"]
    if raw["context"]:
        parts.append(f"{words.context}: {raw['context']}")
    if raw["options"]:
        parts.append(f"{words.options}: {listed(raw)}")
    return " ".join(parts)


def _plain(raw: Raw) -> str:
    return f"{_asked(raw)} {words_of(raw).answer}:"


def _plain_explained(raw: Raw) -> str:
    return f"{_asked(raw)} {words_of(raw).explanation}:"


def _right_letters(raw: Raw) -> list[str]:
    return [",".join(raw["answers"])]


def _mmedbench(instruction: str) -> Callable[[Raw], str]:
    def source(raw: Raw) -> str:
        language = LANGUAGES.get(raw["lang"], "English")
        return (
            f"{instruction.format(language)} ###Question: {raw['question']} Which of the following "
            f"is the best treatment for this patient? ###Options: {listed(raw)}"
        )

    return source


def _option_sentences(before: str = "") -> dict[str, Any]:
    """Closed answers of MMedBench."""

    def sentence(letters: str) -> str:
        return f"{before}OPTION {letters} IS CORRECT."

    return {
        "choices": lambda raw, several: {
            sentence(text): letters for text, letters in letters_of(raw, several).items()
        },
        "answers": lambda raw: [sentence(",".join(raw["answers"]))],
    }


_DOCTOR = (
    "You're a {0} doctor, kindly address the medical queries according to the patient's account"
)


def _labels(**texts: str) -> dict[str, Any]:
    """Closed answers of a classification: label of the data -> text."""

    def answers(raw: Raw) -> list[str]:
        if raw["label"] not in texts:
            raise ValueError(f"label {raw['label']!r} is unknown; use {', '.join(texts)}")
        return [texts[raw["label"]]]

    choices = {text: (label,) for label, text in texts.items()}
    return {"choices": lambda raw, several: choices, "answers": answers}


def _translation(raw: Raw) -> str:
    names = [LANGUAGES.get(raw[key], raw[key]) for key in ("src_lang", "tgt_lang")]
    return f"Translate {names[0]} to {names[1]}: {raw['src']}"


_ALPACA = (
    "Below is an instruction that describes a task{}. Write a response that appropriately "
    "completes the request."
)


def _turns(raw: Raw) -> list[tuple[str, str]]:
    """Earlier questions of an instruction, each with its response."""
    return list(zip(raw["history"][::2], raw["history"][1::2], strict=True))


def _alpaca(raw: Raw) -> str:
    further = ", paired with an input that provides further context" if raw["input"] else ""
    parts = [raw["system"] or _ALPACA.format(further)]
    for asked, said in _turns(raw):
        parts += [f"### Instruction:\n{asked}", f"### Response:\n{said}"]
    parts.append(f"### Instruction:\n{raw['instruction']}")
    if raw["input"]:
        parts.append(f"### Input:\n{raw['input']}")
    return "\n\n".join([*parts, "### Response:"])


def _chat(raw: Raw) -> str:
    parts = [f"System: {raw['system']}"] if raw["system"] else []
    for asked, said in _turns(raw):
        parts += [f"User: {asked}", f"Assistant: {said}"]
    asked = "\n".join(filter(None, (raw["instruction"], raw["input"])))
    return "\n".join([*parts, f"User: {asked}", "Assistant:"])


def _instruction(raw: Raw) -> str:
    parts = (raw["system"], *raw["history"], raw["instruction"], raw["input"])
    return "\n".join(filter(None, parts))


_TRUE_OR_FALSE = "Is it true or false? answer:"

PROMPTS: dict[str, Prompt] = {
    # Ours, in the question's language.
    "plain": Prompt(_plain, _right_letters, letters_of),
    "plain_explained": Prompt(
        _plain_explained,
        _right_letters,
        letters_of,
        reasons=lambda raw: raw["rationale"],
        marker=lambda raw: f"{words_of(raw).answer}:",
    ),
    "plain_open": Prompt(_plain, lambda raw: raw["answers"]),
    # As MMedBench's authors asked, every question for a treatment included. Source:
    # MAGIC-AI4Med/MMedLM, finetune/ and inference/; without its wrapper for instructions.
    "mmedbench": Prompt(
        _mmedbench(f"{_DOCTOR}. Answer with the best option directly."),
        **_option_sentences(before="###Answer: "),
    ),
    "mmedbench_explained": Prompt(
        _mmedbench(
            f"{_DOCTOR} in {{0}}. Let’s solve this step-by-step. You should first give the reason "
            "in {0} for your choice. Then you should give the right answer index of the question."
        ),
        **_option_sentences(),
        reasons=lambda raw: f"###Rationale: {raw['rationale']}",
        marker=lambda raw: "###Answer:",
    ),
    # Instructions, as `instructions.read_instructions` gives them. SentencePiece takes line ends
    # for spaces. Alpaca's template is the published one (Taori et al. 2023): a system message takes
    # the place of its first two sentences, earlier turns stand before the instruction. In the chat,
    # which is ours, speakers are named by words that any vocabulary has.
    "alpaca": Prompt(_alpaca, lambda raw: raw["answers"], stops=("### Instruction:",)),
    "chat": Prompt(_chat, lambda raw: raw["answers"], stops=("User:",)),
    "instruction": Prompt(_instruction, lambda raw: raw["answers"]),
    # General tasks as ProMoT asks them. Source: Wang et al. 2024, "Two-stage LLM Fine-tuning with
    # Less Specialization and More Generalization".
    "rte": Prompt(
        lambda raw: f"{raw['premise']} question: {raw['hypothesis']} {_TRUE_OR_FALSE}",
        **_labels(entailment="True", not_entailment="False"),
    ),
    "nli": Prompt(
        lambda raw: f"{raw['premise']} question: {raw['hypothesis']} {_TRUE_OR_FALSE}",
        **_labels(entailment="True", contradiction="False", neutral="Neither"),
    ),
    "wic": Prompt(
        lambda raw: (
            f"{raw['sentence1']} {raw['sentence2']} question: The word {raw['word']} is used in "
            "the same way in the two sentences. Is it true or False? answer:"
        ),
        **_labels(true="True", false="False"),
    ),
    "question": Prompt(
        lambda raw: f"Q: {raw['question']} A:", lambda raw: raw["answers"], stops=("Q:",)
    ),
    "translation": Prompt(
        _translation, lambda raw: [raw["tgt"], *raw["extra_refs"]], stops=("Translate",)
    ),
    "summary": Prompt(
        lambda raw: f"Article: {raw['document']} One sentence summary:",
        lambda raw: [raw["summary"]],
        stops=("Article:",),
    ),
    "sentiment": Prompt(
        lambda raw: f"{raw['text']} question: Is this positive or negative? answer:",
        **_labels(positive="positive", negative="negative"),
    ),
    "argument": Prompt(
        lambda raw: f"{raw['text']} question: Is this a claim, a premise or neither? answer:",
        **_labels(Claim="claim", Premise="premise", none="neither"),
    ),
}

_LETTER = "A-Za-zÀ-ÖØ-öø-ÿЀ-ӿ0-9"
_AND = r"(?:\s*[,;/&、，]\s*|\s+(?:and|et|y|e|и)\s+|\s*[和と]\s*)"
_SET = re.compile(rf"(?<![{_LETTER}'’])([A-Z](?:{_AND}[A-Z])*)(?![{_LETTER}'’])")
_SAID = re.compile(
    r"(?:options?|answers?|opción|respuesta|propositions?|réponses?|opzione|risposta|вариант|ответ|"
    r"选项?|答案|选择|解答|正解|正答|答え)\W*(?:is|es|est|è|是|は|为)?\W*$",
    re.IGNORECASE,
)


def read_choice(text: str, raw: Raw, choices: Choices) -> list[str]:
    """What a free answer chose; nothing where that cannot be said.

    An answer is one of the texts that may be answered, at its beginning; letters that are marked
    as such (`(A)`, `A.`, `option A`, `A, C`); or the whole text of an option.
    """
    folded = _folded(text)
    for choice in sorted(choices, key=len, reverse=True):
        said = _folded(choice)
        if folded == said or (len(said) > 1 and re.match(rf"{re.escape(said)}(?!\w)", folded)):
            return list(choices[choice])
    letters = raw.get("letters", ())
    for match in _SET.finditer(text):
        chosen = sorted(set(re.findall("[A-Z]", re.sub(_AND, " ", match[1]))))
        marked = (
            not text[: match.start()].strip(" (\"'")
            and re.match(r"\s*(?:[).:，。、]|$)", text[match.end() :])
            or re.search(r"\($", text[: match.start()])
            or _SAID.search(text[: match.start()])
            or len(chosen) > 1
        )
        if marked and set(chosen) <= set(letters):
            return chosen if tuple(chosen) in choices.values() else []
    for letter, option in zip(letters, raw.get("options", ()), strict=True):
        if folded == _folded(option):
            return [letter]
    return []


def _folded(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .。")
