"""Prompt tuning from a gin-like call of `train` to a labeller."""

import json
import logging

import numpy as np
import optax
import pytest
import tiny

from medmt5 import train as train_lib
from medmt5.checkpoints import CheckpointConfig
from medmt5.convert.source import open_source
from medmt5.labeller import Labeller
from medmt5.models.soft_prompt import DECODER_PATH, PATH, PromptConfig
from medmt5.restore import RestoreCheckpointConfig
from medmt5.state import flat_params

PROMPT = PromptConfig(4, tasks=("sample_clinical_en",), decoder_length=2, init="vocabulary")


def train(folder, steps, base, **changes):
    given = dict(batch_size=4, pack=False)
    choices = dict(
        model=tiny.config(dropout_rate=0.0, prompt=PROMPT),
        optimizer=optax.adam(0.1),
        model_dir=str(folder),
        train_dataset_cfg=tiny.dataset("sample_clinical", **given),
        train_eval_dataset_cfg=tiny.dataset("sample_clinical", split="validation", **given),
        infer_eval_dataset_cfg=tiny.dataset("sample_clinical_en", split="validation", **given),
        total_steps=steps,
        eval_steps=1,
        eval_examples=2,
        checkpoint_cfg=CheckpointConfig(period=2),
        restore=RestoreCheckpointConfig(str(base), "params"),
        trainable="(encoder|decoder)/prompt/.*",
        mesh=tiny.one_device(),
    )
    return train_lib.train(**(choices | changes))


@pytest.mark.slow  # two short runs, compiled
def test_a_prompt_that_starts_from_words_is_trained_evaluated_resumed_and_labelled_with(
    tmp_path, caplog
):
    base = tiny.Run(dropout_rate=0.0, seed=1)
    base.save(tmp_path / "base")
    with caplog.at_level(logging.INFO):
        untouched = train(tmp_path / "none", 0, tmp_path / "base")
    assert "with a soft prompt: sample_clinical_en; without: sample_clinical_es" in caplog.text
    assert "rows of 36/48 tokens" in caplog.text
    table = np.asarray(base.state.params["token_embedder"]["embedding"])
    for name in (PATH, DECODER_PATH):
        rows = np.asarray(flat_params(untouched.params)[name])
        assert (rows[:, None] == table).all(axis=-1).any(axis=1).all()
    last = train(tmp_path / "run", 4, tmp_path / "base")
    assert tiny.digest(last.frozen) == tiny.digest(base.state.params)
    started = flat_params(untouched.params)
    assert all(
        (np.asarray(leaf) != np.asarray(started[name])).any()
        for name, leaf in flat_params(last.params).items()
    )
    # Interrupted after two steps, it goes on from the prompt that it has, not from words again.
    train(tmp_path / "again", 2, tmp_path / "base")
    assert tiny.digest(train(tmp_path / "again", 4, tmp_path / "base")) == tiny.digest(last)
    scores = [
        json.loads(line)
        for line in (tmp_path / "run" / "eval" / "scalars.jsonl").read_text().splitlines()
    ]
    assert np.isfinite(scores[-1]["loss"])
    assert open_source(str(tmp_path / "run")).config.prompt == PROMPT
    labeller = Labeller.load(str(tmp_path / "run"), task="sample_clinical_en", batch_size=1)
    assert list(labeller.prompt_ids) == [2048, 2049, 2050, 2051]
    assert labeller.label(["The patient was given aspirin."])[0].words
