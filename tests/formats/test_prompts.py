"""What models are asked, word by word, and what free answers are read as."""

import pytest
from asked import QUESTION

from medmt5.formats.prompts import PROMPTS, letters_of, read_choice


def test_a_question_is_put_in_its_own_language():
    assert PROMPTS["plain"].source(QUESTION) == (
        "Pregunta: ¿Qué fármaco es un IECA? Opciones: A. Ramipril B. Atenolol C. A pill Respuesta:"
    )
    chinese = QUESTION | {"lang": "zh", "context": "背景文字"}
    assert PROMPTS["plain_explained"].source(chinese) == (
        "问题: ¿Qué fármaco es un IECA? 背景: 背景文字 "
        "选项: A. Ramipril B. Atenolol C. A pill 解析:"
    )
    unknown = QUESTION | {"lang": "eu"}
    assert PROMPTS["plain"].source(unknown).startswith("Question: ")


def test_mmedbench_is_asked_and_answered_as_its_authors_do():
    prompt = PROMPTS["mmedbench_explained"]
    assert prompt.source(QUESTION) == (
        "You're a Spanish doctor, kindly address the medical queries according to the patient's "
        "account in Spanish. Let’s solve this step-by-step. You should first give the reason in "
        "Spanish for your choice. Then you should give the right answer index of the question. "
        "###Question: ¿Qué fármaco es un IECA? Which of the following is the best treatment for "
        "this patient? ###Options: A. Ramipril B. Atenolol C. A pill"
    )
    assert prompt.reasons(QUESTION) == "###Rationale: Ramipril inhibe la ECA."
    assert prompt.marker(QUESTION) == "###Answer:"
    assert prompt.answers(QUESTION) == ["OPTION A,C IS CORRECT."]
    assert prompt.choices(QUESTION, False) == {
        "OPTION A IS CORRECT.": ("A",),
        "OPTION B IS CORRECT.": ("B",),
        "OPTION C IS CORRECT.": ("C",),
    }
    direct = PROMPTS["mmedbench"]
    assert direct.source(QUESTION).startswith(
        "You're a Spanish doctor, kindly address the medical queries according to the patient's "
        "account. Answer with the best option directly. ###Question: "
    )
    assert direct.answers(QUESTION) == ["###Answer: OPTION A,C IS CORRECT."]
    assert direct.choices(QUESTION, True)["###Answer: OPTION A,C IS CORRECT."] == ("A", "C")


def test_several_right_answers_make_every_set_of_letters():
    choices = letters_of(QUESTION, True)
    assert list(choices) == ["A", "B", "C", "A,B", "A,C", "B,C", "A,B,C"]
    assert choices["A,C"] == ("A", "C")
    assert len(letters_of(QUESTION | {"letters": list("ABCDEFGH")}, True)) == 255


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("A", "A"),
        (" b. ", "B"),
        ("A,C", "AC"),
        ("C, A", "AC"),
        ("A y C", "AC"),
        ("A and C.", "AC"),
        ("(C)", "C"),
        ("B) Atenolol", "B"),
        ("OPTION B IS CORRECT.", "B"),
        ("OPTION A,C IS CORRECT.", "AC"),
        ("The answer is B because it blocks receptors", "B"),
        ("La respuesta es C", "C"),
        ("正解はAとC", "AC"),
        ("答案：B", "B"),
        ("此药阻断受体，故选B", "B"),
        ("したがって答えはB", "B"),
        ("Верный вариант B", "B"),
        ("atenolol", "B"),
        ("a pill", "C"),
        ("A pill that he takes", ""),
        ("D", ""),
        ("A,D", ""),
        ("", ""),
        ("I do not know", ""),
        ("Vitamin B12", ""),
        ("l'option À", ""),
    ],
)
def test_free_answers_are_read(text, letters):
    assert read_choice(text, QUESTION, letters_of(QUESTION, True)) == list(letters)


def test_two_letters_are_no_answer_where_one_is_right():
    assert read_choice("A, C", QUESTION, letters_of(QUESTION, False)) == []


def test_a_classification_is_read_at_the_beginning_of_an_answer():
    raw = {"premise": "It rains.", "hypothesis": "It is wet.", "label": "entailment"}
    prompt = PROMPTS["nli"]
    assert prompt.source(raw) == "It rains. question: It is wet. Is it true or false? answer:"
    assert prompt.answers(raw) == ["True"]
    choices = prompt.choices(raw, False)
    for text, label in (("true, since", "entailment"), ("Neither", "neutral")):
        assert read_choice(text, raw, choices) == [label]
    assert read_choice("truely", raw, choices) == read_choice("It is True", raw, choices) == []


def test_a_label_that_the_prompt_does_not_have_is_named():
    with pytest.raises(
        ValueError, match="label 'maybe' is unknown; use entailment, not_entailment"
    ):
        PROMPTS["rte"].answers({"label": "maybe"})


def test_the_other_prompts_by_hand():
    assert PROMPTS["question"].source({"question": "Who?"}) == "Q: Who? A:"
    pair = {
        "src_lang": "en",
        "tgt_lang": "fr",
        "src": "Hi.",
        "tgt": "Salut.",
        "extra_refs": ["Yo."],
    }
    assert PROMPTS["translation"].source(pair) == "Translate English to French: Hi."
    assert PROMPTS["translation"].answers(pair) == ["Salut.", "Yo."]
    article = {"document": "Long.", "summary": "Short."}
    assert PROMPTS["summary"].source(article) == "Article: Long. One sentence summary:"
    senses = {"sentence1": "He ran.", "sentence2": "She ran.", "word": "ran", "label": "true"}
    assert PROMPTS["wic"].source(senses).startswith("He ran. She ran. question: The word ran is")
    assert PROMPTS["sentiment"].answers({"label": "negative"}) == ["negative"]
