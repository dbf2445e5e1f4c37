"""Fused attention against `attend` and numbers worked by hand; kernels run as plain operations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, NamedSharding, PartitionSpec

from medmt5.models.attention import Seen, attend, relative_position_bucket, toeplitz
from medmt5.models.fused_attention import fused_attend, supports
from medmt5.partitioning import MESH_AXES, make_mesh

# The same float32 terms, added up in another order: 1.3e-6 of the largest entry was seen.
ROUNDING = 5e-6

on_all = pytest.mark.parametrize("platform", ["tpu", "gpu", "cpu"])


def example(query=200, key=200, heads=2, kv=64, batch=2, dtype=jnp.float32, bias=True):
    """Query, key, value, bias by distance; then segments: two or three in a row, then padding."""
    keys = jax.random.split(jax.random.key(query + key + heads), 5)
    arrays = [
        jax.random.normal(keys[0], (batch, query, heads, kv)) * kv**-0.5,
        jax.random.normal(keys[1], (batch, key, heads, kv)),
        jax.random.normal(keys[2], (batch, key, heads, kv)),
    ]
    by_distance = jax.random.normal(keys[3], (heads, query + key - 1)) if bias else None
    return [x.astype(dtype) for x in arrays] + [by_distance], [
        jnp.stack([segments(length, row) for row in range(batch)]) for length in (query, key)
    ]


def segments(length, row):
    """As packing makes them: counted from 1; the last tenth is padding, except in row 0."""
    end = length if row == 0 else length * 9 // 10
    position = jnp.arange(length)
    return jnp.where(position < end, 1 + position * (2 + row % 2) // end, 0)


def fused(query, key, value, bias, *seen, causal, platform):
    return fused_attend(
        query, key, value, distance_bias=bias, query_segments=seen[0], key_segments=seen[1],
        causal=causal, platform=platform, interpret=platform != "cpu",
    )  # fmt: skip


def plain(query, key, value, bias, *seen, causal):
    bias = None if bias is None else toeplitz(bias, query.shape[1]).astype(query.dtype)
    return attend(query, key, value, bias=bias, mask=Seen(*seen, causal).mask())


def out_and_gradients(attention, arrays, seen, causal):
    """Result and gradients of all arrays, with zeros where a query sees nothing."""

    @jax.jit
    def run(arrays, seen):
        sees = Seen(*seen, causal).mask().any((1, 3))[:, :, None, None]
        out, pull = jax.vjp(lambda *arrays: attention(*arrays, *seen, causal=causal), *arrays)
        weights = jax.random.normal(jax.random.key(9), out.shape)
        return out * sees, pull((weights * sees).astype(out.dtype))

    return jax.tree.leaves(run(arrays, seen))


def assert_equal(results, expected):
    for result, want in zip(results, expected, strict=True):
        assert result.dtype == want.dtype
        np.testing.assert_allclose(result, want, rtol=0, atol=ROUNDING * np.abs(want).max())


def assert_equals_plain(platform, causal, **sizes):
    arrays, seen = example(**sizes)
    assert_equal(
        out_and_gradients(functools.partial(fused, platform=platform), arrays, seen, causal),
        out_and_gradients(plain, arrays, seen, causal),
    )


@pytest.mark.parametrize("platform", ["tpu", "gpu"])  # so few scores go the plain way on a CPU
def test_the_bias_of_a_distance_is_added_where_a_key_lies_that_far_from_the_query(platform):
    # Scores are 0. The next key weighs 3, the one before 7, the query's own position 1:
    # query 0 sees weights 1 and 3 of 4, query 1 sees 7 and 1 of 8.
    zeros = jnp.zeros((1, 2, 2, 64))
    value = zeros.at[0, :, :, 0].set(jnp.array([[8.0, 8.0], [16.0, 16.0]]))
    bias = jnp.log(jnp.array([[7.0, 1.0, 3.0]] * 2))
    ones = jnp.ones((1, 2), jnp.int32)
    for causal, expected in ((False, [14.0, 9.0]), (True, [8.0, 9.0])):
        out = fused(zeros, zeros, value, bias, ones, ones, causal=causal, platform=platform)
        np.testing.assert_allclose(out[0, :, 1, 0], expected, rtol=1e-6)  # float32's rounding


@on_all
@pytest.mark.parametrize(
    "causal, sizes",
    [
        (False, dict(query=300, key=300, heads=4)),
        pytest.param(True, dict(), marks=pytest.mark.slow),
        (False, dict(query=114, bias=False)),
        (True, dict(query=114, key=300)),
        pytest.param(False, dict(query=128, key=128, heads=4, kv=32), marks=pytest.mark.slow),
    ],
    ids=["three blocks", "causal", "cross", "causal and unequal", "four narrow heads"],
)
def test_results_and_all_gradients_are_those_of_plain_attention(platform, causal, sizes):
    assert_equals_plain(platform, causal, **sizes)


@on_all
def test_in_bfloat16_errors_are_no_larger_than_those_of_plain_attention(platform):
    arrays, seen = example(dtype=jnp.bfloat16)
    exact = out_and_gradients(plain, [x.astype(jnp.float32) for x in arrays], seen, False)

    def errors(attention):
        results = out_and_gradients(attention, arrays, seen, False)
        return [
            float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))
            for a, b in zip(results, exact, strict=True)
        ]

    ours, theirs = errors(functools.partial(fused, platform=platform)), errors(plain)
    assert all(a <= b for a, b in zip(ours, theirs, strict=True)), (ours, theirs)


@on_all
def test_a_query_that_sees_nothing_gets_zeros_and_sends_no_gradient(platform):
    arrays, (of_query, of_key) = example(query=128, key=128, batch=1)
    of_query = of_query.at[0, 70:].set(0)
    # A segment of which there is no query, and padding.
    of_key = of_key.at[0, 20:].set(7).at[0, 90:].set(0)
    seen = (of_query, of_key)
    attention = functools.partial(fused, causal=False, platform=platform)
    out, pull = jax.vjp(lambda *arrays: attention(*arrays, *seen), *arrays)
    sees = (of_query[0, :, None] == of_key[0, None, :]).any(1) & (of_query[0] > 0)
    assert 0 < sees.sum() < 70
    assert not out[0, ~sees].any() and out[0, sees].any()
    for gradient in pull(jnp.where(sees[None, :, None, None], 0.0, jnp.ones_like(out))):
        assert not gradient.any()


@on_all
def test_the_gradient_of_the_table_of_buckets_is_that_of_plain_attention(platform):
    (query, key, value, _), seen = example()
    table = jax.random.normal(jax.random.key(1), (2, 32))

    def gradient(attention):
        def loss(table):
            distances = jnp.arange(399) - 199
            bucket = relative_position_bucket(
                distances, bidirectional=True, num_buckets=32, max_distance=128
            )
            out = attention(query, key, value, table[:, bucket], *seen, causal=False)
            return (out * (seen[0] > 0)[:, :, None, None] * jnp.cos(query * 50)).sum()

        return jax.jit(jax.grad(loss))(table)

    expected = gradient(plain)
    assert (jnp.abs(expected).max(0) > 0).sum() > 20  # of 32 buckets, most are in use
    assert_equal([gradient(functools.partial(fused, platform=platform))], [expected])


@on_all
def test_layers_may_be_scanned_and_keep_the_results_named_attention(platform, capsys):
    arrays, seen = example(query=128, key=128)
    scales = jnp.array([0.5, 1.5])
    named = jax.checkpoint_policies.save_only_these_names("attention")

    def scanned(attention):
        @functools.partial(jax.checkpoint, policy=named)
        def layer(x, scale, bias):
            out = attention(scale * x, *arrays[1:3], bias, *seen, causal=True)
            return x + out * (seen[0] > 0)[:, :, None, None]

        def loss(query, bias):
            x, _ = jax.lax.scan(lambda x, scale: (layer(x, scale, bias), None), query, scales)
            return jnp.square(x).sum()

        return layer, jax.jit(jax.grad(loss, (0, 1)))

    layer, gradient = scanned(functools.partial(fused, platform=platform))
    assert_equal(gradient(arrays[0], arrays[3]), scanned(plain)[1](arrays[0], arrays[3]))
    jax.ad_checkpoint.print_saved_residuals(layer, arrays[0], 0.5, arrays[3])
    assert capsys.readouterr().out.count("named 'attention'") == 2  # result and sum


@pytest.mark.parametrize(
    "platform, shape, batch, heads",
    [
        ("tpu", (2, 2, 2), 4, 4),
        ("gpu", (2, 2, 2), 4, 4),
        ("cpu", (2, 2, 2), 4, 4),
        pytest.param("gpu", (1, 8, 1), 8, 2, marks=pytest.mark.slow),
        ("gpu", (2, 1, 4), 2, 2),  # fewer heads than the model axis splits: kept whole
        ("gpu", (2, 4, 1), 2, 2),  # fewer rows than devices: kept whole
    ],
)
def test_on_a_mesh_gradients_are_those_of_one_device(platform, shape, batch, heads):
    arrays, seen = example(query=128, key=128, batch=batch, heads=heads)
    attention = functools.partial(fused, platform=platform)
    expected = out_and_gradients(plain, arrays, seen, False)
    mesh = make_mesh(*shape)
    split = PartitionSpec(("data", "fsdp") if batch % (shape[0] * shape[1]) == 0 else None)
    rows = NamedSharding(mesh, split)
    with jax.set_mesh(mesh):
        placed = [jax.device_put(x, rows) for x in arrays[:3]]
        placed.append(jax.device_put(arrays[3], NamedSharding(mesh, PartitionSpec())))
        seen = [jax.device_put(x, rows) for x in seen]
        results = out_and_gradients(attention, placed, seen, False)
    assert_equal(results, expected)


@pytest.mark.parametrize(
    "platform, device, kernel, count",
    [
        ("tpu", AbstractDevice("TPU v4", None, "tpu"), "tpu_custom_call", 2),
        # Its backward pass is three kernels.
        ("gpu", AbstractDevice("NVIDIA H100", None, "cuda"), "__gpu$xla.gpu.triton", 4),
    ],
)
def test_kernels_have_a_counterpart_on_their_platform(platform, device, kernel, count):
    # Not compiled, for want of a compiler. The checks of a mesh, off when interpreting, are on.
    def gradients(arrays, seen):
        def attention(*arrays):
            return fused_attend(
                *arrays[:3], distance_bias=arrays[3], query_segments=seen[0], key_segments=seen[1],
                causal=True, platform=platform,
            )  # fmt: skip

        out, pull = jax.vjp(attention, *arrays)
        return pull(out)

    arguments = jax.eval_shape(lambda: example(batch=4, heads=4, dtype=jnp.bfloat16))
    axis_types = (AxisType.Auto,) * 3
    mesh = AbstractMesh((2, 2, 2), MESH_AXES, axis_types=axis_types, abstract_device=device)
    with jax.sharding.use_abstract_mesh(mesh):
        lowered = jax.jit(gradients).trace(*arguments).lower(lowering_platforms=(device.platform,))
    assert lowered.as_text().count(f"@{kernel}(") == count


@pytest.mark.parametrize("platform", ["tpu", "gpu"])
def test_the_shapes_of_mt5_are_supported_and_others_are_not(platform):
    sizes = dict(heads=16, kv=64, dtype="bfloat16")
    for query, key in ((1024, 1024), (256, 256), (256, 1024), (114, 568), (512, 512)):
        for heads in (6, 12, 16, 32, 64):
            assert supports(
                platform, query_length=query, key_length=key, **sizes | {"heads": heads}
            )
    lengths = dict(query_length=128, key_length=128)
    assert not supports(platform, **lengths, **sizes | {"dtype": "float16"})
    assert not supports(platform, **lengths, **sizes | {"kv": 24})
    assert not supports("neuron", **lengths, **sizes)


def test_tpu_refuses_what_does_not_fit_its_memory_or_fill_its_lanes():
    sizes = dict(query_length=1024, key_length=1024, heads=16, kv=64, dtype="bfloat16")
    assert not supports("tpu", **sizes | {"query_length": 4096, "key_length": 4096})
    assert not supports("tpu", **sizes | {"heads": 3})  # two heads of 64 fill 128 lanes
    with jax.set_mesh(make_mesh(4, 1, 2)):
        assert supports("tpu", **sizes)
        assert not supports("tpu", **sizes | {"heads": 6})  # three on each device
