"""Adapters in PEFT's format: its own golden files, and PEFT itself where it is installed."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import tiny
from flax.traverse_util import unflatten_dict
from hypothesis import given
from hypothesis import strategies as st

from medmt5.adapters import peft_names
from medmt5.adapters.peft import (
    CONFIG,
    OURS,
    WEIGHTS,
    Adapter,
    base_of,
    of_task,
    read_adapter,
    write_adapter,
)
from medmt5.adapters.peft_base import check_base
from medmt5.convert import safetensors
from medmt5.convert.fingerprint import fingerprint
from medmt5.convert.source import expected_shapes, open_source
from medmt5.models import soft_prompt
from medmt5.models.lora import LoraConfig
from medmt5.models.soft_prompt import PromptConfig
from medmt5.state import Architecture

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "peft"
BASE = ROOT / "tests" / "golden" / "hf" / "mt5"  # the golden adapters are adapters of this
MIXED = r".*/(query|wi_1)|encoder/.*/(out|wo)|decoder/.*/encoder_decoder_attention/.*"


@pytest.fixture(scope="module")
def base():
    return open_source(str(BASE))


@pytest.fixture(scope="module")
def expected():
    return json.loads((GOLDEN / "expected.json").read_text())


def logits(adapter, base, expected):
    """Ours, of the base with an adapter."""
    config = dataclasses.replace(base.config, lora=adapter.lora, prompt=adapter.prompt)
    params = {name: base.read(f"params/{name}") for name in base.params} | adapter.arrays
    task = next(iter(adapter.prompt.tasks), None) if adapter.prompt else None
    prompt = soft_prompt.ids(config, task)
    sources, targets = np.array(expected["sources"]), np.array(expected["targets"])
    tokens = np.concatenate([np.tile(prompt, (len(sources), 1)), sources], 1)

    @jax.jit
    def compute(params):
        model = Architecture.t5(config).merge(unflatten_dict(params, sep="/"))
        # Every target position counts: none of ours is padding.
        hidden = model.decode(model.encode(tokens), tokens, targets, np.ones_like(targets))
        return model.logits(hidden)

    return np.asarray(compute(params))


def compare(ours, theirs):
    # float32, two implementations: 1e-5 of the largest logit.
    worst = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert worst < 1e-5, worst


def random_adapter(model, lora=None, prompt=None, **known):
    """Numbers that matter for every array."""
    shapes = expected_shapes(dataclasses.replace(model.config, lora=lora, prompt=prompt))
    rng = np.random.default_rng(5)
    arrays = {
        name: (rng.normal(size=shapes[name]) / 2).astype(np.float32)
        for name in sorted(shapes.keys() - model.params.keys())
    }
    return Adapter(lora, prompt, arrays, **known)


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name], name)


def edit(folder, **changes):
    options = json.loads((folder / CONFIG).read_text()) | changes
    (folder / CONFIG).write_text(json.dumps(options))


def rewrite(folder, change):
    """Write a folder's tensors again; `change` gets and returns them by name."""
    header = safetensors.read_header(str(folder / WEIGHTS))
    tensors = change({name: safetensors.read(tensor) for name, tensor in header.items()})
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    writer = safetensors.Writer(str(folder / WEIGHTS), shapes, np.float32)
    for name, tensor in tensors.items():
        writer.write(name, tensor)


@pytest.fixture
def folder(tmp_path):
    """A writable copy of a golden folder: q and v, rank 2."""
    return shutil.copytree(GOLDEN / "lora", tmp_path / "lora")


# What PEFT computes is what we compute.


@pytest.mark.parametrize("name", ["lora", "rslora", "prompt"])
def test_golden_logits_of_peft_are_ours(name, base, expected):
    adapter = read_adapter(str(GOLDEN / name), base.config)
    theirs = np.array(expected[name])
    compare(logits(adapter, base, expected)[..., : theirs.shape[-1]], theirs)
    assert adapter.base == "tests/golden/hf/mt5" and adapter.fingerprint == ""


