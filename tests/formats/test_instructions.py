"""Instructions of every public schema, faults with their line, templates, what fits a row."""

import json
from collections import Counter

import pytest
import tiny

from medmt5.formats import folder, task
from medmt5.formats.gold import Report
from medmt5.formats.instructions import read_instructions
from medmt5.formats.instructions_schemas import UNANSWERED, UNASKED, is_instruction, to_examples
from medmt5.formats.instructions_tasks import register_instructions
from medmt5.formats.instructions_text import Instructions
from medmt5.formats.prompts import PROMPTS
from medmt5.predictor import Prediction
from medmt5.tables import DatasetConfig
from medmt5.vocabulary import Vocabulary

PLAIN = {
    "id": "1",
    "lang": "en",
    "system": "",
    "history": [],
    "instruction": "Name a drug.",
    "input": "",
    "letters": [],
    "options": [],
    "several": False,
    "answers": ["Insulin."],
}
CLOSED = {
    "id": "q7",
    "instruction": "Choose.",
    "input": "Which drug? A. insulin B. ramipril",
    "output": "B",
    "options": {"A": "insulin", "B": "ramipril"},
}


def turns(*texts, first="user", keys=("role", "content")):
    names = {"user": ("user", "assistant"), "human": ("human", "gpt")}[first]
    return [{keys[0]: names[i % 2], keys[1]: text} for i, text in enumerate(texts)]


def file_of(tmp_path, *rows, name="rows.jsonl"):
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path = tmp_path / name
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return str(path)


def fault(path):
    with pytest.raises(ValueError) as error:
        list(read_instructions(path))
    return str(error.value).removeprefix(path)


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "Name a drug.", "input": "", "output": "Insulin."},
        {"instruction": "Name a drug.", "input": None, "response": "Insulin."},
        {"prompt": "Name a drug.", "completion": "Insulin."},
        {"question": "Name a drug.", "answer": "Insulin."},
        {"conversations": turns("Name a drug.", "Insulin.", first="human", keys=("from", "value"))},
        {"messages": turns("Name a drug.", "Insulin.")},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Name a drug."}]},
                {"role": "assistant", "content": "Insulin."},
            ]
        },
    ],
)
def test_every_schema_gives_the_same_example(tmp_path, row):
    assert list(read_instructions(file_of(tmp_path, row), lang="en")) == [PLAIN]
    listed = file_of(tmp_path, json.dumps([row], indent=1), name="rows.json")
    assert list(read_instructions(listed, lang="en")) == [PLAIN]
    assert is_instruction(row)


def test_each_turn_of_an_assistant_is_an_example_with_the_turns_before_it(tmp_path):
    system = {"role": "system", "content": "Be brief."}
    row = {"id": "c", "language": "es", "messages": [system, *turns("a", "b", "c", "d", "e")]}
    report = Report()
    first, second = read_instructions(file_of(tmp_path, row), report=report)
    assert first == PLAIN | {
        **{"id": "c-1", "lang": "es", "system": "Be brief.", "instruction": "a", "answers": ["b"]}
    }
    assert second == first | {
        **{"id": "c-2", "history": ["a", "b"], "instruction": "c", "answers": ["d"]}
    }
    assert (report.documents, report.other) == (1, Counter({UNANSWERED: 1}))


def test_turns_of_one_speaker_are_joined_and_a_first_one_of_the_assistant_is_passed_over():
    said = [("gpt", "Hello!"), ("human", "I cough."), ("human", "Why?"), ("gpt", "A cold.")]
    row = {"conversations": [{"from": name, "value": text} for name, text in said]}
    passed_over = Counter()
    (example,) = to_examples(row, "en", passed_over)
    assert (example["history"], example["instruction"]) == ([], "I cough.\nWhy?")
    assert example["answers"] == ["A cold."] and passed_over == {UNASKED: 1}


def test_an_alpaca_row_may_have_a_system_message_and_earlier_turns():
    row = {"instruction": "c", "output": "d", "system": "s", "history": [["a", "b"]]}
    (example,) = to_examples(row)
    assert (example["system"], example["history"]) == ("s", ["a", "b"])


def test_mmedbench_is_put_as_its_authors_put_it():
    row = {
        "question": "Which?",
        "options": {"A": "x", "B": "y"},
        "answer_idx": "B",
        "rationale": "Since.",
    }
    (example,) = to_examples(row, "es")
    assert example["instruction"].startswith("You're a Spanish doctor, kindly address")
    assert example["instruction"].endswith("the right answer index of the question.")
    assert example["input"].startswith("###Question: Which? ")
    assert example["input"].endswith("###Options: A. x B. y")
    assert example["answers"] == ["###Rationale: Since. ###Answer: OPTION B IS CORRECT."]
    assert not is_instruction(row)  # by its path it is a task of questions


