"""The medical filter against a plain version of the published rule, and its keyword lists."""

from __future__ import annotations

import pickle
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmt5.corpus.documents import Document, Removed
from medmt5.corpus.steps.medical import MIN_KEYWORDS, Matcher, Medical, is_long, read_keywords


def plain_counts(text, keywords, *, unspaced):
    """The rule as it is published, keyword by keyword."""
    counts = {}
    for keyword in keywords:
        if unspaced or is_long(keyword):
            counts[keyword] = text.count(keyword)
        else:
            counts[keyword] = text.split().count(keyword)
    return {keyword: count for keyword, count in counts.items() if count}


# Nested, overlapping with themselves and with each other, long and short.
KEYWORDS = ("aa", "ab", "aaa", "a b", "aaaaaaaaaaa", "ab ab ab", "b ab a", "abaabaabaaba", "b")


@given(st.text(alphabet="ab \n", max_size=120), st.booleans())
def test_counts_are_those_of_the_plain_rule(text, unspaced):
    found = Matcher(KEYWORDS, unspaced=unspaced)(text)
    assert dict(found) == plain_counts(text, KEYWORDS, unspaced=unspaced)


@given(
    st.lists(st.sampled_from("diabetes mellitus, of gene general cardiovascular 心 ".split(" ")))
)
def test_counts_of_the_english_list_are_those_of_the_plain_rule(words):
    keywords = listed("en")
    text = " ".join(words)
    assert dict(Matcher(keywords, unspaced=False)(text)) == plain_counts(
        text, keywords, unspaced=False
    )


def listed(language):
    folder = resources.files("medmt5.corpus.steps") / "keywords"
    return read_keywords((folder / f"{language}.txt").read_text(encoding="utf-8"))


@pytest.mark.parametrize("language", MIN_KEYWORDS)
def test_lists_have_about_two_hundred_terms_that_can_match(language):
    text = (resources.files("medmt5.corpus.steps") / "keywords" / f"{language}.txt").read_text()
    keywords = listed(language)
    assert 200 <= len(keywords) <= 350
    assert len(keywords) == sum(1 for x in text.splitlines() if x and not x.startswith("#"))
    assert all(keyword == keyword.lower().strip() for keyword in keywords)
    if language not in ("zh", "ja"):
        # A short term of several words would be looked for among single words.
        assert all(len(keyword.split()) == 1 or is_long(keyword) for keyword in keywords)


def judged(text, language, **settings):
    return Medical(**settings)(Document(text, "1", "web", language))


def test_english_needs_five_keywords_and_four_percent():
    five = "patient fever cough nausea biopsy"  # 33 characters, 29 in keywords
    assert isinstance(judged(five, "en"), Document)
    assert judged("patient fever cough nausea nausea", "en") == Removed("few medical words", "4")
    # 29 of 33 + 692 characters are 4.0 %, of one more less.
    assert isinstance(judged(five + " " * 692, "en"), Document)
    assert judged(five + " " * 693, "en") == Removed("medical words far apart", "0.040")
    # Short ones are words between spaces.
    assert judged("patient, fever, cough, nausea, biopsy.", "en").detail == "0"


def test_a_keyword_in_a_longer_one_counts_for_both():
    # `diabetes mellitus` and `diabetes`: 25 characters in 17.
    counts = Matcher(("diabetes mellitus", "diabetes"), unspaced=False)("diabetes mellitus")
    assert counts == {"diabetes mellitus": 1, "diabetes": 1}


@pytest.mark.parametrize(
    ("language", "medical", "general"),
    [
        ("es", "Paciente con fiebre, dolor abdominal y diabetes mellitus en tratamiento.",
         "Ayer fuimos a la playa con los niños y comimos en un restaurante muy bueno."),
        ("fr", "Patient avec une hypertension artérielle et un traitement par antibiotiques oral.",
         "Hier nous sommes allés à la plage avec les enfants et nous avons bien mangé."),
        ("it", "Paziente con insufficienza renale, dolore addominale e terapia endovenosa",
         "Ieri siamo andati al mare con i bambini e abbiamo mangiato molto bene."),
        ("ru", "Больной с жалобами на головная боль, одышка и слабость , лечение антибиотиками",
         "Вчера мы ездили на море с детьми и очень вкусно поели в ресторане."),
        ("zh", "患者因发热、咳嗽入院，诊断为肺炎，给予抗生素治疗。",
         "昨天我们带孩子去了海边，在一家很好的餐厅吃了饭。"),
        ("ja", "患者は発熱と咳嗽で入院し、肺炎と診断され抗菌薬を投与された。",
         "昨日は子供たちと海に行き、とても美味しい店で食事をした。"),
    ],
)  # fmt: skip
def test_medical_text_passes_and_other_text_does_not(language, medical, general):
    assert isinstance(judged(medical, language), Document)
    assert judged(general, language).reason == "few medical words"


def test_languages_without_a_list_pass_and_own_lists_and_thresholds_are_taken(tmp_path):
    assert isinstance(judged("Kaixo mundua", "eu"), Document)
    path = tmp_path / "eu.txt"
    path.write_text("# euskara\nsukarra\neztula\nmina\npazientea\n", encoding="utf-8")
    step = Medical(keywords={"eu": str(path)}, min_keywords={"eu": 2})
    assert isinstance(step(Document("sukarra eta eztula", "1", "web", "eu")), Document)
    assert step(Document("sukarra eta", "1", "web", "eu")).detail == "1"
    assert pickle.loads(pickle.dumps(step)) == step
    with pytest.raises(ValueError, match="min_density has 'xx'.*en, zh, ja"):
        Medical(min_density={"xx": 0.1})
    with pytest.raises(ValueError, match="no file nowhere.txt"):
        Medical(keywords={"eu": "nowhere.txt"})
