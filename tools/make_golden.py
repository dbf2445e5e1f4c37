"""Make the golden files of tests/golden/hf: models as transformers saves them, and its numbers.

    python tools/make_golden.py tests/golden/hf

Needs transformers and torch (the extra `hf`). Random weights of three small models (mT5, T5 1.0,
umT5) are written by `medmt5 convert`, loaded and saved again by transformers, which then says what
logits and greedy tokens they give. The tests that read these files need neither.
"""

import argparse
import json
import os
import tempfile

import jax
import numpy as np
import torch
import transformers

from medmt5.convert import huggingface
from medmt5.models.t5 import T5Config
from medmt5.state import Architecture, flat_params

SMALL = dict(
    vocab_size=96,
    dtype="float32",
    emb_dim=16,
    num_heads=2,
    num_encoder_layers=2,
    num_decoder_layers=2,
    head_dim=4,  # heads x head width is not the width, as in mT5 small
    mlp_dim=24,
    dropout_rate=0.0,
)
KINDS = {
    "mt5": SMALL,
    "t5": SMALL | dict(mlp_activations=("relu",), logits_via_embedding=True),
    "umt5": SMALL | dict(relative_bias_per_layer=True),
}


def random_params(config: T5Config, seed: int = 0) -> dict[str, np.ndarray]:
    """By name; norms are not 1 and biases not small, so that every one of them matters."""
    rng = np.random.default_rng(seed)
    shapes = flat_params(Architecture.t5(config).shapes)
    return {
        name: (rng.normal(size=leaf.shape) * 0.25 + name.endswith("scale")).astype(np.float32)
        for name, leaf in shapes.items()
    }


def write(
    folder: str, config: T5Config, params: dict[str, np.ndarray], kind: str, **options
) -> None:
    """A Hugging Face directory without tokenizer."""
    writer = huggingface.Writer(folder, config, kind, dtype=np.float32, **options)
    for name, array in params.items():
        writer.write(f"params/{name}", array)
    writer.close()


def sources(rows: int = 4, length: int = 20) -> np.ndarray:
    """Source ids of several lengths, longer than the exact buckets; 0 is padding, 1 ends."""
    rng = np.random.default_rng(1)
    tokens = rng.integers(2, SMALL["vocab_size"], (rows, length))
    for row, end in enumerate(np.linspace(5, length, rows).astype(int)):
        tokens[row, end - 1] = 1
        tokens[row, end:] = 0
    return tokens


def targets() -> np.ndarray:
    """Decoder inputs, 0 first."""
    tokens = np.random.default_rng(2).integers(2, SMALL["vocab_size"], (4, 6))
    tokens[:, 0] = 0
    return tokens


def numbers(folder: str) -> tuple[np.ndarray, np.ndarray, "transformers.PreTrainedModel"]:
    """Logits (4, 6, 96), greedy tokens (4, 12 at most) and the model, by transformers."""
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor(sources())
    mask = (ids > 0).long()
    with torch.no_grad():
        logits = model(
            input_ids=ids, attention_mask=mask, decoder_input_ids=torch.tensor(targets())
        ).logits
        greedy = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=12, do_sample=False, num_beams=1
        )
    return logits.numpy(), greedy[:, 1:].numpy(), model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    folder = parser.parse_args().folder
    jax.config.update("jax_platforms", "cpu")
    expected = {"made_by": f"tools/make_golden.py with transformers {transformers.__version__}"}
    for kind, sizes in KINDS.items():
        config = T5Config(**sizes)
        with tempfile.TemporaryDirectory() as temporary:
            write(os.path.join(temporary, kind), config, random_params(config), kind)
            logits, greedy, model = numbers(os.path.join(temporary, kind))
        model.save_pretrained(os.path.join(folder, kind))
        os.remove(os.path.join(folder, kind, "generation_config.json"))
        expected[kind] = {
            "logits": np.round(logits.astype(np.float64), 6).tolist(),
            "greedy": greedy.tolist(),
        }
    with open(os.path.join(folder, "expected.json"), "w", encoding="utf-8") as file:
        json.dump(expected, file)


if __name__ == "__main__":
    main()
