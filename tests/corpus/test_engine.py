"""The engine: results are kept, file systems are tried again, errors say which job they are of."""

import functools
import os

import pytest
from cloud import OpError

from medmt5.corpus import engine
from medmt5.files import write_text


def square(folder, number):
    """A job that leaves a trace, so that a test sees how often it runs."""
    with open(os.path.join(folder, f"ran-{number}"), "a") as file:
        file.write("x")
    return number * number


def fails(failures, number, error=OSError):
    if failures.setdefault(number, 0) > 0:
        failures[number] -= 1
        raise error("connection reset")
    return number


def breaks(number):
    raise TypeError("a bug")


def ends(number):
    os._exit(9)


def tasks(count, key="k"):
    return [engine.Task(f"job-{number}", key, number, number) for number in range(count)]


def run(tmp_path, given, function, **options):
    return engine.results(given, function, what="work", folder=str(tmp_path / "r"), **options)


def runs(tmp_path):
    return [path.read_text() for path in sorted(tmp_path.glob("ran-*"))]


def test_kept_results_are_not_made_again_unless_their_key_changes(tmp_path):
    function = functools.partial(square, str(tmp_path))
    assert run(tmp_path, tasks(2), function) == [0, 1]
    assert run(tmp_path, tasks(3), function) == [0, 1, 4]
    assert runs(tmp_path) == ["x", "x", "x"]
    assert run(tmp_path, tasks(3, "other"), function) == [0, 1, 4]
    assert runs(tmp_path) == ["xx", "xx", "xx"]


def test_a_result_that_is_cut_off_is_made_again(tmp_path):
    function = functools.partial(square, str(tmp_path))
    run(tmp_path, tasks(1), function)
    kept = tmp_path / "r/job-0.json"
    kept.write_text(kept.read_text()[:-3])
    assert run(tmp_path, tasks(1), function) == [0]
    assert runs(tmp_path) == ["xx"]


@pytest.mark.parametrize("error", [OSError, OpError])
def test_a_failing_file_system_is_tried_again(tmp_path, monkeypatch, error):
    monkeypatch.setattr(engine, "WAITS", (0, 0))
    assert run(tmp_path, tasks(2), functools.partial(fails, {1: 2}, error=error)) == [0, 1]


def test_jobs_that_go_on_failing_leave_the_results_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "WAITS", (0,))
    failures = {1: 2}
    with pytest.raises(OSError, match="1 of 3 failed, .*job-1: OSError: connection reset"):
        run(tmp_path, tasks(3), functools.partial(fails, failures))
    assert sorted(path.stem for path in (tmp_path / "r").iterdir()) == ["job-0", "job-1", "job-2"]
    # What is put right is done by the same call, and nothing else is.
    assert run(tmp_path, tasks(3), functools.partial(fails, {0: 9, 2: 9})) == [0, 1, 2]


def test_a_result_that_cannot_be_written_leaves_those_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "WAITS", (0,))

    def write(path, text):
        if path.endswith("job-1.json"):
            raise OSError("disk full")
        write_text(path, text)

    monkeypatch.setattr(engine, "write_text", write)
    with pytest.raises(OSError, match="1 of 3 failed, .*job-1: its result could not be written"):
        run(tmp_path, tasks(3), functools.partial(fails, {}))
    assert sorted(path.stem for path in (tmp_path / "r").iterdir()) == ["job-0", "job-2"]


def test_a_bug_ends_the_run_and_says_in_which_job(tmp_path):
    with pytest.raises(TypeError) as caught:
        run(tmp_path, tasks(1), breaks)
    assert caught.value.__notes__ == ["in job-0"]


@pytest.mark.slow
def test_workers_do_what_one_does_and_a_killed_one_is_told(tmp_path):
    function = functools.partial(square, str(tmp_path))
    assert run(tmp_path, tasks(3), function, workers=2) == [0, 1, 4]
    with pytest.raises(OSError, match="take fewer --workers"):
        run(tmp_path, tasks(1, "new"), ends, workers=2)


def test_beam_that_is_not_installed_is_told(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ValueError, match=r'pip install "medmt5\[beam\]"'):
        run(tmp_path, tasks(1), square, beam=["--runner=DirectRunner"])
