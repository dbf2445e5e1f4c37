import json

import pytest

from medmt5.book.runs import read_runs, read_scores

F1 = {"constrained": {"f1": 50.0, "intervals": {"f1": [48.0, 52.0]}, "per_label": {}}}


def put(folder, *tasks, scores=F1):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "scores.json"
    path.write_text(json.dumps({task: scores for task in tasks or ("e3c_es",)}), "utf-8")
    return str(folder)


def names(arguments):
    return [run.name for run in read_runs(arguments)]


def test_a_run_is_named_by_its_folder_wherever_its_scores_are_below_it(tmp_path):
    put(tmp_path / "a")
    put(tmp_path / "b/test")
    assert names([str(tmp_path / "a"), str(tmp_path / "b")]) == ["a", "b"]
    assert names([str(tmp_path / "a/scores.json"), f"{tmp_path}/b/"]) == ["a", "b"]
    assert names([f"mine={tmp_path}/a"]) == ["mine"]


def test_a_folder_of_several_runs_names_each_by_its_own_folder(tmp_path):
    put(tmp_path / "runs/a")
    put(tmp_path / "runs/b/test")
    assert names([str(tmp_path / "runs")]) == ["a", "b/test"]


def test_the_current_folder_has_a_name_too(tmp_path, monkeypatch):
    put(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    assert names(["."]) == ["here"]


def test_evaluations_from_within_training_are_passed_over(tmp_path):
    put(tmp_path / "a/eval/step_100")
    with pytest.raises(ValueError, match="only evaluations from within training.*step_100"):
        read_runs([str(tmp_path / "a")])
    put(tmp_path / "a/test")
    (run,) = read_runs([str(tmp_path / "a")])
    assert run.files == (str(tmp_path / "a/test/scores.json"),)
    # Asked for by name, it is read.
    assert names([str(tmp_path / "a/eval/step_100")]) == ["step_100"]


def test_a_named_run_may_have_its_tasks_in_several_files(tmp_path):
    put(tmp_path / "a/one", "e3c_es")
    put(tmp_path / "a/two", "e3c_fr")
    (run,) = read_runs([f"a={tmp_path}/a"])
    assert len(run.seeds) == 1 and set(run.seeds[0]) == {"e3c_es", "e3c_fr"}
    put(tmp_path / "a/three", "e3c_fr")
    with pytest.raises(ValueError, match=r"both score e3c_fr \(constrained\).*NAME=PATH,PATH"):
        read_runs([f"a={tmp_path}/a"])


def test_seeds_are_a_list_of_paths_or_a_pattern(tmp_path):
    for seed in range(3):
        put(tmp_path / f"a-seed{seed}")
    listed = f"a={tmp_path}/a-seed0,{tmp_path}/a-seed2"
    assert [len(run.seeds) for run in read_runs([listed])] == [2]
    (run,) = read_runs([f"a={tmp_path}/a-seed*"])
    assert [file.split("/")[-2] for file in run.files] == ["a-seed0", "a-seed1", "a-seed2"]
    with pytest.raises(ValueError, match=r"nothing matches .*b-seed\*"):
        read_runs([f"a={tmp_path}/b-seed*"])


def test_relative_patterns_start_in_the_current_folder(tmp_path, monkeypatch):
    put(tmp_path / "a0")
    put(tmp_path / "a1")
    monkeypatch.chdir(tmp_path)
    (run,) = read_runs(["a=a*"])
    assert len(run.seeds) == 2


def test_a_path_that_exists_is_a_path_whatever_signs_it_has(tmp_path):
    odd = put(tmp_path / "lr=1e-3,b=8")
    assert names([odd]) == ["lr=1e-3,b=8"]
    assert names([f"odd={odd}"]) == ["odd"]


def test_two_runs_of_one_name_are_refused_with_both_files(tmp_path):
    put(tmp_path / "x/test")
    put(tmp_path / "y/test")
    with pytest.raises(ValueError, match="two runs are named 'test': .*x/test.*y/test.*NAME=PATH"):
        read_runs([str(tmp_path / "x/test"), str(tmp_path / "y/test")])


def test_a_folder_without_scores_and_a_path_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no scores\.json; give a folder"):
        read_runs([str(tmp_path)])
    with pytest.raises(ValueError, match="nowhere is not there"):
        read_runs([str(tmp_path / "nowhere")])
    with pytest.raises(ValueError, match="names no run"):
        read_runs([f"={tmp_path}"])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"e3c_es": {', "is not JSON"),
        ("[1]", r"the file is '\[1\]', not an object"),
        ('{"e3c_es": 3}', "task 'e3c_es' is '3', not an object"),
        ('{"e3c_es": {"constrained": [1]}}', "task 'e3c_es', mode 'constrained' is"),
        ('{"e3c_es": {"constrained": {"f1": "high"}}}', "'f1' is 'high', not a number"),
        ('{"e3c_es": {"constrained": {"f1": NaN}}}', "'f1' is nan, not a number"),
        (
            '{"e3c_es": {"constrained": {"f1": 1, "intervals": {"f1": [1]}}}}',
            r"the interval of 'f1' is \[1\], not \[low, high\]",
        ),
    ],
)
def test_a_broken_file_is_an_error_that_says_where_and_what(tmp_path, text, fault):
    path = tmp_path / "scores.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=fault) as error:
        read_scores(str(path))
    assert str(path) in str(error.value)
