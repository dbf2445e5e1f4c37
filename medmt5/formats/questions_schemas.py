"""Questions in the keys of their data sets, to one record each.

A schema is told by its keys, row by row. Options get the letters A, B, ... whatever they were
called; right answers are letters, in the order of the options. Files are left to `questions`.
"""

from __future__ import annotations

import string as characters
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from medmt5.formats import questions_fields as fields
from medmt5.formats.gold import BadRecord

LETTERS = characters.ascii_uppercase
Row = Mapping[str, Any]


WITH_IMAGE, WITHOUT_OPTIONS = "questions with an image", "questions for a number"


class Schema(NamedTuple):
    name: str
    tells: tuple[str, ...]  # any of these keys tells the schema
    needs: tuple[str, ...]
    read: Callable[[Row], dict[str, Any] | str]


def to_record(row: Row) -> dict[str, Any] | str:
    """The record of a question, or why it is passed over: that is no fault of the file.

    Returns:
      id ("" if the row has none), question, context, letters, options, answers, rationale, lang
      (of the row, "" if it does not say), human_check of its rationale ("passed", "failed", ""
      where nobody looked); or WITH_IMAGE or WITHOUT_OPTIONS.

    Raises:
      BadRecord: keys of no schema or too few, options or answers that cannot be used.
    """
    schema = next((s for s in SCHEMAS if any(key in row for key in s.tells)), None)
    if schema is None:
        known = "; ".join(f"{s.name}: {', '.join(s.needs)}" for s in SCHEMAS)
        raise BadRecord(f"keys {', '.join(row) or 'none'} are of no known schema ({known})")
    missing = [key for key in schema.needs if key not in row]
    if missing:
        raise BadRecord(
            f"no {', '.join(missing)}; a question of {schema.name} has {', '.join(schema.needs)}"
        )
    record = schema.read(row)
    if isinstance(record, str):
        return record
    passed = "passed" if row.get("human_check_passed") is True else "failed"
    looked = passed if row.get("human_checked") is True else ""
    return {**record, "lang": fields.optional(row, "lang"), "human_check": looked}


def _choice(
    id: str,
    question: str,
    options: Mapping[str, str],
    right: Sequence[str],
    *,
    context: str = "",
    rationale: str = "",
) -> dict[str, Any]:
    for letter in right:
        if letter not in options:
            raise BadRecord(f"answer {letter!r} names no option; options are {', '.join(options)}")
    if not right or len(set(right)) < len(right):
        raise BadRecord(f"answers are {', '.join(right) or 'none'}; name each right option once")
    return {
        "id": id,
        "question": question,
        "context": context,
        "letters": list(options),
        "options": list(options.values()),
        "answers": sorted(right),
        "rationale": rationale,
    }


def _options(given: Any) -> dict[str, str]:
    """Texts by letter, of a dictionary, a list of texts or a list of {"key", "value"}."""
    if isinstance(given, list) and given and all(isinstance(each, dict) for each in given):
        if not all({"key", "value"} <= each.keys() for each in given):
            raise BadRecord('an option of a list is a text or {"key": "A", "value": "..."}')
        pairs = [(str(each["key"]), each["value"]) for each in given]
    elif isinstance(given, list):
        pairs = [(_letter(number), text) for number, text in enumerate(given, 1)]
    elif isinstance(given, dict):
        pairs = list(given.items())
    else:
        raise BadRecord('options are not understood; write {"A": "...", "B": "..."} or a list')
    # Arrow and pandas write null for the fifth option of a question with four.
    while pairs and pairs[-1][1] is None:
        pairs.pop()
    if not 2 <= len(pairs) <= len(LETTERS):
        raise BadRecord(f"{len(pairs) or 'no'} options; a question has 2 to {len(LETTERS)}")
    called = [key.strip().upper() for key, _ in pairs]
    if sorted(called) != list(LETTERS[: len(called)]):
        raise BadRecord(f"options are called {', '.join(called)}; call them A, B, C, ... once each")
    by_letter = dict(zip(called, (text for _, text in pairs), strict=True))
    texts = {key: fields.string(by_letter[key], f"option {key}") for key in sorted(called)}
    if sum(bool(text.strip()) for text in texts.values()) < 2:
        raise BadRecord("fewer than 2 options have a text")
    return texts


