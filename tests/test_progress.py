"""Lines of progress: when, and with what time left."""

import pytest

from medmt5 import progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (0.6, "0:01"), (59.4, "0:59"), (59.6, "1:00"), (3599.6, "1:00:00")]
    + [(3723, "1:02:03"), (360000, "100:00:00")],
)
def test_durations_read_as_clocks_do(seconds, text):
    assert progress.duration(seconds) == text


def test_a_line_is_due_after_a_period_and_then_after_another(monkeypatch):
    times = iter([100.0, 109.0, 110.0, 119.0, 125.0])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    clock = progress.Clock()
    assert [clock.due() for _ in range(4)] == [False, True, False, True]
    assert clock.now - clock.began == 25.0


def test_what_is_left_takes_its_share_of_the_time_so_far(monkeypatch):
    times = iter([100.0, 130.0])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    clock = progress.Clock()
    assert clock.look() == 30.0
    assert clock.eta(10, 30) == "ETA 1:00"
    assert clock.eta(40, 30) == "ETA 0:00"  # a file has grown since its size was asked
