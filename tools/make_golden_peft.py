"""Make the golden files of tests/golden/peft: adapters as PEFT saves them, and its logits.

    python tools/make_golden_peft.py tests/golden/peft

Needs peft, transformers and torch. The base is tests/golden/hf/mt5, by that path, so run it from
the root of the repository. The tests that read these files need none of them.
"""

import argparse
import json
import os

import numpy as np
import peft
import torch
import transformers
from make_golden import sources, targets

BASE = "tests/golden/hf/mt5"
COLUMNS = 8  # of the vocabulary; a wrong hidden state shows in all of them
ADAPTERS = {
    "lora": peft.LoraConfig(
        task_type="SEQ_2_SEQ_LM", r=2, lora_alpha=3, lora_dropout=0.1, target_modules=["q", "v"]
    ),
    "rslora": peft.LoraConfig(
        task_type="SEQ_2_SEQ_LM",
        r=2,
        lora_alpha=3,
        use_rslora=True,
        target_modules=r"decoder\..*(EncDecAttention\.k|wi_1|wo)|encoder.*SelfAttention\.o",
    ),
    "prompt": peft.PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=3),
}


def load_base(path: str) -> transformers.PreTrainedModel:
    return transformers.AutoModelForSeq2SeqLM.from_pretrained(path, dtype=torch.float32).eval()


def randomise(model: peft.PeftModel, seed: int = 4) -> None:
    """Give all that would be trained numbers that matter: lora_B, for one, starts as zeros."""
    rng = np.random.default_rng(seed)
    for _, tensor in sorted((n, p) for n, p in model.named_parameters() if p.requires_grad):
        tensor.data = torch.tensor(rng.normal(size=tensor.shape) / 2, dtype=torch.float32)


def logits(model: torch.nn.Module) -> np.ndarray:
    """Of shape (4, 6, 96)."""
    ids = torch.tensor(sources())
    with torch.no_grad():
        return model.eval()(
            input_ids=ids,
            attention_mask=(ids > 0).long(),
            decoder_input_ids=torch.tensor(targets()),
        ).logits.numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    folder = parser.parse_args().folder
    expected = {
        "made_by": f"tools/make_golden_peft.py with peft {peft.__version__}",
        "sources": sources().tolist(),
        "targets": targets().tolist(),
    }
    for name, config in ADAPTERS.items():
        model = peft.get_peft_model(load_base(BASE), config)
        randomise(model)
        target = os.path.join(folder, name)
        model.save_pretrained(target)
        os.remove(os.path.join(target, "README.md"))
        numbers = logits(model)[..., :COLUMNS].astype(np.float64)
        expected[name] = np.round(numbers, 6).tolist()
    with open(os.path.join(folder, "expected.json"), "w", encoding="utf-8") as file:
        json.dump(expected, file)


if __name__ == "__main__":
    main()