def _letter(number: int) -> str:
    """A for 1; a number without a letter stays one, for the message."""
    return LETTERS[number - 1] if 1 <= number <= len(LETTERS) else str(number)


def _letters(value: Any, name: str) -> list[str]:
    """Letters of "A,C", of ["A", "C"] or of ["a"]."""
    value = value.split(",") if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(letter, str) for letter in value):
        raise BadRecord(f'{name} {value!r} is not understood; write "A", "A,C" or ["A", "C"]')
    return [letter.strip().upper() for letter in value]


def _number(value: Any, name: str) -> int:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadRecord(f"{name} {value!r} is not a number")
    return value


def _mmedbench(row: Row) -> dict[str, Any]:
    options = _options(row["options"])
    if row.get("answer_idx") is None:
        right = _right_of(fields.text(row, "answer"), options)
    else:
        right = _letters(row["answer_idx"], "answer_idx")
        _check_answer(row.get("answer"), options, right)
    return _choice(
        fields.row_id(row, "id"),
        fields.text(row, "question"),
        options,
        right,
        context=fields.optional(row, "context"),
        rationale=fields.optional(row, "rationale"),
    )


def _right_of(answer: str, options: Mapping[str, str]) -> list[str]:
    """The letters of an answer that comes without answer_idx: it is the text of one, or letters."""
    by_text = [letter for letter, text in options.items() if text.strip() == answer.strip()]
    by_letter = _letters(answer, "answer")
    if not by_text or by_text == by_letter:
        return by_letter
    if len(by_text) > 1 or set(by_letter) <= options.keys():
        named = ", ".join(dict.fromkeys(by_text + by_letter))
        raise BadRecord(f"answer {answer[:60]!r} may be any of {named}; add answer_idx")
    return by_text


def _check_answer(answer: Any, options: Mapping[str, str], right: Sequence[str]) -> None:
    """Refuse an answer that is the text of an option other than those of answer_idx."""
    for text in answer if isinstance(answer, list) else [answer]:
        if not isinstance(text, str) or text.strip().upper() in right:
            continue
        named = [letter for letter, option in options.items() if option.strip() == text.strip()]
        if named and not set(named) & set(right):
            raise BadRecord(
                f"answer_idx is {','.join(right)}, but answer {text[:60]!r} is the text of "
                f"{named[0]}; one of both is wrong: correct it"
            )


def _medmcqa(row: Row) -> dict[str, Any]:
    return _choice(
        fields.row_id(row, "id"),
        fields.text(row, "question"),
        _options([row[key] for key in ("opa", "opb", "opc", "opd")]),
        _letters(row["cop"], "cop"),
        rationale=fields.optional(row, "exp"),
    )


def _headqa(row: Row) -> dict[str, Any]:
    answers = row["answers"]
    if not isinstance(answers, list) or not all(
        isinstance(answer, dict) and {"aid", "atext"} <= answer.keys() for answer in answers
    ):
        raise BadRecord('answers are not understood; write [{"aid": 1, "atext": "..."}, ...]')
    options = _options([answer["atext"] for answer in answers])
    ids = [_number(answer["aid"], "aid") for answer in answers]
    right = _number(row["ra"], "ra")
    if ids.count(right) != 1:
        raise BadRecord(f"ra {right} is not the aid of one answer; they are {ids}")
    return _choice(
        "-".join(filter(None, (fields.row_id(row, "name"), fields.row_id(row, "qid")))),
        fields.text(row, "qtext"),
        options,
        [_letter(ids.index(right) + 1)],
    )


def _frenchmedmcqa(row: Row) -> dict[str, Any]:
    options, right = row.get("answers"), row["correct_answers"]
    if options is None:  # Hugging Face's copy: a key for each, and classes that count from 0
        keys = {letter: f"answer_{letter.lower()}" for letter in LETTERS}
        options = {letter: row[key] for letter, key in keys.items() if key in row}
        if isinstance(right, list):
            right = [_letter(each + 1) if type(each) is int else each for each in right]
    return _choice(
        fields.row_id(row, "id"),
        fields.text(row, "question"),
        _options(options),
        _letters(right, "correct_answers"),
    )


