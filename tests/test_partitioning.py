"""From axis names to mesh axes, worked by hand; eight devices are simulated."""

import itertools
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from medmt5.partitioning import (
    RULES,
    batch_sharding,
    batch_shards,
    check_batch_size,
    gather,
    grid,
    make_mesh,
    on_all_devices,
    parameter_sharding,
    shard_rows,
)


def spec(shape, axes, **sizes):
    return parameter_sharding(shape, axes, make_mesh(**sizes)).spec


def test_the_data_axis_takes_the_devices_that_are_left():
    assert dict(make_mesh().shape) == {"data": 8, "fsdp": 1, "model": 1}
    assert dict(make_mesh(fsdp=2, model=2).shape) == {"data": 2, "fsdp": 2, "model": 2}
    assert dict(make_mesh(devices=jax.devices()[:1]).shape) == {"data": 1, "fsdp": 1, "model": 1}


@pytest.mark.parametrize(
    "sizes, message",
    [
        ({"data": 3}, "data=3 x fsdp=1 x model=1 asks for 3 devices, but there are 8"),
        ({"fsdp": 3}, "data=2 x fsdp=3 x model=1 asks for 6 devices, but there are 8"),
        ({"model": 16}, "data=1 x fsdp=1 x model=16 asks for 16 devices, but there are 8"),
    ],
)
def test_a_mesh_that_does_not_use_all_devices_is_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        make_mesh(**sizes)


@pytest.mark.parametrize(
    "sizes, message",
    [
        ({"fsdp": 0}, "mesh fsdp is 0; use a number of devices, 1 or more"),
        ({"model": -1}, "mesh model is -1;"),
        ({"data": -2}, "mesh data is -2;"),
        ({"data": 0}, "mesh data is 0;"),
        ({"fsdp": 2.0}, "mesh fsdp is 2.0;"),
        ({"fsdp": "2"}, "mesh fsdp is '2';"),
        ({"model": True}, "mesh model is True;"),
        ({"fsdp": None}, r"mesh fsdp is None;.*\(data=-1 takes what the others leave\)"),
    ],
)
def test_a_size_that_is_no_number_of_devices_is_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        make_mesh(**sizes)


# Several slices


