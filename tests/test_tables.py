"""A table foretells the sizes of its examples, and makes no more of them than it has to."""

import numpy as np
import pytest

from medmt5 import shuffling
from medmt5.tables import DatasetConfig, Seeded, Table


class Counting:
    """Example n has n + 1 inputs, `random` more if asked, and counts how often it was made."""

    def __init__(self, random=False):
        self.random, self.made = random, []

    def example(self, raw, rng):
        self.made.append(raw["n"])
        more = int(rng.integers(1, 9)) if self.random else 0
        return {"inputs": np.full(raw["n"] + 1 + more, 7), "targets": np.array([7])}


def table(format_, count=6):
    return Table("counting", 1.0, format_, [{"n": n} for n in range(count)])


INDICES = np.array([4, 0, 2])
KEYS = shuffling.key(0, np.arange(3))


@pytest.mark.parametrize("random", [False, True])
def test_examples_have_the_sizes_that_were_foretold(random):
    made = table(Counting(random))
    sizes = made.sizes(INDICES, KEYS)
    for size, example in zip(sizes, made.examples(INDICES, KEYS), strict=True):
        assert size.tolist() == [len(example["inputs"]), len(example["targets"])]


def test_an_example_that_is_the_same_each_time_is_made_once_to_know_its_size():
    format_ = Counting()
    made = table(format_)
    sizes = made.sizes(INDICES, KEYS)
    assert sizes.tolist() == [[5, 1], [1, 1], [3, 1]]
    assert format_.made == [4, 0, 2]
    made.examples(INDICES[:1], KEYS[:1])  # the one that was made to know its size
    assert format_.made == [4, 0, 2]
    later = shuffling.key(1, np.arange(3))
    assert made.sizes(INDICES, later).tolist() == sizes.tolist()
    assert format_.made == [4, 0, 2]


def test_a_random_example_is_made_anew_for_every_key():
    made = table(Counting(random=True))
    same = made.sizes(INDICES, KEYS).tolist()
    assert made.sizes(INDICES, KEYS).tolist() == same
    others = [made.sizes(INDICES, shuffling.key(n, np.arange(3))).tolist() for n in range(1, 9)]
    assert any(sizes != same for sizes in others)


def test_examples_can_be_made_without_asking_for_sizes():
    made = table(Counting(random=True))
    first = made.examples(INDICES, KEYS)
    made.sizes(INDICES, KEYS)
    for a, b in zip(first, made.examples(INDICES, KEYS), strict=True):
        np.testing.assert_array_equal(a["inputs"], b["inputs"])


def test_a_seeded_generator_is_numpys_and_knows_whether_it_was_asked():
    rng = Seeded(5)
    assert not rng.used
    assert rng.integers(0, 2**40) == np.random.default_rng(5).integers(0, 2**40)
    assert rng.used
    assert rng.random() != rng.random()  # it is made once, not at every question


def test_a_cache_without_a_folder_is_refused():
    with pytest.raises(ValueError, match="USE_CACHED_TASKS is True, but CACHE_DIR is not set"):
        DatasetConfig("a", {"inputs": 1, "targets": 1}, use_cached=True)
