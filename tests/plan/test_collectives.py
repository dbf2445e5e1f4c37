"""Collectives: in text as TPU's compiler writes it, and in programs compiled here."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from medmt5 import partitioning
from medmt5.plan.collectives import Collective, collectives

TPU = """
%fused_computation.1 (param_0: bf16[128,250112]) -> bf16[512,250112] {
  %all-gather.1 = bf16[512,250112]{1,0:T(8,128)(2,1)} all-gather(%param_0), channel_id=300, \
replica_groups=mesh['axis_0'=4,'axis_1'=4] {'axis_1'}, dimensions={0}
}

%fused_computation.2 (param_0: bf16[128,250112]) -> bf16[512,250112] {
  %all-gather.2 = bf16[512,250112]{1,0:T(8,128)(2,1)S(1)} all-gather(%param_0), channel_id=300, \
replica_groups=mesh['axis_0'=4,'axis_1'=4] {'axis_1'}, dimensions={0}
}

%all-reduce-scatter.3 (input: f32[512,384]) -> f32[128,384] {
  %all-reduce.3 = f32[512,384]{1,0} all-reduce(%input), channel_id=5, \
replica_groups={{0,1,2,3},{4,5,6,7},{8,9,10,11},{12,13,14,15}}, to_apply=%add
}

%body.4 (carry: f32[6]) -> f32[6] {
  %all-reduce.4 = (f32[6]{0}, bf16[2]{0}) all-reduce(%carry, %other), channel_id=6, \
replica_groups=[1,16]<=[16], to_apply=%add
}

ENTRY %main.5 (p: f32[6]) -> f32[6] {
  %a = bf16[512,250112] fusion(%p), kind=kCustom, calls=%fused_computation.1
  %b = bf16[512,250112] fusion(%p), kind=kCustom, calls=%fused_computation.2
  %c = f32[128,384] fusion(%p), kind=kCustom, calls=%all-reduce-scatter.3
  %d = f32[6] while(%p), condition=%cond, body=%body.4LENGTH
  %e = (u8[8]{0}, u8[8]{0}) collective-permute-start(%p), channel_id=7, source_target_pairs={{0,1}}
  %f = f32[9] all-reduce(%p), channel_id=8, replica_groups={{0},{1}}, to_apply=%add
}
"""


def test_the_text_of_a_tpu_program():
    length = ', backend_config={"known_trip_count":{"n":"24"}}'
    found = collectives(TPU.replace("LENGTH", length), chips=16)
    assert found == [
        # One channel in two fusions: one gather. Three quarters of it come from others.
        Collective("all-gather", 1, 512 * 250112 * 2 * 3 // 4, 0, False),
        # 6 x 4 + 2 x 2 bytes, twice around sixteen chips, 24 times. That of one chip is none.
        Collective("all-reduce", 24, 24 * (2 * 28 * 15 // 16), 24, False),
        Collective("reduce-scatter", 1, 512 * 384 * 4 * 3 // 4, 0, False),
        # A start has operand and result.
        Collective("collective-permute", 1, 8, 0, False),
    ]


CONDITION = """
%cond (carry: (s32[], f32[6])) -> pred[] {
  %constant.7 = s32[]{:T(128)} constant(24)
  %counter = s32[]{:T(128)} get-tuple-element(%carry), index=0
  ROOT %lt = pred[]{:T(512)} compare(%counter, %constant.7), direction=LT
}
"""


def test_the_length_of_a_loop_is_read_from_its_condition_where_nothing_else_gives_it():
    known = TPU.replace("LENGTH", ', backend_config={"known_trip_count":{"n":"24"}}')
    assert collectives(CONDITION + TPU.replace("LENGTH", ""), chips=16) == collectives(known, 16)


GPU = """
ENTRY %main.5 (p: f32[6]) -> f32[6] {
  %ag = ((f32[16]{0}, s32[2,96]{1,0}), (f32[128]{0}, s32[16,96]{1,0})) all-gather-start(%p, %q), \
channel_id=1, replica_groups=[1,8]<=[8], dimensions={0}
  %ar = f32[10]{0} all-reduce-start(%p), channel_id=2, replica_groups=[1,8]<=[8], to_apply=%add
  %rs = ((f32[64]{0}), f32[8]{0}) reduce-scatter-start(%p), channel_id=3, \
replica_groups=[2,4]<=[8], dimensions={0}, to_apply=%add
  %aa = ((bf16[8,4]{1,0}), bf16[8,4]{1,0}) all-to-all-start(%p), channel_id=4, \
replica_groups=mesh['axis_0'=8,'axis_1'=1] {'axis_0'}, dimensions={0}
}
"""


def test_the_text_of_a_gpu_program_names_operands_and_results():
    assert collectives(GPU, chips=8) == [
        Collective("all-gather", 1, 4 * (128 + 16 * 96) * 7 // 8, 0, False),
        Collective("all-reduce", 1, 2 * 40 * 7 // 8, 0, False),
        # Each of four keeps 8 of 32 numbers: it sends the other three parts.
        Collective("reduce-scatter", 1, 8 * 4 * 3, 0, False),
        Collective("all-to-all", 1, 2 * 8 * 4 * 7 // 8, 0, False),
    ]


def test_a_loop_of_unknown_length_counts_once_and_is_marked():
    found = {each.kind: each for each in collectives(TPU.replace("LENGTH", ""), chips=16)}
    assert found["all-reduce"] == Collective("all-reduce", 1, 2 * 28 * 15 // 16, 1, True)


def compiled(f, *shapes, length=1):
    mesh = partitioning.make_mesh()

    def local(*xs):
        return jax.lax.scan(lambda carry, _: (f(*carry), None), xs, length=length)[0]

    specs = (P("data"),) * len(shapes)
    mapped = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=specs)
    sharding = NamedSharding(mesh, P("data"))
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding) for shape in shapes]
    return collectives(jax.jit(mapped).lower(*arrays).compile().as_text(), chips=8)


@pytest.mark.parametrize("length", [1, 5])
def test_an_all_reduce_compiled_here_sends_its_bytes_twice_around_the_ring(length):
    def f(x):
        return (jax.lax.pcast(jax.lax.psum(x, "data"), "data", to="varying"),)

    # 1,024 numbers over eight devices: each reduces 128 of them with the others.
    assert compiled(f, (1024,), length=length) == [
        Collective("all-reduce", length, length * 2 * 512 * 7 // 8, length * (length > 1), False)
    ]


def test_an_all_gather_and_a_permute_compiled_here():
    def f(x, y):
        whole = jax.lax.all_gather(x, "data", tiled=True)
        ring = [(i, (i + 1) % 8) for i in range(8)]
        return x + whole.sum() * x, jax.lax.ppermute(y, "data", ring)

    found = {each.kind: each for each in compiled(f, (1024,), (64,))}
    assert found["all-gather"].sent == 4096 * 7 // 8
    assert found["collective-permute"].sent == 8 * 4


def test_a_program_of_one_device_has_none():
    text = jax.jit(lambda x: x + 1).lower(jnp.ones(3)).compile().as_text()
    assert collectives(text, chips=1) == []
