"""Saying on stderr what is compiled, how many of how many: never more than a second of silence.

On a terminal one line is rewritten, elsewhere a few plain lines are written; where stderr is closed
or full, nothing.
"""

import io
import sys
import time
from contextlib import suppress
from typing import Final, Self, TextIO

from mmactors.arch.native import store
from mmactors.arch.native.make import Progress

_PLAIN_EACH_S: Final = 5.0
_WIDTH: Final = 79


class Report:
    """What a user reads while functions are compiled. Use it as a context manager."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream: Final = stream or sys.stderr or io.StringIO()
        self._is_terminal: Final = self._stream.isatty()
        self._started: Final = time.monotonic()
        self._said_at: float | None = None
        self._last: Progress | None = None
        self._regret: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._last is not None:
            if self._is_terminal:
                self._write(f"\r{'':{_WIDTH}}\r")
            elif self._last.done == self._last.total:
                elapsed = time.monotonic() - self._started
                self._write(f"mmactors: compiled {self._last.total} functions in {elapsed:.0f} s\n")
        if self._regret is not None:
            self.say(
                f"the next run compiles again, nothing could be kept: {self._regret}; expected a "
                f"folder of this user (set {store.CACHE_VARIABLE} to the absolute path of one)"
            )

    def regret(self, reason: str) -> None:
        """Say at the end that nothing could be kept, and why."""
        self._regret = reason

    def __call__(self, progress: Progress) -> None:
        """Say how far it has come."""
        self._last = progress
        now = time.monotonic()
        if self._is_terminal:
            self._write(f"\r{text(progress)[:_WIDTH]:{_WIDTH}}")
        elif self._said_at is None or now - self._said_at >= _PLAIN_EACH_S:
            self._write(f"mmactors: {text(progress)}\n")
        else:
            return
        self._said_at = now

    def say(self, text: str) -> None:
        """Say something that is true once."""
        self._write(f"mmactors: {text}\n")

    def _write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)
            self._stream.flush()


def text(progress: Progress) -> str:
    """Return one line on how far compiling has come."""
    if not progress.total:
        return f"compiling, once for this version: {progress.name}"
    return f"compiling: {progress.done} of {progress.total} functions, {progress.name}"
