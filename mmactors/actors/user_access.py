"""One access of a user program as a step, for engines that explore interleavings.

What an access touches is known only when it is done: a TLB hit touches nothing but the CPU's
translations and the page; a walk reads the entries on its way and sets accessed and dirty bits in
the last. So the step declares the translations, and says afterwards what else it touched.
"""

from typing import Final

from mmactors.actors.address_space import PAGE_TABLES, AddressSpace
from mmactors.arch.pte import pte_pfn
from mmactors.arch.trace import KIND_MASK, MODIFY, STORE, Trace
from mmactors.engine.cpu import Cpu
from mmactors.engine.guard import Label, Mode
from mmactors.hw.hardware import FAULT, REASON, STALE
from mmactors.units import PAGE_MASK

TLB: Final = "tlb"
"""All translations that a CPU holds, those of its walk caches too: `tlb[cpu]`."""
DATA: Final = "data"
"""What a page contains, and whose it is: `data[pfn]`."""


async def run_access(space: AddressSpace, cpu: Cpu, trace: Trace, row: int) -> int:
    """Do the access at `row` in its turn; return the row to run next, see `Hardware.run`."""
    kernel = space.kernel
    engine, hardware = kernel.engine, kernel.hardware
    address = int(trace.address[row])
    is_store = int(trace.meta[row]) & KIND_MASK in (STORE, MODIFY)
    what = f"{'store' if is_store else 'load'} {address & PAGE_MASK:#x}"
    await engine.step(Label(what, ((f"{TLB}[{cpu.index}]", Mode.WRITE),)))
    with engine.guard.suspended():
        path = space.mm.page_table.path(address)
        view = kernel.memory.view
        before = view[path[-1]]
        nr_before = hardware.nr_walked_entries(cpu.index)
        row = hardware.run(cpu.index, trace, row, 1, now_ns=cpu.clock.now)
        after = view[path[-1]]
    nr_walked = hardware.nr_walked_entries(cpu.index) - nr_before
    if nr_walked:
        for index in path[:-1]:
            engine.touch(f"{PAGE_TABLES}[{index}]", Mode.READ)
        mode = Mode.READ if after == before else Mode.WRITE
        engine.touch(f"{PAGE_TABLES}[{path[-1]}]", mode)
        if nr_walked < len(path):  # A walk cache led it, perhaps through a table that is no more.
            engine.touch(PAGE_TABLES, Mode.READ)
    reason = hardware.stop[REASON]
    if reason not in (FAULT, STALE):
        pfn = pte_pfn(hardware.last_translation(cpu.index))
        engine.touch(f"{DATA}[{pfn}]", Mode.WRITE if is_store else Mode.READ)
    engine.observe((reason, row))
    return row
