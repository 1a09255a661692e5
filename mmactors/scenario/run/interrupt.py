"""Ctrl-C lets a machine come to stand still between two steps: no actor is torn apart."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from attrs import define

from mmactors.scenario.machine import Machine


@define(eq=False)
class Interrupt:
    """Stops the machine at the first signal; the second one is Python's own."""

    machine: Machine | None = None
    """None: it is not there yet. Whoever makes it asks whether a signal has come before."""
    has_come: bool = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.has_come:
            signal.default_int_handler(number, frame)
        self.has_come = True
        if self.machine is not None:
            self.machine.stop()


@contextmanager
def interruptible(signals: Sequence[signal.Signals]) -> Iterator[Interrupt]:
    """Let signals stop a machine inside.

    Those that somebody ignores stay ignored; handlers that Python does not know are left alone.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt  # signals belong to the main thread
        return
    before = {number: signal.getsignal(number) for number in signals}
    previous = {
        number: handler
        for number, handler in before.items()
        if handler not in (None, signal.SIG_IGN)
    }
    for number in previous:
        signal.signal(number, interrupt)
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
