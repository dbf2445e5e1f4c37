"""Whatever a text holds, labelling it raises nothing and moves nothing.

Models are tiny and random, so they mark much and well-formedness is all that counts. What words
are is left to `formats/test_text.py`, what tokens may be decoded to `formats/test_labelling.py`.
"""

import functools
import resource
import sys

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from medmt5 import labeller as labeller_module
from medmt5 import predictor as predictor_module
from medmt5.formats.documents import check
from medmt5.formats.labelling import Labelling
from medmt5.formats.spans import Span
from medmt5.formats.tags import render
from medmt5.labeller import Labeller
from medmt5.predictor import Prediction, Search

# Tags of one character, and one of a script without spaces, which the text may spell over words.
TEXTUAL_LABELS = ("D", "病")

FRAGMENTS = [
    *"aZ09 _-'.,;!?()<>/&|▁",
    *("acute ", "gout", "fever. ", "p < 0.05", "mg/dL", "No fever. She", "e.g. ", "J. "),
    # Tags, special tokens and pieces as the text spells them, also between full-width brackets.
    *("<D>", "</D>", "<D", "</", "＜病＞", "＜／病＞", "<Disease>", "</Chemical>", "<row 2036>"),
    *("</s>", "<pad>", "<unk>", "<extra_id_0>", "▁<extra_id_99>", "<0x0A>", "▁the"),
    # White space, line ends, controls, marks of direction, byte order marks.
    *("\r\n", "\n\n", "\r", "\t", "\v\f", "\x85", "\u2028", "\u00a0", "\u3000", "\u2009", "   "),
    *("\x00", "\x07", "\x1b[0m", "\x7f", "\u200e", "\u202e", "\u2066", "\ufeff", "\ufffe"),
    # Combining marks, joiners, zero width, variation selectors.
    *("e\u0301", "\u0301", "a" + "\u0308" * 5, "\u200b", "\u200d", "\u200c", "\u2060", "\ufe0f"),
    *("👩🏽\u200d⚕\ufe0f", "🇪🇸", "😷", "🧬", "می\u200cخواهم", "क्ष", "कमज़ोरी"),
    # Halves of surrogate pairs, alone and in the wrong order.
    *("\ud83d", "\ude00", "\ude00\ud83d", "\udcff", "\U000e0041", "\ufffd"),
    # What normalisation makes longer, shorter, or takes away.
    *("´", "¨", "¸", "½", "ﬁ", "ﷺ", "㎎", "Ⅳ", "™", "ß", "İ", "ẛ̣", "\u00ad", "\u1160", "ｱﾞ"),
    *("患者有糖尿病。", "ไข้สูง", "។", "がん！", "한국어", "المريض", "חולה", "Δ", "жар"),
]  # fmt: skip
# `characters()` ranges over all of Unicode, surrogates included.
TEXTS = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.characters()), max_size=12).map("".join)


@pytest.fixture(scope="module")
def few_shapes():
    """All short texts in one shape, which compiles once; windows of 32 tokens in any case."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            predictor_module, "bucket", functools.partial(predictor_module.bucket, multiple=320)
        )
        patch.setattr(labeller_module, "WINDOW_TOKENS", 32)
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.labelling_model(str(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def labellers(model, few_shapes):
    load = functools.partial(Labeller.load, model, batch_size=8)
    return {
        "greedy": load(),
        "beam": load(search=Search("beam", 2), n_best=2),
        "text": load(where="text", labels=TEXTUAL_LABELS),
    }


def assert_sound(document, text, labels):
    """The text as it was; entities in order, flat, quoting it at their offsets; cuts inside it."""
    assert document.text == text
    check(document)
    reached = 0
    for entity in document.entities:
        assert reached <= entity.start < entity.end <= len(text)
        assert entity.text == text[entity.start : entity.end]
        assert entity.label in labels and 0.0 <= entity.score <= 1.0 + 1e-6
        reached = entity.end
    starts, ends = {a for a, _ in document.words}, {b for _, b in document.words}
    assert {e.start for e in document.entities} <= starts
    assert {e.end for e in document.entities} <= ends
    flat = [edge for word in document.words for edge in word]
    assert flat == sorted(flat) and all(a < b for a, b in document.words)
    assert list(document.splits) == sorted(set(document.splits)) and set(document.splits) <= starts


@pytest.mark.parametrize(
    "name, examples",
    [
        ("greedy", 40),
        ("beam", 10),
        pytest.param("greedy", 1000, marks=pytest.mark.slow),
        pytest.param("text", 1000, marks=pytest.mark.slow),
        pytest.param("beam", 300, marks=pytest.mark.slow),
    ],
)
def test_any_texts_come_back_with_sound_entities(labellers, name, examples):
    labeller = labellers[name]
    # So much is marked and cut that the property is not an empty one.
    (every,) = labeller.label([" ".join(FRAGMENTS)])
    assert len(every.entities) > 5 and every.splits
    assert_sound(every, " ".join(FRAGMENTS), labeller.labels)

    @settings(max_examples=examples)
    @given(st.lists(TEXTS, min_size=1, max_size=3))
    def all_are_sound(texts):
        for document, text in zip(labeller.label(texts), texts, strict=True):
            assert_sound(document, text, labeller.labels)

    all_are_sound()


class EverySeventh:
    """Stands in for a predictor: copies, and marks every seventh word."""

    search = Search()

    def predict(self, examples, *, format_, soft_prompt):
        predictions = []
        for example in examples:
            spans = [Span(i, i + 1, "Disease") for i in range(6, len(example["words"]), 7)]
            tokens = [*render(example["words"], spans, format_.tags).ids, format_.vocabulary.eos_id]
            predictions.append(Prediction(np.array(tokens), np.zeros(len(tokens)), True))
        return predictions


def long_line(size):
    """At least so many bytes of words and fragments at random, without a line end."""
    fragments = [f for f in FRAGMENTS if f.splitlines() == [f]]
    words = ["acute", "fever", "patient", "15", "mg", "aspirin", "leukaemia", *fragments]
    text = " ".join(np.random.default_rng(0).choice(words, size // 5).tolist())
    assert len(text.encode("utf-8", "surrogatepass")) > size
    assert text.splitlines() == [text]
    return text


@pytest.mark.slow
def test_a_line_of_ten_megabytes_comes_back_with_sound_entities(sample_vocabulary):
    text = long_line(10_000_000)
    format_ = Labelling(sample_vocabulary, tiny.LABELS)
    labeller = Labeller(EverySeventh(), format_, max_source_length=256)
    before = peak()
    (document,) = labeller.label([text])
    # Two million words of two offsets each, which Python keeps in some 150 bytes, and the windows.
    assert peak() - before < 2**30
    assert_sound(document, text, tiny.LABELS)
    assert len(document.entities) > len(document.words) / 10 and document.splits
    assert document.entities[-1].start > len(text) - 1000


def peak():
    """Bytes of memory that this process has held at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@pytest.mark.slow
def test_a_model_labels_two_hundred_kilobytes_to_the_end(model):
    text = long_line(200_000)
    (document,) = Labeller.load(model, batch_size=32).label([text])
    assert_sound(document, text, tiny.LABELS)
    # The random model marks two words in five.
    assert len(document.entities) > len(document.words) / 10 and document.splits
    assert document.entities[-1].start > len(text) - 1000
