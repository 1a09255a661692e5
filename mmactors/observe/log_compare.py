"""A run's events against a log recorded before: the first that differs, with those before it.

Renders through the same chain as the log, so what is compared is the bytes that would be written.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

from attrs import define, field

CONTEXT_LINES: Final = 5


@define(eq=False)
class LogComparison:
    """Takes lines in place of a file and compares them with recorded ones."""

    recorded: Iterator[bytes]
    """With their ends, the head left out."""
    is_cut: bool = False
    """The recorded run was ended before it had written all; ours may go on where its log ends."""
    is_at_end: bool = field(default=False, init=False)
    """Ours has gone on where a log ends that is cut."""
    nr_equal: int = field(default=0, init=False)
    difference: tuple[bytes | None, bytes | None] | None = field(default=None, init=False)
    """The recorded line and ours, None where there is no more."""
    _before: deque[bytes] = field(factory=lambda: deque(maxlen=CONTEXT_LINES), init=False)
    _has_head: bool = field(default=False, init=False)

    def write(self, lines: bytes) -> None:
        """Compare lines with their ends."""
        for line in lines.splitlines(keepends=True):
            self._compare(line)

    def _compare(self, line: bytes) -> None:
        if not self._has_head:
            self._has_head = True  # the reader of the recorded log checks its head
        elif self.difference is None and not self.is_at_end:
            recorded = next(self.recorded, None)
            if recorded == line:
                self.nr_equal += 1
                self._before.append(line)
            elif recorded is None and self.is_cut:
                self.is_at_end = True
            else:
                self.difference = (recorded, line)

    def flush(self) -> None:
        """Do nothing: nothing waits."""

    def close(self) -> None:
        """Do nothing: the end is compared by `finish`, when it is known to be one."""

    def finish(self) -> None:
        """Take the end of our events for the end of the run."""
        if self.difference is None:
            recorded = next(self.recorded, None)
            if recorded is not None:
                self.difference = (recorded, None)

    def report(self) -> list[str]:
        """Return the lines that show the first difference; empty if there is none."""
        if self.difference is None:
            return []
        recorded, ours = self.difference
        return [
            *(f"  both      {_text(line)}" for line in self._before),
            f"  recorded  {_text(recorded)}",
            f"  now       {_text(ours)}",
        ]


def _text(line: bytes | None) -> str:
    return "(the log ends)" if line is None else line.decode(errors="replace").rstrip("\n")