def test_a_row_that_is_answered_with_letters_has_them_in_order():
    (example,) = to_examples(CLOSED | {"output": "B,A"})
    assert (example["answers"], example["several"]) == (["A,B"], True)
    assert (example["letters"], example["options"]) == (["A", "B"], ["insulin", "ramipril"])
    (one,) = to_examples(CLOSED)
    assert (one["answers"], one["several"]) == (["B"], False)
    (told,) = to_examples(CLOSED | {"several": True})
    assert told["several"]
    (free,) = to_examples(CLOSED | {"output": "It is ramipril."})
    assert (free["answers"], free["letters"]) == (["It is ramipril."], [])


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("{", "not JSON"),
        ('"text"', '"text" is not an object'),
        ({"text": "a"}, "keys text are of no known schema (Alpaca: instruction, output or respon"),
        ({"instruction": "a"}, "no output or response; a row of Alpaca has instruction, output"),
        ({"instruction": "a", "output": " "}, "output is empty"),
        ({"instruction": "a", "output": "b", "input": 3}, "input is 3, not a string"),
        ({"instruction": "a", "output": "b", "history": ["c"]}, "history is not understood; wri"),
        ({"prompt": "a"}, "no completion or response; a row of a prompt has"),
        ({"question": "a", "answer": ["b"]}, 'answer is ["b"], not a string'),
        ({"messages": []}, "messages is not a list of turns; write"),
        ({"messages": turns("a")}, "messages has no turn of a user with a response"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages 1 is of 'tool'; role is one"),
        ({"messages": [{"content": "a"}]}, "messages 1 has neither from nor role; its keys are c"),
        ({"messages": [{"role": "user", "content": None}]}, "content is null, not a string"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages 1 holds more than text; leave out images",
        ),
        (
            {"messages": [*turns("a", "b"), {"role": "system", "content": "c"}]},
            "messages 3 is of the system; such a turn comes first",
        ),
        (CLOSED | {"output": "C"}, "answer 'C' names no option; options are A, B"),
        (
            CLOSED | {"options": dict.fromkeys("ABCDEFGHIJK", "x"), "output": "A,B"},
            "11 options; where several may be right, 10 are the most",
        ),
    ],
)
def test_faults_name_their_line_and_can_be_skipped(tmp_path, row, expected):
    good = {"instruction": "a", "output": "b"}
    path = file_of(tmp_path, good, row, good)
    assert fault(path).startswith(":2: " + expected)
    report = Report(skip_bad=True)
    assert [r["id"] for r in read_instructions(path, report=report)] == ["1", "3"]
    assert (report.documents, report.skipped) == (2, 1)


def test_faults_of_a_list_name_their_row_or_line(tmp_path):
    rows = json.dumps([{"instruction": "a", "output": "b"}, 3])
    assert fault(file_of(tmp_path, rows)).startswith(": row 2: int is not an object")
    assert fault(file_of(tmp_path, "[", "{]")).startswith(":2: not JSON (")
    assert fault(file_of(tmp_path, "")) == ": no instructions"


def test_templates_by_hand():
    asked = PLAIN | {"instruction": "Translate.", "input": "fiebre"}
    assert PROMPTS["alpaca"].source(asked) == (
        "Below is an instruction that describes a task, paired with an input that provides further "
        "context. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nTranslate.\n\n### Input:\nfiebre\n\n### Response:"
    )
    assert PROMPTS["alpaca"].source(PLAIN) == (
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\nName a drug.\n\n### Response:"
    )
    later = asked | {"history": ["Hi.", "Hello."], "system": "Be brief."}
    assert PROMPTS["alpaca"].source(later) == (
        "Be brief.\n\n### Instruction:\nHi.\n\n### Response:\nHello.\n\n"
        "### Instruction:\nTranslate.\n\n### Input:\nfiebre\n\n### Response:"
    )
    assert PROMPTS["chat"].source(later) == (
        "System: Be brief.\nUser: Hi.\nAssistant: Hello.\nUser: Translate.\nfiebre\nAssistant:"
    )
    assert PROMPTS["chat"].source(PLAIN) == "User: Name a drug.\nAssistant:"
    assert PROMPTS["instruction"].source(asked) == "Translate.\nfiebre"


def text_of(format_, raw):
    return format_.vocabulary.decode(format_.example(raw, None)["inputs"])


