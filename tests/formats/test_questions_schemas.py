"""Each data set's keys to one record, and what is refused of them."""

import copy

import pytest

from medmt5.formats.gold import BadRecord
from medmt5.formats.questions_schemas import LETTERS, WITH_IMAGE, WITHOUT_OPTIONS, to_record

MMEDBENCH = {
    "question": "Which of these lower blood pressure?",
    "options": {"A": "ramipril", "B": "prednisone", "C": "atenolol"},
    "answer_idx": "A,C",
    "rationale": "An ACE inhibitor and a beta blocker.",
    "human_checked": True,
    "human_check_passed": True,
    "meta_info": "made up",
}
MEDMCQA = {
    "id": "m-1",
    "question": "Scurvy is a lack of",
    "opa": "vitamin A",
    "opb": "vitamin B12",
    "opc": "vitamin C",
    "opd": "vitamin D",
    "cop": "c",
    "choice_type": "single",
    "exp": None,
}
HEADQA = {
    "name": "Cuaderno_2013_1_B",
    "qid": "7",
    "qtext": "¿Cuál transporta oxígeno?",
    "ra": "4",
    "answers": [
        {"aid": 2, "atext": "Insulina."},
        {"aid": 4, "atext": "Hemoglobina."},
    ],
}
FRENCHMEDMCQA = {
    "id": "f-1",
    "question": "Lesquels sont des vaisseaux ?",
    "answers": {"a": "Artère", "b": "Nerf", "c": "Veine"},
    "correct_answers": ["c", "a"],
    "nbr_correct_answers": 2,
}
FRENCHMEDMCQA_OF_HUGGING_FACE = {
    "id": "f-1",
    "question": "Lesquels sont des vaisseaux ?",
    "answer_a": "Artère",
    "answer_b": "Nerf",
    "answer_c": "Veine",
    "correct_answers": [0, 2],
    "number_correct_answers": "2",
}
IGAKUQA = {
    "problem_id": "115A1",
    "problem_text": "血糖を下げるのはどれか。",
    "choices": ["インスリン", "グルカゴン"],
    "text_only": True,
    "answer": ["a"],
    "points": "1",
}
RUMEDDANET = {
    "pairID": "b2",
    "context": "Инсулин снижает уровень глюкозы.",
    "question": "Инсулин повышает уровень глюкозы?",
    "answer": "нет",
}
MEDEXPQA = {
    "id": 12,
    "year": 2016,
    "type": "PEDIATRÍA",
    "full_question": "Niña de 3 años con fiebre. ¿Qué hace?",
    "options": {"1": "Esperar.", "2": "Cultivo.", "3": "Alta.", "4": "TAC.", "5": None},
    "correct_option": 2,
    "full_answer": "Hay que pedir un cultivo.",
    "explanations": {"2": {"exist": True, "char_ranges": [[0, 5]], "text": "Un cultivo."}},
    "lang": "es",
}
PUBMEDQA = {
    "pmid": "108",
    "QUESTION": "Does exercise lower blood pressure?",
    "CONTEXTS": ["We asked 100 patients.", "It fell in 90."],
    "LONG_ANSWER": "It does.",
    "final_decision": "yes",
}
BIOASQ = {
    "id": "55",
    "body": "What is insulin?",
    "type": "summary",
    "snippets": [{"text": "Insulin is a hormone.", "document": "d"}, {"text": "It is a peptide."}],
    "ideal_answer": ["A hormone.", "A peptide hormone."],
    "exact_answer": [["insulin"]],
}


def record(row):
    found = to_record(copy.deepcopy(row))
    assert list(found) == [
        *("id", "question", "context", "letters", "options", "answers", "rationale", "lang"),
        "human_check",
    ]
    return found


def fault(row):
    with pytest.raises(BadRecord) as error:
        to_record(row)
    return error.value.fault


