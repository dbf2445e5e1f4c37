"""From axis names to mesh axes, worked by hand; eight devices are simulated."""

import jax
import pytest
from jax.sharding import PartitionSpec

from medmt5.partitioning import (
    RULES,
    batch_sharding,
    batch_shards,
    check_batch_size,
    make_mesh,
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
