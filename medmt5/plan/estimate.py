"""How long a step takes, as a range: bounds by arithmetic, memory and interconnect.

Nothing here is measured. Between the bounds lies how well the compiler overlaps the three.
"""

from __future__ import annotations

from typing import NamedTuple

from medmt5.plan.chips import GPUS_PER_HOST, Topology

# Share of peak FLOP/s that matrix products reach. Published encoder-decoder training on A100s:
# NVIDIA's T5X ("Rosetta") 75.8 sequences/s per GPU of 512 / 128 tokens for T5-large, 36 %, and 16.9
# to 21.0 for XL, 30 to 37 %; nanoT5 128 x 512 tokens in 0.56 s for T5-base, 31 %; the cards of
# Medical mT5 imply 31 % (large) and 53 % (XL) if their 4.5e9 tokens are the encoder's.
LOW, HIGH = 0.25, 0.55


class StepTime(NamedTuple):
    """Seconds per step, and the bounds that they come from; None where it is not known.

    Attributes:
      fastest: the largest bound at its best; the others are hidden behind it.
      slowest: arithmetic or memory at its worst, then communication, without overlap.
      compute: matrix products at HIGH and at LOW of peak.
      memory: arguments and temporaries touched once at least; all traffic that the compiler counts.
      communication: with all links of a chip, and with half: a ring uses one axis of a torus.
    """

    fastest: float
    slowest: float
    compute: tuple[float, float]
    memory: tuple[float, float] | None
    communication: tuple[float, float] | None


def step_time(
    topology: Topology,
    *,
    flops: float,
    touched: float | None,
    traffic: float | None,
    sent: float | None,
) -> StepTime | None:
    """The range of a step's time.

    Args:
      topology: chips and their published rates.
      flops: of the whole step, recomputation included.
      touched: bytes of arguments and temporaries of one chip; None if they are not known.
      traffic: bytes that one chip reads and writes, with what stays on the chip.
      sent: bytes that one chip sends.

    Returns:
      None for chips without published rates.
    """
    chip = topology.chip
    if not (chip.flops and chip.memory_bandwidth and chip.interconnect):
        return None
    ideal = flops / (topology.chips * chip.flops)
    compute = (ideal / HIGH, ideal / LOW)
    memory = None
    if touched is not None:
        memory = (touched / chip.memory_bandwidth, (traffic or touched) / chip.memory_bandwidth)
    communication = None
    if sent is not None and not between_hosts(topology):
        communication = (sent / chip.interconnect, 2 * sent / chip.interconnect)
    slowest = max(compute[1], memory[1] if memory else 0.0)
    return StepTime(
        fastest=max(bound[0] for bound in (compute, memory, communication) if bound),
        slowest=slowest + (communication[1] if communication else 0.0),
        compute=compute,
        memory=memory,
        communication=communication,
    )


def between_hosts(topology: Topology) -> bool:
    """Whether chips talk over a network whose rate is not known: GPUs of several hosts."""
    return topology.chip.platform == "gpu" and topology.chips > GPUS_PER_HOST
