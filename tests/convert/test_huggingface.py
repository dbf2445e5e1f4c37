"""Hugging Face directories: golden files of transformers, transformers itself where installed."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medmt5.convert import check, huggingface
from medmt5.convert.source import open_source
from medmt5.decoding import greedy
from medmt5.models.t5 import T5Config
from medmt5.restore import load_params
from medmt5.state import Architecture

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "hf"
KINDS = ("mt5", "t5", "umt5")
HAS_TRANSFORMERS = all(importlib.util.find_spec(m) for m in ("transformers", "torch"))


@pytest.fixture(scope="module")
def tool():
    """tools/make_golden.py, without transformers if there is none."""
    if not HAS_TRANSFORMERS:
        stub = type(sys)("absent")
        sys.modules.setdefault("torch", stub)
        sys.modules.setdefault("transformers", stub)
    spec = importlib.util.spec_from_file_location("make_golden", ROOT / "tools" / "make_golden.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not HAS_TRANSFORMERS:
        del sys.modules["torch"], sys.modules["transformers"]
    return module


def ours(folder, tool):
    """Our logits and greedy tokens of a directory."""
    source = open_source(str(folder))
    architecture = Architecture.t5(source.config)
    model = architecture.merge(load_params(source, architecture))
    tokens, inputs = jnp.asarray(tool.sources()), jnp.asarray(tool.targets())
    # Every target position counts: none of ours is padding.
    hidden = model.decode(model.encode(tokens), tokens, inputs, jnp.ones_like(inputs))
    decoded = jax.jit(
        lambda t: greedy(model, t, max_length=12, eos_id=1)  # greedy's tokens, 0 after the end
    )(tokens)
    return np.asarray(model.logits(hidden)), np.asarray(decoded.tokens)


def compare(found, expected):
    logits, tokens = found
    theirs = np.asarray(expected[0])
    # float32, two implementations: 1e-5 of the largest logit.
    worst = np.abs(logits - theirs).max() / np.abs(theirs).max()
    print(f"measured: logits {worst:.1e}")  # shown by `pytest -s`; quoted in results/checkpoints.md
    assert worst < 1e-5, worst
    width = len(expected[1][0])
    np.testing.assert_array_equal(tokens[:, :width], expected[1])
    assert not tokens[:, width:].any()


def scale(kind, config):
    """transformers 5 multiplies umT5's hidden states by this, which T5X does not."""
    return config.emb_dim**-0.5 if kind == "umt5" else 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_golden_logits_and_greedy_tokens_are_ours(kind, tool):
    expected = json.loads((GOLDEN / "expected.json").read_text())[kind]
    logits, tokens = ours(GOLDEN / kind, tool)
    compare(
        (logits * scale(kind, T5Config(**tool.SMALL)), tokens),
        (expected["logits"], expected["greedy"]),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_round_trip_is_bitwise(kind, tool, tmp_path):
    config = T5Config(**tool.KINDS[kind])
    params = tool.random_params(config, seed=3)
    tool.write(str(tmp_path / "hf"), config, params, kind)
    source = open_source(str(tmp_path / "hf"))
    assert source.config == config and source.kind == "hf" and source.unused == []
    assert source.params.keys() == params.keys()
    for key, array in source.stream(source.arrays):
        np.testing.assert_array_equal(array, params[key.removeprefix("params/")], key)


@pytest.mark.parametrize("kind", KINDS)
def test_the_exporters_check_agrees_with_our_model_and_sees_every_swapped_matrix(
    kind, tool, tmp_path
):
    config = T5Config(**tool.KINDS[kind])
    params = tool.random_params(config)
    tool.write(str(tmp_path / "hf"), config, params, kind)
    source = open_source(str(tmp_path / "hf"))
    assert check.compare(source, source) < 1e-5
    square = "encoder/layers_1/attention/query/kernel"
    wrong = params | {square: params[square][::-1]}
    tool.write(str(tmp_path / "wrong"), config, wrong, kind)
    with pytest.raises(ValueError, match="gives other logits than"):
        check.compare(source, open_source(str(tmp_path / "wrong")))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.skipif(not HAS_TRANSFORMERS, reason="transformers and torch are not installed")
def test_transformers_computes_what_we_compute_and_writes_what_we_read(kind, tool, tmp_path):
    config = T5Config(**tool.KINDS[kind])
    params = tool.random_params(config, seed=5)
    tool.write(str(tmp_path / "hf"), config, params, kind, max_shard_bytes=20_000)
    assert (tmp_path / "hf" / huggingface.INDEX).exists()  # sharded
    logits, tokens, model = tool.numbers(str(tmp_path / "hf"))
    found = ours(tmp_path / "hf", tool)
    compare((found[0] * scale(kind, config), found[1]), (logits, tokens.tolist()))
    model.save_pretrained(tmp_path / "again", max_shard_size="20KB")
    again = open_source(str(tmp_path / "again"))
    for key, array in again.stream(again.arrays):
        np.testing.assert_array_equal(array, params[key.removeprefix("params/")], key)


# Which models share what


def edit(folder, **changes):
    path = folder / "config.json"
    given = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in given.items() if v is not ...}))


