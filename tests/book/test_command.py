import csv
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from medmt5.book import command, sections
from medmt5.book.command import report
from medmt5.book.dot_plot import Dot, Series, dot_plot
from medmt5.book.published import read_published

MEDICAL_MT5 = list(sections.SECTIONS[0].titles)


def labelling(f1, **more):
    return {"constrained": {"f1": f1, "precision": f1 + 1, "support": 9, "per_label": {}} | more}


def choice(accuracy, mode="constrained", **more):
    return {mode: {"accuracy": accuracy, "hamming": accuracy + 5} | more}


def put(folder, scores):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scores.json").write_text(json.dumps(scores), "utf-8")
    return str(folder)


def tables_of(markdown):
    """Section title -> row (language and data set) -> column -> text, of the first table."""
    found = {}
    for part in re.split(r"^## ", markdown, flags=re.M)[1:]:
        title, _, body = part.partition("\n")
        lines = body.partition("###")[0].splitlines()
        cells = [
            [cell.strip() for cell in line[1:-1].split(" | ")] for line in lines if line[:1] == "|"
        ]
        if cells:
            heads, rows = cells[0], cells[2:]
            found[title] = {
                " ".join(row[:2]).strip(" *"): dict(zip(heads[2:], row[2:], strict=True))
                for row in rows
            }
    return found


def lines_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def book_of(tmp_path, runs, **options):
    """The lines of the CSV, as mappings."""
    report(runs, output=str(tmp_path / "book"), **options)
    return lines_of((tmp_path / "book.csv").read_text("utf-8"))


# rows and columns


def test_rows_are_those_of_the_runs_in_the_order_of_medical_mt5(tmp_path):
    tasks = ["mixed_it", "e3c_es", "ncbi_disease_en", "quaero_emea_fr", "casimedicos_arg_en"]
    run = put(tmp_path / "a", {task: labelling(50) for task in tasks})
    tables = tables_of(report([run], show=["none"]))
    labelled, other = tables.values()
    rows = [row for row in labelled if "average" not in row]
    assert rows == ["en NCBI-Disease", "es E3C", "it Mixed"]
    assert list(other)[:2] == ["en casimedicos_arg_en", "fr quaero_emea_fr"]


def test_published_columns_are_those_that_share_a_row(tmp_path):
    run = put(tmp_path / "a", {"e3c_es": labelling(71.25), "e3c_eu": labelling(40)})
    tables = tables_of(report([run]))
    row = tables["Labelling: the test sets of Medical mT5"]["es E3C"]
    assert row["a"] == "71.25"
    assert row["Medical mT5-large (multi-task) [1]"] == "74.9"
    assert len(row) == 1 + 1 + 6  # metric, run, models
    assert list(tables["Labelling: other sets"]["eu e3c_eu"]) == ["metric", "a"]
    assert "Multiple choice: MMedBench" not in tables


def test_published_columns_may_be_chosen_or_left_out(tmp_path):
    run = put(tmp_path / "a", {"e3c_es": labelling(71.25)})
    title = "Labelling: the test sets of Medical mT5"
    none = tables_of(report([run], show=["none"]))[title]
    assert list(none) == ["es E3C"] and list(none["es E3C"]) == ["metric", "a"]
    one = tables_of(report([run], show=["FlanT5-XL (single-task)", "BLOOMZ 7B"]))
    assert list(one) == [title]
    assert list(one[title]["es E3C"]) == ["metric", "a", "FlanT5-XL (single-task) [1]"]
    every = tables_of(report([run], show=["all"]))
    assert len([row for row in every[title] if "average" not in row]) == 22
    assert every["Multiple choice: MMedBench"]["en MMedBench"]["BLOOMZ 7B [1]"] == "43.28"


def test_without_runs_the_published_numbers_are_the_book():
    tables = tables_of(report([]))
    assert tables["Multiple choice: MMedBench"]["ja MMedBench"]["MMedLM 2 7B [1]"] == "61.81"
    named = tables_of(report([], show=["GPT-4"]))
    assert list(named) == ["Multiple choice: MMedBench", "Multiple choice: other sets"]
    assert list(named["Multiple choice: MMedBench"]["fr MMedBench"]) == ["metric", "GPT-4 [1]"]
    with pytest.raises(ValueError, match="nothing to show; name runs"):
        report([], show=["none"])


