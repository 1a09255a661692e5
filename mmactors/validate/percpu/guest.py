"""A kernel with nothing but the per-CPU allocator, driven alone: requests are answered at once.

There is always memory, and nobody else takes the locks. Addresses of new chunks are those that the
recording names. The balance work waits until it is let run.
"""

from collections import deque
from typing import Final, TypeVar

from attrs import define, field

from mmactors.mm.percpu.balance import balance
from mmactors.mm.percpu.percpu import Percpu
from mmactors.mm.percpu.request import (
    AllocMutexLock,
    AllocUnitPage,
    GetVmAreas,
    MapPages,
    MemZalloc,
    PcpuLock,
    PercpuAnswer,
    PercpuRequest,
    PercpuSteps,
    ScheduleBalance,
    UnmapPages,
)

T = TypeVar("T")
_SECTIONS_MAX: Final = 200_000
"""Under pcpu_lock, of one path: more than all chunks that a recording may have need."""


class GoesOnForeverError(Exception):
    """A path did not come to its end: its state is not one of Linux's."""


@define(eq=False)
class Guest:
    """The allocator of a recorded guest."""

    percpu: Percpu
    next_bases: deque[int]
    """Where new chunks are mapped, one after the other."""
    has_work: bool = field(default=False, init=False)
    """The balance work was scheduled."""

    def perform(self, steps: PercpuSteps[T]) -> T:
        """Drive a path to its end; return its result."""
        answer: PercpuAnswer = None
        nr_sections = 0
        while nr_sections < _SECTIONS_MAX:
            try:
                request = steps.send(answer)
            except StopIteration as done:
                result: T = done.value
                return result
            nr_sections += isinstance(request, PcpuLock)
            answer = self._answer(request)
        raise GoesOnForeverError

    def flush_work(self) -> None:
        """Let the balance work run if it was scheduled, and until it is not any more."""
        while self.has_work:
            self.has_work = False
            self.perform(balance(self.percpu))

    def _answer(self, request: PercpuRequest) -> PercpuAnswer:
        match request:
            case AllocMutexLock() | MapPages() | MemZalloc() | AllocUnitPage():
                return 1
            case UnmapPages(nr_pages=nr_pages):
                return (1,) * nr_pages
            case GetVmAreas():
                return self.next_bases.popleft() if self.next_bases else 0
            case ScheduleBalance():
                self.has_work = True
        return None
