"""One access of a user program as a step, for engines that explore interleavings.

What an access touches is known only when it is done: a TLB hit touches nothing but the CPU's
translations and the page; a walk reads the entries on its way and sets accessed and dirty bits in
the last. So the step declares the translations, and says afterwards what else it touched.
"""

from mmactors.actors.state.address_space import AddressSpace
from mmactors.arch.pte import pte_pfn
from mmactors.arch.trace import KIND_MASK, MODIFY, STORE, Trace
from mmactors.engine.cpu import Cpu
from mmactors.hw.hardware import (
    BUDGET,
    ELAPSED_NS,
    END,
    FAULT,
    MEMORY_READS,
    MEMORY_WRITES,
    REASON,
    STALE,
)
from mmactors.label import PAGE_TABLES, Label, Mode, data, pte, tlb, value
from mmactors.units import PAGE_MASK, PAGE_SHIFT


async def run_access(space: AddressSpace, cpu: Cpu, trace: Trace, row: int) -> int:
    """Do the access at `row` in its turn; return the row to run next, see `Hardware.run`."""
    kernel = space.kernel
    engine, hardware = kernel.engine, kernel.hardware
    address = int(trace.address[row])
    is_store = int(trace.meta[row]) & KIND_MASK in (STORE, MODIFY)
    what = f"{'store' if is_store else 'load'} {address & PAGE_MASK:#x}"
    await engine.step(Label(what, ((tlb(cpu.index), Mode.WRITE),)))
    with engine.guard.suspended():
        path = space.mm.page_table.path(address)
        view = kernel.memory.view
        before = view[path[-1]]
        nr_before = hardware.nr_walked_entries(cpu.index)
        row = hardware.run_row(cpu.index, trace, row, now_ns=cpu.clock.now)
        after = view[path[-1]]
    nr_walked = hardware.nr_walked_entries(cpu.index) - nr_before
    if nr_walked:
        for index in path[:-1]:
            engine.touch(pte(index), Mode.READ)
        mode = Mode.READ if after == before else Mode.WRITE
        engine.touch(pte(path[-1]), mode)
        if nr_walked < len(path):  # A walk cache led it, perhaps through a table that is no more.
            engine.touch(PAGE_TABLES, Mode.READ)
    reason = hardware.stop[REASON]
    if reason not in (FAULT, STALE):
        pfn = pte_pfn(hardware.last_translation(cpu.index, address))
        engine.touch(data(pfn), Mode.WRITE if is_store else Mode.READ)
        if kernel.checks is not None and kernel.checks.wants_accesses:
            # What an address should hold is compared with what its page holds, whichever it is.
            engine.touch(
                value(space.mm.ctx_id, address >> PAGE_SHIFT), Mode.WRITE if is_store else Mode.READ
            )
            kernel.checks.access(space.mm, address, pfn, is_write=is_store)
    engine.observe((reason, row))
    return row


async def run_and_tell(
    space: AddressSpace, cpu: Cpu, trace: Trace, row: int, budget_ns: int
) -> int:
    """Do what `Hardware.run` does, and tell `kernel.checks` of each access."""
    kernel = space.kernel
    hardware, checks = kernel.hardware, kernel.checks
    assert checks is not None, "somebody wants to be told"
    stop = hardware.stop
    elapsed_ns = nr_reads = nr_writes = 0
    turn = kernel.engine.turn
    stop[REASON] = END
    while row < len(trace):
        if turn.is_over():
            await kernel.engine.breathe()
        before = row
        row = hardware.run_row(cpu.index, trace, row, now_ns=cpu.clock.now + elapsed_ns)
        elapsed_ns += stop[ELAPSED_NS]
        nr_reads += stop[MEMORY_READS]
        nr_writes += stop[MEMORY_WRITES]
        if row == before:
            break
        address = int(trace.address[before])
        is_write = int(trace.meta[before]) & KIND_MASK in (STORE, MODIFY)
        pfn = pte_pfn(hardware.last_translation(cpu.index, address))
        checks.access(space.mm, address, pfn, is_write=is_write)
        if elapsed_ns >= budget_ns:
            stop[REASON] = BUDGET
            break
    stop[ELAPSED_NS], stop[MEMORY_READS], stop[MEMORY_WRITES] = elapsed_ns, nr_reads, nr_writes
    return row
