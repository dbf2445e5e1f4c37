"""Files of questions: which kind a file is, where its faults are, how MedMCQA counts."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import needs

from medmt5.formats.gold import BadRecord, Report
from medmt5.formats.questions import read_questions
from medmt5.formats.questions_schemas import LETTERS


def choice(question="Which?", answer_idx="A", **more):
    options = {"A": "yes", "B": "no"}
    return {"question": question, "options": options, "answer_idx": answer_idx, **more}


def file_of(tmp_path, *rows, name="q.jsonl", end="\n"):
    """A file of rows, given as JSON or as lines."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path = tmp_path / name
    path.write_bytes("".join(line + end for line in lines).encode())
    return str(path)


def fault(path, **options):
    with pytest.raises(ValueError) as error:
        list(read_questions(path, **options))
    return str(error.value).removeprefix(path)


def test_a_question_without_id_gets_its_number_and_the_language_of_the_file(tmp_path):
    path = file_of(tmp_path, choice(), "", choice(id="x", lang="fr"))
    report = Report()
    first, second = read_questions(path, lang="es", report=report)
    assert (first["id"], first["lang"]) == ("1", "es")
    assert (second["id"], second["lang"]) == ("x", "fr")
    assert report.documents == 2


# What UTF-8 can write and is not only white space.
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(texts, st.lists(texts, min_size=2, max_size=26), st.data()), min_size=1))
def test_any_texts_read_back_from_lines_and_from_a_document(tmp_path_factory, drawn):
    rows, expected = [], []
    for question, options, data in drawn:
        letters = list(LETTERS[: len(options)])
        right = data.draw(st.lists(st.sampled_from(letters), min_size=1, unique=True))
        by_letter = dict(zip(letters, options, strict=True))
        rows.append({"question": question, "options": by_letter, "answer_idx": ",".join(right)})
        expected.append((question, letters, options, sorted(right)))
    folder = tmp_path_factory.mktemp("questions")
    for path in (file_of(folder, *rows), file_of(folder, json.dumps(rows), name="q.json")):
        found = read_questions(path)
        keys = ("question", "letters", "options", "answers")
        assert [tuple(q[key] for key in keys) for q in found] == expected


def test_line_separators_and_a_byte_order_mark_are_no_line_ends(tmp_path):
    rows = [choice("one\u2028two\u0085three"), choice("four")]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path = file_of(tmp_path, "\ufeff" + lines[0], lines[1], end="\r\n")
    assert [q["question"] for q in read_questions(path)] == ["one\u2028two\u0085three", "four"]


def test_faults_name_their_line_and_can_be_skipped(tmp_path):
    rows = [choice(), "{", "[1]", choice(answer_idx="C"), '{"a": 1, "a": 2}', choice("last")]
    path = file_of(tmp_path, *rows)
    assert fault(path).startswith(":2: not JSON (Expecting property name")
    report = Report(skip_bad=True)
    assert [q["question"] for q in read_questions(path, report=report)] == ["Which?", "last"]
    assert (report.documents, report.skipped) == (2, 4)
    assert fault(file_of(tmp_path, *rows[:1], *rows[2:])).startswith(":2: [1] is not an object")
    assert fault(file_of(tmp_path, *rows[:1], *rows[3:])).startswith(":2: answer 'C' names no")
    assert fault(file_of(tmp_path, *rows[:1], *rows[4:])).startswith(":2: key 'a' is there twice")


def test_the_first_line_may_be_the_broken_one(tmp_path):
    path = file_of(tmp_path, '{"question": "cut o', choice("last"))
    assert fault(path).startswith(":1: not JSON")
    assert [q["id"] for q in read_questions(path, report=Report(skip_bad=True))] == ["2"]


