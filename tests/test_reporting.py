import json
import logging

import pytest
import tiny

from medmt5 import reporting


def test_training_flops_of_a_toy_model_by_hand():
    config = tiny.config(
        vocab_size=10, emb_dim=2, num_heads=2, head_dim=3, mlp_dim=5, mlp_activations=("gelu",)
    )
    # Multiplications of one row with 4 source and 3 target tokens; heads x kv = 6.
    encoder = 4 * 4 * 2 * 6 + 4 * 2 * 2 * 5 + 2 * 4 * 4 * 6  # q k v out, feed-forward, attention
    decoder = 3 * 4 * 2 * 6 + 3 * 2 * 2 * 5 + 2 * 3 * 3 * 6
    cross = 2 * 3 * 2 * 6 + 2 * 4 * 2 * 6 + 2 * 3 * 4 * 6  # q and out, k and v, attention
    head = 3 * 2 * 10
    assert (encoder, decoder, cross, head) == (464, 312, 312, 60)
    # Twice for multiply and add, three times for forward and both halves of backward, 7 rows.
    expected = 2 * 3 * 7 * (464 + 312 + 312 + 60)
    assert reporting.training_flops(config, rows=7, source=4, target=3) == expected


def test_a_gated_feed_forward_block_costs_three_products():
    plain, gated = (
        reporting.training_flops(
            tiny.config(mlp_activations=names, mlp_dim=32, emb_dim=16), rows=1, source=5, target=3
        )
        for names in (("gelu",), ("gelu", "linear"))
    )
    assert gated - plain == 6 * (5 + 3) * 16 * 32


METRICS = {
    "nll": 30.0,
    "z_loss": 1.0,
    "correct": 5.0,
    "weight": 10.0,
    "grad_norm": 2.0,
    "target_tokens": 40.0,
    "source_tokens": 60.0,
}


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves when the test says so."""
    now = [100.0]
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now[0])

    def forward(seconds):
        now[0] += seconds

    return forward


def test_progress_averages_over_weights_and_estimates_what_is_left(clock, caplog):
    caplog.set_level(logging.INFO, logger="medmt5")
    progress = reporting.Progress(total_steps=110, start_step=0)
    clock(50.0)  # compilation
    progress.add(METRICS)
    first = progress.report()
    assert first["loss"] == 3.0 and first["seconds_per_step"] == 50.0
    assert "ETA" not in caplog.text  # the first step says nothing of the others
    for _ in range(9):
        clock(2.0)
        progress.add(METRICS | {"weight": 30.0, "nll": 15.0})
    caplog.clear()
    values = progress.report()
    assert values == {
        "loss": 0.5,
        "z_loss": pytest.approx(1 / 30),
        "accuracy": pytest.approx(5 / 30),
        "grad_norm": 2.0,
        "target_tokens_per_second": 20.0,
        "source_tokens_per_second": 30.0,
        "seconds_per_step": 2.0,
    }
    assert caplog.messages == [
        "step 10/110  loss 0.5000  accuracy 0.167  50 tokens/s  ETA 3:20"  # 100 steps of 2 s
    ]


def test_the_estimate_of_a_resumed_run_counts_its_own_steps(clock, caplog):
    caplog.set_level(logging.INFO, logger="medmt5")
    progress = reporting.Progress(total_steps=1000, start_step=900)
    for _ in range(5):
        clock(1.0)
        progress.add(METRICS)
    progress.report()
    assert "step 905/1000" in caplog.text and "ETA 1:35" in caplog.text


def test_an_evaluation_does_not_slow_the_steps_down(clock):
    progress = reporting.Progress(total_steps=10, start_step=0)
    clock(1000.0)
    progress.restart_clock()
    clock(4.0)
    progress.add(METRICS)
    assert progress.report()["seconds_per_step"] == 4.0


def test_utilisation_is_shown_where_the_chip_is_known(clock, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="medmt5")
    monkeypatch.setattr(reporting, "peak_flops", lambda: 1e12)
    progress = reporting.Progress(total_steps=10, start_step=0, flops=5e11)
    clock(2.0)
    progress.add(METRICS)
    assert progress.report()["mfu"] == 0.25
    assert "MFU 25.0 %" in caplog.text


def test_a_cpu_has_no_listed_peak():
    assert reporting.peak_flops() is None


def test_scalars_are_appended_as_json_lines_and_as_events(tmp_path):
    for step in (1, 2):
        scalars = reporting.Scalars(str(tmp_path / "train"))
        scalars.write(step, {"loss": 0.5 / step})
        scalars.close()
    lines = (tmp_path / "train/scalars.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 0.25},
    ]
    assert list((tmp_path / "train").glob("events.out.tfevents.*"))