def test_what_peft_says_of_an_adapter_is_read(base):
    lora = read_adapter(str(GOLDEN / "lora"), base.config).lora
    assert lora == LoraConfig(r".*/(query|value)", rank=2, alpha=3.0, dropout=0.1)
    # It scales by 3 / sqrt(2), we by alpha / 2.
    rslora = read_adapter(str(GOLDEN / "rslora"), base.config).lora
    assert rslora.alpha == pytest.approx(3 * 2**0.5)
    assert set(rslora.pattern.split("|")) == {
        r"decoder/layers_\d+/encoder_decoder_attention/key",
        r"encoder/layers_\d+/attention/out",
        r"decoder/layers_\d+/mlp/(wi_1",
        r"wo)",
    }
    prompt = read_adapter(str(GOLDEN / "prompt"), base.config)
    assert prompt.prompt == PromptConfig(3)
    # PEFT saved 3 vectors for the decoder too, with which it computes nothing.
    assert safetensors.read_header(str(GOLDEN / "prompt" / WEIGHTS)).popitem()[1].shape == (6, 16)
    assert {name: array.shape for name, array in prompt.arrays.items()} == {
        "encoder/prompt/embedding": (3, 16)
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        dict(lora=LoraConfig(rank=3, alpha=4.5, dropout=0.1)),
        dict(lora=LoraConfig(MIXED, rank=1, alpha=1.0)),
        dict(prompt=PromptConfig(4, tasks=("a",))),
    ],
    ids=["lora", "mixed", "prompt"],
)
def test_peft_computes_what_we_compute_and_writes_what_we_read(
    options, base, expected, tmp_path, monkeypatch, recwarn
):
    peft = pytest.importorskip("peft")
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import make_golden_peft as tool

    adapter = random_adapter(base, **options)
    write_adapter(str(tmp_path / "ours"), adapter, base.config)
    model = peft.PeftModel.from_pretrained(tool.load_base(str(BASE)), str(tmp_path / "ours"))
    assert not [w for w in recwarn if "missing adapter keys" in str(w.message)]
    compare(logits(adapter, base, expected), tool.logits(model))
    model.save_pretrained(tmp_path / "theirs")
    again = read_adapter(str(tmp_path / "theirs"), base.config)
    assert_equal(again.arrays, adapter.arrays)
    compare(logits(again, base, expected), tool.logits(model))


# What is written is what is read.


@pytest.mark.parametrize("pattern", [LoraConfig.pattern, MIXED])
def test_what_was_written_is_read_bitwise(pattern, base, tmp_path):
    formats = {"ncbi": {"kind": "labelling", "labels": ["Disease"]}}
    known = dict(base="google/mt5-small", fingerprint="0123", formats=formats)
    adapter = random_adapter(base, LoraConfig(pattern, rank=3, alpha=4.5), **known)
    write_adapter(str(tmp_path), adapter, base.config)
    again = read_adapter(str(tmp_path), base.config)
    assert_equal(again.arrays, adapter.arrays)
    assert again[3:] == adapter[3:] and base_of(str(tmp_path)) == "google/mt5-small"
    assert dataclasses.replace(again.lora, pattern=pattern) == adapter.lora
    assert sorted(p.name for p in tmp_path.iterdir()) == ["SHA256SUMS", CONFIG, WEIGHTS, OURS]
    edit(tmp_path, base_model_name_or_path="me/mine")
    assert read_adapter(str(tmp_path), base.config).base == "me/mine"


def test_a_prompt_of_ours_is_read_with_its_task_and_its_decoders_part(base, tmp_path, caplog):
    prompt = PromptConfig(2, tasks=("a", "b"), decoder_length=2)
    both = random_adapter(base, prompt=prompt, formats={"a": {"kind": "x"}, "b": {"kind": "y"}})
    with pytest.raises(ValueError, match="there is one for each of a, b: name the task whose"):
        write_adapter(str(tmp_path / "both"), both, base.config)
    with pytest.raises(ValueError, match="no prompt is that of task 'c' alone; such prompts: a, b"):
        of_task(both, "c")
    write_adapter(str(tmp_path / "b"), of_task(both, "b"), base.config)
    assert "computes with the encoder's alone" in caplog.text
    again = read_adapter(str(tmp_path / "b"), base.config)
    assert again.prompt == PromptConfig(2, tasks=("b",), decoder_length=2)
    assert again.formats == {"b": {"kind": "y"}}
    for name in soft_prompt.PATHS:
        np.testing.assert_array_equal(again.arrays[name], both.arrays[name][2:])


