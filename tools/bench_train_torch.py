"""The worker of bench_train.py for transformers' MT5ForConditionalGeneration, and for products."""

from __future__ import annotations

import os
import tempfile
import time
from typing import Any

import numpy as np

os.environ.setdefault("USE_TF", "0")  # transformers 4 imports TensorFlow where it is

import torch  # noqa: E402 (after the variable that it reads)
import transformers  # noqa: E402
from bench_train_worker import (  # noqa: E402
    LEARNING_RATE,
    Case,
    Job,
    full_batch,
    parameters,
    serve,
)
from transformers.optimization import Adafactor  # noqa: E402

from medmt5.convert import huggingface  # noqa: E402
from medmt5.convert.source import expected_shapes  # noqa: E402
from medmt5.models.t5 import T5Config  # noqa: E402


def make(case: Case) -> Job:
    torch.manual_seed(0)
    torch.set_num_threads(case.threads)
    if case.part == "products":
        return products(case)
    model = load(case)
    return decode(case, model) if case.part == "decode" else training(case, model)


def load(case: Case) -> Any:
    """The parameters that all start from, through a checkpoint."""
    config = T5Config(**case.sizes())
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model")
        writer = huggingface.Writer(path, config, "mt5", dtype=np.float32)
        for name, shape in expected_shapes(config).items():
            writer.write(f"params/{name}", parameters({name: shape})[name])
        writer.close()
        return transformers.MT5ForConditionalGeneration.from_pretrained(path)


def autocast(case: Case) -> Any:
    """float32 parameters and bfloat16 products, as in JAX."""
    return torch.autocast("cpu", torch.bfloat16, enabled=case.dtype == "bfloat16")


def facts(model: Any) -> dict[str, Any]:
    return {"attention": model.config._attn_implementation}


def training(case: Case, model: Any) -> Job:
    batch = {name: torch.from_numpy(array) for name, array in full_batch(case).items()}
    arguments = {
        "input_ids": batch["encoder_input_tokens"].long(),
        "decoder_input_ids": batch["decoder_input_tokens"].long(),
        "labels": batch["decoder_target_tokens"].long(),
    }
    optimizer = None
    if case.part == "train":
        optimizer = Adafactor(
            model.parameters(), lr=LEARNING_RATE, relative_step=False, scale_parameter=True
        )
    model.train()

    def run(turn: int) -> dict[str, Any]:
        del turn
        model.zero_grad(set_to_none=True)
        with autocast(case):
            loss = model(**arguments, use_cache=False).loss
        loss.backward()
        if optimizer is not None:
            optimizer.step()
        return {"loss": loss.item()}

    return Job(run, facts(model))


def decode(case: Case, model: Any) -> Job:
    source = torch.from_numpy(full_batch(case)["encoder_input_tokens"]).long()
    model.eval()
    lengths = dict(min_new_tokens=case.target, max_new_tokens=case.target)

    def run(turn: int) -> dict[str, Any]:
        del turn
        with torch.inference_mode(), autocast(case):
            found = model.generate(
                input_ids=source, do_sample=False, num_beams=1, eos_token_id=None, **lengths
            )
        return {"tokens": found[:, 1:].tolist()}

    return Job(run, facts(model))


def products(case: Case) -> Job:
    """Each product alone; the seconds of each are the turn's result."""
    dtype = getattr(torch, case.dtype)
    pairs = []
    for size, m, k, n in case.products:
        left, right = torch.randn(size, m, k).to(dtype), torch.randn(size, k, n).to(dtype)
        pairs.append((left[0], right[0]) if size == 1 else (left, right))

    def run(turn: int) -> dict[str, Any]:
        del turn
        seconds = []
        for pair in pairs:
            began = time.perf_counter()
            torch.matmul(*pair)
            seconds.append(time.perf_counter() - began)
        return {"products": seconds}

    return Job(run, {})


if __name__ == "__main__":
    serve(make)
