"""Ids of prompts and answers, what may be answered, and how answers are read."""

import numpy as np
import pytest
from asked import QUESTION

from medmt5.formats.prompts import PROMPTS
from medmt5.formats.text_to_text import TextToText, answered
from medmt5.predictor import Prediction

PAIR = {"src_lang": "en", "tgt_lang": "fr", "src": "Hi.", "tgt": "Salut.", "extra_refs": ["Yo."]}


def predicted(ids):
    return Prediction(np.array(ids), np.zeros(len(ids)), True)


def test_an_example_is_its_prompt_and_its_answer(sample_vocabulary):
    format_ = TextToText(sample_vocabulary, "plain", several=True)
    example = format_.example(QUESTION, None)
    assert example["inputs"][-1] == example["targets"][-1] == sample_vocabulary.eos_id
    source = sample_vocabulary.decode(example["inputs"])
    assert source.startswith("Pregunta: ") and source.endswith("Respuesta:")
    assert sample_vocabulary.decode(example["targets"]) == "A,C"


@pytest.mark.parametrize("prompt", ["plain", "plain_explained", "mmedbench", "mmedbench_explained"])
def test_the_target_is_one_of_the_closed_answers(sample_vocabulary, prompt):
    format_ = TextToText(sample_vocabulary, prompt, several=True)
    example = format_.example(QUESTION, None)
    said = predicted(example["targets"])
    if format_.explains:
        example = format_.explained(example, said)
        assert example["predicted_rationale"] == "Ramipril inhibe la ECA."
    candidates = format_.candidates(example)
    place = candidates.index(example["targets"][:-1].tolist())
    assert list(format_.choices(QUESTION).values())[place] == ("A", "C")
    assert format_.max_target_length(example) == 1 + max(map(len, candidates))
    record = format_.record(example, prediction=said)
    assert record["predicted"] == record["gold"] == ["A", "C"] and record["options"] == 3
    assert record == format_.record(example, place=place)
    assert ("predicted_rationale" in record) == format_.explains
    free = format_.record(example, tokens=example["targets"])
    assert free["predicted"] == ["A", "C"] and (free["id"], free["lang"]) == ("7", "es")


def test_a_rationale_without_an_answer_is_all_rationale(sample_vocabulary):
    format_ = TextToText(sample_vocabulary, "plain_explained")
    raw = QUESTION | {"answers": ["A"]}
    tokens = sample_vocabulary.encode("Ramipril inhibe")
    record = format_.record(format_.example(raw, None), tokens=tokens)
    assert record["predicted"] == [] and record["predicted_rationale"] == "Ramipril inhibe"


def test_a_context_is_shortened_so_that_the_question_fits(sample_vocabulary):
    format_ = TextToText(sample_vocabulary, "plain")
    raw = QUESTION | {"context": "palabra " * 200}
    room = len(format_.example(QUESTION, None)["inputs"]) + 60
    (fitted,) = format_.prepare([raw], {"inputs": room, "targets": 8})
    inputs = format_.example(fitted, None)["inputs"]
    assert room - 8 < len(inputs) <= room
    text = sample_vocabulary.decode(inputs)
    assert text.count("palabra") > 1 and text.endswith("Respuesta:")
    assert format_.prepare([raw], None) == [raw]
    assert raw["context"].count("palabra") == 200


def test_a_context_without_spaces_loses_characters_and_not_all_of_itself(sample_vocabulary):
    format_ = TextToText(sample_vocabulary, "plain")
    raw = QUESTION | {"context": "患者は胸痛を訴えた。" * 30, "lang": "ja"}
    room = len(format_.example(QUESTION | {"lang": "ja"}, None)["inputs"]) + 60
    (fitted,) = format_.prepare([raw], {"inputs": room, "targets": 8})
    assert 10 < len(fitted["context"]) < 300 and raw["context"].startswith(fitted["context"])
    assert len(format_.example(fitted, None)["inputs"]) <= room
    (without,) = format_.prepare([raw], {"inputs": 4, "targets": 8})
    assert without["context"] == ""


