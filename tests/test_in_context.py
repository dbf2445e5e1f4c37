"""In-context evaluation: which tasks, how answers are read, and the average of their scores."""

import pytest
from medmt5.tasks import general, in_context_seeds  # noqa: F401 (registers more seeds)

from medmt5.book import averages, columns, sections
from medmt5.book.averages import Line
from medmt5.book.columns import Cell
from medmt5.formats import task
from medmt5.formats.text_to_text import TextToText

(GENERAL,) = (section for section in sections.SECTIONS if section.name == "general")
RAW = {
    "question": {"question": "Who?", "answers": ["Me"]},
    "translation": {
        **{"src_lang": "en", "tgt_lang": "de", "src": "Hi.", "tgt": "Hallo."},
        "extra_refs": [],
    },
    "summary": {"document": "A long text.", "summary": "Short."},
    "nli": {"premise": "a", "hypothesis": "b", "label": "entailment"},
}


@pytest.mark.parametrize("mixture", sorted(general.IN_CONTEXT))
@pytest.mark.parametrize("variant", ["_1shot", "_4shot", "_4shot_seed4"])
def test_a_mixture_is_eight_tasks_that_the_book_averages(mixture, variant):
    members = task.get_task_or_mixture(f"{mixture}{variant}").tasks
    assert len(members) == 8 and all("test" in member.splits for member in members)
    rows = set(sections.plain_names(member.name for member in members).values())
    means = [set(tasks) for tasks in GENERAL.normalised.values()]
    assert any(rows == mean if mixture == "in_context" else rows < mean for mean in means)


@pytest.mark.parametrize(
    ("prompt", "after"),
    [("question", "Q: When?"), ("translation", "Translate this"), ("summary", "Article: B")],
)
def test_an_answer_is_between_two_sentinels_and_before_the_next_example(
    sample_vocabulary, prompt, after
):
    format_ = TextToText(sample_vocabulary, prompt, sentinel=True)
    example = format_.example(RAW[prompt], None)
    encode, sentinel = sample_vocabulary.encode, sample_vocabulary.sentinel
    expected = {"references": format_._prompt.answers(RAW[prompt]), "predicted": "one two"}
    for tokens in (
        [*encode("x"), sentinel(0), *encode("one two"), sentinel(1), *encode("rest")],
        [sentinel(0), *encode(f"one two {after}"), sentinel(1)],
        encode(f"one two {after}"),
    ):
        assert format_.record(example, tokens=tokens) == expected


@pytest.mark.parametrize(
    ("text", "predicted"),
    [
        ("True", ["entailment"]),
        ("true, since a is b", ["entailment"]),
        ("False True", ["contradiction"]),
        ("Neither.", ["neutral"]),
        ("Truely", []),
        ("It is True", []),
    ],
)
def test_a_class_is_read_from_the_first_word(sample_vocabulary, text, predicted):
    format_ = TextToText(sample_vocabulary, "nli", sentinel=True)
    tokens = [sample_vocabulary.sentinel(0), *sample_vocabulary.encode(text)]
    record = format_.record(format_.example(RAW["nli"], None), tokens=tokens)
    assert record["predicted"] == predicted
    assert format_.modes[0] == "unconstrained"


def row(task_, metric, *cells):
    return Line("row", task_, "", task_, metric, cells)


def test_the_normalised_average_is_a_plain_mean_of_independent_scores():
    lines = [
        row("cb_1shot_en", "accuracy", Cell({0: 40.0}, (36.0, 45.0)), Cell({0: 50.0}), None),
        row("xsum_1shot_en", "rouge2", Cell({0: 20.0}, (17.0, 32.0)), Cell({0: 10.0}), None),
        row("wic_1shot_en", "accuracy", Cell({0: 90.0}), None, None),
        row("sst2_1shot_en", "accuracy", None, None, Cell({0: 1.0})),
    ]
    (mean,) = averages.normalised(GENERAL, lines)
    assert mean.title == "normalised average, 1-shot, 2 rows" and mean.metric == ""
    ours, published, elsewhere = mean.cells
    assert ours and published and elsewhere is None
    # 30 - sqrt(4² + 3²) / 2, 30 + sqrt(5² + 12²) / 2
    assert ours.value == 30.0 and ours.interval == (27.5, 36.5)
    assert published.value == 30.0 and published.interval is None


@pytest.mark.parametrize(
    ("name", "metrics", "main"),
    [
        ("triviaqa_1shot_en", ["rouge1", "exact_match"], "exact_match"),
        ("xsum_4shot_en", ["rouge1", "rouge2"], "rouge2"),
        ("wmt16_1shot_en_de", ["rouge1", "bleu"], "bleu"),
        ("bioasq_en", ["rouge1", "rouge2"], "rouge1"),
    ],
)
def test_each_set_has_its_metric(name, metrics, main):
    assert sections.main_metric(name, "text", metrics) == main


def test_answers_after_examples_are_shown_as_they_were_written():
    modes = {"constrained": {"accuracy": 1.0}, "unconstrained": {"accuracy": 2.0}}
    assert columns.shown_mode("cb_1shot_en", modes, "")[0] == "unconstrained"
    assert columns.shown_mode("cb_en", modes, "")[0] == "constrained"
    assert columns.shown_mode("cb_1shot_en", modes, "constrained")[0] == "constrained"
