"""Adapters saved alone and put on copies of their base."""

import dataclasses
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from medmt5 import checkpoints, restore
from medmt5.adapters.adapted import open_with, save_adapter
from medmt5.adapters.command import main
from medmt5.adapters.merging import MergedSource
from medmt5.convert.command import convert
from medmt5.convert.fingerprint import fingerprint
from medmt5.convert.source import open_source
from medmt5.convert.t5x import T5XSource
from medmt5.labeller import Labeller
from medmt5.models import soft_prompt
from medmt5.models.lora import PARAMETERS, LoraConfig
from medmt5.models.soft_prompt import PromptConfig
from medmt5.state import Architecture, init_state
from medmt5.vocabulary import Vocabulary

LORA = LoraConfig(".*/(query|value)", rank=2, alpha=6.0)
PROMPT = PromptConfig(3)
BEFORE, BEHIND = "encoder/prompt/.*", "(?!encoder/prompt/).*"  # stages of ProMoT: what trains


def tuned_on(base, folder, pattern, **adapters):
    """A run whose adapters are not what they began as, and that left the rest to its base."""
    run = tiny.Run(trainable=pattern, **adapters)
    state = run.start(base, "params")
    state = state._replace(params=jax.tree.map(lambda x: x + 0.5, state.params))
    saver = checkpoints.Checkpoints(str(folder), checkpoints.CheckpointConfig(), with_frozen=False)
    saver.save(3, state, {})
    saver.close()
    source = open_source(str(base))
    left = checkpoints.Base(source.path, fingerprint(source))
    config = tiny.config(**adapters)
    checkpoints.write_card(str(folder), config, Vocabulary(tiny.VOCABULARY), source.formats, left)
    return str(folder)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.labelling_model(str(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def run(base, tmp_path_factory):
    return tuned_on(base, tmp_path_factory.mktemp("run"), PARAMETERS, lora=LORA)


@pytest.fixture(scope="module")
def alone(run, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("alone") / "adapter")
    save_adapter(run, folder)
    return folder


def numbers(source):
    return {name: source.read(f"params/{name}") for name in source.params}


@pytest.mark.parametrize("kind", ["medmt5", "t5x", "hf"])
def test_an_adapter_alone_is_the_run_on_a_copy_of_the_base_in_any_format(
    base, run, alone, tmp_path, kind
):
    copy = str(tmp_path / "copy")
    convert(base, copy, kind, check_logits=False)
    expected = open_source(run)
    found = open_with(copy, alone)
    assert (found.config.lora, found.formats) == (LORA, expected.formats)
    assert numbers(found).keys() == numbers(expected).keys()
    for name, array in numbers(expected).items():
        np.testing.assert_array_equal(found.read(f"params/{name}"), array, err_msg=name)


def test_an_adapter_alone_is_small_and_a_checkpoint_like_any_other(run, alone, tmp_path):
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(alone)}
    matrices = 6 * 2 * (2 * 16) * 4  # query and value of three attentions, A and B, in bytes
    assert matrices < sizes["adapter_model.safetensors"] < 3 * matrices
    source = open_source(alone)
    assert source.config == open_source(run).config
    convert(alone, str(tmp_path / "merged"), "hf")
    assert open_source(str(tmp_path / "merged")).config.lora is None


def test_what_a_base_stacks_is_streamed_whole_through_all_that_is_put_on_it(
    base, run, alone, tmp_path, monkeypatch
):
    convert(base, str(tmp_path / "t5x"), "t5x", check_logits=False)
    source = open_source(run)
    source.base = open_source(str(tmp_path / "t5x"))
    expected = MergedSource.of(source)
    expected = {key: expected.read(key) for key in expected.arrays}
    adapted = open_with(str(tmp_path / "t5x"), alone)
    monkeypatch.setattr(T5XSource, "read", None)  # one layer at a time, each from the whole stack
    for merged in (MergedSource.of(source), MergedSource.of(adapted)):
        found = dict(merged.stream(k for k in merged.arrays if k.startswith("params/")))
        assert found.keys() == {k for k in expected if k.startswith("params/")}
        for key, array in found.items():
            np.testing.assert_array_equal(array, expected[key], err_msg=key)


def test_a_soft_prompt_alone_is_the_run_too(base, tmp_path):
    run = tuned_on(base, tmp_path / "run", "encoder/prompt/.*", prompt=PROMPT)
    save_adapter(run, str(tmp_path / "alone"))
    found = open_with(base, str(tmp_path / "alone"))
    assert found.config.prompt == PROMPT
    for name, array in numbers(open_source(run)).items():
        np.testing.assert_array_equal(found.read(f"params/{name}"), array)


@pytest.mark.slow
def test_labellers_of_adapters_beside_each_other_share_their_base(base, run, alone, tmp_path):
    other = tuned_on(base, tmp_path / "other", PARAMETERS, lora=LoraConfig("encoder/.*/wo", rank=1))
    save_adapter(other, str(tmp_path / "alone"))
    first = Labeller.load(base, adapter=alone)
    second = Labeller.load(base, adapter=str(tmp_path / "alone"), beside=first)
    plain = Labeller.load(base, beside=second)
    shared = plain.base_params()
    assert shared.keys() == open_source(base).params.keys()
    for labeller in (first, second):
        own = labeller.base_params()
        assert own.keys() == shared.keys() and all(own[name] is shared[name] for name in shared)
    text = ["The fever of the patient was high."] * 2
    for labeller, folder in ((first, run), (second, other), (plain, base)):
        assert labeller.label(text) == Labeller.load(folder).label(text)
    with pytest.raises(ValueError, match="and the labeller beside it are of different models"):
        Labeller.load(run, beside=first)


def planned(path, trainable, *, assignment_map=(), **adapters):
    """What a run would take from a checkpoint, and its state's shapes."""
    config = tiny.config(**adapters)
    given = dict(seed=0, mesh=tiny.one_device(), trainable=trainable)
    abstract = jax.eval_shape(
        lambda: init_state(Architecture.t5(config), tiny.optimizer(), **given)[0]
    )
    start = restore.RestoreCheckpointConfig(path, "params", assignment_map)
    return restore.plan(start, abstract, config), abstract


def test_what_an_adapter_alone_trains_on_from_leaves_the_rest_to_its_base(base, alone):
    left = restore.reference(*planned(alone, PARAMETERS, lora=LORA))
    assert left.path == open_source(base).path
    # A prompt before frozen adapters: no checkpoint has both the base and the adapters.
    assert restore.reference(*planned(alone, BEFORE, lora=LORA, prompt=PROMPT)) is None


def test_a_base_that_is_known_is_not_read_for_its_fingerprint_again(base, run, monkeypatch):
    found, shapes = planned(run, PARAMETERS, lora=LORA)
    monkeypatch.setattr(restore, "fingerprint", None)
    assert restore.reference(found, shapes) == checkpoints.find_card(run).base


def test_what_a_run_has_trained_of_its_base_is_left_to_the_run_itself(base, tmp_path):
    run = tuned_on(base, tmp_path / "run", f"{PARAMETERS}|.*norm/scale", lora=LORA)
    left = restore.reference(*planned(run, BEFORE, prompt=PROMPT))
    assert left.path == open_source(run).path


def test_another_base_is_refused(base, alone, tmp_path):
    other = tiny.Run(seed=1)
    other.save(tmp_path / "other")
    card = checkpoints.find_card(base)
    checkpoints.write_card(
        str(tmp_path / "other"), card.config, Vocabulary(tiny.VOCABULARY), card.formats
    )
    with pytest.raises(ValueError, match="has .*: the adapter fits, but norms, biases or rows"):
        open_with(str(tmp_path / "other"), alone)


def test_adapters_that_fit_and_would_do_something_else_are_refused(base, run, tmp_path):
    planned(run, PARAMETERS, lora=LORA)
    weaker = dataclasses.replace(LORA, alpha=2.0)
    with pytest.raises(ValueError, match="act times 3, but here .* times 1; set LORA_ALPHA = 6.0"):
        planned(run, PARAMETERS, lora=weaker)
    tuned = tuned_on(base, tmp_path / "run", BEFORE, prompt=PromptConfig(3, tasks=("a", "b")))
    for other in (PromptConfig(3, tasks=("b", "a")), PromptConfig(6)):  # six vectors as well
        with pytest.raises(ValueError, match=r"PROMPT_TASKS = \('a', 'b'\), in this order"):
            planned(tuned, BEHIND, prompt=other)


def test_a_second_stage_without_its_first_is_said_unless_it_is_meant(base):
    with pytest.raises(ValueError, match="no encoder/prompt/embedding, .* it is a second stage"):
        planned(base, BEHIND, prompt=PROMPT)
    fresh = [(BEFORE, None)]
    plan, _ = planned(base, BEHIND, prompt=PROMPT, assignment_map=fresh)
    assert soft_prompt.PATH not in plan.parameters


def test_for_a_vocabulary_no_numbers_are_read(run, alone, tmp_path, monkeypatch):
    monkeypatch.setattr("medmt5.convert.arrays._read", None)
    for path in (run, alone):
        assert restore.vocabulary_beside(str(tmp_path), path).size == 2036


def test_a_base_that_is_not_where_the_adapter_says_is_asked_for(alone, tmp_path):
    folder = tmp_path / "alone"
    shutil.copytree(alone, folder)
    (folder / "SHA256SUMS").unlink()
    file = folder / "adapter_config.json"
    for name in ("/gone", None):
        options = json.loads(file.read_text()) | {"base_model_name_or_path": name}
        file.write_text(json.dumps(options))
        with pytest.raises(ValueError, match="names (no base|/gone, which is not there); give the"):
            open_source(str(folder))


def test_a_conversion_deletes_neither_a_base_nor_an_adapter(base, run, alone):
    for source, adapter, target in (
        (run, None, base),
        (alone, None, base),
        (base, alone, alone),
    ):
        with pytest.raises(ValueError, match="--overwrite would delete the source"):
            convert(source, target, "hf", adapter=adapter, overwrite=True, dry_run=True)


def test_a_second_adapter_of_a_kind_is_refused(run, alone):
    with pytest.raises(ValueError, match="has low-rank adapters already, .* brings others; merge"):
        open_with(run, alone)


def test_what_was_trained_beside_an_adapter_is_not_lost_by_saving_it_alone(
    base, tmp_path, monkeypatch
):
    monkeypatch.setattr("medmt5.convert.fingerprint.MAX_SIZE", 2**14)  # less than the embedding
    run = tuned_on(base, tmp_path / "run", f"{PARAMETERS}|token_embedder/.*", lora=LORA)
    with pytest.raises(ValueError, match="has other numbers .* lose what was trained beside it"):
        save_adapter(run, str(tmp_path / "out"))


def test_what_cannot_be_saved_alone_is_said(base, tmp_path):
    with pytest.raises(ValueError, match="has no adapter: nothing of it can be saved alone"):
        save_adapter(base, str(tmp_path / "out"))
    both = tuned_on(
        base, tmp_path / "both", f"encoder/prompt/.*|{PARAMETERS}", lora=LORA, prompt=PROMPT
    )
    with pytest.raises(ValueError, match="has lora and prompt; choose one: --kind lora or prompt"):
        save_adapter(both, str(tmp_path / "out"))
    save_adapter(both, str(tmp_path / "lora"), kind="lora")
    save_adapter(both, str(tmp_path / "prompt"), kind="prompt")
    assert not (tmp_path / "out").exists()


def test_a_model_tuned_behind_its_prompt_needs_a_base_of_the_same_numbers(base, tmp_path):
    run = tiny.Run(seed=1, prompt=PROMPT)
    run.save(tmp_path / "run")
    checkpoints.write_card(
        str(tmp_path / "run"), tiny.config(prompt=PROMPT), Vocabulary(tiny.VOCABULARY), {}
    )
    with pytest.raises(ValueError, match="saved all its parameters.* Name the model .* --base"):
        save_adapter(str(tmp_path / "run"), str(tmp_path / "out"))
    with pytest.raises(ValueError, match="has other numbers than the model beneath"):
        save_adapter(str(tmp_path / "run"), str(tmp_path / "out"), base=base)
    convert(str(tmp_path / "run"), str(tmp_path / "model"), "hf", drop_prompt=True)
    save_adapter(str(tmp_path / "run"), str(tmp_path / "out"), base=str(tmp_path / "model"))
    found = open_source(str(tmp_path / "out"))
    assert found.config.prompt == PROMPT
    prompt = run.state.params["encoder"]["prompt"]["embedding"]
    assert jnp.array_equal(found.read("params/encoder/prompt/embedding"), prompt)


def test_the_command_saves_and_says_how_large(run, tmp_path, capsys):
    main([run, str(tmp_path / "out")])
    assert "384 parameters in 12 arrays" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main([run, str(tmp_path / "out")])
    assert stop.value.code == 2
    assert "exists already; give a new folder" in capsys.readouterr().err
