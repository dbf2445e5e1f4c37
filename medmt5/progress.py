"""Lines about how far long work is: when one is due, and how long the rest will take."""

from __future__ import annotations

import time

PERIOD = 10.0  # seconds between lines


def duration(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, seconds = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Clock:
    """Times work that goes on in parts.

    Attributes:
      began: when the work began; what was there already does not count.
      now: the last look at the clock, by `due` or `look`.
    """

    def __init__(self) -> None:
        self.began = self.now = self._said = time.monotonic()

    def look(self) -> float:
        """Seconds since the work began."""
        self.now = time.monotonic()
        return self.now - self.began

    def due(self) -> bool:
        """Look; true where the last line was `PERIOD` seconds ago, and then a line is expected."""
        self.look()
        if self.now - self._said < PERIOD:
            return False
        self._said = self.now
        return True

    def eta(self, done: float, total: float) -> str:
        """`ETA 2:03`: what is left takes its share of the time from the beginning to `now`.

        Args:
          done: of the work since it began, in any unit; more than 0.
          total: of the work, what was there already left out.
        """
        return f"ETA {duration((self.now - self.began) / done * max(total - done, 0))}"
