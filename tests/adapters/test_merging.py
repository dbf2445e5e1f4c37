"""Adapters and base as one checkpoint."""

import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from medmt5 import checkpoints, restore
from medmt5.adapters.merging import MergedSource
from medmt5.convert.command import convert
from medmt5.convert.source import Source, open_source
from medmt5.models.lora import LoraConfig
from medmt5.models.soft_prompt import PromptConfig
from medmt5.predictor import Predictor
from medmt5.state import Architecture, flat_params
from medmt5.vocabulary import Vocabulary

LORA = LoraConfig(rank=2, alpha=6.0)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A model directory whose adapters are not zero, and its parameters."""
    folder = tmp_path_factory.mktemp("adapted")
    run = tiny.Run(trainable=".*/lora/[ab]", lora=LORA, dropout_rate=0.0)
    params = run.state.params
    for stack in (params["encoder"], params["decoder"]):
        for attention in stack["layers_0"].values():
            for matrix in attention.values():
                matrix["lora"]["b"] = jnp.ones_like(matrix["lora"]["b"])
    run.save(folder)
    config = tiny.config(lora=LORA, dropout_rate=0.0)
    checkpoints.write_card(str(folder), config, Vocabulary(tiny.VOCABULARY), {})
    return str(folder), flat_params(run.state.params) | flat_params(run.state.frozen)


def test_a_merged_matrix_is_the_base_plus_the_scaled_product(adapted):
    folder, params = adapted
    merged = MergedSource.of(open_source(folder))
    assert merged.config == tiny.config(dropout_rate=0.0)
    assert not any("/lora/" in key or key.startswith("opt_state") for key in merged.arrays)
    name = "decoder/layers_0/self_attention/value"
    expected = params[f"{name}/kernel"] + 3.0 * params[f"{name}/lora/a"] @ jnp.ones((2, 16))
    np.testing.assert_allclose(merged.read(f"params/{name}/kernel"), expected, rtol=1e-6)
    same = "encoder/layers_0/mlp/wo/kernel"
    np.testing.assert_array_equal(merged.read(f"params/{same}"), params[same])


def test_sentinels_that_a_card_counts_are_not_recounted():
    config = tiny.config(vocab_size=256_384, relative_bias_per_layer=True, lora=LORA)
    source = Source("medmt5", "m", config, {})
    assert source.extra_ids == 300  # umT5's size
    source.extra_ids = 0
    assert MergedSource.of(source).extra_ids == 0


@pytest.mark.parametrize("to", ["medmt5", "t5x"])
def test_what_is_exported_labels_as_base_and_adapters_do(adapted, tmp_path, to, caplog):
    caplog.set_level("INFO")
    assert convert(adapted[0], str(tmp_path / "out"), to) == 0.0  # against the merged numbers
    assert "adapters are added" in caplog.text
    written = open_source(str(tmp_path / "out"))
    assert not any("lora" in key for key in written.arrays)
    assert written.config.lora is None
    examples = [{"inputs": [5, 6, 7, 1]}, {"inputs": [8, 9, 1]}]
    answers = [[[20, 21], [22]], [[30], [31, 32, 33]]]
    for ours, theirs in zip(
        *(ranks(source, examples, answers) for source in (open_source(adapted[0]), written)),
        strict=True,
    ):
        # Two orders of the same float32 sums, of log-probabilities around -8 per token.
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def ranks(source, examples, answers):
    architecture = Architecture.t5(source.config)
    params = restore.load_params(source, architecture, architecture.shardings(tiny.one_device()))
    return Predictor(architecture, params, eos_id=1, batch_size=2).rank(examples, answers)


def test_a_soft_prompt_is_exported_to_our_own_format_alone(tmp_path):
    prompt = PromptConfig(2)
    tiny.Run(prompt=prompt).save(tmp_path / "m")
    card = tiny.config(prompt=prompt), Vocabulary(tiny.VOCABULARY), {}
    checkpoints.write_card(str(tmp_path / "m"), *card)
    with pytest.raises(ValueError, match="has a soft prompt, which t5x has no place for"):
        convert(str(tmp_path / "m"), str(tmp_path / "t5x"), "t5x")
    convert(str(tmp_path / "m"), str(tmp_path / "out"), "medmt5")
    assert open_source(str(tmp_path / "out")).config.prompt == prompt
