"""Regular expressions over full names of parameters, such as `encoder/.*`."""

from __future__ import annotations

import re
from typing import Any


def compiled(pattern: Any, what: str) -> re.Pattern[str]:
    """A pattern that somebody has given.

    Args:
      what: names it in the error.

    Raises:
      ValueError: it is no regular expression.
    """
    try:
        return re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ValueError(f"{what} {pattern!r} is no regular expression: {error}") from error
