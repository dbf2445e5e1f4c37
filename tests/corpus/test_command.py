"""`medmt5 corpus` from the command line: what it prints, and its exit codes."""

import json

import pytest

from medmt5.corpus import command


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "a text of five words", "lang": "en"}))
    (tmp_path / "c.toml").write_text(
        'name = "c"\n[[sources]]\nname = "a"\nformat = "jsonl"\npaths = "in.jsonl"\n'
    )
    return tmp_path


def run(*arguments):
    """The exit code."""
    with pytest.raises(SystemExit) as ended:
        command.main([str(argument) for argument in arguments])
    return ended.value.code


def test_a_corpus_is_built_checked_and_compared(corpus, capsys):
    out = corpus / "out"
    assert run("build", corpus / "c.toml", "--output", out) == 0
    printed = capsys.readouterr().out
    assert printed == f"1 documents, 5 words, 20 bytes; languages: en\nwritten to {out}\n"
    assert run("check", out) == 0
    assert "1 shards are as the manifest says" in capsys.readouterr().out
    assert run("diff", out, out) == 0
    assert capsys.readouterr().out == "no difference\n"
    assert run("diff", out, out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["config"] == []
    (out / "documents/en/a-00000.jsonl.gz").write_bytes(b"x")
    assert run("check", out) == 1
    assert "a-00000.jsonl.gz has other bytes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "none.toml", "--output", "x"], "none.toml cannot be read"),
        (["build", "c.toml", "--output", "x", "--worker", "2"], "unrecognized arguments: --worker"),
        (["build", "c.toml", "--output", "x", "--project", "p"], "unrecognized arguments"),
        (["build", "c.toml", "--output", "x", "--workers", "0"], "use 1 or more"),
        (["build", "c.toml", "--output", "."], "has other files"),
        (["check", "."], "has no manifest.json"),
    ],
)
def test_what_is_misused_ends_with_2_and_says_why(corpus, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(corpus)
    assert run(*arguments) == 2
    assert said in capsys.readouterr().err


def test_flags_of_beam_are_passed_on(corpus, monkeypatch):
    given = {}
    monkeypatch.setattr("medmt5.corpus.build.build", lambda *a, **kw: given.update(kw))
    arguments = ["build", corpus / "c.toml", "--output", "x", "--runner", "DataflowRunner"]
    assert run(*arguments, "--project", "p", "--region=r") == 0
    assert given["beam"] == ["--runner=DataflowRunner", "--project", "p", "--region=r"]


def test_a_failing_file_system_and_ctrl_c_say_how_to_go_on(corpus, monkeypatch, capsys):
    for error, code, said in (
        (OSError("2 of 3 failed"), 1, "2 of 3"),
        (KeyboardInterrupt(), 130, "goes on"),
    ):

        def build(*args, error=error, **options):
            raise error

        monkeypatch.setattr("medmt5.corpus.build.build", build)
        assert run("build", corpus / "c.toml", "--output", "x") == code
        assert said in capsys.readouterr().err


def test_a_vocabulary_that_is_stopped_does_not_promise_to_go_on(monkeypatch, capsys):
    def run_vocabulary(given):
        raise KeyboardInterrupt

    monkeypatch.setattr("medmt5.corpus.vocabulary.run", run_vocabulary)
    assert run("vocabulary", "in.txt", "--size", "400") == 130
    assert capsys.readouterr().err == "medmt5 corpus: stopped\n"
