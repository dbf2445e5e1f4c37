"""`medmt5 convert` as a user runs it: every kind to every kind, and what goes wrong."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import optax
import pytest
import tiny
from tiny import Run

from medmt5 import checkpoints, optimizers, restore
from medmt5 import train as train_lib
from medmt5.convert import command, huggingface, t5x
from medmt5.convert.source import KINDS, open_source
from medmt5.convert.tokenizer import read_added
from medmt5.files import check_manifest
from medmt5.labeller import Labeller
from medmt5.state import Architecture

TEXT = ["La paciente toma ibuprofeno por una artritis reumatoide.", ""]


@pytest.fixture(scope="module")
def labeller(tmp_path_factory):
    """A model directory with vocabulary, labels and an Adafactor state."""
    folder = tmp_path_factory.mktemp("labeller")
    tiny.labelling_model(str(folder / "m"))
    return str(folder / "m")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model directory with the optimiser's state at step 7."""
    folder = tmp_path_factory.mktemp("run")
    # T5X factors at 128; at this size nothing is.
    state = Run(optimizer=optimizers.adafactor(0.1), seed=1).save(folder)
    checkpoints.write_card(str(folder), tiny.config(), None, {})
    return str(folder), state


def arrays(path):
    source = open_source(str(path))
    return dict(source.stream(source.arrays))


def same_arrays(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], key)


@pytest.mark.parametrize("middle", ["t5x", "hf"])
def test_there_and_back_again_is_bitwise(run, tmp_path, middle):
    folder, _ = run
    command.convert(folder, str(tmp_path / "there"), middle)
    command.convert(str(tmp_path / "there"), str(tmp_path / "back"), "medmt5")
    before, after = arrays(folder), arrays(tmp_path / "back")
    kept = {"t5x": ("params/", "opt_state/", "step"), "hf": ("params/",)}[middle]
    same_arrays({k: v for k, v in before.items() if k.startswith(kept)}, after)
    step = {"t5x": 7, "hf": 0}[middle]
    assert (tmp_path / "back" / f"checkpoint_{step}").is_dir()


def test_a_run_goes_on_from_a_converted_checkpoint_of_t5x_with_its_optimiser(run, tmp_path):
    folder, state = run
    command.convert(folder, str(tmp_path / "t5x"), "t5x")
    command.convert(str(tmp_path / "t5x"), str(tmp_path / "ours"), "medmt5")
    for path in ("t5x", "ours"):
        got = Run(optimizer=optimizers.adafactor(0.1)).start(tmp_path / path)
        assert int(got.step) == 7
        assert tiny.digest(got.params) == tiny.digest(state.params)
        opt_state = got.opt_state._replace(count=state.opt_state.count)
        assert tiny.digest(opt_state) == tiny.digest(state.opt_state)


@pytest.mark.parametrize("kind", [pytest.param("t5x", marks=pytest.mark.slow), "hf"])
def test_a_training_run_starts_from_it_directly(labeller, tmp_path, kind, caplog):
    caplog.set_level("INFO", logger="medmt5")
    command.convert(labeller, str(tmp_path / "there"), kind)
    state = train_lib.train(
        model=tiny.config(),
        optimizer=optax.sgd(0.0),
        model_dir=str(tmp_path / "run"),
        train_dataset_cfg=tiny.dataset(),
        total_steps=2,
        mesh=tiny.one_device(),
        restore=restore.RestoreCheckpointConfig(str(tmp_path / "there"), "params"),
    )
    expected = restore.load_params(open_source(labeller), Architecture.t5(tiny.config()))
    assert tiny.digest(state.params) == tiny.digest(expected)
    assert f"({kind}): 29 of 29 parameters" in caplog.text


