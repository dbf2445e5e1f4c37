"""Quality rules: for each a text that breaks it alone, and terse notes that they all keep."""

from __future__ import annotations

import pytest

from medmt5.corpus.documents import Document, Removed
from medmt5.corpus.steps.quality import Quality

# 50 words: just enough for the rules for long texts.
PROSE = (
    "The patient was admitted to our hospital with fever and a cough that had lasted for three days"
    " before she was seen by her own doctor, who found an enlarged liver, ordered several blood"
    " tests, stopped all drugs, prescribed fluids instead, then called us because nothing he did"
    " helped much."
)


def judged(text, language="en", **settings):
    result = Quality(**settings)(Document(text, "1", "web", language))
    return "kept" if isinstance(result, Document) else (result.reason, result.detail)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (PROSE, "en"),
        ("Боли в поясничном отделе позвоночника.", "ru"),
        ("ECOGRAFIA : Quistes corticales renales derechos . TAC SIN HALLAZGOS .", "es"),
        ("Hb 12,5 g/dl, Leuc 8.500, Plaq 230.000, Na 138, K 4,2, Creat 0,9", "es"),
        ("4 ) OLMESARTAN 40 , 1-0-0 . 2 ) CONTROL EN CARDIOLOGIA EL DIA 27 .", "es"),
        ("- Fiebre desde ayer\n- Tos seca nocturna\nTratamiento: paracetamol", "es"),
        ("高尿酸血症をきたさないのはどれか。", "ja"),
        ("患者发热三天，体温39.2℃，脉搏110次/分。", "zh"),
    ],
)
def test_prose_and_terse_notes_are_kept(text, language):
    assert judged(text, language) == "kept"


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Only four words here", "en", ("too short", "4 words")),
        ("", "en", ("too short", "0 words")),
        ("发热三天入院。", "zh", ("too short", "6 words")),
        ("a b c d e f", "en", ("word length", "1.0")),
        ("https://example.org/a/long/path " * 5, "en", ("word length", "31.0")),
        # One word in six has a letter.
        ("12,5 13,5 14,5 15,5 16,5 glucose", "en", ("few words with letters", "0.17")),
        # Two of ten words.
        ("see #one and #two of the list that is here", "en", ("symbols", "0.20")),
        # 18 digits of 33 signs.
        ("code 123456 and 123456 with 123456 x", "en", ("digits", "0.60")),
        ("Lorem ipsum dolor sit amet", "en", ("placeholder text", "")),
        ("* one item\n* two items\n- three items", "en", ("bullets", "1.00")),
        ("We saw that...\nMore is here...\nThe end of it", "en", ("symbols", "0.20")),
        ("We saw that…\n" * 2 + "The end of it is here and it is long enough now", "en",
         ("ellipses", "0.67")),
        # 60 names.
        (" ".join(f"aspirin{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(60)), "en",
         ("few stop words", "0")),
    ],
)  # fmt: skip
def test_each_rule_removes_its_own(text, language, expected):
    settings = {"max_symbols": 1.0} if expected[0] == "ellipses" else {}
    assert judged(text, language, **settings) == expected


def test_capitals_are_allowed_unless_asked_for():
    text = "PACIENTE CON DOLOR ABDOMINAL AGUDO"
    assert judged(text, "es") == "kept"
    assert judged(text, "es", max_upper=0.5) == ("capitals", "1.00")


def test_the_commonest_ngram_may_cover_a_share():
    words = "one two three four five six seven eight nine ten".split()
    text = " ".join(f"{word} was in" for word in words * 2)
    # `was in` 20 times: 100 of 178 characters; Gopher's 0.2 by the factor 2 are allowed.
    assert judged(text) == ("repeated n-grams", "n=2 0.56")


def test_a_repeated_paragraph_counts_once_as_repetition():
    # The second copy is half of the text, which 5-grams show first.
    text = f"{PROSE} {PROSE}"
    assert judged(text) == ("repeated n-grams", "n=5 0.50")
    assert judged(text, repeats=6.0) == "kept"
    chinese = (
        "患者女性因反复发作性胸闷气促五年加重一周收入本院心内科病房进一步诊治"
        "既往高血压病史十余年最高达一百八规律服药控制可否认糖尿病冠心病等慢性疾病史无药物过敏"
    )
    assert judged(chinese + "的是", "zh") == "kept"
    assert judged(chinese * 2 + "的是", "zh")[0] == "repeated n-grams"


def test_languages_without_stop_words_and_short_texts_are_not_asked_for_them():
    names = " ".join(f"aspirin{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(60))
    assert judged(names, "fi") == "kept"
    assert judged(" ".join(names.split()[:49]), "en") == "kept"


def test_a_kept_document_is_the_same_object():
    document = Document(PROSE, "1", "web", "en")
    assert Quality()(document) is document
    assert Quality(max_words=10)(document) == Removed("too long", "50 words")
