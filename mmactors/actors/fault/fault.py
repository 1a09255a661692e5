"""The page fault, from trap to return (arch/x86/mm/fault.c, Linux 6.1).

What the fault decides and does is mm/fault/handle_mm_fault.py and what it calls; here is what it
costs, and that mmap_lock is held for reading meanwhile. The kernel's own faults, which make pages
present before they are touched (mm/gup.c), go the same way.
"""

import errno
from typing import Final

from mmactors.actors.alloc.lru_add_drain import free_released, lru_add_drain
from mmactors.actors.alloc.page_alloc import alloc_page_at_once
from mmactors.actors.fault.page_work import perform_page_work
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.fatal_signal import FATAL_SIGNAL_SEEN
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.events import PageFaultEnd, PageFaultKernel, PageFaultUser
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vma import Vma
from mmactors.mm.fault.fault import (
    VM_FAULT_ERROR,
    VM_FAULT_MAJOR,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    do_anonymous_page,
    map_anonymous_page,
)
from mmactors.mm.fault.gup import FOLL_TOUCH, FOLL_WRITE, follow_page_pte
from mmactors.mm.fault.handle_mm_fault import (
    begin_fault,
    do_user_addr_fault,
    find_untouched,
    handle_mm_fault,
)
from mmactors.mm.fault.populate import FaultInPages
from mmactors.mm.fault.siginfo import SIGKILL, FaultSignal
from mmactors.mm.request import ALLOC_ZEROED
from mmactors.units import PAGE_MASK, PAGE_SIZE

PF_PROT: Final = 1
PF_WRITE: Final = 2
PF_USER: Final = 4
PF_INSTR: Final = 16
PF_PK: Final = 32
"""Bits of the error code (arch/x86/include/asm/trap_pf.h)."""


async def handle_page_fault(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, address: int, error_code: int
) -> FaultSignal | None:
    """Make the access that trapped possible, or return the signal it earns."""
    engine = kernel.engine
    costs = kernel.costs
    signal: FaultSignal | None = None
    fault = 0
    if not engine.spend_nowait(costs.exception_ns):
        await engine.spend(costs.exception_ns)
    if kernel.probe.on:
        _open_fault(kernel, cpu, address, error_code)
    lock = space.mmap_lock
    if not lock.acquire_read_nowait() and not await lock.trylock_read():
        await lock.acquire_read()
    if not engine.spend_nowait(costs.handle_mm_fault_ns):
        await engine.spend(costs.handle_mm_fault_ns)
    mm = space.mm
    untouched = None
    if error_code & (PF_PROT | PF_WRITE) == PF_WRITE and not engine.wants_step():
        untouched = find_untouched(mm, address)
    if untouched is not None:
        clear_page_ns = costs.clear_page_ns
        pfn = alloc_page_at_once(kernel, cpu, ALLOC_ZEROED.gfp, then_ns=clear_page_ns)
        if pfn is None or not _map_at_once(kernel, cpu, mm, address, *untouched, pfn):
            fault = await _map_untouched(kernel, cpu, space, address, *untouched, pfn)
            if fault & VM_FAULT_OOM:
                signal = FaultSignal(number=SIGKILL, code=0, address=address)
        if kernel.lru[cpu.index].released:
            await free_released(kernel, cpu, kernel.lru[cpu.index])
    else:
        context = kernel.fault_context(cpu)
        context.was_refused = False
        nr_major = context.task.maj_flt
        is_write, is_protection = error_code & PF_WRITE != 0, error_code & PF_PROT != 0
        signal, fault = await perform_page_work(
            kernel,
            cpu,
            space,
            do_user_addr_fault(
                context,
                mm,
                address,
                is_write=is_write,
                is_protection=is_protection,
                is_fetch=error_code & PF_INSTR != 0,
            ),
        )
        if context.task.maj_flt != nr_major:
            fault |= VM_FAULT_MAJOR  # At the second try nothing was read any more.
    if not lock.release_read_nowait():
        await lock.release_read()
    if kernel.probe.on:
        _close_fault(kernel, cpu, address, signal, fault)
    if fault & VM_FAULT_OOM and error_code & PF_USER and kernel.fault_context(cpu).was_refused:
        return None  # Nobody was short of memory: it faults once more (pagefault_out_of_memory).
    return signal


def tell_fixup(kernel: Kernel, cpu: Cpu, address: int, error_code: int) -> None:
    """Emit that an access of the kernel trapped where no fault is served: the kernel goes on."""
    _open_fault(kernel, cpu, address, error_code)
    kernel.fault_context(cpu).kind = "fixup"
    _close_fault(kernel, cpu, address, None, 0)