def test_a_converted_directory_is_no_run_to_go_on_with(run, tmp_path):
    command.convert(run[0], str(tmp_path / "m"), "medmt5")
    fresh = Run(optimizer=optimizers.adafactor(0.1))
    saver = checkpoints.Checkpoints(str(tmp_path / "m"), checkpoints.CheckpointConfig())
    with pytest.raises(ValueError, match="was converted: .* INITIAL_CHECKPOINT_PATH"):
        saver.restore_latest(fresh.state, fresh.shardings)
    assert (tmp_path / "m" / "checkpoint_7").is_dir()


@pytest.mark.parametrize("to", KINDS)
def test_a_labeller_survives_with_vocabulary_and_tags(labeller, tmp_path, to):
    command.convert(labeller, str(tmp_path / "there"), to)
    if to == "t5x":  # T5X has nowhere to say what the labels are
        vocabulary = restore.vocabulary_of(open_source(str(tmp_path / "there")))
        assert vocabulary.size == 2036
        return
    if to == "hf":
        assert sorted(read_added(str(tmp_path / "there")).values()) == sorted(
            ["<Disease>", "</Disease>", "<Chemical>", "</Chemical>"]
        )
    command.convert(str(tmp_path / "there"), str(tmp_path / "back"), "medmt5")
    expected = Labeller.load(labeller).label(TEXT)
    assert Labeller.load(str(tmp_path / "back")).label(TEXT) == expected
    assert Labeller.load(str(tmp_path / "there")).label(TEXT) == expected


def test_a_model_tuned_elsewhere_on_added_tokens_labels_without_a_word_about_its_tags(
    labeller, tmp_path
):
    there = tmp_path / "there"
    command.convert(labeller, str(there), "hf")
    for name in (huggingface.FORMATS, "SHA256SUMS"):
        os.remove(there / name)
    # Short enough for the window of either: how long it was is not said any more.
    texts = ["La paciente toma ibuprofeno.", "Tiene artritis y gota."]
    expected = Labeller.load(labeller).label(texts)
    assert any(document.entities for document in expected)
    assert Labeller.load(str(there)).label(texts) == expected
    command.convert(str(there), str(tmp_path / "back"), "medmt5")
    assert Labeller.load(str(tmp_path / "back")).label(texts) == expected


def test_bfloat16_halves_the_files_and_its_logits_are_checked_against_rounded_numbers(
    run, tmp_path
):
    difference = command.convert(run[0], str(tmp_path / "half"), "hf", dtype="bfloat16")
    assert difference < 1e-5
    sizes = {}
    command.convert(run[0], str(tmp_path / "full"), "hf")
    for name in ("half", "full"):
        sizes[name] = (tmp_path / name / huggingface.WEIGHTS).stat().st_size
    assert sizes["half"] < 0.6 * sizes["full"]


def test_what_is_written_has_checksums_that_find_a_flipped_bit(run, tmp_path):
    command.convert(run[0], str(tmp_path / "hf"), "hf")
    check_manifest(str(tmp_path / "hf"))
    weights = tmp_path / "hf" / huggingface.WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="model.safetensors is damaged: its bytes are not those"):
        open_source(str(tmp_path / "hf"))
    os.remove(weights)
    with pytest.raises(ValueError, match="model.safetensors is missing; .*SHA256SUMS lists it"):
        open_source(str(tmp_path / "hf"))


def test_a_model_card_says_what_it_is_and_how_equal(run, tmp_path):
    command.convert(run[0], str(tmp_path / "hf"), "hf")
    text = (tmp_path / "hf" / "README.md").read_text()
    assert "converted by medmt5" in text and "from a\nmedmt5 checkpoint at step 7" in text
    assert "| logits against the original | equal to " in text


# What goes wrong leaves nothing behind that looks complete


