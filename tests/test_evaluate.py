import json
import logging

import jax
import optax
import pytest
import tiny

from medmt5 import checkpoints, evaluate, optimizer_options
from medmt5.formats.labelling import Labelling
from medmt5.formats.text_tasks import register_questions
from medmt5.models.soft_prompt import PromptConfig
from medmt5.predictor import Search
from medmt5.vocabulary import Vocabulary


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
    modes = ("constrained", "unconstrained")
    scores = scored(model, tmp_path, modes=modes, describe_config=lambda: "# as configured")
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


def test_a_soft_prompt_is_shown_to_the_tasks_that_it_was_trained_on_unless_asked_otherwise(
    tmp_path, caplog
):
    prompt = PromptConfig(3)
    tiny.Run(prompt=prompt).save(tmp_path / "model")
    vocabulary = Vocabulary(tiny.VOCABULARY)
    card = Labelling(vocabulary, tiny.LABELS).describe() | {"lengths": tiny.LENGTHS}
    formats = {"sample_clinical_en": card}
    checkpoints.write_card(str(tmp_path / "model"), tiny.config(prompt=prompt), vocabulary, formats)

    def predicted(name, path, **changes):
        scored(path, tmp_path / name, modes=("constrained",), **changes)
        (file,) = (tmp_path / name).glob("*-constrained.jsonl")
        lines = map(json.loads, file.read_text().splitlines())
        return [line["predicted"] for line in lines]

    given = str(tmp_path / "model")
    bare = predicted("none", given, prompted="none")
    with caplog.at_level(logging.INFO):
        assert predicted("trained", given) != bare
        assert "with a soft prompt: sample_clinical_en; without: none" in caplog.text
        spanish = tiny.dataset("sample_clinical_es", split="validation")
        other = dict(dataset_cfg=spanish, dry_run=True)
        scored(given, tmp_path, **other)
        assert "with a soft prompt: none; without: sample_clinical_es" in caplog.text
        scored(given, tmp_path, prompted={"sample_clinical_es": "sample_clinical_en"}, **other)
        assert "with a soft prompt: sample_clinical_es (that of sample_clinical_en)" in caplog.text


def test_an_unknown_decoding_mode_is_refused(model, tmp_path):
    with pytest.raises(
        ValueError, match="'beam' is unknown; use constrained, ranked, unconstrained"
    ):
        scored(model, tmp_path, modes=("beam",))


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is no checkpoint: it is a folder with nothing in it"):
        scored(str(tmp_path), tmp_path / "out")


def test_the_table_of_scores_by_hand():
    row = {"precision": 50.0, "recall": 100.0, "f1": 66.666, "support": 3}
    choice = {"accuracy": 25.0, "unanswered": 1.25, "intervals": {"accuracy": [0.0, 50.0]}}
    text = evaluate.score_table(
        {"a_task": {"constrained": row | {"per_label": {"É": row}}}, "exam": {"ranked": choice}}
    )
    micro, label, exam = (line.split() for line in text.splitlines())
    numbers = ["P", "50.00", "R", "100.00", "F1", "66.67", "3", "spans"]
    assert micro == ["a_task", "constrained", "(micro)", *numbers]
    assert label == ["a_task", "constrained", "É", *numbers]
    assert exam == ["exam", "ranked", "accuracy", "25.00", "unanswered", "1.25"]


def test_a_model_of_one_language_labels_another_with_the_tags_that_it_was_trained_on():
    vocabulary = Vocabulary(tiny.VOCABULARY)
    trained = Labelling(vocabulary, ("A",), inventory=("B", "A", "C"), label_prompt=True)
    task = Labelling(vocabulary, ("A",), max_word_tokens=9)
    assert task.tags != trained.tags
    found = task.as_trained("a_es", {"text": {"kind": "text"}, "a_en": trained.describe()})
    assert (found.tags, found.prompt) == (trained.tags, trained.prompt)
    assert found.max_word_tokens == 9
    assert task.as_trained("a_es", {"text": {"kind": "text"}}) is task


def test_a_model_that_lacks_a_label_or_has_two_tags_for_it_is_refused():
    vocabulary = Vocabulary(tiny.VOCABULARY)
    cards = {
        "ab": Labelling(vocabulary, ("A", "B")).describe(),
        "ba": Labelling(vocabulary, ("B", "A")).describe(),
    }
    with pytest.raises(
        ValueError, match=r"labels C, but the model was trained on A, B; .*: ab, ba"
    ):
        Labelling(vocabulary, ("C",)).as_trained("c", cards)
    with pytest.raises(ValueError, match="labels B, but the model has several tags for them"):
        Labelling(vocabulary, ("B",)).as_trained("b", cards)
    own = Labelling(vocabulary, ("B",)).as_trained("ba", cards)
    assert own.tags.opens == Labelling(vocabulary, ("B", "A")).tags.opens[:1]