def test_mmedbench_names_several_right_answers_with_commas_or_in_a_list():
    expected = {
        "id": "",
        "question": "Which of these lower blood pressure?",
        "context": "",
        "letters": ["A", "B", "C"],
        "options": ["ramipril", "prednisone", "atenolol"],
        "answers": ["A", "C"],
        "rationale": "An ACE inhibitor and a beta blocker.",
        "lang": "",
        "human_check": "passed",
    }
    assert record(MMEDBENCH) == expected
    for answer_idx in ("C, A", ["A", "C"], ["c", "a"]):
        assert record({**MMEDBENCH, "answer_idx": answer_idx}) == expected
    failed = {**MMEDBENCH, "human_check_passed": False}
    assert record(failed)["human_check"] == "failed"
    assert record({**failed, "human_checked": False})["human_check"] == ""


def test_medqa_has_options_in_a_dictionary_or_two_kinds_of_list():
    as_pairs = [{"key": k, "value": v} for k, v in MMEDBENCH["options"].items()]
    as_texts = list(MMEDBENCH["options"].values())
    unordered = {"C": "atenolol", "A": "ramipril", "B": "prednisone"}
    for options in (as_pairs, as_texts, unordered):
        row = {"question": "Which?", "options": options, "answer": "atenolol", "answer_idx": "C"}
        found = record(row)
        assert (found["letters"], found["options"]) == (["A", "B", "C"], as_texts)
        assert found["answers"] == ["C"]


def test_without_answer_idx_the_answer_is_a_text_or_letters():
    row = {"question": "Which?", "options": MMEDBENCH["options"]}
    assert record({**row, "answer": "atenolol"})["answers"] == ["C"]
    assert record({**row, "answer": "B"})["answers"] == ["B"]
    assert record({"question": "?", "options": ["A", "B"], "answer": "B"})["answers"] == ["B"]
    assert "add answer_idx" in fault(
        {"question": "Group?", "options": {"A": "B", "B": "O"}, "answer": "B"}
    )
    assert "add answer_idx" in fault(
        {"question": "Which?", "options": {"A": "same", "B": "same"}, "answer": "same"}
    )
    assert "no answer" in fault(row)
    assert "names no option" in fault({**row, "answer": "aspirin"})


def test_null_after_the_last_option_is_no_option():
    options = {**MMEDBENCH["options"], "D": None, "E": None}
    assert record({**MMEDBENCH, "options": options}) == record(MMEDBENCH)
    options = {"A": "one", "B": None, "C": "three"}
    assert fault({**MMEDBENCH, "options": options}) == "option B is null, not a string"


def test_medmcqa_has_four_keys_for_options():
    found = record(MEDMCQA)
    assert found["options"] == ["vitamin A", "vitamin B12", "vitamin C", "vitamin D"]
    assert (found["answers"], found["rationale"], found["id"]) == (["C"], "", "m-1")
    assert record({**MEDMCQA, "exp": "Ascorbic acid."})["rationale"] == "Ascorbic acid."


def test_headqa_names_the_right_answer_by_its_id_not_its_place():
    found = record(HEADQA)
    assert (found["options"], found["answers"]) == (["Insulina.", "Hemoglobina."], ["B"])
    assert found["id"] == "Cuaderno_2013_1_B-7"
    assert record({**HEADQA, "ra": 2, "qid": 7})["answers"] == ["A"]
    assert fault({**HEADQA, "ra": "1"}) == "ra 1 is not the aid of one answer; they are [2, 4]"
    assert fault({**HEADQA, "ra": "two"}) == "ra 'two' is not a number"
    assert "answers are not understood" in fault({**HEADQA, "answers": ["Insulina."]})


