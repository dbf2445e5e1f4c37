"""Which tasks are shown which soft prompt."""

import logging

import pytest
import tiny

from medmt5.adapters.prompt_tasks import show_prompts, show_prompts_in_training
from medmt5.models.soft_prompt import PromptConfig
from medmt5.tables import Identity, Table

ONE = tiny.config(prompt=PromptConfig(2))
TWO = tiny.config(prompt=PromptConfig(2, tasks=("rte", "wmt")))
FIRST, SECOND = [2048, 2049], [2050, 2051]


def tables(*names):
    return [Table(name, 1.0, Identity(), [{}]) for name in names or ("rte", "wmt", "cb")]


def shown(model, prompted, trained=("rte",)):
    given = tables()
    show_prompts(given, model, prompted, trained=trained)
    return {table.name: table.soft_prompt.tolist() for table in given}


@pytest.mark.parametrize(
    "model, prompted, expected",
    [
        (ONE, "trained", (FIRST, [], [])),
        (ONE, "all", (FIRST, FIRST, FIRST)),
        (ONE, "none", ([], [], [])),
        (ONE, ("cb",), ([], [], FIRST)),
        (ONE, {"cb": "rte"}, ([], [], FIRST)),
        (TWO, "trained", (FIRST, SECOND, [])),
        (TWO, ("wmt",), ([], SECOND, [])),
        (TWO, {"cb": "wmt", "rte": "rte"}, (FIRST, [], SECOND)),
        (tiny.config(), "trained", ([], [], [])),
        (tiny.config(), "none", ([], [], [])),
    ],
)
def test_who_is_shown_what(model, prompted, expected):
    assert shown(model, prompted) == dict(zip(("rte", "wmt", "cb"), expected, strict=True))


def test_it_is_said_and_asking_again_takes_the_prompts_away(caplog):
    given = tables()
    with caplog.at_level(logging.INFO):
        show_prompts(given, TWO, {"rte": "rte", "cb": "wmt"}, trained=())
    assert "with a soft prompt: rte, cb (that of wmt); without: wmt" in caplog.text
    show_prompts(given, TWO, "none", trained=())
    assert not any(len(table.soft_prompt) for table in given)


@pytest.mark.parametrize(
    "model, prompted, message",
    [
        (ONE, "rte", r"use 'trained', 'all', 'none', names of tasks as in \('rte',\)"),
        (ONE, ("rte", "boolq"), "names boolq, which is not among rte, wmt, cb"),
        (TWO, "all", "task cb is to be shown the prompt of cb, but .* prompts of rte, wmt"),
        (TWO, {"cb": "boolq"}, "the prompt of boolq"),
        (tiny.config(), "all", "the model has none"),
    ],
)
def test_a_prompt_or_task_that_is_not_there_is_refused(model, prompted, message):
    with pytest.raises(ValueError, match=message):
        shown(model, prompted)


def test_where_nobody_knows_what_a_prompt_was_trained_on_it_is_asked():
    with pytest.raises(ValueError, match="set PROMPTED to 'all', 'none' or names of tasks"):
        shown(ONE, "trained", trained=())
    assert shown(ONE, "all", trained=())["cb"] == FIRST
    assert shown(tiny.config(), "trained", trained=())["cb"] == []


def test_in_training_each_task_has_its_own_and_none_may_be_missing(caplog):
    config, given = tiny.dataset("mix", pack=True), tables()
    with caplog.at_level(logging.INFO):
        show_prompts_in_training(given, TWO, config)
    assert [table.soft_prompt.tolist() for table in given] == [FIRST, SECOND, []]
    assert "PACK is True: every example of a row carries its own 2 positions" in caplog.text
    show_prompts_in_training(given, ONE, config)
    assert [table.soft_prompt.tolist() for table in given] == [FIRST] * 3
    with pytest.raises(ValueError, match="names wmt, which mix does not hold .rte, cb."):
        show_prompts_in_training(tables("rte", "cb"), TWO, config)
    both = tiny.config(prompt=PromptConfig(2, decoder_length=1))
    with pytest.raises(ValueError, match="set PACK = False or PROMPT_DECODER_LENGTH = 0"):
        show_prompts_in_training(given, both, config)
