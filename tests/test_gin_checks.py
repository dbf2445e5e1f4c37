"""What gin would pass on and nobody can mean."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import gin
import pytest

from medmt5 import gin_checks, launch
from medmt5.batches import DatasetConfig

PRETRAIN = "gin_configs/recipes/quickstart_pretrain.gin"


@pytest.fixture(autouse=True)
def clear():
    yield
    gin.clear_config()


@pytest.fixture
def parse(tmp_path):
    """Parse a file of these lines, behind the recipe, and some bindings."""

    def parse(*lines, bindings=()):
        file = tmp_path / "mine.gin"
        file.write_text("".join(line + "\n" for line in (f"include '{PRETRAIN}'", *lines)))
        launch.parse_gin([str(file)], ["MODEL_DIR = 'a'", *bindings])
        return str(file)

    return parse


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("TRAIN_STEPS = 'many'", "TRAIN_STEPS = 'many', but train.total_steps takes int"),
        ("TRAIN_STEPS = 1e3", "TRAIN_STEPS = 1000.0, but train.total_steps takes int"),
        ("BATCH_SIZE = '4'", "BATCH_SIZE = '4', but DatasetConfig.batch_size takes int"),
        ("PACK = 1", "PACK = 1, but DatasetConfig.pack takes bool"),
        ("train.total_steps = None", "train.total_steps = None, but train.total_steps takes int"),
        (
            "TASK_FEATURE_LENGTHS = {'inputs': '128', 'targets': 96}",
            "TASK_FEATURE_LENGTHS = {'inputs': '128', 'targets': 96}, but "
            "DatasetConfig.task_feature_lengths takes Mapping[str, int]",
        ),
        (
            "OPTIMIZER/warmup_cosine.peak = 'high'",
            "OPTIMIZER/warmup_cosine.peak = 'high', but warmup_cosine.peak takes float",
        ),
    ],
)
def test_a_value_of_another_type_is_named_with_its_file_and_line(parse, tmp_path, line, message):
    with pytest.raises(ValueError) as error:
        parse("", line)
    assert str(error.value) == f"{tmp_path / 'mine.gin'}:3: {message}"


def test_on_the_command_line_there_is_no_file_to_name(parse):
    with pytest.raises(ValueError) as error:
        parse("TRAIN_STEPS = 3", bindings=["TRAIN_STEPS = 'three'"])
    assert str(error.value) == "TRAIN_STEPS = 'three', but train.total_steps takes int"


def test_a_macro_that_reads_a_macro_is_followed_to_its_value(parse, tmp_path):
    with pytest.raises(ValueError, match="mine.gin:3: MINE = 'a', but train.total_steps takes int"):
        parse("TRAIN_STEPS = %MINE", "MINE = 'a'")


def test_a_macro_that_reads_itself_is_said(parse):
    with pytest.raises(ValueError, match="TRAIN_STEPS reads itself: TRAIN_STEPS -> A -> TR"):
        parse("TRAIN_STEPS = %A", "A = %TRAIN_STEPS")


def test_the_last_line_of_several_is_the_one_that_is_wrong(parse):
    with pytest.raises(ValueError, match="mine.gin:4: TRAIN_STEPS = 'b'"):
        parse("TRAIN_STEPS = 3", "BATCH_SIZE = 2", "TRAIN_STEPS = 'b'")


def test_a_misspelt_macro_is_named_with_its_file_and_line(parse, tmp_path):
    with pytest.raises(ValueError) as error:
        parse("TRAIN_STEP = 3")
    assert str(error.value) == (
        f"{tmp_path / 'mine.gin'}:2: macro TRAIN_STEP is set, but nothing reads it: "
        "did you mean TRAIN_STEPS?"
    )


def test_a_parameter_may_be_set_past_the_macro_that_it_reads(parse):
    parse(bindings=["train.total_steps = 7"])
    assert gin.query_parameter("train.total_steps") == 7
    with pytest.raises(ValueError, match="macro TRAIN_STEP is set, but nothing reads it"):
        parse(bindings=["train.total_steps = 7", "TRAIN_STEP = 3"])


def test_a_macro_that_only_an_overridden_binding_reads_need_not_be_set(parse):
    parse("train.total_steps = %STEPS_THAT_NOBODY_SETS", "train.total_steps = 3")
    with pytest.raises(ValueError, match="STEPS_THAT_NOBODY_SETS must be set"):
        parse("train.total_steps = %STEPS_THAT_NOBODY_SETS")


@pytest.mark.parametrize(
    ("hint", "fitting", "others"),
    [
        (int, [3, -1], [3.0, "3", True, None, [3]]),
        (float, [3, 0.5], ["0.5", False, None]),
        (bool, [True], [1, "True", None]),
        (str, ["a", ""], [3, None, ["a"]]),
        (str | None, ["a", None], [3]),
        (Literal["min", "max"], ["min"], ["mean", None]),
        (Sequence[str], [["a"], ("a",), []], ["a", [3], None]),
        (str | Sequence[str], ["a", ["a"]], [[3]]),
        (tuple[int, int], [(1, 2), [1, 2]], [(1,), (1, "a"), 3]),
        (tuple[str, ...], [(), ("a", "b"), ["a"]], ["ab", (3,)]),
        (Mapping[str, float], [{}, {"a": 1}], [{"a": "b"}, {1: 1}, [1]]),
        (dict, [{"a": None}], [[1]]),
        (Callable[[int], int], [abs], [3, "abs"]),
        (DatasetConfig, [], [3, "a", None]),
        (DatasetConfig | None, [None], [3]),
        (type[int], [int, "a"], []),
        (Any, [3, None, "a"], []),
    ],
)
def test_what_fits_an_annotation(hint, fitting, others):
    assert all(gin_checks._fits(value, hint) for value in fitting)
    assert not any(gin_checks._fits(value, hint) for value in others)


def test_what_gin_makes_by_a_call_is_taken_to_fit(parse):
    parse("train.total_steps = @gin.singleton()")