@pytest.fixture
def small(tool, tmp_path):
    """A writable mT5 directory and its parameters."""
    config = T5Config(**tool.SMALL)
    params = tool.random_params(config)
    tool.write(str(tmp_path / "m"), config, params, "mt5", max_shard_bytes=20_000)
    return tmp_path / "m"


@pytest.mark.parametrize("tie", [True, False, ...])
def test_mt5_keeps_its_own_output_whatever_tie_word_embeddings_says(small, tie):
    edit(small, tie_word_embeddings=tie)
    assert not open_source(str(small)).config.logits_via_embedding


def test_an_mt5_that_transformers_5_tied_has_the_embedding_for_output_unscaled(tool, tmp_path):
    config = T5Config(**tool.SMALL)
    params = tool.random_params(config)
    params["decoder/logits_dense/kernel"] = params["token_embedder/embedding"].T.copy()
    tool.write(str(tmp_path / "untied"), config, params, "mt5")
    tied = T5Config(**tool.SMALL, logits_via_embedding=True)
    tool.write(str(tmp_path / "m"), tied, tool.random_params(tied) | {
        name: array for name, array in params.items() if name != "decoder/logits_dense/kernel"
    }, "mt5")  # fmt: skip
    edit(tmp_path / "m", tie_word_embeddings=True)
    assert open_source(str(tmp_path / "m")).config == config
    for a, b in zip(ours(tmp_path / "m", tool), ours(tmp_path / "untied", tool), strict=True):
        np.testing.assert_array_equal(a, b)
    edit(tmp_path / "m", tie_word_embeddings=False)
    with pytest.raises(ValueError, match="lm_head.weight is missing, and tie_word_embeddings is f"):
        open_source(str(tmp_path / "m"))


def test_t5_with_its_own_output_must_say_that_it_is_not_tied(small):
    edit(small, model_type="t5", tie_word_embeddings=True)
    with pytest.raises(ValueError, match="set tie_word_embeddings to false if the model is a"):
        open_source(str(small))
    edit(small, tie_word_embeddings=False)
    assert not open_source(str(small)).config.logits_via_embedding
    # As transformers 5 saves a T5 1.1.
    edit(small, tie_word_embeddings=True, scale_decoder_outputs=False)
    assert not open_source(str(small)).config.logits_via_embedding