def test_invalid_utf8_names_its_line(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_bytes(json.dumps(choice()).encode() + b'\n{"question": "\xff"}\n')
    assert fault(str(path)).startswith(":2: invalid UTF-8")


def test_an_empty_file_is_refused(tmp_path):
    for name in ("q.jsonl", "q.csv"):
        assert fault(file_of(tmp_path, "", name=name)) == ": no questions"
    assert fault(file_of(tmp_path, "[]")) == ": no questions"
    assert "cannot be read" in fault(str(tmp_path / "missing.jsonl"))


@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_is_a_document(tmp_path, indent):
    rows = [choice("one", id="a"), choice("two", id="b")]
    path = file_of(tmp_path, json.dumps(rows, indent=indent), name="dev.json")
    assert [(q["id"], q["question"]) for q in read_questions(path)] == [("a", "one"), ("b", "two")]
    rows[1]["answer_idx"] = "C"
    path = file_of(tmp_path, json.dumps([*rows, 3], indent=indent), name="dev.json")
    assert fault(path).startswith(": question 2 (id b): answer 'C' names no option")
    report = Report(skip_bad=True)
    assert (len(list(read_questions(path, report=report))), report.skipped) == (1, 2)


@pytest.mark.parametrize("indent", [None, 1])
def test_one_question_alone_is_read_from_one_line_or_several(tmp_path, indent):
    path = file_of(tmp_path, json.dumps(choice(), indent=indent))
    assert len(list(read_questions(path))) == 1


def test_one_line_with_a_fault_is_named_as_a_line(tmp_path):
    assert fault(file_of(tmp_path, choice(""))) == ":1: question is empty"


@pytest.mark.parametrize("indent", [None, 1])
def test_headqa_is_a_document_of_exams(tmp_path, indent):
    question = {
        "qid": "1",
        "qtext": "¿Cuál?",
        "ra": "2",
        "image": "",
        "answers": [{"aid": 1, "atext": "Ésta."}, {"aid": 2, "atext": "Ésa."}],
    }
    exams = {
        "Cuaderno_2013_1_B": {"category": "biology", "data": [question, {**question, "qid": "2"}]},
        "Cuaderno_2013_1_M": {"category": "medicine", "data": [question]},
    }
    document = {"version": "1.0", "language": "es", "exams": exams}
    path = file_of(tmp_path, json.dumps(document, indent=indent), name="HEAD.json")
    found = list(read_questions(path, lang="es"))
    assert [q["id"] for q in found] == [
        *("Cuaderno_2013_1_B-1", "Cuaderno_2013_1_B-2", "Cuaderno_2013_1_M-1")
    ]
    assert [q["answers"] for q in found] == [["B"]] * 3
    exams["Cuaderno_2013_1_M"]["data"] = [{**question, "ra": "5"}]
    path = file_of(tmp_path, json.dumps(document, indent=indent), name="HEAD.json")
    assert fault(path).startswith(": question 3 (id 1): ra 5 is not the aid")
    exams["Cuaderno_2013_1_M"] = []
    path = file_of(tmp_path, json.dumps(document, indent=indent), name="HEAD.json")
    assert fault(path).startswith(": question 3: exam 'Cuaderno_2013_1_M' is not understood")
    assert len(list(read_questions(path, report=Report(skip_bad=True)))) == 2


@pytest.mark.parametrize("indent", [None, 1])
def test_pubmedqa_is_a_document_by_article(tmp_path, indent):
    row = {"QUESTION": "Is it?", "CONTEXTS": ["It is."], "final_decision": "no"}
    document = json.dumps({"101": row, "102": {**row, "final_decision": "maybe"}}, indent=indent)
    found = list(read_questions(file_of(tmp_path, document, name="ori_pqal.json")))
    assert [(q["id"], q["answers"]) for q in found] == [("101", ["B"]), ("102", ["C"])]
    document = json.dumps({"101": row, "102": {"QUESTION": "Is it?"}}, indent=indent)
    path = file_of(tmp_path, document)
    assert fault(path).startswith(": question 2 (id 102): no CONTEXTS, final_decision; a question")


@pytest.mark.parametrize("indent", [None, 1])
def test_bioasq_is_a_document_of_questions(tmp_path, indent):
    questions = [{"id": "5", "body": "What?", "type": "summary", "ideal_answer": ["This."]}]
    path = file_of(tmp_path, json.dumps({"questions": questions}, indent=indent), name="b.json")
    (found,) = read_questions(path)
    assert (found["id"], found["answers"], found["options"]) == ("5", ["This."], [])


def test_a_document_whose_second_line_is_an_object_is_none_of_rows(tmp_path):
    row = json.dumps({"id": "5", "body": "What?", "ideal_answer": "This."})
    path = file_of(tmp_path, '{"questions": [', row, "]}")
    assert [q["id"] for q in read_questions(path)] == ["5"]
    for first, *rest in (("[", row, "]"), ("[" + row + ",", row, "]")):
        path = file_of(tmp_path, first, *rest)
        assert {q["id"] for q in read_questions(path)} == {"5"}


def test_a_broken_document_names_the_line_of_the_file(tmp_path):
    path = file_of(tmp_path, "", "[", '{"question": "a"},', '{"question" "b"}', "]")
    assert fault(path).startswith(":4: not JSON (Expecting ':' delimiter at column 13)")
    path = file_of(tmp_path, "[", '{"a": 1, "a": 2}', "]")
    assert fault(path).startswith(": key 'a' is there twice in one object")
    # Nothing of it can be read, so nothing can be skipped.
    with pytest.raises(BadRecord):
        list(read_questions(path, report=Report(skip_bad=True)))


def test_images_are_counted_not_skipped_in_silence(tmp_path):
    row = {"problem_text": "どれか。", "choices": ["甲", "乙"], "answer": ["b"], "text_only": True}
    calculation = {**row, "choices": [], "answer": ["1.2"]}
    report = Report()
    path = file_of(tmp_path, row, {**row, "text_only": False}, calculation)
    assert [q["answers"] for q in read_questions(path, report=report)] == [["B"]]
    assert report.other == {"questions with an image": 1, "questions for a number": 1}
    assert report.skipped == 0


def test_mmlu_is_csv_without_header_and_counts_lines(tmp_path):
    rows = ['Which one?,"one, or",two,three,four,B', "", '"On two\nlines?",1,2,3,4,D']
    path = file_of(tmp_path, "\ufeff" + rows[0], *rows[1:], name="anatomy_test.csv", end="\r\n")
    first, second = read_questions(path)
    assert (first["question"], first["options"][0]) == ("Which one?", "one, or")
    assert (first["letters"], first["answers"]) == (["A", "B", "C", "D"], ["B"])
    assert (second["question"], second["answers"]) == ("On two\nlines?", ["D"])
    for row, place, said in [
        ("Which?,1,2,3,4,E", ":5: ", "answer 'E' names no option; options are A, B, C, D"),
        ("Which, then?,1,2,3,4,A", ":5: ", "7 columns; a row is question, 4 options and a letter"),
        ('"open,1,2,3,4,A', ":5: ", "1 columns"),
        (",1,2,3,4,A", ":5: ", "question is empty"),
        ('"On three\n\nlines?",1,2,3,4,?', ":5: ", "answer '?' names no option"),
    ]:
        path = file_of(tmp_path, *rows, row, name="anatomy_test.csv")
        assert fault(path).startswith(place + said)
        assert len(list(read_questions(path, report=Report(skip_bad=True)))) == 2


def medmcqa(cop, **more):
    keys = {"question": "Which?", "opa": "1st", "opb": "2nd", "opc": "3rd", "opd": "4th"}
    return {**keys, "cop": cop, **more}


@pytest.mark.parametrize("begins", [0, 1])
def test_medmcqa_counts_from_where_the_file_shows_it(tmp_path, begins):
    """The same four answers; in either order of rows, and with letters between them."""
    cops = [begins + i for i in range(4)]
    for ordered, expected in [(cops, "ABCD"), (cops[::-1], "DCBA")]:
        path = file_of(tmp_path, *map(medmcqa, ordered))
        assert [q["answers"] for q in read_questions(path)] == [[letter] for letter in expected]
    found = read_questions(file_of(tmp_path, *map(medmcqa, [2, "d", cops[0], cops[-1]])))
    # The question with the 2 waits until a number says what it means.
    assert [q["answers"] for q in found] == [["D"], ["C" if begins == 0 else "B"], ["A"], ["D"]]


def test_medmcqa_that_does_not_show_how_it_counts_is_refused(tmp_path):
    said = fault(file_of(tmp_path, *map(medmcqa, [1, 2, 3, 2])))
    assert said.startswith(": cop is 1, 2 or 3 in all 4 questions")
    assert "write letters a to d" in said
    (found,) = read_questions(file_of(tmp_path, medmcqa("c")))
    assert found["answers"] == ["C"]


def test_medmcqa_that_counts_both_ways_is_refused(tmp_path):
    path = file_of(tmp_path, *map(medmcqa, [1, 4, 0]))
    assert fault(path) == (
        f":3: cop 0 names no option of a file that counts from 1, as {path}:2 shows; "
        "write letters a to d"
    )


def test_the_hidden_answers_of_medmcqas_test_split_are_refused(tmp_path):
    path = file_of(tmp_path, medmcqa(-1), medmcqa(0))
    assert fault(path).startswith(":1: cop is -1: the answer is kept secret")
    assert len(list(read_questions(path, report=Report(skip_bad=True)))) == 1
    assert "cop 5 names no option" in fault(file_of(tmp_path, medmcqa(5)))


# Questions, those with several right answers, those with a rationale: counted apart from this
# reader when the files were made.
KNOWN = {
    "qa/en/en-medqa_us-test": (1273, 0, 0),
    "qa/en/en-pubmedqa-dev": (500, 0, 500),
    "qa/es/es-headqa-train": (2585, 0, 0),
    "qa/fr/fr-frenchmedmcqa-train": (2171, 1576, 0),
    "qa/fr/fr-frenchmedmcqa-dev": (312, 148, 0),
    "qa/ja/ja-igakuqa-train": (862, 131, 0),
    "qa/zh/zh-cmexam-dev": (300, 0, 300),
    "qa_original/fr/fr-frenchmedmcqa-dev.original": (312, 148, 0),
    "qa_original/en/en-pubmedqa-dev100.original": (100, 0, 100),
}


@pytest.mark.parametrize("name", KNOWN)
def test_published_files_are_read_whole(name):
    found = list(read_questions(str(needs(f"data/{name}.jsonl"))))
    several = sum(len(q["answers"]) > 1 for q in found)
    assert (len(found), several, sum(bool(q["rationale"]) for q in found)) == KNOWN[name]


def test_igakuqa_as_published_is_as_in_the_copy_with_other_keys():
    copy = needs("data/qa/ja/ja-igakuqa-dev.jsonl")
    report = Report()
    original = needs("data/qa_original/ja/ja-igakuqa-2021A.original.jsonl")
    found = list(read_questions(str(original), report=report))
    assert report.other == {"questions with an image": 28} and len(found) == 47
    expected = {q["id"]: q for q in read_questions(str(copy))}
    assert found == [expected[q["id"]] for q in found]


def test_frenchmedmcqa_as_published_is_as_in_the_copy_with_other_keys():
    original = needs("data/qa_original/fr/fr-frenchmedmcqa-dev.original.jsonl")
    copy = needs("data/qa/fr/fr-frenchmedmcqa-dev.jsonl")

    def plain(path):
        """With plain spaces, which is how the copy has them."""
        for q in read_questions(str(path)):
            yield (
                q["id"],
                q["answers"],
                [" ".join(q["question"].split()), *map(str.split, q["options"])],
            )

    assert list(plain(original)) == list(plain(copy))