def test_variants_of_a_task_share_its_row_unless_a_run_has_both(tmp_path):
    a = put(tmp_path / "a", {"e3c_prompted_es": labelling(70)})
    b = put(tmp_path / "b", {"e3c_es": labelling(60)})
    row = tables_of(report([a, b]))["Labelling: the test sets of Medical mT5"]["es E3C"]
    assert (row["a"], row["b"]) == ("70.00", "60.00")
    both = put(tmp_path / "c", {"e3c_es": labelling(60), "e3c_small_es": labelling(61)})
    tables = tables_of(report([both], show=["none"]))
    assert tables["Labelling: the test sets of Medical mT5"]["es E3C"]["c"] == "60.00"
    assert tables["Labelling: other sets"]["es e3c_small_es"]["c"] == "61.00"


def test_a_task_with_rationales_has_a_row_for_its_choices_and_one_for_them(tmp_path):
    score = choice(40, rationale_rouge1=44.0, rationale_bleu1=50.0)
    run = put(tmp_path / "a", {"mmedbench_rationale_zh": score, "medexpqa_es": choice(30)})
    tables = tables_of(report([run]))
    chosen = tables["Multiple choice: MMedBench, a rationale before the answer"]
    assert chosen["zh MMedBench"]["a"] == "40.00"
    assert tables["Rationales"]["zh MMedBench"]["a"] == "44.00"
    assert tables["Rationales"]["zh MMedBench"]["MMedLM 2 7B [1]"] == "51.78"
    assert tables["Multiple choice: other sets"]["es medexpqa_es"]["a"] == "30.00"
    bleu = tables_of(report([run], metrics=["rationale=rationale_bleu1"]))
    assert bleu["Rationales"]["zh MMedBench"]["MMedLM 2 7B [1]"] == "51.39"


def test_models_of_which_only_an_average_is_known_stand_by_a_run_with_all_its_rows(tmp_path):
    tasks = [f"mmedbench_rationale_{lang}" for lang in sections.MMEDBENCH]
    whole = {task: choice(40, rationale_rouge1=44.0) for task in tasks}
    table = tables_of(report([put(tmp_path / "a", whole)]))["Rationales"]
    assert table["average, all 6 rows"]["BLOOMZ 7B [1]"] == "–"
    assert table["average (6 rows), as printed"]["BLOOMZ 7B [1]"] == "40.12"
    assert table["average (6 rows), as printed"]["a"] == "44.00"
    del whole["mmedbench_rationale_ru"]
    part = tables_of(report([put(tmp_path / "b", whole)]))["Rationales"]
    assert list(part["zh MMedBench"]) == ["metric", "b", "MMedLM 2 7B [1]"]


def test_text_is_scored_by_rouge_and_translation_by_bleu(tmp_path):
    text = {"unconstrained": {"rouge1": 20.0, "bleu": 5.0, "exact_match": 1.0}}
    tasks = {"bioasq_es": text, "wmt14_en_fr": text, "medqa_us_en": choice(1)}
    tables = tables_of(report([put(tmp_path / "a", tasks)]))
    assert tables["Text"]["es bioasq_es"] == {"metric": "rouge1", "a": "20.00"}
    translated = tables["General tasks, as in ProMoT"]["en-fr WMT14 En-Fr"]
    assert (translated["metric"], translated["a"]) == ("bleu", "5.00")
    # The source does not say which metric its translation scores are.
    assert translated["mT5-XXL ProMoT on En-Fr [1]"] == "41.30 (?)"
    assert "en medqa_us_en" in tables["Multiple choice: other sets"]
    other = tables_of(report([str(tmp_path / "a")], metrics=["text=exact_match"]))
    translated = other["General tasks, as in ProMoT"]["en-fr WMT14 En-Fr"]
    assert translated == {"metric": "exact_match", "a": "1.00"}


def test_general_tasks_stand_by_their_number_of_examples(tmp_path):
    tasks = {"cb_1shot_en": choice(50), "cb_4shot_en": choice(60), "cb_en": choice(40)}
    table = tables_of(report([put(tmp_path / "a", tasks)]))["General tasks, as in ProMoT"]
    model = "mT5-XXL ProMoT on RTE [1]"
    assert [(row["a"], row[model]) for row in list(table.values())[:3]] == [
        ("50.00", "66.07"), ("60.00", "67.86"), ("40.00", "–"),
    ]  # fmt: skip
    assert list(table)[:3] == ["en CB, 1-shot", "en CB, 4-shot", "en CB"]
    assert table["normalised average, 1-shot (8 rows), as printed"][model] == "20.10"


# averages and differences


