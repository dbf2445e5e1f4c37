"""Recipes are read as training would, without data, and for most without SeqIO."""

import json
import re
import subprocess
import sys

import pytest
import tiny

from medmt5 import launch, vocabulary
from medmt5 import train as training
from medmt5.models.soft_prompt import PATHS, PromptConfig
from medmt5.plan.recipe import read_recipe
from medmt5.step import LossConfig

PRETRAIN = "gin_configs/recipes/quickstart_pretrain.gin"


def test_a_recipe_gives_what_training_would_use():
    bindings = ["NUM_MICROBATCHES = 2", "partitioning.make_mesh.fsdp = 4", "RANDOM_SEED = 3"]
    recipe = read_recipe([PRETRAIN], bindings)
    assert (recipe.model.emb_dim, recipe.model.vocab_size) == (128, 2048)
    assert dict(recipe.mesh.shape) == {"data": 2, "fsdp": 4, "model": 1}
    assert (recipe.batch_size, recipe.source, recipe.target) == (16, 128, 96)
    assert recipe.pack and recipe.num_microbatches == 2 and recipe.random_seed == 3
    assert recipe.loss == LossConfig(loss_normalizing_factor="NUM_REAL_TARGET_TOKENS")
    assert recipe.optimizer.init({"w": 1.0})


def test_no_vocabulary_and_no_checkpoint_is_opened():
    raw = read_recipe(["gin_configs/recipes/tiny_raw.gin"], ["VOCABULARY_PATH = '/no/such'"])
    assert raw.model.vocab_size == 3072
    finetune = "gin_configs/recipes/quickstart_finetune.gin"
    assert read_recipe([finetune], ["INITIAL_CHECKPOINT_PATH = '/no/such'"]).target == 144


def test_a_soft_prompt_makes_rows_longer():
    bindings = [
        "PROMPT_LENGTH = 7",
        "PROMPT_TASKS = ('a', 'b')",
        "PROMPT_INIT = 'text'",
        "PROMPT_TEXT = ('Is it true?', 'Translate')",
        "PROMPT_DECODER_LENGTH = 2",
    ]
    recipe = read_recipe([PRETRAIN, "gin_configs/adapters/frozen_prompt.gin"], bindings)
    texts = ("Is it true?", "Translate")
    assert recipe.model.prompt == PromptConfig(
        7, tasks=("a", "b"), decoder_length=2, init="text", text=texts
    )
    assert (recipe.source, recipe.target, recipe.pack) == (128 + 7, 96, False)
    trained = [name for name in (*PATHS, "encoder/x") if re.fullmatch(recipe.trainable, name)]
    assert trained == ["encoder/x"]


def test_training_is_left_as_it_was():
    before = training.train, vocabulary.Vocabulary, launch.import_seqio
    with pytest.raises(ValueError, match="NO_SUCH"):
        read_recipe([PRETRAIN], ["NO_SUCH = 1"])
    assert (training.train, vocabulary.Vocabulary, launch.import_seqio) == before
    with pytest.raises(ValueError, match="model_dir|MODEL_DIR"):
        launch.run("train", files=[PRETRAIN], dry_run=True)


def test_what_is_missing_or_of_another_command_is_said():
    with pytest.raises(ValueError, match="INITIAL_CHECKPOINT_PATH must be set"):
        read_recipe(["gin_configs/recipes/quickstart_finetune.gin"])
    with pytest.raises(ValueError, match="mesh data=2 x fsdp=4 x model=3 asks for 24 devices"):
        sizes = {"data": 2, "fsdp": 4, "model": 3}
        read_recipe(
            [PRETRAIN],
            [f"partitioning.make_mesh.{axis} = {size}" for axis, size in sizes.items()],
        )


def loaded_after(file: str) -> list[str]:
    code = (
        "import json, sys\n"
        "from medmt5.plan.recipe import read_recipe\n"
        f"recipe = read_recipe([{file!r}])\n"
        "print(recipe.batch_size, json.dumps([m for m in ('seqio', 'tensorflow') "
        "if m in sys.modules]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=tiny.subprocess_env(),
        capture_output=True,
        text=True,
        check=True,
    )
    batch_size, _, modules = run.stdout.splitlines()[-1].partition(" ")
    assert int(batch_size) in (16, 128)
    return json.loads(modules)


def test_a_recipe_that_imports_tasks_loads_neither_seqio_nor_tensorflow():
    assert loaded_after(PRETRAIN) == []


@pytest.mark.slow  # imports TensorFlow
def test_a_run_file_of_t5x_gets_the_seqio_that_it_names():
    assert loaded_after("gin_configs/t5x/pretrain.gin") == ["seqio", "tensorflow"]
