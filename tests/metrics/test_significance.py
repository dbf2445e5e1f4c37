"""Bootstrap intervals and paired tests against exact counts and SciPy."""

import itertools

import numpy as np
import pytest

from medmt5.metrics import METRICS, interval, paired_test
from medmt5.metrics.significance import mean_interval, mean_test

ACCURACY = METRICS["accuracy"]


def choices(right):
    return [
        {"id": str(i), "gold": ["A"], "predicted": ["A" if ok else "B"], "options": 4}
        for i, ok in enumerate(right)
    ]


def test_an_interval_of_accuracy_is_that_of_the_binomial():
    stats = pytest.importorskip("scipy.stats")
    records = choices([True] * 60 + [False] * 40)
    low, high = interval(ACCURACY, records, samples=20000)
    # Resampling draws the number right from a binomial; neighbouring counts are 1 point apart.
    want = stats.binom(100, 0.6).ppf([0.025, 0.975])
    assert np.allclose([low, high], want, atol=1)


def test_an_interval_narrows_with_its_level_and_holds_the_score():
    records = choices([True] * 13 + [False] * 7)
    wide, narrow = interval(ACCURACY, records, level=0.99), interval(ACCURACY, records, level=0.5)
    assert wide[0] < narrow[0] <= 65 <= narrow[1] < wide[1]


def test_the_same_seed_gives_the_same_interval():
    records = choices([True] * 13 + [False] * 7)
    assert interval(ACCURACY, records, seed=3) == interval(ACCURACY, records, seed=3)
    values = {interval(ACCURACY, records, samples=10, seed=seed) for seed in range(5)}
    assert len(values) > 1


def test_perfect_predictions_leave_no_interval():
    assert interval(ACCURACY, choices([True] * 9)) == (100, 100)


def test_a_ratio_is_resampled_as_a_ratio_of_sums():
    # One sentence with three right spans, one with a wrong one: F1 is 0, 2 * 3 / 7 or 1, as the
    # two draws take the second twice, once or never; a mean over sentences would be 50.
    records = [
        {"words": list("abc"), "gold": [[i, i + 1, "X"] for i in range(3)]},
        {"words": list("abc"), "gold": [[0, 1, "X"]]},
    ]
    records[0]["predicted"] = records[0]["gold"]
    records[1]["predicted"] = []
    f1 = METRICS["f1"]
    assert f1(records) == pytest.approx(100 * 6 / 7)
    assert interval(f1, records, level=0.999) == (0, 100)
    # Half of the resamples draw one of each.
    assert interval(f1, records, level=0.4, samples=2000) == pytest.approx((600 / 7, 600 / 7))


def test_groups_are_resampled_apart_and_count_the_same():
    many, few = choices([True] * 500), choices([False] * 5)
    counts = [ACCURACY.counts(many), ACCURACY.counts(few)]
    # Within its group each resample is the group itself.
    assert mean_interval(ACCURACY, counts, level=0.95, samples=50, seed=0) == (50, 50)


def test_p_equals_that_of_all_exchanges():
    rng = np.random.default_rng(0)
    a, b = choices(rng.random(12) < 0.8), choices(rng.random(12) < 0.4)
    gains = ACCURACY.counts(a)[:, 0] - ACCURACY.counts(b)[:, 0]
    sums = [np.dot(signs, gains) for signs in itertools.product([1, -1], repeat=len(gains))]
    exact = np.mean(np.abs(sums) >= abs(gains.sum()))
    assert 0.01 < exact < 0.5
    test = paired_test(ACCURACY, a, b)
    assert test.difference == pytest.approx(100 * gains.mean())
    # Three standard errors of a share of 10,000.
    assert test.p == pytest.approx(exact, abs=3 * np.sqrt(exact * (1 - exact) / 10000))


def test_p_of_f1_equals_that_of_all_exchanges():
    rng = np.random.default_rng(1)

    def predictions(share):
        return [
            {"words": list("abcdef"), "gold": [[0, 1, "X"], [2, 4, "Y"]], "predicted": spans}
            for spans in (
                [s for s in ([0, 1, "X"], [2, 4, "Y"], [4, 5, "X"]) if rng.random() < share]
                for _ in range(9)
            )
        ]

    f1 = METRICS["f1"]
    a, b = predictions(0.8), predictions(0.4)
    observed = abs(f1(a) - f1(b))
    large = 0
    for exchanges in itertools.product([False, True], repeat=len(a)):
        one = [y if e else x for x, y, e in zip(a, b, exchanges, strict=True)]
        other = [x if e else y for x, y, e in zip(a, b, exchanges, strict=True)]
        large += abs(f1(one) - f1(other)) >= observed - 1e-9
    exact = large / 2 ** len(a)
    p = paired_test(f1, a, b).p
    assert p == pytest.approx(exact, abs=3 * np.sqrt(exact * (1 - exact) / 10000))


def test_equal_systems_do_not_differ():
    a = choices([True, False, True])
    assert paired_test(ACCURACY, a, a) == (0, 0, 0, 1)


def test_systems_that_swap_sides_differ_by_the_opposite():
    rng = np.random.default_rng(0)
    a, b = choices(rng.random(50) < 0.8), choices(rng.random(50) < 0.5)
    one, other = paired_test(ACCURACY, a, b), paired_test(ACCURACY, b, a)
    assert one.difference == -other.difference > 0
    assert one.p < 0.05
    assert one.low > 0 > other.high


def test_p_is_never_zero():
    a, b = choices([True] * 200), choices([False] * 200)
    assert paired_test(ACCURACY, a, b, samples=99).p == pytest.approx(1 / 100)


def test_a_test_over_groups_is_of_the_mean():
    pairs = [
        (ACCURACY.counts(choices([True] * n)), ACCURACY.counts(choices([False, True] * (n // 2))))
        for n in (10, 40)
    ]
    assert mean_test(ACCURACY, pairs, level=0.95, samples=100, seed=0).difference == 50


def test_many_examples_are_resampled_in_parts(monkeypatch):
    from medmt5.metrics import significance

    records = choices(np.random.default_rng(0).random(40) < 0.6)
    others = choices(np.random.default_rng(1).random(40) < 0.6)
    whole = interval(ACCURACY, records), paired_test(ACCURACY, records, others)
    monkeypatch.setattr(significance, "_AT_ONCE", 1000)
    assert (interval(ACCURACY, records), paired_test(ACCURACY, records, others)) == whole


def test_predictions_for_other_examples_are_an_error():
    with pytest.raises(ValueError, match="differ in line 2"):
        paired_test(ACCURACY, choices([True] * 3), choices([True]))


@pytest.mark.parametrize("level, samples", [(0, 10), (95, 10), (0.95, 0)])
def test_settings_out_of_range_are_errors(level, samples):
    with pytest.raises(ValueError, match="level is|samples is"):
        interval(ACCURACY, choices([True]), level=level, samples=samples)