def test_frenchmedmcqa_reads_alike_from_its_own_file_and_from_hugging_face():
    found = record(FRENCHMEDMCQA)
    assert (found["letters"], found["answers"]) == (["A", "B", "C"], ["A", "C"])
    assert found == record(FRENCHMEDMCQA_OF_HUGGING_FACE)
    assert found == record({**FRENCHMEDMCQA_OF_HUGGING_FACE, "correct_answers": ["a", "c"]})
    assert "names no option" in fault({**FRENCHMEDMCQA_OF_HUGGING_FACE, "correct_answers": [3]})
    assert "is not understood" in fault({**FRENCHMEDMCQA, "correct_answers": [0]})


def test_igakuqa_passes_over_images_and_calculations():
    found = record(IGAKUQA)
    assert (found["options"], found["answers"]) == (["インスリン", "グルカゴン"], ["A"])
    assert to_record({**IGAKUQA, "text_only": False}) == WITH_IMAGE
    assert to_record({**IGAKUQA, "choices": [], "answer": ["1.2"]}) == WITHOUT_OPTIONS


def test_rumeddanet_is_a_choice_of_yes_and_no_with_a_context():
    found = record(RUMEDDANET)
    assert (found["options"], found["answers"]) == (["да", "нет"], ["B"])
    assert (found["context"], found["id"]) == ("Инсулин снижает уровень глюкозы.", "b2")
    assert record({**RUMEDDANET, "answer": "Да"})["answers"] == ["A"]
    assert "options are да, нет" in fault({**RUMEDDANET, "answer": "возможно"})


def test_medexpqa_numbers_its_options_and_explains_the_answer():
    found = record(MEDEXPQA)
    assert (found["letters"], found["answers"]) == (["A", "B", "C", "D"], ["B"])
    assert (found["rationale"], found["lang"]) == ("Hay que pedir un cultivo.", "es")
    assert found["id"] == "12"
    # The first release has NaN where later ones have null.
    options = {**MEDEXPQA["options"], "5": float("nan")}
    assert record({**MEDEXPQA, "options": options}) == found
    assert record({**MEDEXPQA, "full_answer": ""})["rationale"] == "Un cultivo."
    assert record({**MEDEXPQA, "full_answer": None, "explanations": {}})["rationale"] == ""
    assert "names no option" in fault({**MEDEXPQA, "correct_option": 5})
    assert "names no option" in fault({**MEDEXPQA, "correct_option": 0})
    assert "correct_option None is not a number" in fault({**MEDEXPQA, "correct_option": None})
    assert "called A, B, D" in fault({**MEDEXPQA, "options": {"1": "one", "2": "two", "4": "four"}})


def test_pubmedqa_asks_of_an_abstract():
    found = record(PUBMEDQA)
    assert (found["options"], found["answers"]) == (["yes", "no", "maybe"], ["A"])
    assert found["context"] == "We asked 100 patients.\nIt fell in 90."
    assert (found["rationale"], found["id"]) == ("It does.", "108")
    assert "options are yes, no, maybe" in fault({**PUBMEDQA, "final_decision": "perhaps"})


