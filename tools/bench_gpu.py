"""How fast one accelerator trains and decodes: step time, tokens/s and MFU at Medical mT5's shapes.

    python tools/bench_gpu.py --minutes 25 --json gpu.jsonl
    python tools/bench_gpu.py --quick --only steps loss

Rows of 1,024 / 256 tokens without padding, bfloat16, Adafactor, no dropout (T5 1.1 pre-trains
without), unless a line says otherwise. Every job is a process of its own, so that none leaves
memory behind and one that fails or is cut off costs no other; what matters most comes first. Each
line is printed, and appended to --json, as soon as it is there. The batch is --batch, halved until
it fits.

| part | what |
|---|---|
| steps | small, base and large; T5 1.1 large at 512 / 114 and 512 / 128, as others publish it |
| torch | transformers' model and Adafactor under autocast, eager and compiled |
| decoding | tools/bench_labelling.py: token by token and with speculation |
| loss | tools/bench_loss.py: the softmax over the vocabulary alone |
| attention | tools/bench_attention.py: attention alone |
| variants | steps with other remat policies, attention, layers in a scan, chunks of the loss |

MFU counts the matrix products of a step (`reporting.training_flops`), nothing that is computed
again, against the chip's dense bf16 peak. Needs neither TensorFlow nor SeqIO. With --quick it runs
on a CPU, at sizes that say nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parent
PARTS = ("steps", "torch", "decoding", "loss", "attention", "variants")
# As in gin_configs/models/mt5/, remat and scan in `jobs` too; a test compares.
SIZES = {
    "small": dict(emb_dim=512, num_heads=6, layers=8, mlp_dim=1024),
    "base": dict(emb_dim=768, num_heads=12, layers=12, mlp_dim=2048),
    "large": dict(emb_dim=1024, num_heads=16, layers=24, mlp_dim=2816),
    "quick": dict(emb_dim=32, num_heads=2, layers=2, mlp_dim=48),
}
MT5_WORDS, T5_WORDS = 250_112, 32_128
REPEATS, GROUP = 5, 4  # timed: so many times so many steps, sent one behind the other
MEMORY_SHARE = 0.92  # of the device's memory; the rest is for CUDA's own


@dataclasses.dataclass(frozen=True)
class Step:
    """One line of step times.

    Attributes:
      engine: "medmt5", "torch" or "torch compiled".
      size: a key of `SIZES`.
      vocab: rows of the embedding.
      source, target: tokens per row.
      batch: rows to begin with; fewer where that does not fit.
      remat, attention, scan: `T5Config.remat_policy`, `attention`, `scan_layers`.
      chunk_tokens: `LossConfig.chunk_tokens`.
      dropout: rate.
    """

    engine: str
    size: str
    vocab: int
    source: int
    target: int
    batch: int
    remat: str = "none"
    attention: str = "auto"
    scan: bool = False
    chunk_tokens: int | None = 2048
    dropout: float = 0.0

    def model(self) -> Any:
        from medmt5.models.t5 import T5Config

        sizes = dict(SIZES[self.size])
        layers = sizes.pop("layers")
        return T5Config(
            vocab_size=self.vocab,
            num_encoder_layers=layers,
            num_decoder_layers=layers,
            dropout_rate=self.dropout,
            remat_policy=self.remat,
            scan_layers=self.scan,
            attention=self.attention,
            **sizes,
        )

    def title(self) -> str:
        name = "mT5" if self.vocab == MT5_WORDS else "T5 1.1"
        words = [self.engine, f"{name} {self.size} {self.source}/{self.target}"]
        if self.engine == "medmt5":
            chunks = f"chunks of {self.chunk_tokens}" if self.chunk_tokens else "all logits"
            words += [f"remat {self.remat}", f"{self.attention} attention", chunks]
            words += ["scanned"] if self.scan else []
        words += [f"dropout {self.dropout}"] if self.dropout else []
        return ", ".join(words)


class Job(NamedTuple):
    """A part's name and what to run for it: a step, or another tool with its arguments."""

    part: str
    step: Step | None = None
    tool: tuple[str, ...] = ()


