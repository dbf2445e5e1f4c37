"""Tokens of texts in several scripts."""

import pytest

from medmt5.metrics import tokens

ZH = "患者出现胸痛，CT提示肺栓塞。"
JA = "患者は胸痛とショックを訴えた。"
RU = "У пациента острая боль в груди."


@pytest.mark.parametrize(
    "text, language, expected",
    [
        ("COVID-19: it's 3.5 mg!", "en", ["covid", "19", "it", "s", "3", "5", "mg"]),
        ("Œdème aigu — d'origine", "fr", ["œdème", "aigu", "d", "origine"]),
        (RU, "ru", ["у", "пациента", "острая", "боль", "в", "груди"]),
        ("肺栓塞CT2次", "zh", ["肺", "栓", "塞", "ct2", "次"]),
        ("ショック死", "ja", ["シ", "ョ", "ッ", "ク", "死"]),
        ("हिन्दी", "hi", ["हिन्दी"]),  # vowel signs are marks, not ends of words
        ("cafe\u0301", "fr", ["café"]),
        ("!? _ ...", "en", []),
    ],
)
def test_words_of_a_text(text, language, expected):
    assert tokens.words(text, language) == expected


def test_words_equal_those_of_rouge_score_on_ascii():
    theirs = pytest.importorskip("rouge_score.tokenize")
    text = "".join(map(chr, range(128))) + " Type-2 diabetes_mellitus (HbA1c>6.5%), don't stop"
    assert tokens.words(text) == theirs.tokenize(text, None)


@pytest.mark.parametrize(
    "text, expected",
    [
        (ZH, "zh"),
        (JA, "ja"),
        (RU, "ru"),
        ("Dolor torácico", "en"),
        ("12 %", "en"),
        ("血压为120/80 mmHg", "zh"),
    ],
)
def test_the_script_tells_the_language(text, expected):
    assert tokens.language_of([text]) == expected


def test_a_given_language_comes_before_the_script():
    assert tokens.language_of([RU], "es") == "es"
    assert tokens.language_of([""], "zh-CN") == "zh"
    assert tokens.language_of([""], "jp") == "ja"


@pytest.mark.parametrize(
    "text, language, expected",
    [
        ("The  Heart-Failure!", "en", ["heartfailure"]),  # as SQuAD
        ("La aspirina y el reposo.", "es", ["aspirina", "y", "reposo"]),
        ("L’aspirine, le repos", "fr", ["aspirine", "repos"]),
        ("l'infarto di un uomo", "it", ["infarto", "di", "uomo"]),
        ("«Боль»", "ru", ["боль"]),
        ("肺栓塞。", "zh", ["肺", "栓", "塞"]),
        ("A", "en", ["a"]),  # a blood group, not an article
        ("５ ｍｇ", "ja", ["5", "mg"]),
    ],
)
def test_words_of_an_answer(text, language, expected):
    assert tokens.answer_words(text, language) == expected


TRICKY = [
    "Hb 9.5 g/dL, 1,000 U; pH=7.35 (n=12) -- 5-10 %...",
    'e.g. &quot;CT&quot; &amp; MRI&lt;3T, don\'t "stop"',
    "2-\nfold rise\nin CRP.",
    ".5 mg, end.",
    "Œdème «aigu» à 38,5°C",
    RU,
]


@pytest.mark.parametrize("text", TRICKY)
def test_bleu_words_equal_sacrebleu(text):
    sacrebleu = pytest.importorskip("sacrebleu.tokenizers.tokenizer_13a")
    assert tokens.bleu_words(text, "en") == sacrebleu.Tokenizer13a()(text).split()


@pytest.mark.parametrize("text", [ZH, "血压120/80mmHg（正常）", "“胸痛”…服用1.5克", *TRICKY])
def test_bleu_words_of_chinese_equal_sacrebleu(text):
    sacrebleu = pytest.importorskip("sacrebleu.tokenizers.tokenizer_zh")
    assert tokens.bleu_words(text, "zh") == sacrebleu.TokenizerZh()(text).split()


def test_bleu_words_of_japanese_are_characters():
    assert tokens.bleu_words("ショックが2回。", "ja") == [*"ショックが", "2", *"回。"]


def test_segmented_chinese_keeps_what_the_score_compares():
    pytest.importorskip("jieba")
    cut = tokens.segmented("jieba", tokens.words)
    assert cut("患者有糖尿病。", "zh") == ["患者", "有", "糖尿病"]
    assert tokens.segmented("jieba", tokens.bleu_words)("糖尿病。", "zh") == ["糖尿病", "。"]
    assert cut("糖尿病 no", "ja") == ["糖", "尿", "病", "no"]  # Chinese only


def test_segmented_japanese_keeps_what_the_score_compares():
    pytest.importorskip("janome")
    cut = tokens.segmented("janome", tokens.words)
    assert cut("患者は胸痛を訴えた。", "ja") == ["患者", "は", "胸痛", "を", "訴え", "た"]
    assert cut("Red eye", "en") == ["red", "eye"]


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jieba", None)
    with pytest.raises(
        ValueError, match=r"jieba is not installed; pip install 'medmt5\[metrics\]'"
    ):
        tokens.jieba("胸痛")


def test_missing_data_of_nltk_is_named(monkeypatch):
    data = pytest.importorskip("nltk.data")
    monkeypatch.setattr(data, "path", [])
    with pytest.raises(ValueError, match="python -m nltk.downloader punkt_tab"):
        tokens.nltk("Chest pain.")