def slices(count, sides, platform="tpu", kind="TPU v4", interleaved=False):
    """Stand-ins for the devices of slices, with what JAX looks at."""
    places = list(itertools.product(range(count), *map(range, reversed(sides))))
    if interleaved:
        places = [
            place
            for i in range(len(places) // count)
            for place in places[i :: len(places) // count]
        ]
    return [
        SimpleNamespace(
            id=i,
            platform=platform,
            device_kind=kind,
            slice_index=place[0],
            coords=place[:0:-1],
            core_on_chip=0,
            process_index=i // 4,
        )
        for i, place in enumerate(places)
    ]


def slice_of(devices):
    return np.vectorize(lambda device: device.slice_index)(devices)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("platform, kind", [("tpu", "TPU v4"), ("gpu", "NVIDIA H100")])
def test_the_data_axis_runs_over_slices_and_the_others_stay_in_one(platform, kind, interleaved):
    devices = slices(2, (2, 2, 1), platform, kind, interleaved)
    # Eight devices: two copies in each slice, or one; shared by fsdp, by model, or by both.
    for sizes, outer in {
        (4, 2, 1): 2,
        (4, 1, 2): 2,
        (2, 4, 1): 1,
        (2, 2, 2): 1,
        (8, 1, 1): 4,
    }.items():
        made = grid(*sizes, devices)
        assert made.shape == sizes and {device.id for device in made.flat} == set(range(8))
        expected = np.repeat([0, 1], outer)[:, None, None]
        np.testing.assert_array_equal(slice_of(made), np.broadcast_to(expected, sizes))


def test_a_copy_that_does_not_lie_in_one_slice_is_refused_on_tpu():
    message = "data=1 x fsdp=8 x model=1: 1 copies are not whole ones in each of 2 slices of 4"
    with pytest.raises(ValueError, match=f"{message}.*fsdp x model has to divide 4"):
        grid(1, 8, 1, slices(2, (2, 2, 1)))


def test_hosts_of_gpus_may_share_a_copy_and_it_is_logged(caplog):
    made = grid(1, 8, 1, slices(2, (4, 1, 1), "gpu", "NVIDIA H100"))
    assert slice_of(made).ravel().tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert "weights are gathered between hosts" in caplog.text


@pytest.mark.parametrize("count, data", [(1, 8), (2, 16)])
def test_an_axis_that_does_not_lie_along_the_sides_is_told_those_that_do(count, data):
    # 64 chips in a torus of 4 x 4 x 4: JAX lays axes along whole sides, so 4, 16 and 64.
    devices = slices(count, (4, 4, 4))
    with pytest.raises(ValueError) as error:
        grid(data, 8, 1, devices)
    assert str(error.value) == (
        f"mesh data={data} x fsdp=8 x model=1 does not lie along the sides 4 x 4 x 4 of a slice: "
        "each axis has to be a product of whole sides; use fsdp=1 or 4 or 16 or 64"
    )
    assert grid(data // 2, 16, 1, devices).shape == (data // 2, 16, 1)


def test_a_side_of_a_v5e_slice_may_be_split():
    assert grid(2, 8, 1, slices(1, (4, 4, 1), kind="TPU v5 lite")).shape == (2, 8, 1)


# Rules


def test_a_matrix_is_split_over_fsdp_and_model():
    sizes = dict(fsdp=2, model=2)
    assert spec((16, 32), ("embed", "mlp"), **sizes) == PartitionSpec("fsdp", "model")
    assert spec((32, 16), ("joined_kv", "embed"), **sizes) == PartitionSpec("model", "fsdp")
    assert spec((64, 16), ("vocab", "embed"), **sizes) == PartitionSpec("model", "fsdp")
    assert spec((16,), ("embed",), **sizes) == PartitionSpec("fsdp")
    assert spec((4, 32), ("heads", "relpos_buckets"), **sizes) == PartitionSpec("model", None)


def test_a_dimension_that_does_not_divide_is_kept_whole():
    # 6 heads over 4 devices, as in mT5-small; its 384 joined columns do divide.
    assert spec((6, 32), ("heads", "relpos_buckets"), model=4) == PartitionSpec(None, None)
    assert spec((512, 384), ("embed", "joined_kv"), model=4) == PartitionSpec("fsdp", "model")


def test_keeping_a_large_dimension_whole_is_logged(caplog):
    spec((1001, 512), ("vocab", "embed"), model=8)
    assert "axis vocab of size 1001 does not divide over 8 model devices" in caplog.text
    caplog.clear()
    spec((6, 32), ("heads", "relpos_buckets"), model=8)
    assert not caplog.text


def test_an_axis_without_a_rule_is_refused():
    with pytest.raises(ValueError, match="axis 'width' has no sharding rule; rules cover"):
        parameter_sharding((4,), ("width",), make_mesh(), RULES)


def test_two_axes_of_a_parameter_over_the_same_devices_are_refused():
    rules = dict(RULES, mlp="fsdp")
    with pytest.raises(ValueError) as error:
        parameter_sharding((16, 32), ("embed", "mlp"), make_mesh(), rules)
    assert str(error.value) == (
        "a parameter has the axes ('embed', 'mlp'), and the rules split both 'embed' and 'mlp' "
        "over 'fsdp'; give one of the two another mesh axis, or None"
    )
    # Each alone is fine, and two that are not split at all.
    assert parameter_sharding((32,), ("mlp",), make_mesh(), rules).spec == PartitionSpec("fsdp")
    whole = dict(RULES, embed=None, mlp=None)
    both = parameter_sharding((16, 32), ("embed", "mlp"), make_mesh(), whole)
    assert both.spec == PartitionSpec(None, None)


def test_a_rule_that_names_no_axis_of_the_mesh_is_refused():
    rules = dict(RULES, embed="tensor")
    with pytest.raises(ValueError, match="names 'tensor'; the mesh has the axes data, fsdp, model"):
        parameter_sharding((16,), ("embed",), make_mesh(), rules)


def test_a_batch_is_split_over_data_and_fsdp():
    mesh = make_mesh(fsdp=2, model=2)
    assert batch_shards(mesh) == 4
    assert batch_sharding(mesh).spec == PartitionSpec(("data", "fsdp"))
    assert batch_sharding(mesh).shard_shape((8, 5)) == (2, 5)


@pytest.mark.parametrize(
    "size, near", [(100, "use 96 or 104"), (3, "use 8"), (0, "use 8"), (-8, "use 8")]
)
def test_a_batch_that_does_not_divide_is_told_the_nearest_sizes(size, near):
    message = f"BATCH_SIZE {size} does not divide over 8 data shards; {near}, or change MESH"
    with pytest.raises(ValueError) as error:
        check_batch_size(size, make_mesh())
    assert str(error.value) == message


def test_a_batch_that_divides_is_accepted():
    check_batch_size(96, make_mesh())
    check_batch_size(3, make_mesh(data=1, model=8))


def test_activations_are_split_by_rows_under_a_mesh_where_they_divide():
    ones = jax.numpy.ones((8, 4))
    run = jax.jit(lambda x: shard_rows(x * 2))
    with jax.set_mesh(make_mesh(fsdp=2)):
        assert run(ones).sharding.shard_shape((8, 4)) == (1, 4)
        assert shard_rows(ones[:3]).shape == (3, 4)  # 3 rows stay where they are


def test_activations_stay_where_they_are_without_a_mesh():
    x = jax.numpy.ones((8, 4))
    assert shard_rows(x) is x


def test_arrays_of_the_host_are_held_whole_by_all_devices_of_the_mesh_in_force():
    ones = np.ones((3, 4))
    assert on_all_devices((ones, None))[0] is ones
    with jax.set_mesh(make_mesh(fsdp=2)):
        placed, nothing = on_all_devices((ones, None))
    assert nothing is None and placed.is_fully_replicated and len(placed.addressable_shards) == 8
    np.testing.assert_array_equal(placed, ones)


def test_results_are_gathered_on_all_devices_of_the_mesh_in_force():
    def run(x):
        return shard_rows(x * 2), gather((shard_rows(x * 2), None))[0]

    ones = jax.numpy.ones((8, 4))
    assert jax.jit(lambda x: gather(x))(ones).sharding.num_devices == 1
    with jax.set_mesh(make_mesh(fsdp=2)):
        split, whole = jax.jit(run)(ones)
    assert not split.is_fully_replicated and whole.is_fully_replicated
    np.testing.assert_array_equal(split, whole)
