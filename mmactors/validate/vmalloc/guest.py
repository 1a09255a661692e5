"""A kernel with nothing but vmalloc, driven alone: its requests are answered at once.

Pages there are unless the recording says that there were none, locks are nobody else's, and nothing
is mapped, as addresses are all that recordings have. The worker that purges has run before anything
else does, as it had there.
"""

from itertools import count
from typing import Final, TypeVar

from mmactors.mm.perform import perform
from mmactors.mm.vmalloc.purge import drain_vmap_area_work
from mmactors.mm.vmalloc.request import (
    AllocPagesBulk,
    AllocVmapArea,
    AllocXaNode,
    FatalSignalPending,
    IsInterrupt,
    Kmalloc,
    ScheduleDrain,
    VmallocAnswer,
    VmallocRequest,
    VmallocSteps,
    VmapPagesRange,
)
from mmactors.mm.vmalloc.space import VmallocSpace
from mmactors.mm.vmalloc.vmap_block import VMAP_BBMAP_BITS, BlockLink, VmapBlock
from mmactors.units import PAGE_SHIFT

T = TypeVar("T")
_OBJECT_BYTES: Final = 64


class Guest:
    """The addresses of a recorded guest."""

    def __init__(self, *, nr_cpus: int, nr_frames: int) -> None:
        self.space: Final = VmallocSpace(
            nr_cpus=nr_cpus, node_of_cpu=[0] * nr_cpus, totalram_pages=lambda: nr_frames
        )
        self.cpu = 0
        """On which the recorder runs."""
        self.has_pages = True
        """Whether requests for pages are answered with some."""
        self._things: Final = count(_OBJECT_BYTES, _OBJECT_BYTES)
        self._has_to_drain = False

    def this_cpu(self) -> int:
        """Return the CPU that the recorder runs on."""
        return self.cpu

    def perform(self, steps: VmallocSteps[T]) -> T:
        """Drive a path to its end, and the worker that it wakes; return its result."""
        result = perform(steps, self._answer)
        while self._has_to_drain:
            self._has_to_drain = False
            perform(drain_vmap_area_work(self.space), self._answer)
        return result

    def go_where_ram_is(self, address: int, nr_pages: int) -> None:
        """Let the recorder be on the CPU whose blocks give an address, if there is one.

        Where it runs is not recorded; it stays until an address shows that it has moved.
        """
        nr_used = 1 << (nr_pages - 1).bit_length()
        others = (cpu for cpu in range(self.space.nr_cpus) if cpu != self.cpu)
        for cpu in (self.cpu, *others):
            first = self._next_in_blocks(self.space.queues[cpu], nr_used)
            is_new = not address >> PAGE_SHIFT & (VMAP_BBMAP_BITS - 1)
            if first == address or (first is None and is_new):
                self.cpu = cpu
                return

    def _next_in_blocks(self, queue: BlockLink, nr_used: int) -> int | None:
        """Return the address that a CPU's blocks give next, None: a new block has to be made."""
        link = queue.next
        while isinstance(link, VmapBlock):
            if link.free >= nr_used:
                used = VMAP_BBMAP_BITS - link.free
                return self.space.start_of(link.area) + (used << PAGE_SHIFT)
            link = link.next
        return None

    def _answer(self, request: VmallocRequest) -> VmallocAnswer:
        match request:
            case AllocVmapArea() | Kmalloc() | AllocXaNode():
                return next(self._things)
            case AllocPagesBulk(nr=nr):
                return pages(nr) if self.has_pages else ()
            case VmapPagesRange() | IsInterrupt() | FatalSignalPending():
                return 0
            case ScheduleDrain():
                self._has_to_drain = True
        return None


def pages(nr_pages: int) -> tuple[int, ...]:
    """Return so many pages, all the same."""
    return (1,) * nr_pages
