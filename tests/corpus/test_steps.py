"""All steps: any text, any language, in any order, in any process."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medmt5.corpus.documents import Document, Removed
from medmt5.corpus.steps import STEPS

TEXT = st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=300)
LANGUAGE = st.sampled_from(["", "en", "es", "ru", "zh", "ja", "eu", "fi"])


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluation") / "exam.jsonl"
    path.write_text('{"question": "one two three four five six seven eight nine ten"}\n')
    needed = {"contamination": {"files": [str(path)]}}
    return {name: step(**needed.get(name, {})) for name, step in STEPS.items()}


def test_steps_are_in_their_usual_order():
    assert list(STEPS) == (
        "unicode boilerplate language sentences quality medical personal contamination".split()
    )


@settings(max_examples=40, deadline=None)
@given(text=TEXT, language=LANGUAGE)
@example(text="", language="zh")
@example(text="\ud800", language="en")
@example(text=" \n\t\x00 ", language="")
@example(text="a" * 20_000, language="en")
def test_no_step_raises_on_any_text(steps, text, language):
    document = Document(text, "1", "web", language)
    for name, step in steps.items():
        result = step(document)
        if isinstance(result, Removed):
            assert result.reason
            continue
        for part in result if isinstance(result, list) else [result]:
            assert (part.source, part.id.partition("#")[0]) == ("web", "1")
            # What a step leaves as it is, it leaves as it is again.
            if name not in ("unicode", "sentences"):
                assert step(part) == part


def test_steps_are_pickled_as_their_settings(steps):
    for step in steps.values():
        step(Document("The patient has a fever.", "1", "web", "en"))
        again = pickle.loads(pickle.dumps(step))
        assert again == step
        assert len(pickle.dumps(step)) < 2000
