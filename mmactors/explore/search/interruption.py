"""Ctrl-C and SIGTERM during a search: it ends soon, and says what it found out until then.

The first signal only makes a note; the search looks at that between steps. When its verdict is
there, the signal is raised once more, as if nobody had caught it. A second signal does what it
would have done without a search. Signals that somebody ignores stay ignored; in a thread that is
not the main one none can be caught.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def name_of(number: int) -> str:
    """Return how a signal is called by people."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


class Interruption:
    """Catches the first signal while it is entered."""

    def __init__(self, stop: Callable[[int], None]) -> None:
        self.caught: int | None = None
        """The number of the signal that came."""
        self._stop: Final = stop
        self._before: Final[dict[int, Any]] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):
                    self._before[number] = before
                    signal.signal(number, self._catch)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._give_back()
        if error is not None:
            self.raise_again()

    def raise_again(self) -> None:
        """Raise the signal that was caught, if one was."""
        if self.caught is not None:
            number, self.caught = self.caught, None
            signal.raise_signal(number)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.caught = number
        self._give_back()
        self._stop(number)

    def _give_back(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)