def test_the_runs_of_medical_mt5_get_its_averages_and_differences(tmp_path):
    (column,) = [c for c in read_published()[0] if c.name == "Medical mT5-XL (multi-task)"]
    scores = {task: labelling(value + 1) for (task, _), value in column.scores.items()}
    run = put(tmp_path / "a", scores)
    text = report([run], baseline=column.name)
    table = tables_of(text)["Labelling: the test sets of Medical mT5"]
    assert table["average, all 22 rows"]["a"] == "76.76"
    assert table["average, all 22 rows"][f"{column.name} [1]"] == "75.76"
    assert table["average es, fr, it, 14 rows"][f"{column.name} [1]"] == "74.61"
    printed = table["average (22 rows), as printed"]
    assert printed[f"{column.name} [1]"] == "76.7 (its rows: 75.76)"
    assert printed["Medical mT5-XL (single-task) [1]"] == "74.7"
    differences = text.partition(f"### Difference to {column.name}")[2]
    lines = [line for line in differences.splitlines() if line.startswith("| ")][1:25]
    assert [line.split(" | ")[3] for line in lines] == ["+1.00"] * 24


def test_averages_are_over_the_rows_that_every_column_has(tmp_path):
    a = put(tmp_path / "a", {"e3c_en": labelling(50), "e3c_es": labelling(60)})
    more = {"e3c_it": labelling(0), "e3c_fr": labelling(30), "e3c_en": labelling(10)}
    b = put(tmp_path / "b", more | {"e3c_es": labelling(20)})
    table = tables_of(report([a, b], show=["none"]))["Labelling: the test sets of Medical mT5"]
    average = table["average, 2 common rows"]
    assert (average["a"], average["b"]) == ("55.00", "15.00")
    assert table["it E3C"] == {"metric": "f1", "a": "–", "b": "0.00"}


def test_mmedbench_has_a_macro_and_a_question_weighted_average(tmp_path):
    shares = {"en": 10, "zh": 20, "ja": 30, "fr": 40, "ru": 50, "es": 60}
    run = put(tmp_path / "a", {f"mmedbench_{lang}": choice(v) for lang, v in shares.items()})
    table = tables_of(report([run]))["Multiple choice: MMedBench"]
    assert table["average, all 6 rows"]["a"] == "35.00"
    # (12,730 + 68,520 + 5,970 + 24,880 + 12,800 + 164,520) / 8,518
    micro = table["question-weighted (micro), 8,518 questions"]
    assert (micro["a"], micro["GPT-4 [1]"]) == ("33.98", "77.78")
    printed = table["average (6 rows), as printed"]
    assert printed["GPT-4 [1]"] == "74.27 (its rows: 75.31)"


def test_a_question_weighted_average_is_of_the_languages_that_are_there(tmp_path):
    run = put(tmp_path / "a", {"mmedbench_ja": choice(0), "mmedbench_ru": choice(100)})
    table = tables_of(report([run], show=["none"]))["Multiple choice: MMedBench"]
    assert table["question-weighted (micro), 455 questions"]["a"] == "56.26"  # 256 / 455


def test_rows_of_different_metrics_are_not_averaged(tmp_path):
    text = {"a_es": {"unconstrained": {"rouge1": 20.0}}, "b_es": {"unconstrained": {"chrf": 50.0}}}
    markdown = report([put(tmp_path / "a", text)])
    assert "average" not in " ".join(tables_of(markdown)["Text"])
    assert "No average over all rows: they have different metrics." in markdown


# seeds, intervals, modes


def test_seeds_are_shown_as_mean_and_sample_deviation_with_their_number(tmp_path):
    for seed, f1 in enumerate((50, 52, 57)):
        put(tmp_path / f"s{seed}", {"e3c_es": labelling(f1), "e3c_fr": labelling(100 - f1)})
    text = report([f"a={tmp_path}/s*"], show=["none"])
    table = tables_of(text)["Labelling: the test sets of Medical mT5"]
    # Deviations from 53 are -3, -1, 4: 26 / 2 = 13.
    assert table["es E3C"]["a"] == "53.00 ± 3.61 (n=3)"
    # Seed by seed the average is 50: what one language gains the other loses.
    assert table["average, all 2 rows"]["a"] == "50.00 ± 0.00 (n=3)"


