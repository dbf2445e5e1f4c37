"""The range of a step's time, worked by hand."""

import pytest

from medmt5.models.t5 import T5Config
from medmt5.plan import chips
from medmt5.plan.costs import forward_flops
from medmt5.plan.estimate import step_time

V5E = chips.topology("v5e-16")


def test_a_step_bound_by_arithmetic_and_then_by_links():
    # 16 chips x 197 TFLOP/s: 1.1 s at peak, 2 s at 55 % of it and 4.4 s at 25 %.
    flops = 1.1 * 16 * 197e12
    found = step_time(V5E, flops=flops, touched=819e9, traffic=3 * 819e9, sent=100e9)
    assert found.compute == pytest.approx((2.0, 4.4))
    assert found.memory == (1.0, 3.0)
    # 200 GB/s: half a second, or one over half of the links.
    assert found.communication == (0.5, 1.0)
    assert (found.fastest, found.slowest) == pytest.approx((2.0, 4.4 + 1.0))


def test_a_step_bound_by_memory():
    found = step_time(V5E, flops=16 * 197e10, touched=819e9, traffic=3 * 819e9, sent=0)
    assert (found.fastest, found.slowest) == (1.0, 3.0)


def test_without_a_program_arithmetic_is_what_is_known():
    found = step_time(V5E, flops=1.1 * 16 * 197e12, touched=None, traffic=None, sent=None)
    assert (found.memory, found.communication) == (None, None)
    assert (found.fastest, found.slowest) == pytest.approx((2.0, 4.4))


def test_the_network_between_gpu_hosts_is_not_known():
    for name, known in (("h100-8", True), ("h100-16", False)):
        found = step_time(chips.topology(name), flops=1e15, touched=1e9, traffic=None, sent=1e9)
        assert (found.communication is not None) == known


def test_simulated_devices_have_no_published_rates():
    cpu = chips.topology("cpu-8")
    assert step_time(cpu, flops=1e12, touched=None, traffic=None, sent=None) is None


def test_published_throughput_of_t5_large_lies_in_the_range():
    large = T5Config(
        vocab_size=32128,
        emb_dim=1024,
        num_heads=16,
        num_encoder_layers=24,
        num_decoder_layers=24,
        mlp_dim=2816,
    )
    rows = 64 * 32
    flops = 3 * sum(forward_flops(large, rows=rows, source=512, target=128).values())
    topology = chips.topology("a100-80gb-64")
    found = step_time(topology, flops=flops, touched=None, traffic=None, sent=None)
    # NVIDIA's T5X on 64 A100s: 75.8 sequences per second and GPU, 512 / 128 tokens.
    assert found.fastest < rows / (75.8 * 64) < found.slowest
