"""What a user reads while the verbs work: what is compiled, then how far the machine has come.

The line of a machine has virtual time, events and accesses a second, free pages. Its rates are of
the last moments, so that they have nothing of what went before.
"""

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from attrs import Factory, define, field
from rich.console import Console
from rich.live import Live
from rich.text import Text

from mmactors.arch import jit
from mmactors.arch.native.parts import MACHINE_PARTS
from mmactors.units import format_ns

if TYPE_CHECKING:
    from mmactors.scenario.machine import Machine, Progress

BLOCKS: Final = "▁▂▃▄▅▆▇█"
"""Bars of one to eight eighths."""
_HISTORY: Final = 12


@define(eq=False)
class ProgressLine:
    """The line, from what the machine says."""

    live: Live
    started: float = Factory(time.monotonic)
    before: "Progress | None" = None
    before_at: float = 0.0
    free_pages: deque[int] = field(factory=lambda: deque(maxlen=_HISTORY))

    def update(self, machine: "Machine") -> None:
        """Show how far the machine has come; called from the ticker's thread."""
        try:
            progress = machine.progress()
        except RuntimeError:  # the machine was changing what was read; the next tick will do
            return
        self.live.update(Text(self.text(progress, time.monotonic()), no_wrap=True), refresh=True)

    def text(self, progress: "Progress", now: float) -> str:
        """Return the line for a machine that has come so far at the wall time `now`."""
        events_per_s = accesses_per_s = 0.0
        if self.before is not None:
            elapsed = max(now - self.before_at, 1e-6)
            events_per_s = (progress.events - self.before.events) / elapsed
            accesses_per_s = (progress.accesses - self.before.accesses) / elapsed
        self.before, self.before_at = progress, now
        self.free_pages.append(progress.free_pages)
        return (
            f"t={format_ns(progress.now_ns)}  {compact(accesses_per_s)} accesses/s  "
            f"{compact(events_per_s)} events/s  {progress.faults} faults  "
            f"free {progress.free_pages} pages {sparkline(self.free_pages)}  "
            f"{now - self.started:.0f}s"
        )


def sparkline(numbers: "deque[int]") -> str:
    """Return small bars between the least and the greatest number."""
    low, high = min(numbers), max(numbers)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0
    return "".join(BLOCKS[int((number - low) * scale)] for number in numbers)


def compact(number: float) -> str:
    """Return a number for people: 1234567 is `1.23 M`."""
    for unit, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{suffix}"
    return f"{number:.0f}"


def prepare_code(*, wanted: bool) -> None:
    """Let the code of a machine be there before its modules are imported; say so if `wanted`."""
    jit.prepare(MACHINE_PARTS, None if wanted else _say_nothing)


def _say_nothing(_progress: object) -> None:
    pass


@contextmanager
def progress_line(*, wanted: bool) -> Iterator[ProgressLine | None]:
    """Show the line on stderr while the block runs; None if unwanted or not a terminal."""
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield ProgressLine(live)