@pytest.fixture(scope="module")
def exam(tmp_path_factory):
    """A task of questions, some with two right answers."""
    rows = [
        {
            "question": f"Which drug is number {i}?",
            "options": {"A": "ramipril", "B": "atenolol", "C": "insulin"},
            "answer_idx": ("A", "B", "A,C")[i % 3],
            "rationale": "Because it says so.",
        }
        for i in range(6)
    ]
    path = tmp_path_factory.mktemp("exam") / "en-exam-test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, prompt in (("exam_en", "plain"), ("exam_explained_en", "plain_explained")):
        register_questions(
            name,
            {"test": lambda: str(path)},
            prompt=prompt,
            lang="en",
            several=True,
            vocabulary_path=tiny.VOCABULARY,
        )
    return tiny.dataset("exam_en", split="test")


def test_questions_are_answered_in_three_ways(model, exam, tmp_path):
    scores = scored(model, tmp_path, dataset_cfg=exam, modes=evaluate.MODES)["exam_en"]
    assert scores.keys() == set(evaluate.MODES)
    for mode in evaluate.MODES:
        path = tmp_path / f"exam_en-{mode}.jsonl"
        records = [json.loads(line) for line in path.read_text().splitlines()]
        assert [record["gold"] for record in records] == [["A"], ["B"], ["A", "C"]] * 2
        right = sum(record["gold"] == record["predicted"] for record in records)
        assert scores[mode]["accuracy"] == pytest.approx(100 * right / 6)
        low, high = scores[mode]["intervals"]["accuracy"]
        assert low <= scores[mode]["accuracy"] <= high
    # A model with random parameters says nothing that can be read as an answer.
    assert scores["unconstrained"]["unanswered"] == 100.0
    assert scores["constrained"]["unanswered"] == scores["ranked"]["unanswered"] == 0.0


def test_the_likeliest_answer_is_the_one_that_exact_search_finds(model, exam, tmp_path):
    def answers(mode, search):
        given = dict(dataset_cfg=exam, modes=(mode,), search=search)
        scored(model, tmp_path, **given)
        lines = (tmp_path / f"exam_en-{mode}.jsonl").read_text().splitlines()
        return [json.loads(line)["predicted"] for line in lines]

    assert answers("ranked", Search()) == answers("constrained", Search("exact"))


def test_an_answer_after_a_rationale_is_chosen_after_the_rationale_that_was_written(
    model, exam, tmp_path
):
    config = tiny.dataset("exam_explained_en", split="test")
    scored(model, tmp_path, dataset_cfg=config, modes=("constrained",))
    lines = (tmp_path / "exam_explained_en-constrained.jsonl").read_text().splitlines()
    for record in map(json.loads, lines):
        assert record["predicted"] and record["rationale"] == "Because it says so."
        assert record["predicted_rationale"]


def test_a_mode_that_no_task_has_is_refused(model, tmp_path):
    with pytest.raises(
        ValueError, match=r"constrained or unconstrained; DECODING is \('ranked',\)"
    ):
        scored(model, tmp_path, modes=("ranked",))


def test_inside_a_run_the_average_is_what_is_evaluated(tmp_path, monkeypatch, sample_vocabulary):
    run = tiny.Run(optimizer_options.with_ema(optax.adam(0.1), 0.9))
    state = run.state._replace(params=jax.tree.map(lambda x: x + 1, run.state.params))
    evaluations = evaluate.Evaluations(
        run.architecture,
        sample_vocabulary,
        losses=tiny.dataset(),
        scored=None,
        steps=1,
        examples=None,
    )
    seen = []

    def mean_loss(compiled, state, *_, **__):
        seen.append(tiny.digest(state.params))
        return {"loss": 0.0, "accuracy": 0.0}

    monkeypatch.setattr(evaluate, "mean_loss", mean_loss)
    evaluations.run(state, run.mesh, str(tmp_path))
    evaluations.run(state._replace(opt_state=()), run.mesh, str(tmp_path))
    assert seen == [tiny.digest(run.state.params), tiny.digest(state.params)]