def test_averages_of_seeds_with_different_rows_have_no_deviation(tmp_path):
    put(tmp_path / "s0", {"e3c_es": labelling(50), "e3c_fr": labelling(40)})
    put(tmp_path / "s1", {"e3c_es": labelling(60)})
    text = report([f"a={tmp_path}/s*"], show=["none"])
    table = tables_of(text)["Labelling: the test sets of Medical mT5"]
    assert table["fr E3C"]["a"] == "40.00"
    assert table["average, all 2 rows"]["a"] == "47.50"


def test_a_score_has_its_interval_and_several_seeds_have_none(tmp_path):
    score = labelling(50, intervals={"f1": [48.5, 51.25]})
    paths = [put(tmp_path / name, {"e3c_es": score}) for name in "ab"]
    title = "Labelling: the test sets of Medical mT5"
    alone = tables_of(report([paths[0]], show=["none"]))[title]
    assert alone["es E3C"]["a"] == "50.00 [48.50, 51.25]"
    both = tables_of(report([f"ab={paths[0]},{paths[1]}"], show=["none"]))[title]
    assert both["es E3C"]["ab"] == "50.00 ± 0.00 (n=2)"


def test_modes_are_chosen_by_rank_by_name_or_shown_side_by_side(tmp_path):
    modes = choice(30, "unconstrained") | choice(40, "ranked")
    run = put(tmp_path / "a", {"medqa_en": modes, "headqa_es": choice(50)})
    title = "Multiple choice: other sets"
    text = report([run], show=["none"])
    assert tables_of(text)[title]["en medqa_en"]["a"] == "40.00"
    assert "Decoding: constrained (1 of 2 rows), ranked (1 of 2 rows): a." in text
    free = tables_of(report([run], show=["none"], mode="unconstrained"))[title]
    assert free["en medqa_en"]["a"] == "30.00" and "es headqa_es" not in free
    every = tables_of(report([run], show=["none"], mode="all"))[title]
    assert every["en medqa_en"] == {
        "metric": "accuracy", "a (constrained)": "–", "a (ranked)": "40.00",
        "a (unconstrained)": "30.00",
    }  # fmt: skip
    with pytest.raises(ValueError, match="--mode greedy: .*constrained, ranked, unconstrained"):
        report([run], mode="greedy")


# mistakes


def test_a_baseline_that_is_not_there_is_refused_with_near_names(tmp_path):
    run = put(tmp_path / "large", {"e3c_es": labelling(50)})
    with pytest.raises(ValueError, match="--baseline: no column is named 'larg'; near: large"):
        report([run], baseline="larg")


def test_a_published_name_that_is_not_there_is_refused_with_near_names():
    with pytest.raises(ValueError, match="--published: .*'Medical mT5-XL'; near: Medical mT5-XL"):
        report([], show=["Medical mT5-XL"])


def test_a_metric_is_shown_per_family_and_refused_where_no_task_has_it(tmp_path):
    run = put(tmp_path / "a", {"e3c_es": labelling(50), "headqa_es": choice(40)})
    tables = tables_of(report([run], metrics=["labelling=precision", "choice=hamming"]))
    precision = tables["Labelling: the test sets of Medical mT5"]["es E3C"]
    assert precision == {"metric": "precision", "a": "51.00"}  # and no published F1 beside it
    assert tables["Multiple choice: other sets"]["es headqa_es"]["a"] == "45.00"
    with pytest.raises(ValueError, match="labelling=auc: no labelling task has it; there is: f1"):
        report([run], metrics=["labelling=auc"])
    with pytest.raises(ValueError, match="FAMILY=NAME with a family of labelling, choice"):
        report([run], metrics=["f1"])


# files


