import pytest

from medmt5.plan import chips
from medmt5.reporting import PEAK_FLOPS


@pytest.mark.parametrize(
    "name, count, shape",
    [
        ("v5e-16", 16, (4, 4)),
        ("v6e-256", 256, (16, 16)),
        # Names of v4 and v5p count TensorCores, two per chip.
        ("v4-128", 64, (4, 4, 4)),
        ("v5p-64", 32, (2, 4, 4)),
        ("a100-80gb-8", 8, (1, 8)),
        ("h100-4", 4, (1, 4)),
        ("h200-16", 16, (2, 8)),
        ("cpu-3", 3, (3,)),
    ],
)
def test_a_name_gives_chips_and_how_they_are_wired(name, count, shape):
    topology = chips.topology(name)
    assert (topology.chips, topology.shape) == (count, shape)


@pytest.mark.parametrize(
    "name", ["v5e-12", "v7-8", "v5e", "v5e-", "h100-12", "h100-0", "cpu-4096", "a100-8", "-8", ""]
)
def test_an_unknown_name_is_refused_with_those_there_are(name):
    with pytest.raises(ValueError, match=r"is unknown; use v4-\{8,16.*v5e-\{1,4.*h100-N.*cpu-N"):
        chips.topology(name)


def test_peak_rates_are_those_that_training_reports_mfu_with():
    published = {chip.flops for chip in chips.CHIPS.values()} - {None}
    assert published == set(PEAK_FLOPS.values())
