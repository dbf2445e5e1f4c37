"""Builds: interrupted anywhere and gone on with, refused where they would mix two corpora."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cloud import Cloud

from medmt5.corpus import build, built, config, engine, manifest

TOML = """
name = "small"
[[sources]]
name = "a"
format = "jsonl"
paths = "in/*.jsonl"
[[steps]]
name = "unicode"
[[steps]]
name = "quality"
"""
WORDS = "the patient had a fever and was given a drug in the ward of our hospital".split()


def text(number):
    turned = WORDS[number % 7 :] + WORDS[: number % 7]
    return " ".join([*turned, f"case{number // 2}", *turned[::-1]])


@pytest.fixture
def corpus(tmp_path):
    """A configuration with two files, in which are short and equal documents."""
    (tmp_path / "in").mkdir()
    for name, numbers in (("x", range(0, 12)), ("y", range(9, 20))):
        lines = [{"id": f"{n}", "text": text(n), "lang": "en"} for n in numbers]
        lines.append({"id": "short", "text": "too short"})
        file = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"in/{name}.jsonl").write_text(file + "{broken\n")
    (tmp_path / "c.toml").write_text(TOML)
    return tmp_path


def load(corpus):
    return config.load(str(corpus / "c.toml"))


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


class Killed(BaseException):
    pass


class Kill:
    """Ends the program at the n-th file that is written, before or after it has its name."""

    def __init__(self, monkeypatch, after):
        self.after, self.left = after, None
        real = {name: getattr(os, name) for name in ("replace", "remove")}
        monkeypatch.setattr(os, "replace", lambda *paths: self.at(real["replace"], *paths))
        # A killed process does not tidy up.
        monkeypatch.setattr(
            os, "remove", lambda path: None if self.left == 0 else real["remove"](path)
        )

    def at(self, function, *arguments):
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                if self.after:
                    function(*arguments)
                raise Killed
        return function(*arguments)


@pytest.mark.parametrize("after", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_build_that_was_killed_at_any_file_goes_on_to_the_same_bytes(corpus, monkeypatch, after):
    build.build(load(corpus), str(corpus / "whole"))
    whole = tree(corpus / "whole")
    kill, points = Kill(monkeypatch, after), 0
    while True:
        points += 1
        kill.left = points
        try:
            build.build(load(corpus), str(corpus / f"killed-{points}"))
        except Killed:
            kill.left = None
            build.build(load(corpus), str(corpus / f"killed-{points}"))
            assert tree(corpus / f"killed-{points}") == whole, points
        else:
            break
    # Two files: six files each and a result when cleaned, three and a result when finished; then
    # those of the whole corpus.
    assert points > 25


def test_a_second_build_does_nothing_and_one_of_more_files_reads_only_these(corpus, caplog):
    caplog.set_level("INFO", logger="medmt5")
    build.build(load(corpus), str(corpus / "out"), keep_work=True)
    before = {path: path.stat().st_mtime_ns for path in (corpus / "out").rglob("*")}
    build.build(load(corpus), str(corpus / "out"), keep_work=True)
    assert "is built" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in (corpus / "out").rglob("*")} == before
    (corpus / "in/z.jsonl").write_text(json.dumps({"id": "z", "text": text(3), "lang": "en"}))
    caplog.clear()
    build.build(load(corpus), str(corpus / "out"))
    assert "cleaning files: 2 of 3 are there" in caplog.text
    build.build(load(corpus), str(corpus / "new"))
    assert tree(corpus / "out") == tree(corpus / "new")


def test_a_build_of_remote_files_to_a_remote_folder_writes_the_same_bytes(corpus, monkeypatch):
    build.build(load(corpus), str(corpus / "out"))
    cloud, remote = Cloud(corpus.parent, monkeypatch), f"gs://{corpus.name}"
    loaded = config.load(f"{remote}/c.toml")
    monkeypatch.setattr(engine, "WAITS", (0,))
    cloud.failures = 1  # it is tried again: nothing is lost
    build.build(loaded, f"{remote}/new")
    assert cloud.failures == 0
    assert tree(corpus / "new") == tree(corpus / "out")


def test_what_other_libraries_cleaned_is_not_gone_on_with(corpus, caplog, monkeypatch):
    build.build(load(corpus), str(corpus / "out"), keep_work=True)
    (corpus / "in/z.jsonl").write_text(json.dumps({"id": "z", "text": text(3), "lang": "en"}))
    monkeypatch.setattr(manifest, "versions", lambda: [("ftfy", "0.1")])
    caplog.set_level("INFO", logger="medmt5")
    assert build.build(load(corpus), str(corpus / "out"))["libraries"] == {"ftfy": "0.1"}
    assert "are there" not in caplog.text


def test_a_file_that_is_gone_or_changed_leaves_nothing_behind(corpus):
    build.build(load(corpus), str(corpus / "out"), keep_work=True)
    (corpus / "in/y.jsonl").unlink()
    (corpus / "in/x.jsonl").write_text(json.dumps({"id": "0", "text": text(0), "lang": "fr"}))
    build.build(load(corpus), str(corpus / "out"))
    build.build(load(corpus), str(corpus / "new"))
    assert tree(corpus / "out") == tree(corpus / "new")
    assert sorted(tree(corpus / "out/documents")) == ["fr/a-00000.jsonl.gz"]
    assert built.languages(str(corpus / "out")) == ["fr"]


def test_another_evaluation_file_makes_another_corpus(corpus):
    step = '[[steps]]\nname = "contamination"\nfiles = ["*-test.txt"]\n'
    (corpus / "c.toml").write_text(TOML + step)
    (corpus / "a-test.txt").write_text("what is in no document and never was there")
    made = build.build(load(corpus), str(corpus / "out"))
    assert "contamination" not in made["total"]["removed"]
    (corpus / "b-test.txt").write_text(text(0))
    made = build.build(load(corpus), str(corpus / "out"))
    assert made["total"]["removed"]["contamination"]["en"]
    assert [file["path"] for file in made["other_files"]] == ["a-test.txt", "b-test.txt"]


def test_another_configuration_is_refused_with_what_differs(corpus):
    build.build(load(corpus), str(corpus / "out"))
    before = tree(corpus / "out")
    changed = TOML.replace("in/", "./in/") + 'min_words = 3\n[[steps]]\nname = "personal"\n'
    (corpus / "c.toml").write_text(changed)
    with pytest.raises(ValueError) as error:
        build.build(load(corpus), str(corpus / "out"))
    assert str(error.value).splitlines()[1:] == [
        '  sources.a.paths: "in/*.jsonl" -> "./in/*.jsonl"',
        '  steps (order): ["unicode", "quality"] -> ["unicode", "quality", "personal"]',
        "  steps.quality.min_words: nothing -> 3",
    ]
    assert tree(corpus / "out") == before


def test_what_differs_is_told_though_files_of_the_old_configuration_are_gone(corpus):
    step = '[[steps]]\nname = "contamination"\nfiles = ["{}-test.txt"]\n'
    for name in "ab":
        (corpus / f"{name}-test.txt").write_text("what is in no document and never was there")
    (corpus / "c.toml").write_text(TOML + step.format("a"))
    build.build(load(corpus), str(corpus / "out"))
    (corpus / "a-test.txt").unlink()
    (corpus / "c.toml").write_text(TOML + step.format("b"))
    with pytest.raises(ValueError, match=r'files: \["a-test.txt"\] -> \["b-test.txt"\]'):
        build.build(load(corpus), str(corpus / "out"))


def test_a_folder_with_other_files_is_refused(corpus):
    with pytest.raises(ValueError, match="has other files"):
        build.build(load(corpus), str(corpus / "in"))
    assert sorted(path.name for path in (corpus / "in").iterdir()) == ["x.jsonl", "y.jsonl"]


def test_a_dry_run_writes_nothing(corpus, caplog):
    caplog.set_level("INFO", logger="medmt5")
    assert build.build(load(corpus), str(corpus / "out"), dry_run=True) == {}
    assert not (corpus / "out").exists()
    assert "read -> unicode -> quality -> duplicates" in caplog.text
    assert "would read" in caplog.text


@pytest.mark.parametrize(
    ("toml", "missing", "said"),
    [
        ("", "ftfy", r"\[\[steps\]\] unicode: .*pip install"),
        (
            '[[steps]]\nname = "language"\nwanted = ["pl"]\n',
            "py3langid.langid",
            r"\[\[steps\]\] language: .*pip install",
        ),
        ('[[steps]]\nname = "medical"\n', "ahocorasick", r"\[\[steps\]\] medical: .*pip install"),
        ('[output]\ncompression = "zst"\n', "zstandard", "zstandard.*pip install"),
    ],
)
def test_a_library_that_is_missing_is_told_before_anything_is_read(
    corpus, monkeypatch, toml, missing, said
):
    from medmt5.corpus.steps import language, medical

    (corpus / "c.toml").write_text(TOML + toml)
    monkeypatch.setitem(sys.modules, missing, None)
    for loaded in (language._model, medical._matcher):
        loaded.cache_clear()
    with pytest.raises(ValueError, match=said):
        build.build(load(corpus), str(corpus / "out"))
    assert not (corpus / "out").exists()


def test_a_vocabulary_that_is_no_model_is_told_before_anything_is_read(corpus):
    (corpus / "c.toml").write_text(TOML + '[output]\nvocabulary = "c.toml"\n')
    with pytest.raises(ValueError, match="c.toml is no SentencePiece model"):
        build.build(load(corpus), str(corpus / "out"))
    assert not (corpus / "out").exists()


def test_compression_and_duplicates_can_be_left_out(corpus):
    (corpus / "c.toml").write_text(
        TOML + '[duplicates]\nexact = false\nnear = false\n[output]\ncompression = ""\n'
    )
    made = build.build(load(corpus), str(corpus / "out"))
    # 12 and 11 documents, 9 to 11 twice among them.
    assert made["total"]["counts"]["duplicates"]["en"]["documents"] == 23
    lines = (corpus / "out/documents/en/a-00000.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"text": text(0), "id": "0", "source": "a", "language": "en"}


@pytest.mark.slow
@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_killed_anywhere_goes_on_to_the_same_bytes(corpus, signal_):
    build.build(load(corpus), str(corpus / "whole"))
    command = [sys.executable, "-m", "medmt5.cli", "corpus", "build", str(corpus / "c.toml")]
    command += ["--workers", "2", "--output"]
    for wait in (2.5, 4, 5):
        out = str(corpus / f"out-{wait}")
        process = subprocess.Popen([*command, out], cwd=Path(__file__).parents[2])
        time.sleep(wait)
        process.send_signal(signal_)
        process.wait()
        subprocess.run([*command, out], cwd=Path(__file__).parents[2], check=True)
        assert tree(out) == tree(corpus / "whole")
