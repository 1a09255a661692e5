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
from mmactors.mm.perform import perform

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
    _nr_sections: int = field(default=0, init=False)
    """Under pcpu_lock, of the path that is being driven."""

    def perform(self, steps: PercpuSteps[T]) -> T:
        """Drive a path to its end; return its result."""
        self._nr_sections = 0
        return perform(steps, self._answer)

    def flush_work(self) -> None:
        """Let the balance work run if it was scheduled, and until it is not any more."""
        while self.has_work:
            self.has_work = False
            self.perform(balance(self.percpu))

    def _answer(self, request: PercpuRequest) -> PercpuAnswer:
        match request:
            case PcpuLock():
                self._nr_sections += 1
                if self._nr_sections == _SECTIONS_MAX:
                    raise GoesOnForeverError
            case AllocMutexLock() | MapPages() | MemZalloc() | AllocUnitPage():
                return 1
            case UnmapPages(nr_pages=nr_pages):
                return (1,) * nr_pages
            case GetVmAreas():
                return self.next_bases.popleft() if self.next_bases else 0
            case ScheduleBalance():
                self.has_work = True
        return None
