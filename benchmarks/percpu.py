"""How fast the per-CPU allocator is: operations per second, as JSON on standard output.

    python benchmarks/percpu.py [--seconds 0.5]

Recorded sequences of Linux 6.1 (tests/reference) are run in bulk, again and again, by the
generators; requests are answered at once and there is always memory, so this is the mechanism
without actors. Pairs are of an area of 64 bytes. Figures are medians of processor time.
"""

from functools import partial
from typing import Any, TypeVar

from measure import asked_seconds, per_s, print_figures, rates, recorded

from mmactors.mm.page_alloc.gfp import GFP_KERNEL
from mmactors.mm.percpu.alloc import alloc_percpu
from mmactors.mm.percpu.balance import balance
from mmactors.mm.percpu.free import free_percpu
from mmactors.mm.percpu.pcpu_chunk import PcpuChunk
from mmactors.mm.percpu.percpu import Percpu
from mmactors.mm.percpu.request import (
    AllocMutexLock,
    AllocUnitPage,
    GetVmAreas,
    MapPages,
    MemZalloc,
    PercpuAnswer,
    PercpuRequest,
    PercpuSteps,
    ScheduleBalance,
    UnmapPages,
)
from mmactors.mm.percpu.unit_layout import PcpuUnits
from mmactors.mm.perform import perform
from mmactors.units import KIB, MIB

FIRST_CHUNK = 0xFFFF88800F800000
VMALLOC_END = 0xFFFFE8FFFFE00000
UNIT_PAGES = 512
NR_PAIRS = 2000
T = TypeVar("T")
Operation = tuple[int, int, int]
"""Size, alignment, 0; or 0, 0, 1 + which operation's area is freed."""


class Kernel:
    """The allocator, with memory for all that it asks for."""

    def __init__(self) -> None:
        units = PcpuUnits(unit_pages=UNIT_PAGES, base_addr=FIRST_CHUNK, unit_offsets=(0,))
        first = PcpuChunk.first(FIRST_CHUNK + 220 * KIB, 28 * KIB)
        self.percpu = Percpu(units, first, None, nr_pages=62)
        self.next_base = VMALLOC_END
        self.has_work = False

    def perform(self, steps: PercpuSteps[T]) -> T:
        return perform(steps, self.answer)

    def answer(self, request: PercpuRequest) -> PercpuAnswer:
        match request:
            case AllocMutexLock() | MapPages() | MemZalloc() | AllocUnitPage():
                return 1
            case UnmapPages(nr_pages=nr_pages):
                return (1,) * nr_pages
            case GetVmAreas():
                self.next_base -= 2 * MIB
                return self.next_base
            case ScheduleBalance():
                self.has_work = True
        return None

    def run(self, operations: list[Operation]) -> int:
        """Do all operations of a sequence, and the balance work whenever it is woken."""
        pointers = [0] * len(operations)
        percpu = self.percpu
        for nth, (size, align, freed) in enumerate(operations):
            if freed:
                self.perform(free_percpu(percpu, pointers[freed - 1]))
            else:
                pointers[nth] = self.perform(alloc_percpu(percpu, size, align, GFP_KERNEL))
            if self.has_work:
                self.has_work = False
                self.perform(balance(percpu))
        return len(operations)


def operations_of(content: dict[str, Any]) -> list[Operation]:
    """Return a recorded sequence; what it leaves in use is freed at the end."""
    operations: list[Operation] = []
    held: dict[tuple[str, int], int] = {}
    for op in content["ops"]:
        if op[0] == "f":
            operations.append((0, 0, 1 + held.pop((op[1], op[2]))))
        elif op[3] is not None:
            held[op[3], op[4]] = len(operations)
            operations.append((op[1], op[2], 0))
    return operations + [(0, 0, 1 + nth) for nth in held.values()]


def pairs(kernel: Kernel) -> int:
    """Allocate and free, one area at a time."""
    for _ in range(NR_PAIRS):
        pointer = kernel.perform(alloc_percpu(kernel.percpu, 64, 8, GFP_KERNEL))
        kernel.perform(free_percpu(kernel.percpu, pointer))
    return NR_PAIRS


def main() -> None:
    seconds = asked_seconds("Operations per second of per-CPU memory.")
    kernel = Kernel()
    steps = {
        name: partial(kernel.run, operations_of(content))
        for name, content in recorded("percpu").items()
    }
    print_figures(
        "percpu",
        {
            **rates("recorded", steps, seconds),
            "pairs_per_s": round(per_s(partial(pairs, kernel), seconds)),
        },
    )


if __name__ == "__main__":
    main()
