import ast
import dataclasses
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import data_folder
import gin
import pytest
import tiny

from medmt5 import cli, launch
from medmt5.state import Architecture, count_parameters

ROOT = Path(launch.config_root())
PACKAGE = Path(launch.__file__).parent
CONFIGS = ROOT / "gin_configs"
PRETRAIN = "gin_configs/recipes/quickstart_pretrain.gin"
SMALL = [
    f"network.T5Config.{name} = {size}"
    for name, size in dict(
        emb_dim=16, num_heads=2, head_dim=8, mlp_dim=32, num_encoder_layers=1, num_decoder_layers=1
    ).items()
]


@pytest.fixture(autouse=True)
def clear():
    yield
    gin.clear_config()


def dry_run(*bindings, files=(PRETRAIN,), command="train"):
    return launch.run(command, files=files, bindings=bindings, dry_run=True)


def names(folder):
    return sorted(str(path.relative_to(ROOT)) for path in (CONFIGS / folder).rglob("*.gin"))


# Flags


def test_gin_flags_become_bindings_and_the_others_stay():
    arguments = ["--gin.A=1", "--dry_run", "--gin.a/b.C.d='x=y'", "--gin_file=f.gin", "--gin.E="]
    bindings, others = launch.gin_flags(arguments)
    assert bindings == ["A = 1", "a/b.C.d = 'x=y'", "E = "]
    assert others == ["--dry_run", "--gin_file=f.gin"]


def test_a_gin_flag_without_a_value_is_refused():
    with pytest.raises(ValueError, match="--gin.A has no value; write --gin.A=VALUE"):
        launch.gin_flags(["--gin.A"])


def test_later_files_and_then_bindings_win(tmp_path):
    files = []
    for number in (1, 2):
        path = tmp_path / f"{number}.gin"
        path.write_text(f"BATCH_SIZE = {number}\nRANDOM_SEED = {number}\n")
        files.append(str(path))
    launch.parse_gin([PRETRAIN, *files], ["MODEL_DIR = 'a'", "RANDOM_SEED = 3"])
    assert gin.query_parameter("BATCH_SIZE/gin.macro.value") == 2
    assert gin.query_parameter("RANDOM_SEED/gin.macro.value") == 3


def test_a_parse_replaces_what_was_parsed_before():
    launch.parse_gin([PRETRAIN], ["MODEL_DIR = 'a'", "RANDOM_SEED = 3"])
    launch.parse_gin([PRETRAIN], ["MODEL_DIR = 'a'"])
    assert gin.query_parameter("RANDOM_SEED/gin.macro.value") == 0


# Errors


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (
            ["MODEL_DIR = 'a'", "TRAIN_STEP = 3"],
            "macro TRAIN_STEP is set, .* did you mean TRAIN_STEPS?",
        ),
        (["MODEL_DIR = 'a'", "XYZZY = 3"], "macro XYZZY is set, .* macros read here: .*BATCH_SIZE"),
        (["train_script.train.stats_perod = 3"], "train' doesn't have a parameter .*stats_perod"),
        (["train_scrip.train.stats_period = 3"], "No configurable matching 'train_scrip.train'"),
        (["MODEL_DIR = runs/a"], "gin: "),
        (["MODEL = %NOWHERE"], "NOWHERE"),
        ([], "MODEL_DIR"),
        (["MODEL_DIR = 'a'", "MIXTURE_OR_TASK_NAME = 'sample_txt'"], "did you mean sample_text"),
        (["MODEL_DIR = 'a'", "BATCH_SIZE = 12"], "12 does not divide over 8 data shards"),
    ],
)
def test_a_wrong_binding_is_a_value_error_that_says_what_is_wrong(bindings, message):
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        dry_run(*bindings)


def test_a_missing_gin_file_is_named_with_where_others_are():
    with pytest.raises(ValueError, match="nowhere.gin.*gin files that ship .* gin_configs/"):
        dry_run(files=["nowhere.gin"])


def test_a_gin_file_that_imports_a_missing_module_is_refused(tmp_path):
    path = tmp_path / "a.gin"
    path.write_text("from __gin__ import dynamic_registration\nimport medmt5.tasks.nowhere\n")
    with pytest.raises(ValueError, match="medmt5.tasks.nowhere"):
        dry_run(files=[PRETRAIN, str(path)])


def test_a_value_before_the_include_that_requires_it_is_lost_and_said_to_be(tmp_path):
    path = tmp_path / "a.gin"
    path.write_text(
        "from __gin__ import dynamic_registration\n"
        "LEARNING_RATE = 0.1\n"
        f"include '{PRETRAIN}'\n"
        "include 'gin_configs/optimizers/adamw.gin'\n"
    )
    with pytest.raises(ValueError, match="LEARNING_RATE"):
        dry_run("MODEL_DIR = 'a'", files=[str(path)])