def test_a_writer_that_errs_is_caught_by_the_logits(run, tmp_path, monkeypatch):
    real = huggingface.Writer.write

    def swapped(self, key, array):
        other = {"wi_0": "wi_1", "wi_1": "wi_0"}
        for a, b in other.items():
            if f"/{a}/" in key:
                return real(self, key.replace(f"/{a}/", f"/{b}/"), array)
        return real(self, key, array)

    monkeypatch.setattr(huggingface.Writer, "write", swapped)
    with pytest.raises(ValueError, match="gives other logits than"):
        command.convert(run[0], str(tmp_path / "hf"), "hf")
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_not_finite_are_refused(run, tmp_path):
    command.convert(run[0], str(tmp_path / "hf"), "hf")
    (tmp_path / "hf" / "SHA256SUMS").unlink()
    tensor = huggingface.read_headers(str(tmp_path / "hf"))["shared.weight"]
    with open(tmp_path / "hf" / huggingface.WEIGHTS, "r+b") as file:
        file.seek(tensor.start)
        np.full(1, np.nan, np.float32).tofile(file)
    with pytest.raises(ValueError, match="token_embedder/embedding holds numbers that are not"):
        command.convert(str(tmp_path / "hf"), str(tmp_path / "t"), "t5x")
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(to="onnx"), "--to is 'onnx'; use medmt5, t5x, hf"),
        (dict(to="medmt5", dtype="bfloat16"), "--dtype bfloat16 is not written as medmt5"),
        (dict(to="hf", dtype="float16"), "--dtype float16 is not written as hf"),
        (dict(to="hf", target="gs://bucket/x"), "is not local; convert, then copy"),
        (dict(to="hf", source="/nowhere"), "nothing at /nowhere; give a model"),
        (dict(to="hf", vocabulary="/nowhere.model"), "no vocabulary at /nowhere.model"),
    ],
)
def test_wrong_choices_are_refused_before_anything_is_written(run, tmp_path, options, message):
    given = dict(source=run[0], target=str(tmp_path / "t")) | options
    with pytest.raises(ValueError, match=message):
        command.convert(**given)
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_exists_is_kept_unless_it_is_to_be_replaced(run, tmp_path):
    (tmp_path / "t").mkdir()
    with pytest.raises(ValueError, match="exists; give another --target, or --overwrite"):
        command.convert(run[0], str(tmp_path / "t"), "hf")
    command.convert(run[0], str(tmp_path / "t"), "hf", overwrite=True)
    assert open_source(str(tmp_path / "t")).kind == "hf"


