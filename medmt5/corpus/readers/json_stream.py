"""JSON objects one at a time from a file of any length: a list, a page, or one after the other."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from medmt5.corpus.decompression import CHUNK, Unreadable
from medmt5.corpus.documents import Reason
from medmt5.corpus.readers.base import too_long
from medmt5.corpus.readers.lines import CONVERT, utf8


def objects(stream: io.BufferedReader, key: str, max_bytes: int) -> Iterator[Any]:
    """The objects of `[a, b]`, of `{"key": [a, b]}`, or of `a b`.

    Raises:
      Unreadable: broken JSON, or an object longer than max_bytes; those before it were given.
    """
    window = _Window(utf8(stream), max_bytes)
    window.skip(r"[\s,]*")
    page = rf'\{{\s*(?:"totalCount"\s*:\s*\d+\s*,\s*)?"{key}"\s*:\s*\['
    listed = window.skip(page) or window.skip(r"\[")
    while True:
        window.skip(r"[\s,]*")
        # What follows the list of a page is the token for the next page.
        if window.skip(r"\]") if listed else window.ended():
            return
        yield window.object()


class _Window:
    """The part of a text that is being looked at."""

    def __init__(self, stream: io.BufferedReader, max_bytes: int):
        self._stream = stream
        self._max = max_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._start = 0
        self._all_read = False
        self._failure: Unreadable | None = None
        self._more()

    def skip(self, pattern: str) -> bool:
        """Pass over what matches, if it is there."""
        if self._start == len(self._text):
            self._more()
        while (match := re.compile(pattern).match(self._text, self._start)) and match[0]:
            self._start = match.end()
            if self._start < len(self._text) or not self._more():
                return True
        return False

    def ended(self) -> bool:
        if self._start == len(self._text) and self._failure:
            raise self._failure
        return self._start == len(self._text) and self._all_read

    def object(self) -> Any:
        """The next value; a failure further on waits until it is given."""
        tried = 0
        while True:
            size = len(self._text) - self._start
            if size >= 2 * tried or self._all_read:  # so that long ones are not tried too often
                try:
                    value, self._start = json.JSONDecoder().raw_decode(self._text, self._start)
                    return value
                except RecursionError as error:
                    raise Unreadable(Reason.BROKEN_JSON, str(error)) from error
                except json.JSONDecodeError as error:
                    tried, fault = size, str(error)
                    # At the end of what is read, and in strings, more text may mend it.
                    if error.pos < len(self._text) - 32 and "Unterminated" not in error.msg:
                        raise Unreadable(Reason.BROKEN_JSON, fault) from error
                except ValueError as error:  # a number of more digits than Python reads
                    raise Unreadable(Reason.BROKEN_JSON, str(error)) from error
            if size > self._max:
                raise Unreadable(Reason.TOO_LONG, too_long(self._max) + "; the rest is not read")
            if not self._more():
                raise self._failure or Unreadable(Reason.BROKEN_JSON, fault)

    def _more(self) -> bool:
        if self._all_read:
            return False
        try:
            data = self._stream.read1(CHUNK)
            new = self._decoder.decode(data, final=not data)
        except Unreadable as error:
            data, new, self._failure = b"", "", error
        except UnicodeDecodeError as error:
            data, new = b"", ""
            self._failure = Unreadable(Reason.NOT_UTF8, f"{error.reason}; {CONVERT}")
        self._all_read = not data
        self._text = self._text[self._start :] + new
        self._start = 0
        return bool(data)
