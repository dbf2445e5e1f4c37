"""Writing a cache: whole or to be gone on with, and checked to the last bit."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tiny

from medmt5 import cache_task, token_cache
from medmt5.formats.labelling import Labelling
from medmt5.formats.span_corruption import SpanCorruption

LANGUAGES = ("en", "es", "fr", "it")
LENGTHS = {"inputs": 64, "targets": 48}
TEXTS = [{"text": f"The patient {n} was given aspirin for pain ."} for n in range(30)]
SENTENCES = [{"words": ["no", "gout", str(n)], "tags": ["O", "B-Disease", "O"]} for n in range(30)]


class Stopped(Exception):
    pass


def until(raws, count):
    yield from raws[:count]
    raise Stopped


def text(vocabulary, **options):
    return SpanCorruption(vocabulary, **options), TEXTS


def labels(vocabulary, **options):
    return Labelling(vocabulary, ["Disease"], tag_weight=3.0, **options), SENTENCES


def write(folder, format_, raws, *, shard_bytes=300):
    about = token_cache.describe("t", "train", format_, format_.vocabulary, LENGTHS)
    return cache_task.write_split(
        str(folder), about, format_, format_.vocabulary, raws, shard_bytes=shard_bytes
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", [text, labels])
@pytest.mark.parametrize("stop", [0, 1, 13, 29])
def test_an_interrupted_cache_goes_on_and_ends_the_same(tmp_path, sample_vocabulary, kind, stop):
    format_, raws = kind(sample_vocabulary)
    manifest = write(tmp_path / "whole", format_, raws)
    assert len(manifest["shards"]) > 2
    with pytest.raises(Stopped):
        write(tmp_path / "parts", format_, until(raws, stop))
    assert not (tmp_path / "parts" / "manifest.json").exists()
    assert write(tmp_path / "parts", format_, raws) == manifest
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_what_is_done_is_not_tokenised_again(tmp_path, sample_vocabulary):
    format_, raws = text(sample_vocabulary)
    with pytest.raises(Stopped):
        write(tmp_path, format_, until(raws, 20))
    sealed = [json.loads(path.read_text())["read"] for path in tmp_path.glob("0*.json")]
    assert 0 < sum(sealed) < 20
    encoded = []
    encode = format_.encode
    format_.encode = lambda text: encoded.append(text) or encode(text)
    write(tmp_path, format_, raws)
    assert encoded == [raw["text"] for raw in raws[sum(sealed) :]]


def test_another_tasks_beginning_is_not_gone_on_with(tmp_path, sample_vocabulary):
    with pytest.raises(Stopped):
        write(tmp_path, text(sample_vocabulary)[0], until(TEXTS, 20))
    with pytest.raises(ValueError, match="was begun with settings .*split_words.*--overwrite"):
        write(tmp_path, text(sample_vocabulary, split_words=True)[0], TEXTS)


def test_a_source_that_became_shorter_is_refused(tmp_path, sample_vocabulary):
    format_, raws = text(sample_vocabulary)
    with pytest.raises(Stopped):
        write(tmp_path, format_, until(raws, 29))
    with pytest.raises(ValueError, match="or more, now it has 3; give --overwrite"):
        write(tmp_path, format_, raws[:3])


@pytest.mark.parametrize("raws", [[], [{"text": ""}]])
def test_a_source_without_examples_is_refused(tmp_path, sample_vocabulary, raws):
    with pytest.raises(ValueError, match="task t has no examples in split 'train'"):
        write(tmp_path, text(sample_vocabulary)[0], raws)


def test_ids_beyond_the_vocabulary_are_refused(tmp_path, sample_vocabulary):
    format_, raws = text(sample_vocabulary)
    format_.tokens = lambda raw: np.array([3, 70_000])
    with pytest.raises(ValueError, match="ids 3 to 70000 are not of this vocabulary"):
        write(tmp_path, format_, raws)


@pytest.mark.parametrize("kind", [text, labels])
def test_every_flipped_bit_is_found(tmp_path, sample_vocabulary, kind):
    manifest = write(tmp_path, *kind(sample_vocabulary))
    cache_task.verify(str(tmp_path), manifest)
    rng = np.random.default_rng(0)
    files = [path for path, _, _ in token_cache.listed_files(str(tmp_path), manifest)]
    files.append(str(tmp_path / "sentencepiece.model"))
    for path in files:
        with open(path, "rb") as file:
            content = bytearray(file.read())
        at, bit = int(rng.integers(len(content))), 1 << int(rng.integers(8))
        for damaged in (True, False):
            content[at] ^= bit
            with open(path, "wb") as file:
                file.write(content)
            if damaged:
                with pytest.raises(ValueError, match=os.path.basename(path)):
                    cache_task.verify(str(tmp_path), manifest)
    cache_task.verify(str(tmp_path), manifest)


# The command


def command(folder, *arguments):
    module = ["--module", "medmt5.tasks.sample"]
    cache_task.main([*arguments, "--output_cache_dir", str(folder), *module])


def test_the_command_writes_once_verifies_and_refuses_other_settings(tmp_path, capsys):
    command(tmp_path, "sample_clinical_en", "--split", "test")
    assert "150 examples" in capsys.readouterr().out
    before = contents(tmp_path / "sample_clinical_en" / "test")
    command(tmp_path, "sample_clinical_en", "--split", "test")
    assert "there already, 150 examples" in capsys.readouterr().out
    assert contents(tmp_path / "sample_clinical_en" / "test") == before
    command(tmp_path, "sample_clinical_en", "--verify")
    assert "whole, 150 examples" in capsys.readouterr().out
    other = tmp_path / "other.model"
    # The same pieces, and a field that SentencePiece does not know: another file.
    other.write_bytes(Path(tiny.VOCABULARY).read_bytes() + b"\x98\x06\x00")
    with pytest.raises(SystemExit):
        command(tmp_path, "sample_clinical_en", "--split", "test", "--vocabulary", str(other))
    assert "was begun with vocabulary" in capsys.readouterr().err
    command(
        tmp_path, "sample_clinical_en", "--split", "test", "--vocabulary", str(other), "--overwrite"
    )
    assert contents(tmp_path / "sample_clinical_en" / "test") != before


def test_a_mixture_keeps_its_rates(tmp_path):
    command(tmp_path, "sample_clinical", "--split", "validation")
    mixture = json.loads((tmp_path / "sample_clinical" / "mixture.json").read_text())
    assert mixture == {"tasks": {f"sample_clinical_{lang}": 1.0 for lang in LANGUAGES}}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["sample_txt"], "did you mean sample_text"),
        (["sample_text_en", "--split", "dev"], "no split 'dev'; it has train"),
        (["sample_text_en", "--verify"], "no task 'sample_text_en'"),
    ],
)
def test_a_wrong_request_ends_with_a_message(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        command(tmp_path, *arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_remote_folder_is_refused(capsys):
    with pytest.raises(SystemExit):
        cache_task.main(["t", "--output_cache_dir", "gs://bucket/cache"])
    assert "write to a local disk" in capsys.readouterr().err


def test_progress_counts_what_this_run_did(caplog, monkeypatch):
    now = iter([0.0, 1.0, 11.0, 12.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    caplog.set_level("INFO")
    progress = cache_task.Progress("t train", 200)
    for read, tokens in ((101, 1000), (111, 11_000), (112, 12_000)):
        progress(read, tokens)
    # 11 of the 100 that were left took 11 seconds; 89 are left.
    (line,) = caplog.messages
    assert line == "t train  111 read  1,000 tokens/s  56 %  ETA 1:29"