def test_overwriting_never_deletes_the_source_or_what_is_no_checkpoint(run, tmp_path):
    source = tmp_path / "a" / "run"
    shutil.copytree(run[0], source)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "precious.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "notes")
    before = sorted(tmp_path.rglob("*"))
    for target, message in {
        "a/run": "would delete the source",
        "a/run/checkpoint_7": "would delete the source",
        "a": "would delete the source",
        "notes": "is no checkpoint; --overwrite replaces only checkpoints",
        "file": "is no checkpoint; --overwrite replaces only checkpoints",
        "link": "is a link; name a folder",
        "file/x": "is no folder to write in",
    }.items():
        with pytest.raises(ValueError, match=message):
            command.convert(str(source), str(tmp_path / target), "hf", overwrite=True)
    with pytest.raises(ValueError, match="'' is empty; name a folder"):
        command.convert(str(source), "", "hf", overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_named_best_may_be_of_any_kind_and_is_known_by_its_whole_path(
    run, tmp_path, monkeypatch
):
    command.convert(run[0], str(tmp_path / "best"), "hf", check_logits=False)
    monkeypatch.chdir(tmp_path)
    source = open_source("best")
    assert (source.kind, source.path) == ("hf", str(tmp_path / "best"))


def test_a_model_card_may_be_added_to(run, tmp_path):
    command.convert(run[0], str(tmp_path / "hf"), "hf")
    with open(tmp_path / "hf" / "README.md", "a") as file:
        file.write("Licence: mine\n")
    assert open_source(str(tmp_path / "hf")).kind == "hf"


def test_a_run_that_is_refused_leaves_the_directory_as_it_was(labeller, tmp_path):
    command.convert(labeller, str(tmp_path / "m"), "medmt5")
    with pytest.raises(ValueError, match="was converted: it is no run to go on with"):
        train_lib.train(
            model=tiny.config(mlp_dim=64),
            optimizer=optax.sgd(0.1),
            model_dir=str(tmp_path / "m"),
            train_dataset_cfg=tiny.dataset(),
            total_steps=2,
            mesh=tiny.one_device(),
        )
    assert open_source(str(tmp_path / "m")).config.mlp_dim == 32  # checksums included


def test_t5x_does_not_say_the_activation_so_the_user_may(tmp_path):
    silu = Run(mlp_activations=("silu", "linear"))
    silu.save(tmp_path / "m")
    config = tiny.config(mlp_activations=("silu", "linear"))
    checkpoints.write_card(str(tmp_path / "m"), config, None, {})
    command.convert(str(tmp_path / "m"), str(tmp_path / "t"), "t5x")
    assert open_source(str(tmp_path / "t")).config.mlp_activations == ("gelu", "linear")
    command.convert(
        str(tmp_path / "t"), str(tmp_path / "hf"), "hf", mlp_activations=("silu", "linear")
    )
    assert open_source(str(tmp_path / "hf")).config.mlp_activations == ("silu", "linear")


def test_a_vocabulary_too_large_for_the_model_is_refused(tmp_path, labeller):
    model = Run(vocab_size=128)
    model.save(tmp_path / "m")
    with pytest.raises(ValueError, match="has 2036 ids, the model only 128 rows"):
        command.convert(str(tmp_path / "m"), str(tmp_path / "t"), "hf", vocabulary=tiny.VOCABULARY)


def test_a_killed_conversion_leaves_no_target_and_the_next_one_succeeds(run, tmp_path, caplog):
    target = tmp_path / "t"
    code = (
        "import sys, time\n"
        "from medmt5.convert import command, huggingface\n"
        "real = huggingface.Writer.write\n"
        "def slow(*a):\n    real(*a); print('wrote', flush=True); time.sleep(0.2)\n"
        "huggingface.Writer.write = slow\n"
        f"command.convert({run[0]!r}, {str(target)!r}, 'hf')\n"
    )
    env = tiny.subprocess_env()
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env)
    assert child.stdout.readline() == b"wrote\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    (unfinished,) = tmp_path.iterdir()
    assert unfinished.name.startswith("t.incomplete-")
    with pytest.raises(ValueError, match="config.json is missing"):
        open_source(str(unfinished / "new"))
    command.convert(run[0], str(target), "hf")
    assert f"{unfinished} is of a conversion that goes on or was killed" in caplog.text
    assert open_source(str(target)).kind == "hf"


@pytest.mark.slow
def test_the_command_line_converts_says_what_it_did_and_fails_with_a_message(run, tmp_path):
    def medmt5(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "medmt5.cli", "convert", *arguments],
            capture_output=True,
            text=True,
            env=tiny.subprocess_env(),
        )

    target = str(tmp_path / "t")
    done = medmt5("--source", run[0], "--target", target, "--to", "t5x")
    assert done.returncode == 0 and "logits agree: the largest difference is 0.0e+00" in done.stderr
    assert t5x.recognises(target)
    done = medmt5("--source", run[0], "--target", target, "--to", "t5x")
    assert done.returncode == 2 and done.stderr.strip().endswith("--overwrite to replace it")
    assert "Traceback" not in done.stderr


def test_a_dry_run_says_what_would_be_written_and_writes_nothing(run, tmp_path, caplog):
    caplog.set_level("INFO", logger="medmt5")
    command.convert(run[0], str(tmp_path / "t"), "t5x", dry_run=True)
    assert "dry run: 60 arrays would be written" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_labelling_card_without_its_vocabulary_is_said(labeller, tmp_path):
    command.convert(labeller, str(tmp_path / "x"), "medmt5")
    os.remove(tmp_path / "x" / "sentencepiece.model")
    os.remove(tmp_path / "x" / "SHA256SUMS")
    with pytest.raises(ValueError, match="has no SentencePiece model beside it"):
        Labeller.load(str(tmp_path / "x"))
