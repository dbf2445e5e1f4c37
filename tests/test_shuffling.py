"""Keyed random numbers and permutations: bijective, uniform, and independent of each other."""

import itertools
from collections import Counter

import numpy as np
import pytest

from medmt5 import shuffling


def test_splitmix64_gives_its_published_numbers():
    # The first outputs of splitmix64 with seed 1234567, as in its reference implementation in C.
    numbers = shuffling.hashes(np.array([1234567], np.uint64), 3)[0]
    assert numbers.tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_a_key_is_that_of_its_parts_alone_or_in_an_array():
    many = shuffling.key(5, np.arange(4), 7)
    assert many.tolist() == [int(shuffling.key(5, i, 7)) for i in range(4)]


def test_keys_of_other_parts_differ():
    parts = [*itertools.product(range(-2, 6), repeat=3), *itertools.product(range(6), repeat=2)]
    assert len({int(shuffling.key(*each)) for each in parts}) == len(parts)


def test_numbers_may_be_taken_from_any_place():
    keys = shuffling.key(1, np.arange(3))
    whole = shuffling.hashes(keys, 10)
    np.testing.assert_array_equal(shuffling.hashes(keys, 4, first=6), whole[:, 6:])


def test_uniforms_fill_the_unit_interval_evenly():
    values = shuffling.uniforms(shuffling.key(0, np.arange(1000)), 100)
    assert values.min() >= 0 and values.max() < 1
    counts = np.histogram(values, bins=50, range=(0, 1))[0]
    # 99.9th percentile of chi-square at 49 degrees of freedom.
    assert ((counts - 2000) ** 2 / 2000).sum() < 85.4


@pytest.mark.parametrize("size", [*range(1, 40), 63, 64, 65, 255, 256, 257, 1000, 4097, 100_000])
def test_every_index_is_hit_once(size):
    out = shuffling.permuted(np.arange(size), size, shuffling.key(3, size))
    assert np.array_equal(np.sort(out), np.arange(size))


def test_an_index_goes_to_the_same_place_alone_as_among_others():
    size, permutation = 1000, shuffling.key(4)
    whole = shuffling.permuted(np.arange(size), size, permutation)
    for index in (0, 7, 999):
        assert shuffling.permuted(np.array([index]), size, permutation).tolist() == [whole[index]]


def test_sets_larger_than_memory_cost_nothing():
    size = 10**15
    out = shuffling.permuted(np.arange(size - 1000, size), size, shuffling.key(5))
    assert len(set(out.tolist())) == 1000 and out.min() >= 0 and out.max() < size
    assert out.std() == pytest.approx(size / np.sqrt(12), rel=0.1)  # spread over the whole set


def test_all_orders_of_three_are_equally_likely():
    draws = 6000
    orders = Counter(
        tuple(shuffling.permuted(np.arange(3), 3, shuffling.key(6, seed)).tolist())
        for seed in range(draws)
    )
    assert len(orders) == 6
    expected = draws / 6
    # 99.9th percentile of chi-square at 5 degrees of freedom.
    assert sum((count - expected) ** 2 / expected for count in orders.values()) < 20.5


@pytest.mark.parametrize("size", [10, 37])
def test_every_index_goes_everywhere_equally_often(size):
    draws = 4000
    counts = np.zeros((size, size))
    for seed in range(draws):
        out = shuffling.permuted(np.arange(size), size, shuffling.key(7, seed))
        counts[np.arange(size), out] += 1
    expected = draws / size
    chi_square = ((counts - expected) ** 2 / expected).sum()
    # Rows and columns are fixed: (size - 1)^2 degrees of freedom, of which the chi-square has the
    # mean and twice the variance; four standard deviations.
    freedom = (size - 1) ** 2
    assert abs(chi_square - freedom) < 4 * np.sqrt(2 * freedom)


def test_neighbours_are_parted():
    size = 20_000
    out = shuffling.permuted(np.arange(size), size, shuffling.key(8))
    correlation = np.corrcoef(out[:-1], out[1:])[0, 1]
    assert abs(correlation) < 4 / np.sqrt(size)  # four standard deviations
