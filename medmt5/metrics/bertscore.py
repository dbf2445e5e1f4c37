"""BERTScore with a model that the user names: greedy matching of contextual token vectors.

As the package bert-score without idf weights and without rescaling. Needs the extra `hf`.

Source: Zhang et al. 2020, "BERTScore: Evaluating Text Generation with BERT".
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from medmt5.metrics.metric import Metric, Record, mean_of

log = logging.getLogger(__name__)

# Layers that agree best with people's judgements on WMT16, as bert-score lists them.
LAYERS = {
    "bert-base-uncased": 9,
    "bert-large-uncased": 18,
    "bert-base-multilingual-cased": 9,
    "bert-base-chinese": 8,
    "roberta-base": 10,
    "roberta-large": 17,
    "xlm-roberta-base": 9,
    "xlm-roberta-large": 17,
    "mdeberta-v3-base": 10,
}
# Examples at a time.
BATCH = 32


class Encoder:
    """Unit vectors of a text's tokens, at one layer.

    Args:
      model: a directory, or a name on the Hugging Face hub.
      layer: which hidden state; by default the one of `LAYERS`, of other models three quarters of
        the way up, where those of that list lie.

    Raises:
      ValueError: transformers or torch is missing, there is no such model or layer.
    """

    def __init__(self, model: str, layer: int | None = None):
        try:
            import torch
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise ValueError(f"BERTScore: {error}; pip install 'medmt5[hf]'") from error
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(model)
            network: Any = AutoModel.from_pretrained(model)
        except Exception as error:  # each format of weights and tokenisers has errors of its own
            first = str(error).strip().partition("\n")[0]
            raise ValueError(f"BERTScore: {model} cannot be loaded: {first}") from error
        self.torch = torch
        self.network = network.get_encoder() if network.config.is_encoder_decoder else network
        self.network.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        layers = network.config.num_hidden_layers
        usual = LAYERS.get(os.path.basename(model.rstrip("/")), int(0.75 * layers))
        self.layer = usual if layer is None else layer
        if not 0 <= self.layer <= layers:
            raise ValueError(f"BERTScore: {model} has layers 0 to {layers}, not {layer}")
        log.info("BERTScore: layer %d of %d of %s", self.layer, layers, model)
        limit = self.tokenizer.model_max_length
        # Tokenisers that do not know their model's limit say 1e30; RoBERTa's has two positions
        # fewer than its configuration says, so that alone is not it either.
        limit = limit if limit < 1e6 else 512
        self.limit = min(limit, getattr(network.config, "max_position_embeddings", None) or limit)

    def __call__(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each text the vectors (tokens, width), and which tokens are special.

        Too long texts are cut.
        """
        batch = self.tokenizer(
            [text.strip() for text in texts],
            padding=True,
            truncation=True,
            max_length=self.limit,
            return_special_tokens_mask=True,
            return_tensors="pt",
        ).to(self.network.device)
        special = batch.pop("special_tokens_mask").bool().cpu().numpy()
        real = batch["attention_mask"].bool().cpu().numpy()
        with self.torch.inference_mode():
            states = self.network(**batch, output_hidden_states=True).hidden_states[self.layer]
        vectors = self.torch.nn.functional.normalize(states.float(), dim=-1).cpu().numpy()
        return [(v[r], s[r]) for v, r, s in zip(vectors, real, special, strict=True)]


def match(
    found: tuple[np.ndarray, np.ndarray], reference: tuple[np.ndarray, np.ndarray]
) -> tuple[float, float, float]:
    """Precision, recall and F1 of two texts' vectors; 0 where one has no token.

    Special tokens have no score of their own, but others may match them (as in bert-score).
    """
    if found[1].all() or reference[1].all():
        return 0.0, 0.0, 0.0
    similarity = found[0] @ reference[0].T
    precision = float(similarity.max(axis=1)[~found[1]].mean())
    recall = float(similarity.max(axis=0)[~reference[1]].mean())
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0


def bert_scores(records: Sequence[Record], encoder: Encoder) -> Float[np.ndarray, "examples 3"]:
    """Precision, recall and F1 of text records, each with the reference of highest F1."""
    rows = np.zeros((len(records), 3))
    texts = [[record["predicted"], *record["references"]] for record in records]
    # Texts of like length together, so that little of a batch is padding.
    order = sorted(range(len(records)), key=lambda i: max(map(len, texts[i])))
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        distinct = list(dict.fromkeys(text for i in batch for text in texts[i]))
        vectors = dict(zip(distinct, encoder(distinct), strict=True))
        for i in batch:
            found, *references = (vectors[text] for text in texts[i])
            rows[i] = max((match(found, each) for each in references), key=lambda prf: prf[2])
    return rows


def bert_score(model: str, layer: int | None = None) -> Metric:
    """BERTScore F1 as a metric of text records; the model is loaded when it is first used."""
    encoder = functools.cache(lambda: Encoder(model, layer))

    def counts(records: Sequence[Record]) -> np.ndarray:
        f1 = bert_scores(records, encoder())[:, 2]
        return np.stack([f1, np.ones(len(f1))], axis=1)

    return Metric("bert_score", "text", counts, mean_of(0), f"mean BERTScore F1 by {model}")