def test_the_oldest_turns_go_first_and_the_last_question_stays(sample_vocabulary):
    format_ = Instructions(sample_vocabulary, "chat")
    history = [word for i in range(9) for word in (f"ask{i}", f"say{i}")]
    raw = PLAIN | {"history": history, "instruction": "the last one"}
    shortest = len(format_.example(raw | {"history": history[-4:]}, None)["inputs"])
    (fitted,) = format_.prepare([raw], {"inputs": shortest, "targets": 8})
    assert fitted == raw | {"history": history[-4:]}
    assert format_.prepare([fitted], {"inputs": shortest, "targets": 8}) == [fitted]
    (alone,) = format_.prepare([raw], {"inputs": 16, "targets": 8})
    assert alone["history"] == [] and text_of(format_, alone).endswith("Assistant:")


def test_an_input_loses_its_end_and_one_with_options_its_beginning(sample_vocabulary):
    lengths = {"inputs": 48, "targets": 8}
    format_ = Instructions(sample_vocabulary, "chat")
    raw = PLAIN | {"input": "first " + "word " * 200 + "last"}
    for letters, kept, lost in (([], "first", "last"), (["A", "B"], "last", "first")):
        (fitted,) = format_.prepare([raw | {"letters": letters}], lengths)
        text = text_of(format_, fitted)
        assert kept in text and lost not in text and "Name a drug." in text
        assert 40 < len(format_.example(fitted, None)["inputs"]) <= 48


def test_responses_are_scored_as_texts_and_letters_as_choices(sample_vocabulary):
    format_ = Instructions(sample_vocabulary, "chat")
    example = format_.example(PLAIN, None)
    assert format_.modes == ("unconstrained",)
    assert format_.record(example, tokens=sample_vocabulary.encode("Insulin. User: More?")) == {
        **{"id": "1", "lang": "en", "references": ["Insulin."], "predicted": "Insulin."}
    }
    closed = Instructions(sample_vocabulary, "chat", closed=True)
    (raw,) = to_examples(CLOSED | {"output": "A,B"}, "en")
    example = closed.example(raw, None)
    assert closed.modes[0] == "constrained" and len(closed.candidates(example)) == 3
    said = Prediction(example["targets"], example["targets"] * 0.0, True)
    record = closed.record(example, prediction=said)
    assert record["predicted"] == record["gold"] == ["A", "B"] and record["options"] == 2
    with pytest.raises(ValueError, match="template 'plain' is unknown; use one of chat, alpaca"):
        Instructions(sample_vocabulary, "plain")


def tables(name, split="train"):
    config = DatasetConfig(name, {"inputs": 64, "targets": 32}, split=split)
    return task.read_tables(config, Vocabulary(tiny.VOCABULARY))


def test_files_of_instructions_are_tasks_by_their_path(tmp_path):
    row = {"instruction": "Name a drug.", "output": "Insulin."}
    file_of(tmp_path, *[row] * 3, name="en-open-train.jsonl")
    file_of(tmp_path, row, name="en-open-dev.jsonl")
    file_of(tmp_path, CLOSED, name="es-choice-train.jsonl")
    (table,) = tables(f"{tmp_path}/en-open", "validation")
    assert table.raws == [PLAIN] and not table.format.closed
    found = {table.raws[0]["lang"]: table for table in tables(f"{tmp_path}/")}
    assert found["es"].format.closed and found["es"].raws[0]["answers"] == ["B"]
    # Each row as often as any other.
    assert (found["en"].rate, found["es"].rate) == (3.0, 1.0)
    file_of(tmp_path, {"question": "Which?", "options": {"A": "x", "B": "y"}, "answer_idx": "A"},
            name="en-tutor-train.jsonl")  # fmt: skip
    folder._made.clear()
    assert {table.rate for table in tables(f"{tmp_path}/")} == {1.0}


def test_seqio_makes_the_examples_that_we_make(tmp_path):
    row = {"id": "c", "messages": turns("a", "b", "c", "d")}
    found = register_instructions(
        "instructions_by_seqio",
        lambda split: read_instructions(file_of(tmp_path, row), lang="en"),
        ["train"],
        vocabulary_path=tiny.VOCABULARY,
    )
    theirs = found.get_dataset({"inputs": 64, "targets": 32}, "train", shuffle=False, num_epochs=1)
    made = list(theirs.as_numpy_iterator())
    (ours,) = tables("instructions_by_seqio")
    assert len(made) == len(ours.raws) == 2
    for raw, their in zip(ours.raws, made, strict=True):
        example = ours.format.example(raw, None)
        for key in ("inputs", "targets"):
            assert example[key].tolist() == their[key].tolist()
