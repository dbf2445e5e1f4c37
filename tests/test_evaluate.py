import json

import pytest
import tiny

from medmt5 import evaluate


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.labelling_model(str(tmp_path_factory.mktemp("model")))


def scored(model, output, **changes):
    choices = dict(
        checkpoint_path=model,
        dataset_cfg=tiny.dataset(split="validation"),
        output_dir=str(output),
        batch_size=8,
        limit=12,
        mesh=tiny.one_device(),
    )
    return evaluate.evaluate(**(choices | changes))


def test_predictions_and_scores_are_written_for_each_mode(model, tmp_path, capsys):
    scores = scored(model, tmp_path, describe_config=lambda: "# as configured")
    assert json.loads((tmp_path / "scores.json").read_text()) == scores
    assert (tmp_path / "config.gin").read_text() == "# as configured"
    assert scores.keys() == {"sample_clinical_en"}
    modes = scores["sample_clinical_en"]
    assert modes.keys() == {"constrained", "unconstrained"}
    # A model with random parameters copies nothing by itself; the constraint makes it.
    assert modes["constrained"]["faithful"] == 100.0
    assert modes["unconstrained"]["faithful"] == 0.0
    assert modes["constrained"]["support"] == modes["unconstrained"]["support"] > 0
    table = capsys.readouterr().out
    assert "(micro)" in table and "Disease" in table and "unconstrained" in table


def test_predictions_lie_inside_their_sentence_and_are_flat(model, tmp_path):
    scored(model, tmp_path, modes=("constrained",))
    lines = (tmp_path / "sample_clinical_en-constrained.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == 12 and any(record["predicted"] for record in records)
    for record in records:
        reached = 0
        for start, end, label, score in record["predicted"]:
            assert reached <= start < end <= len(record["words"])
            assert label in tiny.LABELS and 0.0 < score <= 1.0
            reached = end
        assert all(len(span) == 3 for span in record["gold"])


def test_scores_do_not_depend_on_the_batch_size(model, tmp_path):
    one = scored(model, tmp_path / "8", modes=("constrained",))
    assert scored(model, tmp_path / "5", modes=("constrained",), batch_size=5) == one


def test_a_task_that_is_not_decoded_is_passed_over(model, tmp_path):
    scores = scored(model, tmp_path, dataset_cfg=tiny.dataset("sample_text_en"))
    assert scores == {} and not (tmp_path / "scores.json").exists()


def test_a_dry_run_writes_nothing(model, tmp_path):
    assert scored(model, tmp_path / "out", dry_run=True) == {}
    assert not (tmp_path / "out").exists()


def test_an_unknown_decoding_mode_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="'beam' is unknown; use constrained or unconstrained"):
        scored(model, tmp_path, modes=("beam",))


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is no checkpoint: it is a folder with nothing in it"):
        scored(str(tmp_path), tmp_path / "out")


def test_the_table_of_scores_by_hand():
    row = {"precision": 50.0, "recall": 100.0, "f1": 66.666, "support": 3}
    text = evaluate.score_table({"a_task": {"constrained": row | {"per_label": {"É": row}}}})
    header, micro, label = (line.split() for line in text.splitlines())
    assert header == ["task", "decoding", "label", "P", "R", "F1", "spans"]
    assert micro == ["a_task", "constrained", "(micro)", "50.00", "100.00", "66.67", "3"]
    assert label == ["a_task", "constrained", "É", "50.00", "100.00", "66.67", "3"]
