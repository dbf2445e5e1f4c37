"""Best fit by hand, by property, and on sizes like those of sentences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmt5.packing import fill, pack, suggested_targets

LENGTHS = {"inputs": 8, "targets": 6}


def test_packing_by_hand():
    sizes = np.array([(2, 1), (8, 6), (5, 2), (4, 1), (3, 2)])
    packed = [[tuple(sizes[i]) for i in row] for row in pack(sizes, LENGTHS)]
    # Longest share first: (8, 6) alone; (5, 2) takes (3, 2); (4, 1) takes (2, 1).
    assert packed == [[(8, 6)], [(5, 2), (3, 2)], [(4, 1), (2, 1)]]


def test_an_example_goes_where_it_leaves_least_room():
    lengths = {"inputs": 10, "targets": 10}
    sizes = np.array([(7, 7), (6, 6), (4, 4), (3, 3)])
    # (4, 4) fits beside (6, 6) alone, (3, 3) beside (7, 7): both rows are full.
    assert pack(sizes, lengths) == [[0, 3], [1, 2]]


@given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(1, 6)), min_size=1, max_size=60),
)
def test_packing_loses_nothing_and_respects_both_lengths(sizes):
    sizes = np.array(sizes)
    rows = pack(sizes, LENGTHS)
    assert sorted(i for row in rows for i in row) == list(range(len(sizes)))
    for row in rows:
        assert row
        assert (sizes[row].sum(axis=0) <= [LENGTHS["inputs"], LENGTHS["targets"]]).all()


def test_examples_of_one_size_are_packed_in_order():
    sizes = np.full((7, 2), (3, 2))
    assert pack(sizes, LENGTHS) == [[0, 1], [2, 3], [4, 5], [6]]
    assert pack(np.full((3, 2), (3, 6)), LENGTHS) == [[0], [1], [2]]  # targets fill the row


def test_short_sentences_fill_nearly_all_of_their_rows():
    sizes = np.random.default_rng(0).integers(5, 40, 1000)[:, None].repeat(2, axis=1)
    lengths = {"inputs": 128, "targets": 128}
    assert fill(sizes, len(pack(sizes, lengths)), lengths)[1] > 0.98


def test_fill_by_hand_counts_what_is_cut_as_cut():
    sizes = np.array([(4, 3), (10, 3)])  # of (10, 3), 8 tokens are left
    assert fill(sizes, 2, LENGTHS) == (12 / 16, 18 / 28)


def test_the_suggested_length_is_in_the_ratio_of_the_data_and_fills_both_sides():
    rng = np.random.default_rng(1)
    inputs = rng.integers(5, 60, 2000)
    sizes = np.stack([inputs, inputs + rng.integers(0, 9, 2000)], axis=1)  # targets 12 % longer
    targets = suggested_targets(sizes, 256)
    assert 256 * 1.10 < targets < 256 * 1.16 and targets % 8 == 0
    lengths = {"inputs": 256, "targets": targets}
    of_inputs, both = fill(sizes, len(pack(sizes, lengths)), lengths)
    assert both > 0.97 and of_inputs > 0.97
    square = {"inputs": 256, "targets": 256}
    assert fill(sizes, len(pack(sizes, square)), square)[1] < both - 0.02


def test_examples_of_one_size_get_exactly_what_they_need():
    assert suggested_targets(np.full((10, 2), (1024, 229)), 1024) == 229
    assert suggested_targets(np.full((10, 2), (100, 30)), 256) == 60


def test_rows_shorter_than_every_example_are_refused():
    with pytest.raises(ValueError, match="no example has 4 input tokens or fewer"):
        suggested_targets(np.array([(5, 2)]), 4)
