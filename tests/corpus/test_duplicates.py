"""Duplicates: estimates against known similarities, recall of bands, and who stays."""

from __future__ import annotations

import hashlib
import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmt5.corpus.duplicates import (
    THRESHOLD,
    bands,
    exact_key,
    order_key,
    removals,
    signature,
)


def test_exact_keys_see_words_alone():
    same = ("Fiebre y tos.", "fiebre   Y\ntos", "ＦＩＥＢＲＥ y “tos”")
    assert len({exact_key(text) for text in same}) == 1
    assert exact_key("fiebre tos y") != exact_key(same[0])
    # Texts without words differ by their signs.
    assert exact_key("...") != exact_key("???")
    assert exact_key(same[0]) == hashlib.blake2b(b"fiebre y tos", digest_size=16).digest()


def pair(jaccard, rng, *, words=400):
    """Two texts whose sets of 5-grams have the given similarity: a common beginning.

    With c shared and u own 5-grams each, c / (c + 2u) is the similarity. Words are unique, so each
    text of w words has w - 4 different 5-grams, and shares those of the beginning.
    """
    grams = words - 4
    common = round(2 * grams * jaccard / (1 + jaccard))
    vocabulary = [f"w{number}" for number in rng.sample(range(10**7), 3 * words)]
    shared = vocabulary[: common + 4] if common else []
    first = shared + vocabulary[words : 2 * words - len(shared)]
    second = shared + vocabulary[2 * words : 3 * words - len(shared)]
    return " ".join(first), " ".join(second)


def test_the_constructed_similarity_is_what_it_says():
    a, b = (text.split() for text in pair(0.8, random.Random(0)))
    sets = [{tuple(text[i : i + 5]) for i in range(len(text) - 4)} for text in (a, b)]
    exact = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    assert abs(exact - 0.8) < 0.0025  # half an n-gram of 396, which moves the share by 0.0045


def similarity(a, b):
    return (a == b).mean()


def shares_a_band(a, b):
    return bool(set(bands(a)) & set(bands(b)))


def test_estimates_are_unbiased_and_bands_and_threshold_find_near_duplicates():
    rng = random.Random(20)
    found = {}
    for jaccard in (0.5, 0.7, 0.9, 0.95):
        pairs = [pair(jaccard, rng) for _ in range(60)]
        signatures = [(signature(a, "en"), signature(b, "en")) for a, b in pairs]
        estimates = [similarity(a, b) for a, b in signatures]
        # Four standard errors of the mean of 60 x 128 draws, and the rounding of half an n-gram.
        error = 4 * (jaccard * (1 - jaccard) / (60 * 128)) ** 0.5 + 0.0025
        assert abs(np.mean(estimates) - jaccard) < error
        found[jaccard] = sum(
            shares_a_band(a, b) and similarity(a, b) >= THRESHOLD for a, b in signatures
        )
    # Of 60 pairs each; 0.7 is 2.5 standard errors below the threshold, 0.9 is 3.8 above.
    assert found[0.5] == 0
    assert found[0.7] <= 3
    assert found[0.9] >= 58
    assert found[0.95] == 60


def test_chinese_is_compared_by_characters():
    text = "患者女性，因反复发作性胸闷气促五年，加重一周收入本院心内科，既往高血压病史十余年。" * 2
    changed = text[:-4] + "八余年。"
    assert similarity(signature(text, "zh"), signature(changed, "zh")) > 0.7
    other = "小儿腹泻病是由多病原、多因素引起的以大便次数增多和大便性状改变为特点的一组疾病。"
    assert similarity(signature(text, "zh"), signature(other, "zh")) < 0.1


def test_short_and_empty_texts_have_signatures():
    assert similarity(signature("Fiebre alta", "es"), signature("fiebre, alta.", "es")) == 1
    assert similarity(signature("Fiebre alta", "es"), signature("Fiebre baja", "es")) < 0.1
    assert (signature("", "es") == np.uint64(2**64 - 1)).all()


def test_signatures_and_bands_are_the_same_everywhere():
    text = "the patient was admitted with fever and cough"
    # Recorded: a change makes the signatures of earlier builds worthless.
    assert signature(text, "en")[:2].tolist() == [3389289125135906346, 3577810219108839671]
    assert bands(signature(text, "en"))[0].hex() == "2ae8b226933307f6"
    assert len(set(bands(signature("", "en")))) == 16


def test_long_texts_are_hashed_in_blocks_without_a_difference():
    words = [f"w{i}" for i in range(10_000)]
    whole = signature(" ".join(words), "en")
    parts = [signature(" ".join(words[i : i + 5004]), "en") for i in (0, 4996)]
    assert (whole == np.minimum(*parts)).all()


# Signatures of four numbers: `similarity` is a quarter for each that is equal.
A, B, C, D = (
    np.array(row, dtype=np.uint64)
    for row in ([1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 6, 5], [9, 8, 7, 6])
)


def test_the_smaller_key_stays_and_those_that_go_take_others_along():
    # A is like B and B like C (three of four), A not like C (two).
    keys = [b"c", b"a", b"b", b"d"]
    assert removals(keys, np.stack([C, A, B, D]), threshold=0.75) == [(0, 2), (2, 1)]
    # Nearer to the front, C stays and takes B; A goes with B.
    assert removals([b"a", b"c", b"b", b"d"], np.stack([C, A, B, D]), threshold=0.75) == [
        (1, 2),
        (2, 0),
    ]


@given(st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), max_size=12), st.randoms())
def test_what_goes_is_what_the_rule_says_in_any_order(rows, rng):
    signatures = np.array(rows, dtype=np.uint64).reshape(-1, 4)
    keys = [order_key(0, "web", str(i)) for i in range(len(rows))]
    gone = {i for i, _ in removals(keys, signatures, threshold=0.75)}
    pairs = itertools.permutations(range(len(rows)), 2)
    assert gone == {
        i
        for i, j in pairs
        if keys[j] < keys[i] and similarity(signatures[i], signatures[j]) >= 0.75
    }
    order = rng.sample(range(len(rows)), len(rows))
    shuffled = removals([keys[i] for i in order], signatures[order], threshold=0.75)
    assert {order[i] for i, _ in shuffled} == gone


def test_order_is_by_priority_then_by_hash():
    keys = [order_key(p, "pubmed", str(i)) for p in (5, 0, -5) for i in range(20)]
    assert max(keys[:20]) < min(keys[20:40]) and max(keys[20:40]) < min(keys[40:])
    assert len(set(keys)) == 60
    assert order_key(0, "a", "b") == order_key(0, "a", "b")
    with pytest.raises(OverflowError):
        order_key(2**40, "a", "b")