def test_the_short_names_of_matrices_of_all_layers(base):
    table = peft_names.modules(base.config)

    def of(pattern):
        chosen = [name for name in table if re.fullmatch(pattern, name)]
        theirs = [table[name] for name in chosen]
        return peft_names.pattern(chosen, table), peft_names.targets(theirs, table.values())

    assert of(LoraConfig.pattern) == (".*/(query|value)", ["q", "v"])
    assert of("encoder/.*/wi_.|.*/key") == (
        r".*/key|encoder/layers_\d+/mlp/(wi_0|wi_1)",
        r".*\.k|encoder\.block\.\d+\.layer\.\d+\.DenseReluDense\.(wi_0|wi_1)",
    )
    assert len(table) == 2 * (4 + 3) + 2 * (4 + 4 + 3)  # all that can be adapted


KINDS = (
    [f"encoder/layers_*/attention/{name}" for name in ("query", "key", "value", "out")]
    + [f"decoder/layers_*/self_attention/{name}" for name in ("query", "key", "value", "out")]
    + [f"decoder/layers_*/encoder_decoder_attention/{name}" for name in ("query", "value")]
    + [
        f"{stack}/layers_*/mlp/{name}"
        for stack in ("encoder", "decoder")
        for name in ("wi_0", "wo")
    ]
)


@given(st.sets(st.sampled_from(KINDS), min_size=1))
def test_patterns_match_what_was_chosen_and_nothing_else(kinds):
    table = peft_names.modules(tiny.config(num_encoder_layers=2, num_decoder_layers=11))
    chosen = {name for name in table if re.sub(r"layers_\d+", "layers_*", name) in kinds}
    ours = peft_names.pattern(chosen, table)
    assert {name for name in table if re.fullmatch(ours, name)} == chosen
    targets = peft_names.targets({table[name] for name in chosen}, table.values())
    others = ["lm_head", "shared", "encoder.block.0.layer.0.SelfAttention"]
    found = {
        name
        for name in (*table.values(), *others)
        if (
            re.fullmatch(targets, name)
            if isinstance(targets, str)
            else any(name == target or name.endswith(f".{target}") for target in targets)
        )  # PEFT's rule
    }
    assert found == {table[name] for name in chosen}


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, f"{CONFIG}: peft_type is 'IA3'; LORA and PROMPT_TUNING are read"),
        ({"task_type": "TOKEN_CLS"}, "task_type is 'TOKEN_CLS'; SEQ_2_SEQ_LM is read"),
        ({"use_dora": True}, "use_dora is True, for which our model has no place; .* merge it in"),
        ({"bias": "all"}, "bias is 'all', for which our model has no place"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save is \['lm_head'\], for which"),
        ({"rank_pattern": {"q": 4}}, "rank_pattern is {'q': 4}, for which"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa', which changes the base"),
        ({"r": "2"}, "r is '2'; a number is needed"),
        ({"lora_dropout": 1.5}, "rank 2 and dropout 1.5; rank is 1 or more"),
        ({"r": 4}, r"lora/a is \(16, 2\), where \(16, 4\) fits"),
    ],
)
def test_what_our_model_does_not_compute_is_refused(changes, message, base, folder):
    edit(folder, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        read_adapter(str(folder), base.config)
    assert str(folder) in str(caught.value)


Q1 = "base_model.model.encoder.block.1.layer.0.SelfAttention.q.lora_"


def renamed(old, new):
    return lambda tensors: {name.replace(old, new): array for name, array in tensors.items()}


def without(part):
    return lambda tensors: {name: array for name, array in tensors.items() if part not in name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            renamed("block.1", "block.7"),
            "there are other arrays: .*block.7.layer.0.SelfAttention.q",
        ),
        (renamed(Q1, "base_model.model.lm_head.lora_"), "other arrays: base_model.model.lm_head.l"),
        (without(f"{Q1}B"), "encoder/layers_1/attention/query/lora/b is missing"),
        (
            without(Q1),
            "encoder.block.0.layer.0.SelfAttention.q is adapted and "
            "encoder.block.1.layer.0.SelfAttention.q is not; .*layers, where ours are of all",
        ),
        (
            lambda tensors: {n: a[:, :1] for n, a in tensors.items()},
            "or for another base: .*/lora/",
        ),
        (lambda tensors: {}, "there are no arrays"),
        (lambda tensors: {n: a[0] for n, a in tensors.items()}, r"is \(\d+,\), which is no matrix"),
    ],
    ids=["layer", "head", "half", "some layers", "shape", "none", "vectors"],
)
def test_arrays_that_have_no_place_are_refused(change, message, base, folder):
    rewrite(folder, change)
    with pytest.raises(ValueError, match=message) as caught:
        read_adapter(str(folder), base.config)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lora", r"lora/a is \(16, 2\), where \(32, 2\) fits"),
        ("prompt", r"\(6, 16\)}, not prompt_embeddings of 2 x 3 vectors with the 32 entries"),
    ],
)
def test_an_adapter_of_a_narrower_base_is_refused(name, message, base):
    with pytest.raises(ValueError, match=message):
        read_adapter(str(GOLDEN / name), dataclasses.replace(base.config, emb_dim=32))