# Every file that ships


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A folder with a small file of each kind that the tasks read."""
    return data_folder.write(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return tiny.labelling_model(str(tmp_path_factory.mktemp("model")))


def macros_of(files):
    """The macros of these files, and those among them that the user has to set."""
    gin.clear_config()
    gin.add_config_file_search_path(str(ROOT))
    gin.parse_config_files_and_bindings(list(files), [], finalize_config=False)
    macros = {
        scope: str(values.get("value"))
        for (scope, selector), values in gin.config._CONFIG.items()
        if selector == "gin.macro"
    }
    return set(macros), {name for name, value in macros.items() if value == "%gin.REQUIRED"}


def heads(recipe):
    """The opening comment of a recipe, and of the recipes that it varies."""
    text = (ROOT / recipe).read_text(encoding="utf-8")
    varied = re.findall(r"include '(gin_configs/recipes/.*)'", text)
    return "".join([text.split("from __gin__")[0], *map(heads, varied)])


@pytest.mark.parametrize("recipe", names("recipes"))
def test_a_recipe_says_what_it_requires_and_builds_at_tiny_size(
    recipe, model, data_dir, tmp_path, monkeypatch
):
    monkeypatch.setenv("MEDMT5_DATA_DIR", str(data_dir))
    monkeypatch.setenv("MEDMT5_CORPUS_DIR", str(data_dir / "corpus"))
    monkeypatch.setenv("MEDMT5_CORPUS_HELD_OUT", "2")
    values = {
        "MODEL_DIR": str(tmp_path / "run"),
        "INITIAL_CHECKPOINT_PATH": model,
        "CHECKPOINT_PATH": model,
        "EVAL_OUTPUT_DIR": str(tmp_path / "eval"),
        "VOCABULARY_PATH": tiny.VOCABULARY,
        "MIXTURE_OR_TASK_NAME": "ncbi_disease",
        "TRAIN_STEPS": 1000,  # more than any warm-up; nothing is run
    }
    macros, required = macros_of([recipe])
    assert required
    for name in required:
        assert name in heads(recipe), f"{recipe} does not say that it requires {name}"
    bindings = [f"{name} = {values[name]!r}" for name in required]
    if "INITIAL_CHECKPOINT_ASSIGNMENT_MAP" in macros:
        # A second stage freezes the adapter of its first, which the model here has not.
        bindings.append("INITIAL_CHECKPOINT_ASSIGNMENT_MAP = [('.*/(prompt|lora)/.*', None)]")
    if "VOCAB_SIZE" in macros:
        bindings.append(f"VOCAB_SIZE = {tiny.ROWS}")  # the rows of the initial checkpoint
    elif "TRAIN_STEPS" in macros:
        bindings.append(f"network.T5Config.vocab_size = {tiny.ROWS}")
    files = [recipe]
    if "VOCABULARY" in macros and "VOCABULARY_PATH" not in macros:
        # mT5's vocabulary is not here; the sample's stands in for it.
        path = tmp_path / "vocabulary.gin"
        path.write_text(
            "from __gin__ import dynamic_registration\n"
            "from medmt5 import vocabulary\n"
            "VOCABULARY = @vocabulary.Vocabulary()\n"
            f"vocabulary.Vocabulary.path = {tiny.VOCABULARY!r}\n"
        )
        files.append(str(path))
    command = "train" if "TRAIN_STEPS" in macros else "eval"
    if command == "train":
        bindings += SMALL
    result = dry_run(*bindings, files=files, command=command)
    assert result == {"train": None, "eval": {}}[command]
    assert sorted(path.name for path in tmp_path.iterdir()) in ([], ["vocabulary.gin"])


def run_file(folder, *includes):
    """A training run of these files on sample text, and bindings for all that it requires."""
    path = folder / "run.gin"
    lines = ["from __gin__ import dynamic_registration", "import medmt5.tasks.sample"]
    lines += [f"include '{name}'" for name in ("gin_configs/runs/train.gin", *includes)]
    path.write_text("\n".join(lines) + "\n")
    values = {
        "MODEL_DIR": "'a'",
        "MIXTURE_OR_TASK_NAME": "'sample_text_en'",
        "TASK_FEATURE_LENGTHS": "{'inputs': 64, 'targets': 64}",
        "TRAIN_STEPS": "200",
        "DROPOUT_RATE": "0.25",
        "VOCAB_SIZE": "2048",
        "LEARNING_RATE": "0.1",
    }
    _, required = macros_of([str(path)])
    return [str(path)], [f"{name} = {values[name]}" for name in required]


ADAFACTOR = "gin_configs/optimizers/adafactor.gin"


@pytest.mark.parametrize("path", names("models"))
def test_a_model_file_builds_and_has_the_parameters_that_its_head_states(path, tmp_path):
    files, bindings = run_file(tmp_path, path, ADAFACTOR)
    launch.parse_gin(files, bindings)
    config = gin.query_parameter("MODEL/gin.macro.value").scoped_configurable_fn()
    assert config.dropout_rate == 0.25
    stated = re.search(r"([\d,]+) parameters", (ROOT / path).read_text(encoding="utf-8"))
    if stated:
        # All layers are alike; two models of few layers trace faster than one of many.
        one, two = (
            count_parameters(
                Architecture.t5(
                    dataclasses.replace(config, num_encoder_layers=n, num_decoder_layers=n)
                ).shapes
            )
            for n in (1, 2)
        )
        assert config.num_encoder_layers == config.num_decoder_layers
        count = one + (config.num_encoder_layers - 1) * (two - one)
        assert count == int(stated.group(1).replace(",", ""))
    assert dry_run(*bindings, *SMALL, files=files) is None


@pytest.mark.parametrize("path", names("optimizers"))
def test_an_optimizer_file_builds(path, tmp_path):
    files, bindings = run_file(tmp_path, "gin_configs/models/laptop.gin", path)
    assert dry_run(*bindings, *SMALL, files=files) is None


# The command


def python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=tiny.subprocess_env()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = ("jax", "flax", "optax", "orbax", "tensorflow", "seqio", "gin", "sentencepiece", "numpy")


def loaded_after(code, candidates=HEAVY):
    """Which of these packages a fresh interpreter has imported after running the code."""
    end = f"import sys; print(json.dumps([n for n in {candidates!r} if n in sys.modules]))"
    return set(json.loads(python(f"{code}\nimport json\n{end}").splitlines()[-1]))


def command(*arguments):
    """Code that runs the command and survives its exit."""
    return (
        f"import sys; sys.argv = ['medmt5', *{arguments!r}]\n"
        "from medmt5 import cli\n"
        "try: cli.main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code"
    )


def test_importing_medmt5_imports_nothing_heavy():
    assert loaded_after("import medmt5; medmt5.__version__") == set()


@pytest.mark.parametrize("arguments", [("--help",), (), ("--version",), ("train", "--help")])
def test_help_and_version_import_nothing_heavy(arguments):
    assert loaded_after(command(*arguments)) == set()


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_is_there_and_has_help_without_tensorflow(name):
    assert importlib.util.find_spec(cli.COMMANDS[name][0]), f"no module for {name}"
    end = "print([name for name in ('tensorflow', 'seqio') if name in sys.modules])"
    out = python(f"{command(name, '--help')}\n{end}")
    assert f"usage: medmt5 {name}" in out and out.endswith("\n[]\n")


def test_an_unknown_command_lists_those_there_are():
    done = subprocess.run(
        [sys.executable, "-m", "medmt5.cli", "trian"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "no command 'trian'" in done.stderr and "label" in done.stderr


def test_the_command_line_ends_with_a_message_and_status_2(tmp_path):
    arguments = [f"--gin_file={PRETRAIN}", "--gin.MODEL_DIR='a'", "--gin.TRAIN_STEP=3"]
    done = subprocess.run(
        [sys.executable, "-m", "medmt5.cli", "train", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=tiny.subprocess_env(),
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1] == (
        "medmt5: error: macro TRAIN_STEP is set, but nothing reads it: did you mean TRAIN_STEPS?"
    )
    assert "Traceback" not in done.stderr


# The imports table


@pytest.mark.parametrize(
    "modules",
    [
        ("models.t5", "models.layers", "state", "step", "optimizers", "partitioning"),
        ("decoding", "predictor", "label", "vocabulary", "formats.labelling", "checkpoints"),
    ],
)
def test_model_step_and_labelling_import_neither_tensorflow_nor_seqio_nor_gin(modules):
    code = "\n".join(f"import medmt5.{module}" for module in modules)
    assert loaded_after(code) & {"tensorflow", "seqio", "gin"} == set()


def imports():
    """(module, imported name) for every import statement in the package, late ones too."""
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        if relative.parts[0] in ("tasks", "gin_configs"):  # an installed package holds them
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield str(relative), alias.name
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    yield str(relative), f"{node.module}.{alias.name}"


def importers(*packages):
    return {
        module
        for module, name in imports()
        if any(name == package or name.startswith(package + ".") for package in packages)
    }


def test_only_launch_and_its_checks_import_gin():
    assert importers("gin") == {"launch.py", "gin_checks.py"}


def test_only_the_data_edge_imports_tensorflow_and_seqio():
    edge = {"batches.py", "evaluate.py", "infer.py", "inspect_task.py", "corpus/records.py"}
    found = importers("tensorflow", "seqio")
    assert "formats/task.py" in found
    assert {name for name in found if not name.startswith("formats/")} <= edge


def test_only_checkpoints_and_convert_import_orbax():
    found = importers("orbax")
    assert "checkpoints.py" in found
    assert {name for name in found if not name.startswith("convert/")} == {"checkpoints.py"}


def test_the_package_imports_neither_tasks_nor_tools():
    assert importers("medmt5.tasks", "tasks", "tools", "tests") == set()
