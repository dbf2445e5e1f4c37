"""BLEU by hand and against sacrebleu."""

import math

import numpy as np
import pytest

from medmt5.metrics import METRICS, score

WORDS = "the heart lung pain fever no of acute , . chronic patient with 3.5 mg".split()


def random_records(seed, references=1, sentences=25):
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(sentences):
        text = rng.choice(WORDS, rng.integers(1, 20)).tolist()
        wanted = [
            " ".join(w if rng.random() < 0.8 else str(rng.choice(WORDS)) for w in text)
            for _ in range(references)
        ]
        made.append({"references": wanted, "predicted": " ".join(text), "lang": "en"})
    return made


def test_bleu1_worked_by_hand():
    record = {"references": ["no acute chest pain today"], "predicted": "acute acute pain"}
    # "acute" counts once, so 2 of 3; three words for five.
    expected = 100 * 2 / 3 * math.exp(1 - 5 / 3)
    assert score([record], ["bleu1"])["bleu1"] == pytest.approx(expected)


def test_the_corpus_score_is_of_summed_counts_not_a_mean():
    records = [
        {"references": ["a b c d"], "predicted": "a b c d"},
        {"references": ["e f g h i j"], "predicted": "x x x x x x"},
    ]
    assert score(records, ["bleu1"])["bleu1"] == pytest.approx(40)
    assert score(records, ["sentence_bleu1"])["sentence_bleu1"] == pytest.approx(50)


@pytest.mark.parametrize("references", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_sacrebleu(seed, references):
    sacrebleu = pytest.importorskip("sacrebleu")
    records = random_records(seed, references)
    found = [record["predicted"] for record in records]
    streams = list(zip(*(record["references"] for record in records), strict=True))
    ours = score(records, ["bleu", "bleu1", "sentence_bleu", "sentence_bleu1"])
    one = sacrebleu.BLEU(max_ngram_order=1)
    assert 0 < ours["bleu"] < 100
    assert ours["bleu"] == pytest.approx(sacrebleu.corpus_bleu(found, streams).score)
    assert ours["bleu1"] == pytest.approx(one.corpus_score(found, streams).score)
    sentences = [
        sacrebleu.sentence_bleu(record["predicted"], record["references"]).score
        for record in records
    ]
    assert ours["sentence_bleu"] == pytest.approx(np.mean(sentences))


@pytest.mark.parametrize("words", [1, 2, 3, 4, 6])
def test_orders_without_a_match_are_smoothed_as_in_sacrebleu(words):
    sacrebleu = pytest.importorskip("sacrebleu")
    # One word is right; of fewer than four words the corpus score is 0.
    found = " ".join(["pain", *"abcde"][:words])
    record = {"references": ["pain x y z v w"], "predicted": found}
    corpus = sacrebleu.corpus_bleu([found], [record["references"]]).score
    assert METRICS["bleu"]([record]) == pytest.approx(corpus)
    sentence = sacrebleu.sentence_bleu(found, record["references"]).score
    assert METRICS["sentence_bleu"]([record]) == pytest.approx(sentence)
    assert sentence > 0


def test_chinese_equals_sacrebleu_with_its_tokeniser():
    sacrebleu = pytest.importorskip("sacrebleu")
    pairs = [
        ("患者胸痛三天，考虑肺栓塞。", "患者胸痛3天，诊断为肺栓塞。"),
        ("血压120/80mmHg", "血压为120/80 mmHg"),
    ]
    records = [{"references": [b], "predicted": a, "lang": "zh"} for a, b in pairs]
    found, references = zip(*pairs, strict=True)
    theirs = sacrebleu.corpus_bleu(found, [references], tokenize="zh").score
    assert METRICS["bleu"](records) == pytest.approx(theirs)
    # The script alone tells as much.
    bare = [{key: record[key] for key in ("references", "predicted")} for record in records]
    assert METRICS["bleu"](bare) == pytest.approx(theirs)


def test_an_empty_prediction_scores_zero():
    record = {"references": ["chest pain"], "predicted": ""}
    for name in ("bleu", "bleu1", "sentence_bleu", "sentence_bleu1"):
        assert METRICS[name]([record]) == 0


def test_segmented_words_make_other_ngrams():
    pytest.importorskip("jieba")
    record = {"references": ["患者有糖尿病"], "predicted": "患者糖尿病", "lang": "zh"}
    # Words 患者 and 糖尿病, two for three; characters are five for six.
    assert METRICS["bleu1_jieba"]([record]) == pytest.approx(100 * math.exp(1 - 3 / 2))
    assert METRICS["bleu1"]([record]) == pytest.approx(100 * math.exp(1 - 6 / 5))
