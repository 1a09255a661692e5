"""What a search that is still going on says of itself, now and then."""

import time
from collections.abc import Callable
from typing import Final

from attrs import frozen

_EVERY_SCHEDULES: Final = 16
_EVERY_SECONDS: Final = 0.1


@frozen(kw_only=True)
class Progress:
    """How far a search is."""

    nr_schedules: int
    seconds: float
    strategy: str
    """Who explores now."""


class Reporter:
    """Tells somebody how far a search is, not too often."""

    def __init__(self, tell: Callable[[Progress], None] | None) -> None:
        self._tell: Final = tell
        self._began: Final = time.monotonic()
        self._next = 0.0

    def note(self, nr_schedules: int, strategy: str) -> None:
        """Note that a schedule has ended."""
        if self._tell is not None and nr_schedules % _EVERY_SCHEDULES == 0:
            self.tell(nr_schedules, strategy)

    def tell(self, nr_schedules: int, strategy: str) -> None:
        """Say how far the search is, if that was not said just now."""
        if self._tell is None:
            return
        seconds = time.monotonic() - self._began
        if seconds >= self._next:
            self._next = seconds + _EVERY_SECONDS
            progress = Progress(nr_schedules=nr_schedules, seconds=seconds, strategy=strategy)
            self._tell(progress)
