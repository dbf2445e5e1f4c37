"""`medmt5 inspect` says how long examples are and which rows would hold them best."""

import re

import numpy as np
import tiny

from medmt5 import batches, inspect_task


def test_a_labelling_task_is_shown_with_lengths_labels_and_the_rows_it_wants():
    (table,) = batches.read_tables(tiny.dataset(split="validation"), None)
    text = inspect_task.describe(table, {"inputs": 128, "targets": 256}, 2)
    assert "sample_clinical_en: 100 examples, format labelling" in text
    assert "inputs 1:" in text and "inputs 2:" not in text
    assert "label Disease:" in text and "0 longer than 256 would be cut" in text
    (given, targets, best) = re.search(
        r"packed: ([\d.]+) % .* 'targets': (\d+)}: ([\d.]+) %", text
    ).groups()
    assert int(targets) < 200 and float(best) > float(given) + 10


def test_rows_that_are_too_short_for_every_example_get_no_advice():
    sizes = np.array([(9, 9), (12, 13)])
    assert inspect_task.advice(sizes, {"inputs": 8, "targets": 8}) == "packed: 100.0 % real tokens"


def test_advice_counts_only_what_fits_uncut():
    sizes = np.array([(4, 6)] * 10 + [(20, 30)])
    line = inspect_task.advice(sizes, {"inputs": 8, "targets": 8})
    # Ten pairs of (4, 6) fill five rows of 8 and 12.
    assert line.endswith("TASK_FEATURE_LENGTHS = {'inputs': 8, 'targets': 12}: 100.0 %")
