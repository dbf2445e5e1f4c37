"""Language identification: sets, removes and refuses; sure of none where nothing can be said."""

from __future__ import annotations

import pickle

import pytest

from medmt5.corpus.documents import Document, Removed
from medmt5.corpus.steps import language
from medmt5.corpus.steps.language import Language

TEXTS = {
    "en": "The patient was admitted with fever and a cough that had lasted for three days.",
    "es": "El paciente ingresó con fiebre y tos de tres días de evolución en el hospital.",
    "fr": "Le patient a été admis pour de la fièvre et une toux évoluant depuis trois jours.",
    "it": "Il paziente è stato ricoverato con febbre e tosse comparse da circa tre giorni.",
    "ru": "Пациент поступил с жалобами на лихорадку и кашель в течение трёх дней.",
    "zh": "患者因发热、咳嗽三天入院，既往有高血压病史，查体未见明显异常。",
    "ja": "患者は三日前からの発熱と咳嗽を主訴に来院した。既往歴に高血圧がある。",
    "eu": "Pazientea sukarrarekin eta hiru eguneko eztularekin ospitaleratu zuten atzo.",
    "de": "Der Patient wurde mit Fieber und seit drei Tagen bestehendem Husten aufgenommen.",
    "pt": "O paciente foi internado com febre e tosse com três dias de evolução no hospital.",
}


@pytest.mark.parametrize("code", TEXTS)
def test_a_sentence_of_each_language_gets_its_language(code):
    step = Language(assignment=0.3)
    assert step(Document(TEXTS[code], "1", "web")) == Document(TEXTS[code], "1", "web", code)
    declared = Document(TEXTS[code], "1", "web", code)
    assert step(declared) is declared


def test_a_declared_language_is_contradicted_only_by_a_sure_answer():
    long = " ".join([TEXTS["en"]] * 3)
    removed = Language()(Document(long, "1", "web", "es"))
    assert isinstance(removed, Removed)
    assert removed.reason == "language contradicted"
    assert removed.detail == "es declared, en 1.00"
    # Names and values are of no language: the declaration holds.
    for text in ("Hb 12.5, Na 138", "Gaucher", "123", ""):
        document = Document(text, "1", "web", "ja")
        assert Language()(document) is document


def test_languages_that_are_not_wanted_go():
    step = Language(wanted=["es", "fr"])
    assert step(Document("x", "1", "web", "en")) == Removed("language not wanted", "en")
    assert step(Document(TEXTS["ru"] * 2, "1", "web")).reason == "language not wanted"
    assert step(Document("123 456", "1", "web")).reason == "language not certain"


def test_an_unknown_code_is_an_error_that_names_near_ones():
    with pytest.raises(ValueError, match=r"wanted has 'eng'.*did you mean .*en"):
        Language(wanted=("es", "eng"))


def test_all_known_codes_are_those_of_the_model():
    assert {label for label in language._model().labels if len(label) == 2} == language.KNOWN


def test_a_long_document_is_judged_by_its_beginning_middle_and_end():
    text = TEXTS["es"] * 200
    assert language.identify(text)[0] == "es"


def test_the_step_is_pickled_without_its_model():
    assert len(pickle.dumps(Language())) < 1000
