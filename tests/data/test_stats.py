"""`medmt5 data stats` counts what there is, and what test splits share with training."""

import json
from pathlib import Path

import pytest
from shared import needs

from medmt5.data import command
from medmt5.data.check import check_files
from medmt5.data.findings import Findings
from medmt5.data.stats import describe, table
from medmt5.vocabulary import Vocabulary

VOCABULARY = Path(__file__).parents[2] / "medmt5/sample_data/vocabulary/sentencepiece.model"
TRAIN = "A\tO\nfever\tB-Sign\n\nNo\tO\nfever\tB-Sign\n\n"
TEST = "No\tO\nfever\tB-Sign\n\nfever\tB-Sign\n,\tO\nfever\tB-Part\nx\tI-Part\n"


def test_stats_count_labels_lengths_and_what_is_known_from_training(tmp_path):
    vocabulary = Vocabulary(str(VOCABULARY))
    train, test = tmp_path / "en-a-train.tsv", tmp_path / "en-a-test.tsv"
    train.write_text(TRAIN)
    test.write_text(TEST)
    tested, trained = describe([str(test), str(train)], vocabulary, {"inputs": 3, "targets": 1})
    assert trained["sentences"] == 2 and trained["labels"] == {"Sign": 2}
    assert "sentences_in_train" not in trained
    assert tested["words"] == 6 and tested["spans"] == 3
    assert tested["labels"] == {"Sign": 2, "Part": 1}
    assert tested["words_each"] == {"mean": 3.0, "median": 3.0, "99%": 3.98, "longest": 4}
    assert tested["sentences_in_train"] == {"count": 1, "percent": 50.0}
    assert tested["mentions_in_train"] == {"count": 2, "percent": 66.7}
    tokens = [
        sum(map(len, vocabulary.encode_words(words))) + 1
        for words in (["No", "fever"], ["fever", ",", "fever", "x"])
    ]
    assert tested["input_tokens_each"]["longest"] == max(tokens)
    assert tested["input_tokens_cut"] == sum(n > 3 for n in tokens)
    assert tested["target_tokens_each"]["mean"] == (sum(tokens) + 2 + 4) / 2
    assert tested["target_tokens_cut"] == 2
    assert "sentences in train       1 (50.0 %)" in table([tested])


def question(**changes):
    row = {"id": "1", "question": "Why?", "options": {"A": "this", "B": "that"}, "answer_idx": "A"}
    return json.dumps(row | changes) + "\n"


def test_stats_of_questions_and_of_general_rows(tmp_path):
    asked, rows = tmp_path / "en-q-test.jsonl", tmp_path / "en-sst2-dev.jsonl"
    asked.write_text(
        question() + question(id="2", answer_idx="A,B", rationale="So.", question="Whence?")
    )
    rows.write_text('{"text": "fine", "label": "good"}\n{"text": "so", "label": "bad"}\n')
    first, second = describe([str(asked), str(rows)])
    assert first["questions"] == 2 and first["options"] == {"2": 2}
    assert first["several_answers"] == 1 and first["with_rationale"] == 1
    assert first["characters_each"]["longest"] == len("Whence?\nthis\nthat")
    assert second["rows"] == 2 and second["labels"] == {"good": 1, "bad": 1}
    assert second["characters_each"]["mean"] == 3.0


def test_tokens_need_a_vocabulary(tmp_path, capsys):
    (tmp_path / "en-a-train.tsv").write_text(TRAIN)
    with pytest.raises(SystemExit) as stop:
        command.main(["stats", str(tmp_path), "--inputs", "5"])
    assert stop.value.code == 1 and "give --vocabulary MODEL too" in capsys.readouterr().err


def test_json_output_is_what_describe_says(tmp_path, capsys):
    path = tmp_path / "en-a-train.tsv"
    path.write_text(TRAIN)
    with pytest.raises(SystemExit) as stop:
        command.main(["stats", str(tmp_path), "--json"])
    assert stop.value.code == 0
    assert json.loads(capsys.readouterr().out) == describe([str(path)])


@pytest.mark.slow
def test_counts_of_real_files_are_those_of_their_index():
    folder = needs("data/index.jsonl").parent
    entries = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]
    entries = [entry for entry in entries if entry["family"] in ("seqlab", "qa")]
    paths = [str(folder / entry["path"]) for entry in entries]
    findings = Findings(1)
    items = check_files(paths, findings)
    assert findings.total("error") == 0
    for entry, facts in zip(entries, describe(paths), strict=True):
        expected = entry["stats"]
        assert items[facts["path"]] == entry["n"]
        if entry["family"] == "qa":
            assert facts["questions"] == expected["questions"]
            assert facts["several_answers"] == expected["multi_answer"]
            assert facts["with_rationale"] == expected["with_rationale"]
            assert facts["options"] == expected["options"]
        else:
            assert facts["sentences"] == expected["sentences"]
            assert facts["words"] == expected["tokens"]
            assert facts["labels"] == expected["by_type"]
