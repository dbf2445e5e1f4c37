"""What is estimated to fit: counted anew for every setting, the smallest change of each kind."""

import dataclasses
import math

import jax
import optax
import pytest

from medmt5 import partitioning
from medmt5.models.t5 import T5Config
from medmt5.plan import chips, costs
from medmt5.plan.advice import Counter, Setting
from medmt5.plan.recipe import Recipe
from medmt5.step import LossConfig

PER_ROW = 100_000
BATCH_ROW = 4 * (2 + 3 + 3 + 3)  # bytes of a row: 2 source tokens, 3 target tokens in three arrays


@pytest.fixture(scope="module")
def shapes():
    model = T5Config(
        vocab_size=64,
        emb_dim=16,
        num_heads=1,
        head_dim=16,
        mlp_dim=16,
        num_encoder_layers=1,
        num_decoder_layers=1,
    )
    return costs.shapes(
        Recipe(
            model=model,
            optimizer=optax.sgd(0.1),
            loss=LossConfig(),
            mesh=partitioning.make_mesh(devices=jax.devices()[:1]),
            batch_size=64,
            source=2,
            target=3,
            pack=False,
        )
    )


@pytest.fixture(scope="module")
def counter(shapes):
    return Counter(shapes, lambda remat_policy: PER_ROW)


def setting(name="v5e-4", data=4, fsdp=1, batch_size=64, num_microbatches=1):
    return Setting(chips.topology(name), data, fsdp, 1, batch_size, num_microbatches)


def parameters(shapes, fsdp):
    """Bytes of one chip: all but the relative biases, of 32 numbers, are split over fsdp."""
    leaves = jax.tree.leaves(shapes.state.params)
    return sum(4 * math.prod(p.shape) // (1 if p.shape[-1] == 32 else fsdp) for p in leaves)


def test_memory_is_counted_for_any_mesh(shapes, counter):
    other = 4 + 8  # the step and the key
    for data, fsdp in ((4, 1), (1, 4)):
        memory = counter.memory(setting(data=data, fsdp=fsdp))
        assert memory.state == parameters(shapes, fsdp) + other + 16 * BATCH_ROW
        assert memory.gradients == parameters(shapes, fsdp)
        assert memory.activations == 16 * PER_ROW
    parts = counter.memory(setting(num_microbatches=4))
    assert parts.gradients == 2 * parameters(shapes, 1)
    assert parts.activations == 4 * PER_ROW
    assert parts.total == parts.state + parts.gradients + parts.activations


def test_the_smallest_change_of_each_kind_that_fits(counter):
    now = setting(data=2, fsdp=2)
    room = counter.memory(dataclasses.replace(now, num_microbatches=4)).total
    changes = list(counter.changes(now, available=room, measured=None))
    flags = [change.flags for change in changes]
    assert flags == [
        "--topology v5e-16 --gin.partitioning.make_mesh.fsdp=16",
        "--gin.NUM_MICROBATCHES=4",
    ]
    assert all(change.bytes <= room for change in changes)
    assert "under a TPU's" not in changes[1].price
    # One more byte would not have done with half as many microbatches.
    assert counter.memory(dataclasses.replace(now, num_microbatches=2)).total > room


def test_more_fsdp_is_enough_where_the_state_is_what_is_large(shapes):
    counter = Counter(shapes, lambda remat_policy: 1)
    now = setting(data=4, fsdp=1)
    room = counter.memory(setting(data=1, fsdp=4)).total
    first = next(counter.changes(now, available=room, measured=None))
    assert first.flags == "--gin.partitioning.make_mesh.fsdp=4"
    assert first.bytes == room


def test_the_mildest_rematerialisation_that_is_enough_is_named(shapes):
    per_row = {"none": PER_ROW, "minimal": PER_ROW // 2, "full": PER_ROW // 4}
    counter = Counter(shapes, per_row.__getitem__)
    now = setting(data=1, fsdp=4)
    room = counter.memory(now).least + 16 * PER_ROW // 2
    first = next(counter.changes(now, available=room, measured=None))
    assert first.flags == "--gin.REMAT_POLICY=\"'minimal'\""
    assert first.bytes == room
    tighter = next(counter.changes(now, available=room - 1, measured=None))
    assert tighter.flags == "--gin.REMAT_POLICY=\"'full'\""


def test_estimates_are_scaled_to_what_the_compiler_needed(counter):
    now = setting(data=2, fsdp=2)
    memory = counter.memory(now)
    measured = memory.least + memory.activations // 2
    room = measured - 1
    changes = list(counter.changes(now, available=room, measured=measured))
    parts = counter.memory(dataclasses.replace(now, num_microbatches=2))
    assert changes[-1].bytes == parts.least + parts.activations // 2


def test_smaller_batches_are_named_when_microbatches_do_not_help(shapes):
    counter = Counter(shapes, lambda remat_policy: 500)  # less than a second set of gradients
    now = setting(data=1, fsdp=4)
    room = counter.memory(dataclasses.replace(now, batch_size=8)).total
    changes = list(counter.changes(now, available=room, measured=None))
    assert changes[-1].flags == "--gin.BATCH_SIZE=8"
    assert "another training run" in changes[-1].price


def test_nothing_is_named_where_nothing_fits(counter):
    assert list(counter.changes(setting("cpu-4"), available=1000, measured=None)) == []
