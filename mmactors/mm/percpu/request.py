"""What the per-CPU allocator asks for: locks, memory, pages, addresses, mappings, work, a message.

A path is a generator. It yields a request and goes on with the answer. What stands between
`PcpuLock` and `PcpuUnlock` is one section under pcpu_lock; chunks are made, destroyed, populated
and depopulated under pcpu_alloc_mutex. A label (label.py) is the request for the turn to do what
follows.
"""

from collections.abc import Generator
from typing import Final, TypeVar

from attrs import frozen

from mmactors.label import Label


@frozen
class PcpuLock:
    """Take pcpu_lock, with interrupts off; answered with None."""


@frozen
class PcpuUnlock:
    """Let go of pcpu_lock."""


@frozen
class AllocMutexLock:
    """Take pcpu_alloc_mutex; answered with True, or False: who waits is to die, and has it not."""

    is_killable: bool


@frozen
class AllocMutexUnlock:
    """Let go of pcpu_alloc_mutex."""


@frozen
class MemZalloc:
    """Memory for what describes chunks (pcpu_mem_zalloc); answered with its address, 0: none."""

    nr_bytes: int
    gfp: int


@frozen
class MemFree:
    """Give back what `MemZalloc` gave; answered with None."""

    address: int


@frozen
class GetVmAreas:
    """Addresses for a new chunk (pcpu_get_vm_areas); answered with its base address, 0: none."""


@frozen
class FreeVmAreas:
    """Give back what `GetVmAreas` gave; answered with None."""

    base_addr: int


@frozen(kw_only=True)
class AllocUnitPage:
    """A page for a CPU's unit, on that CPU's node; answered with its PFN, None: no memory."""

    cpu: int
    gfp: int


@frozen
class FreeUnitPage:
    """Give a page back; answered with None."""

    pfn: int


@frozen
class MapPages:
    """Map pages one behind the other in init_mm; answered with True, False: no memory."""

    address: int
    pfns: tuple[int, ...]


@frozen
class UnmapPages:
    """Unmap pages in init_mm; answered with their PFNs. Nothing is flushed."""

    address: int
    nr_pages: int


@frozen
class FlushTlbKernelRange:
    """Let all CPUs forget translations of `[start, end)`; answered with None."""

    start: int
    end: int


@frozen
class ZeroUnits:
    """Clear an area in all units, first unit's address given; answered with None."""

    address: int
    nr_bytes: int


@frozen
class ScheduleBalance:
    """Let pcpu_balance_work run some time; answered with None."""


@frozen
class PercpuPrintk:
    """Write a line into the kernel's log; answered with None."""

    line: str
    with_stack: bool


@frozen
class PercpuWarn:
    """WARN with a message; answered with None."""

    line: str


@frozen(kw_only=True)
class TellAllocPercpu:
    """Tell who listens that an area was handed out; answered with None."""

    reserved: bool
    is_atomic: bool
    size: int
    align: int
    base_addr: int
    off: int
    ptr: int
    bytes_alloc: int
    gfp: int


@frozen(kw_only=True)
class TellAllocPercpuFail:
    """Tell who listens that there was no area; answered with None."""

    reserved: bool
    is_atomic: bool
    size: int
    align: int


@frozen(kw_only=True)
class TellFreePercpu:
    """Tell who listens that an area was given back; answered with None."""

    base_addr: int
    off: int
    ptr: int


@frozen
class TellCreateChunk:
    """Tell who listens that there is a chunk more; answered with None."""

    base_addr: int


@frozen
class TellDestroyChunk:
    """Tell who listens that there is a chunk less; answered with None."""

    base_addr: int


PercpuRequest = (
    Label
    | PcpuLock
    | PcpuUnlock
    | AllocMutexLock
    | AllocMutexUnlock
    | MemZalloc
    | MemFree
    | GetVmAreas
    | FreeVmAreas
    | AllocUnitPage
    | FreeUnitPage
    | MapPages
    | UnmapPages
    | FlushTlbKernelRange
    | ZeroUnits
    | ScheduleBalance
    | PercpuPrintk
    | PercpuWarn
    | TellAllocPercpu
    | TellAllocPercpuFail
    | TellFreePercpu
    | TellCreateChunk
    | TellDestroyChunk
)
PercpuAnswer = int | tuple[int, ...] | None
NO_POINTER: Final = -1
"""NULL. The pointer 0 is that of the kernel's own first variable."""
T = TypeVar("T")
PercpuSteps = Generator[PercpuRequest, PercpuAnswer, T]
"""A path on its way; gives a T."""