def test_the_csv_holds_every_cell_with_its_origin(tmp_path):
    score = labelling(50, intervals={"f1": [48.5, 51.25]})
    run = put(tmp_path / "a", {"e3c_es": score, "e3c_fr": labelling(40)})
    lines = book_of(tmp_path, [run], baseline="a")
    ours, theirs = lines[0], lines[1]
    assert (ours["section"], ours["task"], ours["column"]) == ("labelling", "e3c_es", "a")
    assert (ours["value"], ours["low"], ours["high"], ours["mode"], ours["published"]) == (
        "50.0", "48.5", "51.25", "constrained", "0",
    )  # fmt: skip
    assert (theirs["column"], theirs["value"]) == ("FlanT5-XL (single-task)", "67.1")
    assert theirs["published"] == "1" and theirs["difference"] == "17.1"
    assert "Table 8" in theirs["source"]
    (wrong,) = [
        line
        for line in lines
        if line["kind"] == "printed"
        and line["column"] == "FlanT5-XL (multi-task)"
        and line["data_set"] == "average (22 rows), as printed"
    ]
    # Its 22 rows are not all here, so they say nothing of the printed average.
    assert (wrong["value"], wrong["recomputed"]) == ("75.2", "")


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen, self.open = [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in ("meta", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag != "path":
            assert self.open.pop() == tag


def test_the_page_needs_no_network_and_no_scripts_and_escapes_names(tmp_path):
    scores = {task: labelling(50) for task in MEDICAL_MT5} | {"mmedbench_ru": choice(60)}
    run = put(tmp_path / "a", scores)
    text = report([f"<b>|x={run}"], output=str(tmp_path / "out/book.html"))
    assert r"\<b>\|x" in text and "<b>|x" not in text
    page = (tmp_path / "out/book.html").read_text("utf-8")
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    assert {"script", "link", "img", "iframe"}.isdisjoint(tag for tag, _ in tags.seen)
    assert not [a for _, a in tags.seen if {"src", "href", "onclick"} & set(a)]
    assert "@import" not in page and "url(" not in page
    assert "&lt;b&gt;|x" in page and "<b>|x" not in page
    headed = [attributes for tag, attributes in tags.seen if tag == "th"]
    assert headed and all(attributes.get("scope") in ("row", "col") for attributes in headed)
    plots = re.findall(r'<svg class="chart dots".*?</svg>', page, re.S)
    assert len(plots) == 2
    for plot in plots:
        ElementTree.fromstring(plot)
        assert 'role="img" aria-label="' in plot
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "book.csv", "book.html", "book.md",
    ]  # fmt: skip
    assert (tmp_path / "out/book.md").read_text("utf-8") == text


def test_dots_and_bars_stand_where_their_values_are():
    rows = ["one", "two"]
    series = [Series("a", [Dot(50, 40, 60), None]), Series("b", [Dot(40), Dot(60)])]
    figure = dot_plot("t", rows, series, [Series("c", [Dot(55), None])])
    svg = ElementTree.fromstring(re.search(r'<svg class="chart.*?</svg>', figure, re.S)[0])
    ticks = {t.text: float(t.get("x")) for t in svg.iter("text") if t.get("class") is None}
    assert {"40", "60"} <= set(ticks)
    places = {
        group.find("title").text: group.find("g").get("transform")
        for group in svg.iter("g")
        if group.find("title") is not None
    }
    assert list(places) == ["a: 50.00, 40.00 to 60.00", "b: 40.00", "b: 60.00"]
    x = {name: float(re.search(r"\(([\d.]+)", move)[1]) for name, move in places.items()}
    assert x["b: 40.00"] == ticks["40"] and x["b: 60.00"] == ticks["60"]
    # Written to 0.1.
    middle = (ticks["40"] + ticks["60"]) / 2
    assert abs(x["a: 50.00, 40.00 to 60.00"] - middle) <= 0.1
    (bar,) = [path.get("d") for path in svg.iter("path") if path.get("class") == "bar"]
    assert bar.startswith(f"M{ticks['40']} ") and f"H{ticks['60']}m" in bar
    assert "1 further column of" in figure


@pytest.mark.parametrize("value", [0, 50, 99.99, 100])
def test_a_single_score_has_a_plot(value):
    figure = dot_plot("t", ["row"], [Series("a", [Dot(value)])], [])
    (x,) = re.findall(r'transform="translate\(([\d.]+) ', figure)
    assert 0 < float(x) <= 640


# the command


def test_the_command_prints_markdown_or_writes_files(tmp_path, capsys):
    run = put(tmp_path / "a", {"e3c_es": labelling(50)})
    command.main([run, "--published", "FlanT5-XL (single-task), Medical mT5-XL (multi-task)"])
    assert "| es | E3C | f1 | 50.00 | 67.1 | 73.3 |" in capsys.readouterr().out
    command.main([run, "--published", "none", "-o", str(tmp_path / "book")])
    written = capsys.readouterr().out.split()
    assert written == [str(tmp_path / f"book.{ending}") for ending in ("md", "csv", "html")]
    with pytest.raises(SystemExit):
        command.main([str(tmp_path / "nowhere")])
    assert "nowhere is not there; give a folder" in capsys.readouterr().err


def test_the_command_imports_neither_jax_nor_tensorflow_nor_seqio():
    code = (
        "import sys; from medmt5.book import command; command.main([]); "
        "print([m for m in ('jax', 'flax', 'tensorflow', 'seqio', 'gin') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
