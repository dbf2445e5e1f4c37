"""Counts of a build: their sum, and licences, of which a card names the most frequent ones."""

import copy

import pytest

from medmt5.corpus import card, tally
from medmt5.corpus.documents import Document

BY = "Creative Commons Attribution-NonCommercial 4.0 International"
URL = "https://creativecommons.org/licenses/by-nc-nd/4.0/"


@pytest.mark.parametrize(
    ("licence", "counted"),
    [
        ("", ""),
        (BY, BY),
        (URL, URL),
        ("© 2020 A. Smith et al.", tally.IN_WORDS),
        ("Copyright 2019 Elsevier B.V.", tally.IN_WORDS),
        ("2001 Wiley.\nAll rights reserved.", tally.IN_WORDS),
        ("This is an open access article. " * 5, tally.IN_WORDS),
    ],
)
def test_licences_are_counted_by_name_and_notices_together(licence, counted):
    one = tally.Tally()
    one.stay(Document("A text.", "1", "s", licence=licence))
    assert one.to_json()["licences"] == {counted: 1}


def test_a_sum_adds_at_any_depth_and_leaves_its_terms_alone():
    terms = [
        {"bad": {"x": 1}, "lengths": {"en": {"4": 1}}},
        {"bad": {"x": 2, "a": 1}, "lengths": {"es": {"8": 3}, "en": {"4": 2}}},
    ]
    before = copy.deepcopy(terms)
    made = tally.total(terms)
    assert list(made["bad"].items()) == [("a", 1), ("x", 3)]
    assert made["lengths"] == {"en": {"4": 3}, "es": {"8": 3}} and made["counts"] == {}
    assert terms == before


def test_a_cell_lists_the_most_frequent_ones_and_counts_the_rest():
    numbers = {"": 5, **{f"L{number}": number for number in range(1, 13)}}
    assert card._listed({"b": 1, "a": 1200}) == "a 1,200, b 1"
    listed = card._listed(numbers).split(", ")
    assert listed[0] == "L12 12" and "not stated 5" in listed
    assert len(listed) == 11 and listed[-1] == "and 3 more"
