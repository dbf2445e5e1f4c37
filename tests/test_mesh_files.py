"""The meshes that ship: they build, fit mT5 XL, and keep the tiles of TPUs whole."""

from pathlib import Path

import gin
import jax
import pytest

from medmt5 import launch, partitioning
from medmt5.plan.chips import CHIPS, SLICES, TILE, topology

FOLDER = Path(__file__).parents[1] / "gin_configs" / "meshes"
TPUS = ("v4", "v5e", "v5p", "v6e")

# Width of the embedding, from gin_configs/models/mt5.
WIDTHS = {"small": 512, "base": 768, "large": 1024, "xl": 2048}
XL_PARAMETERS = 3_742_619_648


@pytest.fixture
def make_mesh():
    """A mesh from a file of this folder, for so many of the simulated devices."""

    def make(name, devices):
        gin.clear_config()
        with launch.t5x_names():
            gin.parse_config_file(str(FOLDER / f"{name}.gin"))
        return gin.get_configurable(partitioning.make_mesh)(devices=jax.devices()[:devices])

    yield make
    gin.clear_config()


def fsdp(name):
    lines = (FOLDER / f"{name}.gin").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("partitioning.make_mesh.fsdp = ")]
    return int(line.split()[-1])


def test_every_file_says_what_it_is_for_and_names_the_mesh():
    for path in FOLDER.glob("*.gin"):
        text = path.read_text()
        assert text.startswith("# Provides MESH"), path.name
        assert "\nMESH = @partitioning.make_mesh()\n" in text, path.name


@pytest.mark.parametrize(
    "name, devices, sizes",
    [
        ("v4", 4, (2, 2, 1)),  # v4-8
        ("v4", 8, (4, 2, 1)),  # v4-16
        ("v5e", 4, (1, 4, 1)),
        ("v5e", 8, (2, 4, 1)),
        ("v5p", 4, (4, 1, 1)),
        ("v5p", 8, (8, 1, 1)),
        ("v6e", 4, (2, 2, 1)),
        ("v6e", 8, (4, 2, 1)),
        *(("gpu_host", gpus, (gpus, 1, 1)) for gpus in range(1, 9)),
        ("gpu_hosts", 8, (1, 8, 1)),
    ],
)
def test_meshes_build_on_simulated_devices(make_mesh, name, devices, sizes):
    assert tuple(make_mesh(name, devices).shape.values()) == sizes


@pytest.mark.parametrize("name", TPUS)
def test_every_slice_divides_into_copies(name):
    for size in SLICES[name]:
        chips = topology(f"{name}-{size}").chips
        assert chips == 1 or chips % fsdp(name) == 0, f"{name}-{size}"


@pytest.mark.parametrize("name", TPUS)
def test_shards_are_whole_tiles_up_to_xl(name):
    for width in WIDTHS.values():
        assert width / fsdp(name) >= TILE


@pytest.mark.parametrize("name, chip", [*((n, n) for n in TPUS), ("gpu_host", "h100")])
def test_weights_and_gradients_of_xl_leave_half_of_a_chip_and_need_no_smaller_shards(name, chip):
    # float32 each; Adafactor's slots are small beside them.
    whole = 2 * 4 * XL_PARAMETERS
    assert whole / fsdp(name) < CHIPS[chip].memory / 2
    if fsdp(name) > 1:
        assert whole / (fsdp(name) / 2) > CHIPS[chip].memory / 2