def _igakuqa(row: Row) -> dict[str, Any] | str:
    if row.get("text_only") is False:
        return WITH_IMAGE
    if row["choices"] == []:  # a calculation: the answer is its result, such as ["1.2"]
        return WITHOUT_OPTIONS
    return _choice(
        fields.row_id(row, "problem_id"),
        fields.text(row, "problem_text"),
        _options(row["choices"]),
        _letters(row["answer"], "answer"),
    )


def _medexpqa(row: Row) -> dict[str, Any]:
    given = row["options"]
    if not isinstance(given, dict):
        raise BadRecord('options are not understood; write {"1": "...", "2": "..."}')
    # The first release has NaN for the fifth option of a question with four, later ones null.
    given = {
        _letter(_number(key, "option")): None if text != text else text
        for key, text in given.items()
    }
    right = _number(row["correct_option"], "correct_option")
    rationale = fields.optional(row, "full_answer")
    if not rationale and isinstance(row.get("explanations"), dict):
        rationale = fields.optional(row["explanations"].get(str(right)) or {}, "text")
    return _choice(
        fields.row_id(row, "id"),
        fields.text(row, "full_question"),
        _options(given),
        [_letter(right)],
        rationale=rationale,
    )


def _rumeddanet(row: Row) -> dict[str, Any]:
    options = ("да", "нет")
    return _choice(
        fields.row_id(row, "pairID", "id"),
        fields.text(row, "question"),
        _options(list(options)),
        [_word_of(row, "answer", options)],
        context=fields.text(row, "context"),
    )


def _pubmedqa(row: Row) -> dict[str, Any]:
    options = ("yes", "no", "maybe")
    return _choice(
        fields.row_id(row, "pmid", "id"),
        fields.text(row, "QUESTION"),
        _options(list(options)),
        [_word_of(row, "final_decision", options)],
        context="\n".join(fields.texts(row["CONTEXTS"], "CONTEXTS")),
        rationale=fields.optional(row, "LONG_ANSWER"),
    )


def _word_of(row: Row, key: str, options: tuple[str, ...]) -> str:
    word = fields.text(row, key).strip().lower()
    if word not in options:
        raise BadRecord(f"{key} {word[:60]!r} names no option; options are {', '.join(options)}")
    return _letter(options.index(word) + 1)


def _bioasq(row: Row) -> dict[str, Any]:
    snippets = row.get("snippets") or []
    if not isinstance(snippets, list) or not all(isinstance(each, dict) for each in snippets):
        raise BadRecord('snippets are not understood; write [{"text": "..."}, ...]')
    return {
        "id": fields.row_id(row, "id"),
        "question": fields.text(row, "body"),
        "context": "\n".join(fields.text(snippet, "text") for snippet in snippets),
        "letters": [],
        "options": [],
        "answers": fields.texts(row["ideal_answer"], "ideal_answer"),
        "rationale": "",
    }


# In this order: keys of a later schema also occur in rows of an earlier one.
SCHEMAS = (
    Schema("MedMCQA", ("opa",), ("question", "opa", "opb", "opc", "opd", "cop"), _medmcqa),
    Schema("HEAD-QA", ("qtext",), ("qtext", "answers", "ra"), _headqa),
    Schema("FrenchMedMCQA", ("correct_answers",), ("question", "correct_answers"), _frenchmedmcqa),
    Schema("IgakuQA", ("problem_text",), ("problem_text", "choices", "answer"), _igakuqa),
    Schema(
        "MedExpQA", ("full_question",), ("full_question", "options", "correct_option"), _medexpqa
    ),
    Schema("PubMedQA", ("QUESTION",), ("QUESTION", "CONTEXTS", "final_decision"), _pubmedqa),
    Schema("BioASQ", ("body",), ("body", "ideal_answer"), _bioasq),
    Schema("MMedBench or MedQA", ("options", "answer_idx"), ("question", "options"), _mmedbench),
    Schema("RuMedDaNet", ("context",), ("context", "question", "answer"), _rumeddanet),
)