def jobs(*, quick: bool, batch: int) -> list[Job]:
    """All jobs, the most telling first."""
    if quick:
        tiny = Step("medmt5", "quick", 512, 32, 16, batch)
        loss = "--tokens 64 --embed 8 --vocab 256 --chunks 16 --repeats 2"
        decoding = (
            "--layers 1 --embed 32 --heads 2 --mlp 32 --vocabularies 1024 --words 5 --batches 2 "
            "--widths 4 --beams 0 --sentences 2 --repeats 2 --no-hf"
        )
        small, base, large, english, pile = (tiny,) * 5
        attention = "--interpret"
    else:
        small = Step("medmt5", "small", MT5_WORDS, 1024, 256, batch, remat="minimal", scan=True)
        base, large = (dataclasses.replace(small, size=size) for size in ("base", "large"))
        english = dataclasses.replace(large, vocab=T5_WORDS, source=512, target=114)
        pile = dataclasses.replace(english, target=128)  # NVIDIA's published runs of T5X
        loss = f"--tokens 16384 --embed 1024 --vocab {MT5_WORDS} --chunks 1024 2048 4096 8192"
        loss += " --dtypes bfloat16"
        decoding = (
            f"--vocabularies {MT5_WORDS} --words 30 --batches 1 64 --widths 4 8 16 --sentences 64 "
            "--dtype bfloat16 --beams 0 --no-hf"
        )
        attention = ""
    change = dataclasses.replace
    found = [
        *(Job("steps", step) for step in dict.fromkeys((large, english, pile, base, small))),
        Job("torch", change(large, engine="torch", batch=max(1, batch // 4))),
        Job("torch", change(large, engine="torch compiled", batch=max(1, batch // 4))),
        Job("decoding", tool=("bench_labelling.py", *decoding.split())),
        Job("loss", tool=("bench_loss.py", *loss.split())),
        Job("attention", tool=("bench_attention.py", *attention.split())),
        Job("variants", change(large, attention="plain")),
        Job("variants", change(large, scan=False)),
        Job("variants", change(large, remat="none")),
        Job("variants", change(large, remat="full")),
        *(Job("variants", change(large, chunk_tokens=size)) for size in (512, 8192, None)),
        Job("variants", change(large, dropout=0.1)),
        Job("variants", change(base, remat="none", scan=False)),
        Job("variants", change(small, remat="none", scan=False)),
        Job("variants", change(base, attention="plain")),
        Job("variants", change(small, attention="plain")),
    ]
    return list(dict.fromkeys(found))


class DoesNotFit(Exception):
    """Memory; the message says how much, if that is known."""


def largest_fitting(batch: int, attempt: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    """What `attempt` gives for the largest batch that fits, halved from the one given.

    Raises:
      DoesNotFit: not even one row does.
    """
    too_large = []
    while True:
        try:
            return attempt(batch) | {"batch": batch, "did_not_fit": too_large}
        except DoesNotFit as error:
            say(f"batch {batch} does not fit: {error}")
            too_large.append(batch)
            if batch == 1:
                raise
            batch //= 2


def timed(group: Callable[[], None]) -> list[float]:
    """Seconds per step of each repeat; the first group warms up."""
    seconds = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        group()
        seconds.append((time.perf_counter() - began) / GROUP)
    return seconds[1:]


def tokens(step: Step, batch: int) -> dict[str, np.ndarray]:
    """Random rows without padding; names as in SeqIO."""
    rng = np.random.default_rng(0)
    source = rng.integers(3, step.vocab, (batch, step.source), np.int32)
    target = rng.integers(3, step.vocab, (batch, step.target), np.int32)
    return {
        "encoder_input_tokens": source,
        "decoder_input_tokens": np.pad(target[:, :-1], ((0, 0), (1, 0))),
        "decoder_target_tokens": target,
        "decoder_loss_weights": np.ones(target.shape, np.float32),
    }


def our_step(step: Step) -> dict[str, Any]:
    """Our step as `train.train` runs it, on one device."""
    import jax

    from medmt5.adafactor import adafactor
    from medmt5.partitioning import batch_sharding, make_mesh
    from medmt5.state import Architecture, init_state
    from medmt5.step import Batch, LossConfig, jitted_train_step

    mesh = make_mesh(devices=jax.devices()[:1])
    architecture, optimizer = Architecture.t5(step.model()), adafactor(1e-3)
    limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit", float("inf"))

    def attempt(rows: int) -> dict[str, Any]:
        state, shardings = init_state(architecture, optimizer, seed=0, mesh=mesh, hardware_rng=True)
        loss = LossConfig(chunk_tokens=step.chunk_tokens)
        jitted = jitted_train_step(architecture, optimizer, loss, shardings=shardings)
        batch = jax.device_put(Batch(**tokens(step, rows)), batch_sharding(mesh))
        began = time.perf_counter()
        compiled = jitted.lower(state, batch).compile()
        compile_seconds = time.perf_counter() - began
        memory = compiled.memory_analysis()
        needed = memory.temp_size_in_bytes + memory.argument_size_in_bytes
        if needed > limit:
            raise DoesNotFit(f"{needed / 2**30:.1f} GiB of {limit / 2**30:.1f}")
        metrics: dict[str, Any] = {}

        def group() -> None:
            nonlocal state, metrics
            for _ in range(GROUP):
                state, metrics = compiled(state, batch)
            jax.block_until_ready((state, metrics))

        seconds = timed(group)
        return {
            "seconds": seconds,
            "loss": float(metrics["nll"] / metrics["weight"]),
            "compile_seconds": compile_seconds,
            "temporary_gib": memory.temp_size_in_bytes / 2**30,
            "memory_gib": needed / 2**30,
        }

    def guarded(rows: int) -> dict[str, Any]:
        try:
            return attempt(rows)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise DoesNotFit(str(error).splitlines()[0][:200]) from None

    with jax.set_mesh(mesh):
        record = largest_fitting(step.batch, guarded)
    return record | {"device": jax.devices()[0].device_kind, "jax": jax.__version__}


def torch_step(step: Step) -> dict[str, Any]:
    """transformers' model: float32 parameters, bfloat16 products, its Adafactor."""
    import torch
    import transformers
    from transformers.optimization import Adafactor

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and step.size != "quick":
        raise RuntimeError("PyTorch sees no CUDA device here")
    torch.backends.cuda.matmul.allow_tf32 = True
    sizes = SIZES[step.size]
    config = transformers.MT5Config(
        vocab_size=step.vocab,
        d_model=sizes["emb_dim"],
        d_kv=64,
        d_ff=sizes["mlp_dim"],
        num_layers=sizes["layers"],
        num_decoder_layers=sizes["layers"],
        num_heads=sizes["num_heads"],
        dropout_rate=step.dropout,
        decoder_start_token_id=0,
    )

    def attempt(rows: int) -> dict[str, Any]:
        model = transformers.MT5ForConditionalGeneration(config).to(device).train()
        options = dict(lr=1e-3, relative_step=False, scale_parameter=True)
        optimizer = Adafactor(model.parameters(), **options)
        batch = {name: torch.tensor(a, device=device) for name, a in tokens(step, rows).items()}
        run = torch.compile(model) if step.engine == "torch compiled" else model
        loss = torch.zeros(())

        def group() -> None:
            nonlocal loss
            for _ in range(GROUP):
                optimizer.zero_grad(set_to_none=True)
                with torch.autocast(device, torch.bfloat16):
                    loss = run(
                        input_ids=batch["encoder_input_tokens"].long(),
                        decoder_input_ids=batch["decoder_input_tokens"].long(),
                        labels=batch["decoder_target_tokens"].long(),
                        use_cache=False,
                    ).loss
                loss.backward()
                optimizer.step()
            loss.item()  # waits

        seconds = timed(group)
        peak = torch.cuda.max_memory_allocated() if device == "cuda" else 0
        return {"seconds": seconds, "loss": loss.item(), "memory_gib": peak / 2**30}

    def guarded(rows: int) -> dict[str, Any]:
        try:
            return attempt(rows)
        except torch.cuda.OutOfMemoryError as error:
            message = str(error).splitlines()[0][:200]
        torch.cuda.empty_cache()
        raise DoesNotFit(message)

    record = largest_fitting(step.batch, guarded)
    kind = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    return record | {
        "device": kind,
        "torch": torch.__version__,
        "sdpa": config._attn_implementation,
    }


def finished(step: Step, record: dict[str, Any]) -> dict[str, Any]:
    """The record with speeds and MFU."""
    from medmt5.reporting import PEAK_FLOPS, training_flops

    rows, median = record["batch"], float(np.median(record["seconds"]))
    flops = training_flops(step.model(), rows=rows, source=step.source, target=step.target)
    peaks = [peak for name, peak in PEAK_FLOPS.items() if record["device"].startswith(name)]
    return record | {
        "quartiles": np.quantile(record["seconds"], [0.25, 0.5, 0.75]).tolist(),
        "flops": flops,
        "sequences_per_second": rows / median,
        "tokens_per_second": rows * (step.source + step.target) / median,
        "mfu": flops / median / peaks[0] if peaks else None,
    }


def line(step: Step, record: dict[str, Any]) -> str:
    """A row of the table that `HEADER` begins."""
    low, median, high = (f"{1e3 * seconds:,.1f}" for seconds in record["quartiles"])
    mfu = "" if record["mfu"] is None else f"{100 * record['mfu']:.1f}"
    compiled = "" if "compile_seconds" not in record else f"{record['compile_seconds']:.0f}"
    cells = [
        step.title(),
        f"{record['batch']}",
        f"{median} ({low}-{high})",
        f"{record['sequences_per_second']:,.1f}",
        f"{record['tokens_per_second']:,.0f}",
        mfu,
        f"{record['memory_gib']:.1f}",
        compiled,
    ]
    return "| " + " | ".join(cells) + " |"


HEADER = (
    "| step | rows | ms (quartiles) | sequences/s | tokens/s | MFU % | GiB | compiled in s |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|"
)


def run_step(step: Step) -> dict[str, Any]:
    return finished(step, our_step(step) if step.engine == "medmt5" else torch_step(step))


def start(job: Job, seconds: float) -> tuple[dict[str, Any], str]:
    """Run a job in a process of its own; its record and what to print."""
    if job.step:
        asked = json.dumps(dataclasses.asdict(job.step))
        command, title = ["bench_gpu.py", "--step", asked], job.step.title()
    else:
        command, title = list(job.tool), " ".join(job.tool)
    record: dict[str, Any] = {"part": job.part, "title": title}
    if not (HERE / command[0]).exists():
        return record | {"error": "no such tool"}, f"{title}: left out, there is no such tool"
    # Where JAX takes memory in pieces it cannot use all of it.
    memory = {"XLA_PYTHON_CLIENT_MEM_FRACTION": str(MEMORY_SHARE)}
    try:
        done = subprocess.run(
            [sys.executable, str(HERE / command[0]), *command[1:]],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env=memory | os.environ,
        )
    except subprocess.TimeoutExpired:
        return record | {"error": "out of time"}, f"{title}: cut off, out of time"
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return record | {"error": said}, f"{title}: failed: {said}"
    if not job.step:
        return record | {"output": done.stdout}, f"{title}\n{done.stdout}"
    answer = json.loads(done.stdout.splitlines()[-1])
    return record | {"step": dataclasses.asdict(job.step)} | answer, line(job.step, answer)


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    flags.add_argument("--minutes", type=float, default=60, help="begin nothing after that")
    flags.add_argument("--batch", type=int, default=64, help="rows to begin with")
    flags.add_argument("--json", metavar="FILE", help="append a line per job")
    flags.add_argument("--quick", action="store_true", help="tiny sizes, to see that all runs")
    flags.add_argument("--step", help=argparse.SUPPRESS)  # a job's own process
    return flags.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    given = parse(arguments)
    if given.step:
        print(json.dumps(run_step(Step(**json.loads(given.step)))), flush=True)
        return
    end = time.monotonic() + 60 * given.minutes
    todo = [
        job
        for job in jobs(quick=given.quick, batch=2 if given.quick else given.batch)
        if job.part in given.only
    ]
    table = False
    for number, job in enumerate(todo, 1):
        left = end - time.monotonic()
        if left <= 0:
            say(f"out of time: {len(todo) - number + 1} of {len(todo)} jobs are left out")
            break
        say(f"job {number} of {len(todo)}, {left / 60:.0f} minutes left: {job.part}")
        record, text = start(job, left)
        if job.step and not table:
            print(HEADER)
        table = job.step is not None
        print(text, flush=True)
        if given.json:
            with open(given.json, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