def _open_fault(kernel: Kernel, cpu: Cpu, address: int, error_code: int) -> None:
    """Emit that an access trapped (trace_page_fault_entries)."""
    context = kernel.fault_context(cpu)
    context.kind, context.pfn = "spurious", None
    if error_code & PF_USER:
        ip = address if error_code & PF_INSTR else None
        kernel.probe.open(PageFaultUser(address=address, ip=ip, error_code=error_code))
    else:
        kernel.probe.open(PageFaultKernel(address=address, ip=None, error_code=error_code))


def _close_fault(
    kernel: Kernel, cpu: Cpu, address: int, signal: FaultSignal | None, fault: int
) -> None:
    """Emit what came of a fault."""
    context = kernel.fault_context(cpu)
    kind, pfn = context.kind, context.pfn
    if signal is not None:
        kind, pfn = "failed" if fault else "bad_area", None
    probe = kernel.probe
    probe.close(
        PageFaultEnd(
            address=address,
            kind=kind,
            ns=probe.spent_ns(),
            ret=fault,
            sig=None if signal is None else signal.number,
            pfn=pfn,
        )
    )


def _map_at_once(
    kernel: Kernel, cpu: Cpu, mm: MmStruct, address: int, vma: Vma, index: int, pfn: int
) -> bool:
    """Do what `do_anonymous_page` does for a write if nobody has to be waited for; time suffices.

    False changes nothing. Guarded and explored runs take the other way, by the generator; that
    both give the same log is tested.
    """
    engine = kernel.engine
    clear_page_ns = kernel.costs.clear_page_ns
    if not kernel.ptls.pte_lockptr(index).hold_no_time(cpu.clock.now + clear_page_ns):
        return False
    context = kernel.fault_context(cpu)
    begin_fault(context, mm)
    engine.spend_nowait(clear_page_ns)
    is_mapped = map_anonymous_page(context, mm, vma, address, index, pfn)
    assert is_mapped, "nobody was there since the entry was read"
    context.task.min_flt += 1
    if kernel.probe.on:
        context.kind, context.pfn = "anon", pfn
    return True


async def _map_untouched(
    kernel: Kernel,
    cpu: Cpu,
    space: AddressSpace,
    address: int,
    vma: Vma,
    index: int,
    pfn: int | None,
) -> int:
    """Do the same by the generator, and wait where need be; return VM_FAULT_ bits.

    `pfn`: its page, if it is there.
    """
    context = kernel.fault_context(cpu)
    context.was_refused = False
    begin_fault(context, space.mm)
    steps = do_anonymous_page(context, space.mm, vma, address, index, is_write=True)
    if pfn is not None:
        request = next(steps)
        assert request is ALLOC_ZEROED, f"the page is there, but {request} comes first"
        await kernel.engine.spend(kernel.costs.clear_page_ns)
    fault = await perform_page_work(kernel, cpu, space, steps, answer=pfn)
    if not fault & VM_FAULT_OOM:
        context.task.min_flt += 1
    return fault


async def fault_in_pages(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, request: FaultInPages
) -> int:
    """Make pages of an area present, with mmap_lock held, and work off the CPU's batches.

    Return for how many that is done: up to a page that failed, or for which mmap_lock was let go
    of (populate_vma_page_range, faultin_vma_page_range). If the first one failed, minus the errno.
    ENOMEM: there is no memory; EFAULT: nothing backs the page; EINTR: the thread is to end.
    """
    nr_done = await _get_user_pages(kernel, cpu, space, request)
    await lru_add_drain(kernel, cpu)
    return nr_done


async def _get_user_pages(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, request: FaultInPages
) -> int:
    mm, vma = space.mm, request.vma
    context = kernel.fault_context(cpu)
    is_write = request.is_write
    flags = FOLL_TOUCH | (FOLL_WRITE if is_write else 0)
    nr_done = 0
    for address in range(request.start & PAGE_MASK, request.end, PAGE_SIZE):
        while True:
            if context.task.fatal_signal_pending:
                kernel.engine.observe(FATAL_SIGNAL_SEEN)
                return nr_done or -errno.EINTR
            follow = follow_page_pte(context, mm, vma, address, flags)
            if await perform_page_work(kernel, cpu, space, follow) is not None:
                break
            await kernel.engine.spend(kernel.costs.handle_mm_fault_ns)
            steps = handle_mm_fault(context, mm, vma, address, is_write=is_write)
            fault = await perform_page_work(kernel, cpu, space, steps)
            if fault & VM_FAULT_RETRY:
                return nr_done  # The area may be another one now.
            if fault & VM_FAULT_ERROR:
                return nr_done or (-errno.ENOMEM if fault & VM_FAULT_OOM else -errno.EFAULT)
        nr_done += 1
    return nr_done
