"""One access of a user program as a step, for engines that explore interleavings.

What an access touches is known only when it is done: a TLB hit touches nothing but the CPU's
translations and the pages, of which it has up to 17; a walk reads the entries on its way and sets
accessed and dirty bits in the last. So the step declares the translations, and says afterwards
what else it touched.
"""

from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.kernel import Kernel
from mmactors.arch.pte import pte_pfn
from mmactors.arch.trace import KIND_MASK, MODIFY, SIZE_MASK, SIZE_SHIFT, STORE, Trace
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
from mmactors.mm.fault.siginfo import SEGV_MAPERR, SI_KERNEL, SIGSEGV, FaultSignal
from mmactors.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, ULONG_MAX


async def run_access(kernel: Kernel, space: AddressSpace, cpu: Cpu, trace: Trace, row: int) -> int:
    """Do the access at `row` in its turn; return the row to run next, see `Hardware.run`."""
    engine, hardware = kernel.engine, kernel.hardware
    address, size, is_store = _access_at(trace, row)
    starts = _page_starts(address, size)
    what = f"{'store' if is_store else 'load'} {address & PAGE_MASK:#x}"
    if len(starts) > 1:
        what += f" to {starts[-1]:#x}"
    await engine.step(Label(what, ((tlb(cpu.index), Mode.WRITE),)))
    with engine.guard.suspended():
        paths = [space.mm.page_table.path(start) for start in starts]
        view = kernel.memory.view
        before = [view[path[-1]] for path in paths]
        nr_before = hardware.nr_walked_entries(cpu.index)
        row = hardware.run_row(cpu.index, trace, row, now_ns=cpu.clock.now)
        after = [view[path[-1]] for path in paths]
    nr_walked = hardware.nr_walked_entries(cpu.index) - nr_before
    if nr_walked:
        for path, old, new in zip(paths, before, after, strict=True):
            for index in path[:-1]:
                engine.touch(pte(index), Mode.READ)
            engine.touch(pte(path[-1]), Mode.READ if new == old else Mode.WRITE)
        # A walk cache may have led a walk, perhaps through a table that is no more.
        if len(paths) > 1 or nr_walked < len(paths[0]):
            engine.touch(PAGE_TABLES, Mode.READ)
    reason = hardware.stop[REASON]
    if reason not in (FAULT, STALE):
        mode = Mode.WRITE if is_store else Mode.READ
        for start, entry in hardware.last_translations(cpu.index, address, size):
            pfn = pte_pfn(entry)
            engine.touch(data(pfn), mode)
            if kernel.checks is not None and kernel.checks.wants_accesses:
                # What an address should hold is compared with what its page holds, whichever.
                engine.touch(value(space.mm.ctx_id, start >> PAGE_SHIFT), mode)
                kernel.checks.access(space.mm, start, pfn, is_write=is_store)
    engine.observe((reason, row))
    return row


async def run_and_tell(
    kernel: Kernel, space: AddressSpace, cpu: Cpu, trace: Trace, row: int, budget_ns: int
) -> int:
    """Do what `Hardware.run` does, and tell `kernel.checks` of each access."""
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
        address, size, is_write = _access_at(trace, before)
        for start, entry in hardware.last_translations(cpu.index, address, size):
            checks.access(space.mm, start, pte_pfn(entry), is_write=is_write)
        if elapsed_ns >= budget_ns:
            stop[REASON] = BUDGET
            break
    stop[ELAPSED_NS], stop[MEMORY_READS], stop[MEMORY_WRITES] = elapsed_ns, nr_reads, nr_writes
    return row


def _access_at(trace: Trace, row: int) -> tuple[int, int, bool]:
    """Return address, bytes, and whether it is a store, of one row."""
    meta = int(trace.meta[row])
    is_store = meta & KIND_MASK in (STORE, MODIFY)
    return int(trace.address[row]), (meta >> SIZE_SHIFT) & SIZE_MASK, is_store


def _page_starts(address: int, size: int) -> list[int]:
    """Return where an access of `size` bytes begins in each of its pages."""
    return [address, *range((address & PAGE_MASK) + PAGE_SIZE, address + size, PAGE_SIZE)]


def signal_beyond(address: int, canonical_end: int) -> FaultSignal:
    """Return what a program gets for an access where it has no addresses.

    A canonical one is a page fault (do_kern_addr_fault, arch/x86/mm/fault.c), any other a general
    protection fault, which knows no address (exc_general_protection, arch/x86/kernel/traps.c).
    """
    if -canonical_end <= address < 0:
        return FaultSignal(number=SIGSEGV, code=SEGV_MAPERR, address=address & ULONG_MAX)
    return FaultSignal(number=SIGSEGV, code=SI_KERNEL, address=0)
