"""The page fault, from trap to return (arch/x86/mm/fault.c and mm/memory.c, Linux 6.1).

`handle_page_fault` takes mmap_lock for reading, finds the area and lets `handle_mm_fault` make the
entry: the zero page for a read of anonymous memory, a zeroed page for a write. Pages of a program
image (`vm_file`) are private copies from the first touch on. Left out: files, swap, huge pages,
userfaultfd, protection keys.
"""

from enum import IntEnum
from typing import Final

from attrs import frozen

from mmactors.actors.address_space import READ_PTE, SET_PTE, AddressSpace
from mmactors.actors.kernel import Kernel
from mmactors.actors.page_alloc import alloc_pages, free_pages
from mmactors.actors.rmap_locks import perform_rmap
from mmactors.actors.tlb import flush_tlb_page
from mmactors.arch.pte import PRESENT, RW
from mmactors.engine.cpu import Cpu
from mmactors.events import PageFaultUser
from mmactors.mm.anon_vma_chain import anon_vma_prepare
from mmactors.mm.gfp import GFP_HIGHUSER_MOVABLE, GFP_ZERO
from mmactors.mm.mm_struct import MM_ANONPAGES
from mmactors.mm.pgprot import access_error, anonymous_pte, zero_page_pte
from mmactors.mm.rmap import page_add_new_anon_rmap
from mmactors.mm.vma import Vma
from mmactors.mm.vmstat import NR_ANON_MAPPED, PGFAULT

PF_PROT: Final = 1
PF_WRITE: Final = 2
PF_USER: Final = 4
PF_INSTR: Final = 16
"""Bits of the error code (arch/x86/include/asm/trap_pf.h)."""

SIGSEGV: Final = 11
SIGKILL: Final = 9

_GFP: Final = GFP_HIGHUSER_MOVABLE | GFP_ZERO


class SiCode(IntEnum):
    """si_code of SIGSEGV (include/uapi/asm-generic/siginfo.h)."""

    SEGV_MAPERR = 1
    SEGV_ACCERR = 2


@frozen
class Signal:
    """What the kernel sends to a thread whose access it cannot make good."""

    number: int
    code: int
    address: int


async def handle_page_fault(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, address: int, error_code: int
) -> Signal | None:
    """Make the access that trapped possible, or return the signal it earns."""
    engine = kernel.engine
    await engine.spend(kernel.costs.exception_ns)
    if kernel.probe.on:
        kernel.probe.emit(PageFaultUser(address=address, error_code=error_code))
    lock = space.mmap_lock
    if not lock.acquire_read_nowait():
        await lock.acquire_read()
    signal = await handle_mm_fault(kernel, cpu, space, address, error_code)
    if not lock.release_read_nowait():
        await lock.release_read()
    return signal


async def handle_mm_fault(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, address: int, error_code: int
) -> Signal | None:
    """Make the entry for `address`; the caller holds mmap_lock."""
    mm = space.mm
    vma = mm.tree.find_vma(address)
    if vma is None or address < vma.vm_start:
        return Signal(SIGSEGV, SiCode.SEGV_MAPERR, address)
    is_write = error_code & PF_WRITE != 0
    if access_error(vma.vm_flags, is_write=is_write, is_protection=error_code & PF_PROT != 0):
        return Signal(SIGSEGV, SiCode.SEGV_ACCERR, address)
    kernel.vmstat.events[cpu.index][PGFAULT] += 1
    engine = kernel.engine
    await engine.spend(kernel.costs.handle_mm_fault_ns)
    if engine.wants_step():
        await engine.step(READ_PTE)
    index = mm.page_table.pte_offset(address)
    entry = 0 if index is None else kernel.memory.view[index]
    if index is None:
        index = await space.alloc_tables(cpu, address)
        if index is None:
            return Signal(SIGKILL, 0, address)
    if entry & PRESENT and (not is_write or entry & RW):
        return None
    if not is_write and vma.vm_file is None:
        await _map_zero_page(kernel, space, vma, index, entry)
        return None
    return await _map_new_page(kernel, cpu, space, vma, address, index, entry)


async def _map_zero_page(
    kernel: Kernel, space: AddressSpace, vma: Vma, index: int, seen: int
) -> None:
    lock = space.pte_lockptr(index)
    if not lock.acquire_nowait():
        await lock.acquire()
    if kernel.engine.wants_step():
        await kernel.engine.step(SET_PTE)
    view = kernel.memory.view
    if view[index] == seen:
        view[index] = zero_page_pte(kernel.zero_pfn, vma.vm_flags)
    if not lock.release_nowait():
        await lock.release()


async def _map_new_page(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, vma: Vma, address: int, index: int, seen: int
) -> Signal | None:
    """Map a zeroed page where `seen` stands: nothing (do_anonymous_page) or the zero page.

    The zero page goes from all TLBs before the new page can be written (wp_page_copy,
    ptep_clear_flush), or a CPU might still read zeros that another has overwritten.
    """
    if vma.anon_vma is None:
        await perform_rmap(kernel, space, anon_vma_prepare(space.mm, vma))
    pfn = await alloc_pages(kernel, cpu, 0, _GFP)
    if pfn is None:
        return Signal(SIGKILL, 0, address)
    engine = kernel.engine
    await engine.spend(kernel.costs.clear_page_ns)
    lock = space.pte_lockptr(index)
    if not lock.acquire_nowait():
        await lock.acquire()
    if engine.wants_step():
        await engine.step(SET_PTE)
    view = kernel.memory.view
    is_ours = view[index] == seen
    if is_ours and seen & PRESENT:
        view[index] = 0
        await flush_tlb_page(kernel, cpu, space.mm, address)
        if engine.wants_step():
            await engine.step(SET_PTE)
    if is_ours:
        view[index] = anonymous_pte(pfn, vma.vm_flags)
        page_add_new_anon_rmap(kernel.pages, pfn, vma, address)
        space.mm.add_mm_counter(MM_ANONPAGES, 1)
        kernel.count_node(cpu, NR_ANON_MAPPED, 1)
    if not lock.release_nowait():
        await lock.release()
    if not is_ours:
        await free_pages(kernel, cpu, pfn, 0)
    return None
