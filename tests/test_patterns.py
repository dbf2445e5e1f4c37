"""Regular expressions over names of parameters."""

import pytest

from medmt5.adafactor import adafactor
from medmt5.models.lora import LoraConfig
from medmt5.optimizer_options import grouped
from medmt5.restore import RestoreCheckpointConfig
from medmt5.state import split_trainable


@pytest.mark.parametrize(
    ("use", "named"),
    [
        (lambda: adafactor(always_factor="("), "always_factor '\\('"),
        (lambda: grouped(adafactor(), (("(", 0.1),)), "parameter group '\\('"),
        (lambda: grouped(adafactor(), ((None, 0.1),)), "parameter group None"),
        (lambda: LoraConfig(pattern="("), "LoraConfig.pattern '\\('"),
        (lambda: RestoreCheckpointConfig("a", assignment_map=(("(", None),)), "pattern '\\('"),
        (lambda: RestoreCheckpointConfig("a", resize="("), "pattern '\\('"),
        (lambda: split_trainable({"a": 0}, "("), "trainable pattern '\\('"),
    ],
)
def test_what_is_no_regular_expression_is_named(use, named):
    with pytest.raises(ValueError, match=f"{named} is no regular expression: "):
        use()