def test_a_repeated_embedding_is_read_once_and_another_is_refused(small, tool):
    index = json.loads((small / huggingface.INDEX).read_text())
    shared = huggingface.read_headers(str(small))["shared.weight"]
    table = huggingface.safetensors.read(shared)

    def add(name, array):
        writer = huggingface.safetensors.Writer(
            str(small / "more.safetensors"), {name: (96, 16)}, np.float32
        )
        writer.write(name, array)
        index["weight_map"][name] = "more.safetensors"
        (small / huggingface.INDEX).write_text(json.dumps(index))

    add("encoder.embed_tokens.weight", table)
    assert open_source(str(small)).unused == []
    add("encoder.embed_tokens.weight", table + 1)
    with pytest.raises(ValueError, match="encoder.embed_tokens.weight differs from shared.weight"):
        open_source(str(small))


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(model_type="llama"), "model_type 'llama' is not read; t5, mt5, umt5 are"),
        (dict(feed_forward_proj="gated-elu"), "feed_forward_proj 'gated-elu' is not supported"),
        (dict(relative_attention_num_buckets=64), "num_buckets is 64; only 32"),
        (dict(layer_norm_epsilon=1e-5), "layer_norm_epsilon is 1e-05; only 1e-06"),
        (dict(d_model=...), "config.json has no 'd_model'"),
        (dict(num_heads=0), "config.json: num_heads is 0; use a whole number from 1 on"),
        (dict(num_heads=float("inf")), "config.json: cannot convert float infinity"),
        (dict(num_layers=2_000_000), "config.json: more than 1000 layers"),
        (dict(dropout_rate=2.0), r"config.json: dropout_rate is 2.0; use a number in"),
        (dict(model_type=["mt5"]), r"model_type \['mt5'\] is not read"),
        (dict(tie_word_embeddings=False, d_ff=[24]), "config.json: int"),
        (dict(d_ff=32), r"mlp/wi_0/kernel is \(16, 24\), not \(16, 32\); .* and 4 more"),
        (dict(num_layers=3), "encoder/layers_2/attention/key/kernel is missing"),
        (dict(vocab_size=128), r"token_embedder/embedding is \(96, 16\), not \(128, 16\)"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(small, changes, message):
    edit(small, **changes)
    with pytest.raises(ValueError, match=message):
        open_source(str(small))


def a_pickle(folder):
    for file in folder.glob("model*"):
        file.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04")


def elsewhere(folder):
    index = json.loads((folder / huggingface.INDEX).read_text())
    index["weight_map"]["shared.weight"] = "../outside.safetensors"
    (folder / huggingface.INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (a_pickle, "pytorch_model.bin is a pickle: .* .safetensors files are accepted.*save_pretr"),
        (elsewhere, "shared.weight is in '../outside.safetensors'; only files in the same folder"),
        (
            lambda f: (f / "model-00002-of-00003.safetensors").unlink(),
            "00002-of-00003.* is missing",
        ),
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "config.json").write_text("{"), "config.json is not JSON"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "config.json is not JSON"),
        (lambda f: (f / "medmt5.json").write_text('{"formats": [1]}'), "`formats` must map task"),
        (lambda f: (f / huggingface.INDEX).write_text("[]"), "holds a list, not a JSON object"),
        (lambda f: (f / huggingface.INDEX).write_text("{}"), "has no weight_map"),
        (
            lambda f: shutil.copy(
                f / "model-00001-of-00003.safetensors", f / "model-00002-of-00003.safetensors"
            ),
            "does not hold .*, which model.safetensors.index.json says is there",
        ),
    ],
)
def test_what_is_damaged_or_may_execute_is_refused(small, damage, message):
    damage(small)
    with pytest.raises(ValueError, match=message):
        open_source(str(small))


def test_a_lone_pickle_is_refused(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ValueError, match="is a pickle"):
        open_source(str(tmp_path / "model.bin"))


def test_models_that_transformers_lacks_are_not_written():
    config = T5Config(vocab_size=8, mlp_activations=("linear", "linear"))
    with pytest.raises(ValueError, match="has no feed-forward block with"):
        huggingface.model_type(config, sentinels_appended=False)
