"""When one actor was in calls and faults, and when it waited.

Times and places in the log only: what a line says is read again when it is asked for, so that a log
of millions of events needs some dozen bytes for each call, fault and wait. Invariant: an actor's
calls and faults lie side by side or one in another, each begun no earlier than the one before it;
so do its waits.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from attrs import define, field

OPEN: Final = -1
"""The end of what has not ended."""
NONE: Final = -1
"""The index of no interval."""


class Kind(IntEnum):
    """What an actor was in, or what it waited for."""

    CALL = 1
    FAULT = 2
    LOCK = 3
    """Another had the lock."""
    ANSWERS = 4
    """It had interrupted other CPUs and waited for their answers."""
    ASLEEP = 5
    """Somebody had to wake it."""
    CPU = 6
    """It could run, and others had the CPU."""
    INTERRUPT = 7
    """Another CPU had interrupted it."""


@define(eq=False)
class Intervals:
    """Times in ns, and offsets of the lines that say what began and what ended."""

    began: "array[int]" = field(factory=lambda: array("q"))
    ended: "array[int]" = field(factory=lambda: array("q"))
    first: "array[int]" = field(factory=lambda: array("q"))
    last: "array[int]" = field(factory=lambda: array("q"))
    outer: "array[int]" = field(factory=lambda: array("q"))
    """Index of the call or fault in which it was; of calls and faults their own kind."""
    kind: "array[int]" = field(factory=lambda: array("b"))

    def begin(self, kind: Kind, t_ns: int, offset: int, outer: int) -> int:
        """Add what began; return its index."""
        self.began.append(t_ns)
        self.ended.append(OPEN)
        self.first.append(offset)
        self.last.append(OPEN)
        self.outer.append(outer)
        self.kind.append(kind)
        return len(self.began) - 1

    def end(self, index: int, t_ns: int, offset: int) -> None:
        """End what began."""
        self.ended[index] = t_ns
        self.last[index] = offset

    def spent_ns(self, index: int) -> int:
        """Return how long something took that has ended."""
        return self.ended[index] - self.began[index]


@define(eq=False)
class Track:
    """One actor's calls, faults and waits."""

    actor: str
    spans: Intervals = field(factory=Intervals)
    waits: Intervals = field(factory=Intervals)
    stack: list[tuple[int, int, str]] = field(factory=list)
    """What it is in, outermost first: `seq` of the opening event, index, and the call."""

    def in_span(self) -> int:
        """Return the index of the innermost call or fault that is open, or NONE."""
        return self.stack[-1][1] if self.stack else NONE

    def span_at(self, t_ns: int) -> int:
        """Return the index of the innermost call or fault at a time, or NONE."""
        spans = self.spans
        index = bisect_right(spans.began, t_ns) - 1
        while index != NONE and spans.ended[index] != OPEN and spans.ended[index] <= t_ns:
            index = spans.outer[index]
        return index

    def waits_within(self, began_ns: int, ended_ns: int) -> Iterator[tuple[int, int, int]]:
        """Yield the waits of a time, from when and to when in it, each ns once, in order.

        What lies within a wait, such as the sleep of who waits for a semaphore, is left out.
        """
        waits = self.waits
        outermost = self.span_at(began_ns)
        while outermost != NONE and self.spans.outer[outermost] != NONE:
            outermost = self.spans.outer[outermost]
        # A wait may have begun before this time, but not before the call that it is in.
        since_ns = began_ns if outermost == NONE else self.spans.began[outermost]
        for index in range(bisect_left(waits.began, since_ns), len(waits.began)):
            from_ns, to_ns = max(waits.began[index], began_ns), min(waits.ended[index], ended_ns)
            if waits.began[index] >= ended_ns:
                return
            if to_ns > from_ns:
                yield index, from_ns, to_ns
                began_ns = to_ns
