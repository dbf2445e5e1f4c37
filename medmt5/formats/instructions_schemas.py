"""Instructions in the keys of public data sets, to examples of one kind.

A schema is told by its keys, row by row. A conversation gives an example per turn of the
assistant, with the turns before it as its history. Files are left to `instructions`, how an example
becomes the text of a model to `prompts`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from medmt5.formats import questions_fields as fields
from medmt5.formats import questions_schemas
from medmt5.formats.gold import BadRecord
from medmt5.formats.prompts import MOST_OPTIONS, PROMPTS

Row = Mapping[str, Any]

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bot", "model"), "assistant"),
}
UNASKED, UNANSWERED = "turns before the first question", "last turns without a response"
_LETTERS = re.compile(r"\s*[A-Z](\s*,\s*[A-Z])*\s*")


class Schema(NamedTuple):
    """What tells a schema (all of these keys) and what its rows have (one of each)."""

    name: str
    tells: tuple[str, ...]
    needs: tuple[tuple[str, ...], ...]
    read: Callable[[Row, str, Counter[str]], list[dict[str, Any]]]


def to_examples(
    row: Row, lang: str = "", passed_over: Counter[str] | None = None
) -> list[dict[str, Any]]:
    """The examples of a row.

    Args:
      row: an object of a file.
      lang: of rows that do not say theirs.
      passed_over: counts turns that make no example, where given.

    Returns:
      What `instructions.read_instructions` says; `id` is "" where the row has none.

    Raises:
      BadRecord: keys of no schema or too few, or values that cannot be used.
    """
    schema = schema_of(row)
    if schema is None:
        known = "; ".join(f"{each.name}: {_listed(each)}" for each in SCHEMAS)
        raise BadRecord(f"keys {', '.join(row) or 'none'} are of no known schema ({known})")
    missing = [" or ".join(keys) for keys in schema.needs if not any(key in row for key in keys)]
    if missing:
        raise BadRecord(f"no {', '.join(missing)}; a row of {schema.name} has {_listed(schema)}")
    lang = fields.optional(row, "lang") or fields.optional(row, "language") or lang
    examples = schema.read(row, lang, Counter() if passed_over is None else passed_over)
    id = fields.row_id(row, "id", "idx", "conversation_id")
    shared = {"lang": lang, "system": fields.optional(row, "system")}
    for number, example in enumerate(examples, 1):
        own = f"{id}-{number}" if id and len(examples) > 1 else id
        example.update({**_NOTHING, **shared, **example, "id": own})
    return examples


_NOTHING: dict[str, Any] = {
    "history": [],
    "input": "",
    "letters": [],
    "options": [],
    "several": False,
}


def schema_of(row: Row) -> Schema | None:
    """The first schema whose keys a row has."""
    return next((s for s in SCHEMAS if all(key in row for key in s.tells)), None)


def is_instruction(row: Row) -> bool:
    """Whether a row is an instruction by its keys, and not a question of `questions_schemas`."""
    schema = schema_of(row)
    if schema is not _PAIR:
        return schema not in (None, _MMEDBENCH)
    told = {key for each in questions_schemas.SCHEMAS for key in each.tells}
    return not told & row.keys()


def _listed(schema: Schema) -> str:
    return ", ".join(" or ".join(keys) for keys in schema.needs)


def _first(row: Row, *keys: str) -> str:
    """The text under the first of the keys that is there."""
    return fields.text(row, next((key for key in keys if key in row), keys[0]))


def _alpaca(row: Row, lang: str, passed_over: Counter[str]) -> list[dict[str, Any]]:
    output = _first(row, "output", "response")
    example = {
        "instruction": fields.text(row, "instruction"),
        "input": fields.optional(row, "input") or fields.optional(row, "context"),
        "history": _pairs(row.get("history")),
        "answers": [output],
    }
    if row.get("options") is not None and _LETTERS.fullmatch(output):
        example |= _closed(row, output)
    return [example]


def _closed(row: Row, output: str) -> dict[str, Any]:
    """The options of an instruction that is answered with letters."""
    asked = {"question": "-", "options": row["options"], "answer_idx": output}
    record = questions_schemas.to_record(asked)
    assert isinstance(record, dict)
    several = row.get("several") is True or len(record["answers"]) > 1
    if several and len(record["options"]) > MOST_OPTIONS:
        raise BadRecord(
            f"{len(record['options'])} options; where several may be right, {MOST_OPTIONS} are "
            "the most"
        )
    return {
        "letters": record["letters"],
        "options": record["options"],
        "several": several,
        "answers": [",".join(record["answers"])],
    }


def _pairs(history: Any) -> list[str]:
    """Turns of [[user, assistant], ...], as some Alpaca files have them."""
    pairs = [] if history is None else history
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 for pair in pairs
    ):
        raise BadRecord('history is not understood; write [["user", "assistant"], ...]')
    return [fields.text({"history": text}, "history") for pair in pairs for text in pair]


def _prompt(row: Row, lang: str, passed_over: Counter[str]) -> list[dict[str, Any]]:
    answer = _first(row, "completion", "response")
    return [{"instruction": fields.text(row, "prompt"), "answers": [answer]}]


def _pair(row: Row, lang: str, passed_over: Counter[str]) -> list[dict[str, Any]]:
    return [{"instruction": fields.text(row, "question"), "answers": [fields.text(row, "answer")]}]


def _sharegpt(row: Row, lang: str, passed_over: Counter[str]) -> list[dict[str, Any]]:
    return _conversation(row["conversations"], "conversations", passed_over)


def _messages(row: Row, lang: str, passed_over: Counter[str]) -> list[dict[str, Any]]:
    return _conversation(row["messages"], "messages", passed_over)


def _mmedbench(row: Row, lang: str, passed_over: Counter[str]) -> list[dict[str, Any]]:
    """As its authors tune on it: with the rationale, where there is one."""
    record = questions_schemas.to_record(row)
    assert isinstance(record, dict)
    record["lang"] = lang
    prompt = PROMPTS["mmedbench_explained" if record["rationale"] else "mmedbench"]
    instruction, mark, asked = prompt.source(record).partition("###Question:")
    output = prompt.answers(record)[0]
    if prompt.reasons:
        output = f"{prompt.reasons(record)} {prompt.marker(record)} {output}"
    return [{"instruction": instruction.strip(), "input": mark + asked, "answers": [output]}]


def _conversation(turns: Any, name: str, passed_over: Counter[str]) -> list[dict[str, Any]]:
    """An example per turn of the assistant; turns of one speaker after another are one turn."""
    if not isinstance(turns, list) or not turns:
        raise BadRecord(f'{name} is not a list of turns; write [{{"role": "user", ...}}, ...]')
    said = [_turn(turn, f"{name} {number}") for number, turn in enumerate(turns, 1)]
    system = ""
    if said[0][0] == "system":
        system = said.pop(0)[1]
    joined: list[tuple[str, str]] = []
    for number, (role, text) in enumerate(said, len(turns) - len(said) + 1):
        if role == "system":
            raise BadRecord(f"{name} {number} is of the system; such a turn comes first, or never")
        if joined and joined[-1][0] == role:
            text = f"{joined.pop()[1]}\n{text}"
        joined.append((role, text))
    if joined and joined[0][0] == "assistant":
        passed_over[UNASKED] += 1
        joined.pop(0)
    if len(joined) % 2:
        passed_over[UNANSWERED] += 1
    texts = [text for _, text in joined]
    if len(texts) < 2:
        raise BadRecord(f"{name} has no turn of a user with a response of the assistant after it")
    return [
        {
            "system": system,
            "history": texts[: i - 1],
            "instruction": texts[i - 1],
            "answers": [texts[i]],
        }
        for i in range(1, len(texts), 2)
    ]


def _turn(turn: Any, name: str) -> tuple[str, str]:
    """Role and text of a turn, in ShareGPT's keys or in OpenAI's."""
    if not isinstance(turn, dict):
        raise BadRecord(f'{name} is not an object; a turn is {{"role": ..., "content": ...}}')
    role_key, text_key = ("from", "value") if "from" in turn else ("role", "content")
    if role_key not in turn:
        raise BadRecord(f"{name} has neither from nor role; its keys are {', '.join(turn)}")
    role = turn[role_key]
    if not isinstance(role, str) or role.lower() not in ROLES:
        raise BadRecord(f"{name} is of {role!r}; {role_key} is one of {', '.join(ROLES)}")
    content = turn.get(text_key)
    if isinstance(content, list):
        content = _parts(content, name)
    return ROLES[role.lower()], fields.text({text_key: content}, text_key)


def _parts(content: Sequence[Any], name: str) -> str:
    """The text of OpenAI's [{"type": "text", "text": "..."}]."""
    if not all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        raise BadRecord(f"{name} holds more than text; leave out images, files and tools")
    return "\n".join(fields.text(part, "text") for part in content)


_MMEDBENCH = Schema("MMedBench", ("question", "options"), (("question",), ("options",)), _mmedbench)
_PAIR = Schema("question and answer", ("question",), (("question",), ("answer",)), _pair)
# In this order: keys of a later schema also occur in rows of an earlier one.
SCHEMAS = (
    Schema("Alpaca", ("instruction",), (("instruction",), ("output", "response")), _alpaca),
    Schema("ShareGPT", ("conversations",), (("conversations",),), _sharegpt),
    Schema("OpenAI's chat", ("messages",), (("messages",),), _messages),
    Schema("a prompt", ("prompt",), (("prompt",), ("completion", "response")), _prompt),
    _MMEDBENCH,
    _PAIR,
)
