"""Imports of gin files that need SeqIO wait until a task is read from its source."""

import json
import subprocess
import sys
import textwrap

import gin
import pytest
import tiny

from medmt5 import task_modules


def run(code, **options):
    """The last line that the code prints in a fresh interpreter, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=tiny.subprocess_env(),
        **options,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_gin_files_that_import_tasks_are_parsed_without_seqio_and_tasks_are_read_with_it():
    before, config, rows, after = run(
        """
        import json, sys
        from medmt5 import batches, launch
        launch.parse_gin(["gin_configs/recipes/quickstart_pretrain.gin"], ["MODEL_DIR = 'a'"])
        def loaded():
            return [n for n in ('seqio', 'tensorflow') if n in sys.modules]
        before = loaded()
        lengths = {"inputs": 64, "targets": 48}
        (table,) = batches.read_tables(batches.DatasetConfig("sample_text_en", lengths), None)
        import gin
        print(json.dumps([before, gin.config_str(), len(table.raws), loaded()]))
        """
    )
    assert before == []
    assert "import medmt5.tasks.sample" in config  # what is written as config.gin repeats the run
    assert rows > 100 and after == ["seqio", "tensorflow"]


def test_a_gin_file_that_binds_something_of_a_task_module_gets_the_module(tmp_path):
    (tmp_path / "seqio.py").touch()  # the real one brings TensorFlow, which takes ten seconds
    (tmp_path / "my_task.py").write_text(
        "import seqio\n\ndef reader(path='x'):\n    return path\n\ndef use(reader):\n    pass\n"
    )
    (tmp_path / "my.gin").write_text(
        "from __gin__ import dynamic_registration\nimport my_task\n"
        "my_task.reader.path = 'y'\nmy_task.use.reader = @my_task.reader()\n"
    )
    value, seqio = run(
        """
        import json, sys
        sys.path.insert(0, ".")
        from medmt5 import launch
        launch.parse_gin(["my.gin"], [])
        import gin, my_task
        print(json.dumps([gin.get_configurable(my_task.reader)(), "seqio" in sys.modules]))
        """,
        cwd=tmp_path,
    )
    assert (value, seqio) == ("y", True)


def test_without_seqio_reading_a_source_says_what_to_install_or_to_cache():
    message = run(
        """
        import json, sys
        sys.modules["seqio"] = None
        from medmt5 import batches
        try:
            batches.read_tables(batches.DatasetConfig("a", {"inputs": 8, "targets": 8}), None)
        except ValueError as error:
            print(json.dumps(str(error)))
        """
    )
    assert message.startswith("reading a task from its source needs seqio: pip install")
    assert "`medmt5 cache`" in message and "USE_CACHED_TASKS" in message


def put_off(name):
    """Import a module as a gin file would where SeqIO has not been imported."""
    return task_modules.without_seqio(__import__)(name, fromlist=[""])


@pytest.fixture
def no_seqio(monkeypatch):
    for name in task_modules.HIDDEN:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    task_modules.forget()


def test_other_missing_modules_are_missed_at_once(no_seqio):
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        put_off("no_such_module_at_all")


def test_what_was_put_off_and_does_not_import_is_named(no_seqio, monkeypatch, tmp_path):
    (tmp_path / "task_of_two.py").write_text(
        "import sys\nif sys.modules.get('seqio', 1) is None:\n    import seqio\n"
        "import no_such_one\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = put_off("task_of_two")
    with pytest.raises(task_modules.NeedsSeqio, match="task_of_two.anything"):
        module.anything  # noqa: B018 - as gin does
    with pytest.raises(ValueError, match="gin: import task_of_two: No module named 'no_such_one'"):
        task_modules.import_put_off()


@pytest.fixture(autouse=True)
def clear():
    yield
    gin.clear_config()