def test_a_rationale_is_shortened_so_that_the_answer_fits(sample_vocabulary):
    format_ = TextToText(sample_vocabulary, "mmedbench_explained", several=True)
    raw = QUESTION | {"rationale": "ramipril " * 100}
    (fitted,) = format_.prepare([raw], {"inputs": 64, "targets": 60})
    example = format_.example(fitted, None)
    assert 50 < len(example["targets"]) <= 60
    text = sample_vocabulary.decode(example["targets"])
    assert text.startswith("###Rationale: ramipril ramipril")
    assert text.endswith("###Answer: OPTION A,C IS CORRECT.")
    record = format_.record(example, tokens=example["targets"])
    assert record["rationale"] == raw["rationale"] and record["predicted"] == ["A", "C"]
    assert format_.prepare([QUESTION], {"inputs": 64, "targets": 64}) == [QUESTION]


def test_rationales_may_be_longer_than_answers(sample_vocabulary):
    for prompt, longest in (("mmedbench", 256), ("mmedbench_explained", 512)):
        assert TextToText(sample_vocabulary, prompt).max_free_length({}) == longest
    assert TextToText(sample_vocabulary, "plain", max_answer=9).max_free_length({}) == 9


@pytest.mark.parametrize("lang", ["es", "zh"])
def test_a_question_that_is_too_long_loses_its_beginning(sample_vocabulary, lang, caplog):
    format_ = TextToText(sample_vocabulary, "plain")
    story = {"es": "palabra " * 200, "zh": "患者发热" * 100}[lang]
    raw = QUESTION | {"lang": lang, "question": f"{story}¿Qué fármaco es un IECA?"}
    short = QUESTION | {"lang": lang}
    room = len(format_.example(short, None)["inputs"]) + 40
    (fitted,) = format_.prepare([raw], {"inputs": room, "targets": 8})
    assert fitted["question"].endswith("¿Qué fármaco es un IECA?") != story
    assert room - 12 < len(format_.example(fitted, None)["inputs"]) <= room
    assert fitted["options"] == raw["options"]
    assert "1 of 1 examples were shortened to fit {'inputs'" in caplog.text
    assert format_.prepare([short], {"inputs": room, "targets": 8}) == [short]


def test_a_reference_is_drawn_in_training_and_the_first_otherwise(sample_vocabulary):
    format_ = TextToText(sample_vocabulary, "translation")
    texts = {
        sample_vocabulary.decode(format_.example(PAIR, np.random.default_rng(i))["targets"])
        for i in range(20)
    }
    assert texts == {"Salut.", "Yo."}
    example = format_.example(PAIR, None)
    assert sample_vocabulary.decode(example["targets"]) == "Salut."
    assert format_.modes == ("unconstrained",)
    tokens = sample_vocabulary.encode("Salut Translate English")
    record = format_.record(example, tokens=[*tokens, sample_vocabulary.eos_id])
    assert record == {"references": ["Salut.", "Yo."], "predicted": "Salut"}


def test_answered_examples_come_before_a_source_that_ends_with_a_sentinel(sample_vocabulary):
    shown = answered(PROMPTS["translation"], PAIR | {"src": "No.", "tgt": "Non."})
    format_ = TextToText(sample_vocabulary, "translation", sentinel=True)
    example = format_.example(PAIR | {"shown": shown}, None)
    first, second = sample_vocabulary.sentinel(0), sample_vocabulary.sentinel(1)
    assert example["inputs"][-2:].tolist() == [first, sample_vocabulary.eos_id]
    assert sample_vocabulary.decode(example["inputs"]) == (
        "Translate English to French: No. Non. Translate English to French: Hi. <extra_id_0>"
    )
    assert example["targets"][0] == first
    encode = sample_vocabulary.encode
    tokens = [*encode("x"), first, *encode("Yo."), second, *encode("rest")]
    assert format_.record(example, tokens=tokens)["predicted"] == "Yo."
    assert format_.record(example, tokens=encode("Yo."))["predicted"] == "Yo."


def test_closed_answers_after_a_sentinel_begin_with_it(sample_vocabulary):
    format_ = TextToText(sample_vocabulary, "rte", sentinel=True)
    raw = {"premise": "a", "hypothesis": "b", "label": "not_entailment"}
    example = format_.example(raw, None)
    assert example["targets"][:-1].tolist() == format_.candidates(example)[1]
    record = format_.record(example, place=0)
    assert record == {"gold": ["not_entailment"], "options": 2, "predicted": ["entailment"]}


def test_an_unknown_prompt_is_refused(sample_vocabulary):
    with pytest.raises(ValueError, match="prompt 'chatty' is unknown; use one of plain, "):
        TextToText(sample_vocabulary, "chatty")
