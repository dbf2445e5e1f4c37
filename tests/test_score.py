"""`medmt5 score`: tables, averages over languages, comparisons, and errors without a traceback."""

import json

import pytest

from medmt5 import score as command
from medmt5.metrics import METRICS, interval, paired_test


def choices(right, lang="en"):
    return [
        {"id": f"{lang}{i}", "gold": ["A"], "predicted": [answer], "options": 4, "lang": lang}
        for i, answer in enumerate(right)
    ]


def write(folder, name, records):
    path = folder / f"{name}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


@pytest.fixture
def files(tmp_path):
    return [
        write(tmp_path, "qa_en-constrained", choices("AAAAAAABBB", "en")),
        write(tmp_path, "qa_ja-constrained", choices("AB", "ja")),
    ]


def run(capsys, *arguments):
    command.main(list(arguments))
    return capsys.readouterr().out


def run_json(capsys, *arguments):
    return json.loads(run(capsys, *arguments, "--json"))


def failure(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        command.main(list(arguments))
    assert exit_.value.code == 2
    return capsys.readouterr().err


def test_a_file_is_scored_with_an_interval(capsys, files):
    result = run_json(capsys, files[0], "--metrics", "accuracy,unanswered")
    low, high = interval(METRICS["accuracy"], choices("AAAAAAABBB"))
    assert low < 70 < high
    assert result == {
        "level": 0.95,
        "scores": {
            "qa_en-constrained": {
                "examples": 10,
                "accuracy": pytest.approx(70),
                "unanswered": 0,
                "intervals": {"accuracy": [low, high], "unanswered": [0, 0]},
            }
        },
    }


def test_several_files_are_averaged_by_language_and_by_question(capsys, files):
    scores = run_json(capsys, *files)["scores"]
    assert list(scores) == [
        "qa_en-constrained",
        "qa_ja-constrained",
        "macro (2 languages)",
        "micro",
    ]
    assert scores["macro (2 languages)"]["accuracy"] == pytest.approx(60)
    assert scores["micro"]["accuracy"] == pytest.approx(100 * 8 / 12)
    assert scores["micro"]["examples"] == 12


def test_languages_within_files_get_rows_and_make_the_macro_average(capsys, tmp_path):
    one = write(tmp_path, "one", [*choices("AAAB", "en"), *choices("AB", "ja")])
    two = write(tmp_path, "two", choices("AAAA", "en"))
    scores = run_json(capsys, one, two, "--metrics", "accuracy")["scores"]
    assert list(scores) == ["one", "two", "en", "ja", "macro (2 languages)", "micro"]
    assert scores["en"]["accuracy"] == pytest.approx(100 * 7 / 8)
    assert scores["macro (2 languages)"]["accuracy"] == pytest.approx((87.5 + 50) / 2)


def test_files_without_languages_are_averaged_as_files(capsys, tmp_path):
    bare = [{key: r[key] for key in ("gold", "predicted", "options")} for r in choices("AAAB")]
    paths = [write(tmp_path, "one", bare), write(tmp_path, "two", bare[:2])]
    scores = run_json(capsys, *paths)["scores"]
    assert scores["macro (2 files)"]["accuracy"] == pytest.approx((75 + 100) / 2)


def test_two_systems_are_compared(capsys, tmp_path, files):
    weaker = [
        write(tmp_path / "other", "qa_en-constrained", choices("AABBBBBBBB", "en")),
        write(tmp_path / "other", "qa_ja-constrained", choices("BA", "ja")),
    ]
    against = run_json(capsys, *files, "--metrics", "accuracy", "--against", *weaker)["against"]
    test = paired_test(METRICS["accuracy"], choices("AAAAAAABBB"), choices("AABBBBBBBB"))
    assert against["qa_en-constrained"]["accuracy"] == {
        "score": pytest.approx(20),
        "difference": pytest.approx(50),
        "interval": [test.low, test.high],
        "p": test.p,
    }
    assert against["qa_ja-constrained"]["accuracy"]["difference"] == 0
    assert against["macro (2 languages)"]["accuracy"]["difference"] == pytest.approx(25)
    table = run(capsys, *files, "--metrics", "accuracy", "--against", *weaker)
    line = next(line for line in table.splitlines() if "qa_en" in line)
    assert "70.00" in line and "+50.00" in line and f"{test.p:.4f}" in line


def test_level_samples_and_seed_reach_the_intervals(capsys, files):
    result = run_json(
        capsys, files[0], "--metrics", "accuracy",
        "--level", "0.5", "--samples", "30", "--seed", "4",
    )  # fmt: skip
    want = interval(METRICS["accuracy"], choices("AAAAAAABBB"), level=0.5, samples=30, seed=4)
    assert result["scores"]["qa_en-constrained"]["intervals"]["accuracy"] == list(want)


def test_labelling_shows_labels_and_lengths(capsys, tmp_path):
    record = {"words": list("abcd"), "gold": [[0, 1, "Disease"], [2, 4, "Drug"]]}
    path = write(tmp_path, "ner", [record | {"predicted": [[0, 1, "Disease"]]}])
    lines = run(capsys, path).splitlines()
    assert lines[1].split()[:4] == ["f1", "ner", "1", "66.67"]
    assert "2 gold spans" in lines
    assert ["Disease", "100.00", "100.00", "100.00", "1"] in [line.split() for line in lines]
    assert ["2", "0.00", "0.00", "0.00", "1"] in [line.split() for line in lines]


def test_files_of_the_same_name_are_told_by_their_paths(capsys, tmp_path):
    paths = [write(tmp_path / folder, "qa_en", choices("AB")) for folder in ("one", "two")]
    assert list(run_json(capsys, *paths)["scores"])[:2] == paths


def test_help_shows_an_example_and_the_metrics(capsys):
    with pytest.raises(SystemExit):
        command.main(["--help"])
    out = capsys.readouterr().out
    assert "example: medmt5 score" in out and "rationale_bleu1" in out


def test_wrong_input_ends_with_a_message(capsys, tmp_path, files):
    text = write(tmp_path, "text", [{"references": ["a"], "predicted": "b"}])
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"references": ["a"], "pre')
    assert "broken.jsonl:1: not JSON" in failure(capsys, str(broken))
    assert "cannot be read" in failure(capsys, str(tmp_path / "none.jsonl"))
    assert "did you mean accuracy" in failure(capsys, files[0], "--metrics", "accurcy")
    assert "is for text records" in failure(capsys, files[0], "--metrics", "bleu")
    assert "several kinds" in failure(capsys, files[0], text)
    assert "given twice" in failure(capsys, text, text)
    assert "1 files --against 2" in failure(capsys, *files, "--against", files[0])
    assert "qa_en-constrained and qa_ja-constrained differ in line 1: id" in failure(
        capsys, files[0], "--against", files[1]
    )
    assert "holds text records" in failure(capsys, files[0], "--against", text)
    assert "level is 95" in failure(capsys, files[0], "--level", "95")
    assert "samples is 0" in failure(capsys, files[0], "--samples", "0")
    assert "needs --bert-model" in failure(capsys, files[0], "--bert-layer", "3")


def test_bert_score_of_labelling_is_an_error(capsys, tmp_path):
    record = {"words": ["a"], "gold": [], "predicted": []}
    path = write(tmp_path, "ner", [record])
    said = failure(capsys, path, "--bert-model", "anything")
    assert "metric bert_score is for text records" in said
