"""Scores of rationales against the libraries that MMedBench's released code calls."""

import numpy as np
import pytest

from medmt5.metrics import METRICS, mmedbench, score

TEXTS = {
    "en": (
        "The left ventricle fails. Hence fluid backs up into the lungs, causing dyspnea.",
        "Because the left ventricle fails, fluid backs up. It causes dyspnea.",
    ),
    "zh": (
        "患者胸痛三天，考虑肺栓塞，应立即行CT检查。选项A正确。",
        "根据胸痛三天的病史，首先考虑肺栓塞。应行CT血管造影检查。",
    ),
    "ja": (
        "患者は三日前から胸痛を訴えている. 肺塞栓症を考える。",
        "三日前からの胸痛があり、肺塞栓症が疑われる. 造影CTを行う。",
    ),
    "fr": ("L'insuffisance cardiaque.", "Une insuffisance . cardiaque gauche. "),
}


@pytest.fixture(autouse=True)
def without_data_of_nltk(monkeypatch):
    """NLTK's words without its sentence splitter, whose data must be downloaded."""
    nltk = pytest.importorskip("nltk.tokenize")
    for name in ("jieba", "janome"):
        pytest.importorskip(name)
    tokenizer = nltk.NLTKWordTokenizer()
    monkeypatch.setattr(mmedbench, "nltk", lambda text, language: tokenizer.tokenize(text))


def record(lang):
    predicted, reference = TEXTS[lang]
    return {
        "gold": ["A"],
        "predicted": ["A"],
        "options": 5,
        "lang": lang,
        "rationale": reference,
        "predicted_rationale": predicted,
    }


@pytest.mark.parametrize("lang", TEXTS)
def test_bleu_equals_nltk_with_its_first_smoothing(lang):
    bleu = pytest.importorskip("nltk.translate.bleu_score")
    found, wanted = (mmedbench._tokens(text, lang) for text in TEXTS[lang])
    smoothing = bleu.SmoothingFunction().method1
    for name, weights in (("mmedbench_bleu", (0.25,) * 4), ("mmedbench_bleu1", (1, 0, 0, 0))):
        want = bleu.sentence_bleu([wanted], found, weights=weights, smoothing_function=smoothing)
        assert 0 < want < 1
        assert METRICS[name]([record(lang)]) == pytest.approx(100 * want)


@pytest.mark.parametrize("lang", TEXTS)
def test_rouge_equals_the_package_rouge(lang):
    rouge = pytest.importorskip("rouge")
    found, wanted = TEXTS[lang]
    if lang in ("zh", "ja"):
        found, wanted = (" ".join(mmedbench._tokens(text, lang)) for text in (found, wanted))
    (theirs,) = rouge.Rouge().get_scores(found, wanted)
    assert 0 < theirs["rouge-l"]["f"] < 1
    assert METRICS["mmedbench_rouge"]([record(lang)]) == pytest.approx(100 * theirs["rouge-l"]["f"])
    assert METRICS["mmedbench_rouge1"]([record(lang)]) == pytest.approx(
        100 * theirs["rouge-1"]["f"]
    )


@pytest.mark.parametrize("seed", range(5))
def test_rouge_of_several_sentences_equals_the_package_rouge(seed):
    rouge = pytest.importorskip("rouge")
    rng = np.random.default_rng(seed)
    # Few words, so that a longest common subsequence is seldom the only one.
    found, wanted = (" ".join(rng.choice([*"abcdefgh", "."], 40)) for _ in range(2))
    (theirs,) = rouge.Rouge().get_scores(found, wanted)
    example = record("en") | {"predicted_rationale": found, "rationale": wanted}
    assert METRICS["mmedbench_rouge"]([example]) == pytest.approx(100 * theirs["rouge-l"]["f"])


def test_scores_are_means_over_questions():
    records = [record(lang) for lang in TEXTS]
    for name in ("mmedbench_bleu", "mmedbench_rouge"):
        each = [METRICS[name]([one]) for one in records]
        assert METRICS[name](records) == pytest.approx(np.mean(each))


def test_what_the_table_says_is_not_what_the_code_computes():
    records = [record(lang) for lang in TEXTS]
    assert METRICS["mmedbench_bleu1"](records) > METRICS["mmedbench_bleu"](records) + 10
    assert METRICS["mmedbench_rouge1"](records) > METRICS["mmedbench_rouge"](records)


def test_an_empty_rationale_scores_zero():
    example = record("en") | {"predicted_rationale": ""}
    for name in ("mmedbench_bleu", "mmedbench_bleu1", "mmedbench_rouge", "mmedbench_rouge1"):
        assert METRICS[name]([example]) == 0


def test_only_rationales_that_a_person_passed_count_where_persons_looked():
    """As the benchmark is scored; our own scores take all."""
    good, bad = record("en"), record("en") | {"predicted_rationale": "Nothing."}
    for name in ("mmedbench_bleu", "mmedbench_rouge"):
        metric = METRICS[name]
        alone = score([good], [name])[name]
        passed = [good | {"human_check": "passed"}, bad | {"human_check": "failed"}, bad]
        assert score(passed, [name])[name] == alone
        assert score([good, bad], [name])[name] < alone
        assert len(metric.counts(passed)) == 3
    names = ["rationale_rouge1"]
    assert score(passed, names)["rationale_rouge1"] < score([good], names)["rationale_rouge1"]