def test_a_folder_that_is_incomplete_or_damaged_is_refused(base, folder, tmp_path):
    def refused(message, path=folder):
        with pytest.raises(ValueError, match=message):
            read_adapter(str(path), base.config)

    refused("nothing is no folder; give one with", tmp_path / "nothing")
    weights = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(weights[:-4])
    refused(f"{WEIGHTS} has .* it is truncated")
    (folder / WEIGHTS).unlink()
    refused(f"{WEIGHTS} is missing; copy the folder again")
    (folder / "adapter_model.bin").write_bytes(b"")
    refused("adapter_model.bin is a pickle")
    (folder / CONFIG).write_text("[]")
    refused(f"{CONFIG} holds a list, not a JSON object")
    (folder / CONFIG).write_text("{")
    refused(f"{CONFIG} is not JSON")
    (folder / CONFIG).unlink()
    refused(f"{CONFIG} is missing; copy the folder again")


def test_an_option_that_is_not_known_is_named_and_passed_over(base, folder, caplog):
    edit(folder, from_the_future=True, another=None)
    read_adapter(str(folder), base.config)
    assert "unknown options of PEFT are passed over: from_the_future" in caplog.text


def test_what_peft_has_no_place_for_is_not_written(base, tmp_path):
    lora, prompt = LoraConfig(rank=2), PromptConfig(3, decoder_length=2)
    with pytest.raises(ValueError, match="both came. Of both, merge the low-rank adapters"):
        write_adapter(str(tmp_path / "a"), Adapter(lora, prompt, {}), base.config)
    with pytest.raises(ValueError, match="one length for encoder and decoder; there are 3 and 2"):
        write_adapter(str(tmp_path / "a"), random_adapter(base, None, prompt), base.config)
    adapter = random_adapter(base, lora)
    with pytest.raises(ValueError, match="the adapter does not fit the model.* is missing"):
        write_adapter(str(tmp_path / "a"), adapter._replace(arrays={}), base.config)
    assert not (tmp_path / "a").exists()
    with pytest.raises(ValueError, match="exists already; give a new folder"):
        write_adapter(str(GOLDEN / "lora"), adapter, base.config)


def test_the_base_that_an_adapter_was_trained_on_is_known_again(base, caplog):
    adapter = random_adapter(base, LoraConfig(rank=2), fingerprint=fingerprint(base))
    check_base("f", adapter, base)
    assert caplog.text == ""
    tuned = SimpleNamespace(
        path="tuned", params=base.params, read=lambda key: base.read(key) + key.endswith("scale")
    )
    with pytest.raises(ValueError, match=f"f was trained on a model with .*{fingerprint(base)}, t"):
        check_base("f", adapter, tuned)
    check_base("f", adapter._replace(fingerprint=""), tuned)
    assert "f fits tuned, but does not say whether that is the model" in caplog.text