def test_bioasq_is_answered_in_words():
    found = record(BIOASQ)
    assert (found["letters"], found["options"]) == ([], [])
    assert found["answers"] == ["A hormone.", "A peptide hormone."]
    assert found["context"] == "Insulin is a hormone.\nIt is a peptide."
    assert record({**BIOASQ, "ideal_answer": "A hormone."})["answers"] == ["A hormone."]
    assert record({**BIOASQ, "snippets": []})["context"] == ""
    assert "ideal_answer is []" in fault({**BIOASQ, "ideal_answer": []})
    assert "ideal_answer is empty" in fault({**BIOASQ, "ideal_answer": [" "]})
    assert "snippets are not understood" in fault({**BIOASQ, "snippets": ["a"]})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"question": " \n"}, "question is empty"),
        ({"question": None}, "question is null, not a string"),
        ({"question": float("nan")}, "question is NaN, not a string"),
        ({"question": "half \ud83d"}, "question holds half a surrogate pair"),
        ({"rationale": float("nan")}, "rationale is NaN, not a string"),
        ({"lang": ["en"]}, 'lang is ["en"], not a string'),
        ({"options": {}}, "no options; a question has 2 to 26"),
        ({"options": None}, "options are not understood"),
        ({"options": {"A": "one"}}, "1 options; a question has 2 to 26"),
        ({"options": ["an option"] * 27}, "27 options; a question has 2 to 26"),
        ({"options": {"A": "one", "a": "two"}}, "called A, A; call them A, B, C, ... once each"),
        ({"options": {"A": "one", "C": "two"}}, "called A, C"),
        ({"options": [{"key": "A", "value": "one"}, {"key": "A", "value": "two"}]}, "called A, A"),
        ({"options": [{"key": "A", "text": "one"}, {"key": "B"}]}, '{"key": "A", "value": "..."}'),
        ({"options": {"A": "one", "B": 2}}, "option B is 2, not a string"),
        ({"options": {"A": "one", "B": float("nan")}}, "option B is NaN, not a string"),
        ({"options": {"A": "one", "B": " "}}, "fewer than 2 options have a text"),
        ({"answer_idx": "D"}, "answer 'D' names no option; options are A, B, C"),
        ({"answer_idx": "AC"}, "answer 'AC' names no option"),
        ({"answer_idx": ""}, "answer '' names no option"),
        ({"answer_idx": []}, "answers are none; name each right option once"),
        ({"answer_idx": "A,A"}, "answers are A, A; name each right option once"),
        ({"answer_idx": 0}, "answer_idx 0 is not understood"),
        ({"answer_idx": "A", "answer": "atenolol"}, "'atenolol' is the text of C; one of both"),
        ({"answer_idx": "A", "answer": ["ramipril", "atenolol "]}, "is the text of C"),
    ],
)
def test_what_cannot_be_a_question_is_said(change, expected):
    assert expected in fault({**MMEDBENCH, **change})


def test_an_answer_that_is_no_contradiction_passes():
    """Texts joined, a letter again, and a text that two options share."""
    for answer in ("ramipril | atenolol", "A", ["ramipril", "atenolol"], None, "see below"):
        assert record({**MMEDBENCH, "answer": answer})["answers"] == ["A", "C"]
    row = {"question": "?", "options": ["A+", "A+", "O+"], "answer": "A+", "answer_idx": "B"}
    assert record(row)["answers"] == ["B"]
    row = {"question": "Group?", "options": ["O", "A"], "answer": "A", "answer_idx": "A"}
    assert record(row)["answers"] == ["A"]


def test_twenty_six_options_are_accepted_and_an_empty_one_among_them():
    options = [f"option {letter}" for letter in LETTERS[:-1]] + [""]
    found = record({"question": "?", "options": options, "answer_idx": "Z"})
    assert (len(found["letters"]), found["answers"]) == (26, ["Z"])


@pytest.mark.parametrize(
    ("row", "keys"),
    [
        (MMEDBENCH, ("question", "options")),
        (MEDMCQA, ("question", "opd", "cop")),
        (HEADQA, ("answers", "ra")),
        (FRENCHMEDMCQA, ("question",)),
        (IGAKUQA, ("choices", "answer")),
        (RUMEDDANET, ("question", "answer")),
        (MEDEXPQA, ("options", "correct_option")),
        (PUBMEDQA, ("CONTEXTS", "final_decision")),
        (BIOASQ, ("ideal_answer",)),
    ],
)
def test_a_row_that_lacks_a_key_hears_which(row, keys):
    for key in keys:
        said = fault({k: v for k, v in row.items() if k != key})
        assert said.startswith(f"no {key}; a question of ")


def test_keys_of_no_schema_hear_all_that_are_known():
    said = fault({"prompt": "?", "completion": "!"})
    assert said.startswith("keys prompt, completion are of no known schema (MedMCQA: question, opa")
    assert "BioASQ: body, ideal_answer" in said
