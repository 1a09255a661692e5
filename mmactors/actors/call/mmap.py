"""System calls on the address space: areas first, then pages (mm/mmap.c and its like, Linux 6.1).

What a call decides is a generator of mm/, which runs with mmap_lock held, for writing where areas
change; here its requests are done. munmap and a shrinking heap go on as readers once the areas are
gone; making pages present begins when the lock is free again. Taking pages away is
actors/entries/unmap.py, changing entries actors/entries/change_ptes.py.

Left out: files on disk, swap, huge pages.
"""

import errno
from collections.abc import Callable, Generator
from functools import partial
from typing import assert_never

from attrs import define

from mmactors.actors.alloc.lru_add_drain import lru_add_drain
from mmactors.actors.call.madvise import age_pages, read_ahead
from mmactors.actors.call.madvise_collapse import collapse_huge_pages
from mmactors.actors.call.mlock import mlock_vma_pages_range
from mmactors.actors.entries.change_ptes import finish_changes, gather_changes
from mmactors.actors.entries.mmu_gather import tlb_gather_mmu
from mmactors.actors.entries.unmap import unmap_region, zap_page_range
from mmactors.actors.fault.fault import fault_in_pages
from mmactors.actors.fault.page_work import perform_page_work
from mmactors.actors.file.truncate import evict_unmapped, fput, punch_hole
from mmactors.actors.file.writeback import vfs_fsync_range
from mmactors.actors.rmap.rmap_locks import answer_rmap, rmap_label
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.perform import perform
from mmactors.engine.cpu import Cpu
from mmactors.events import VmUnmappedArea
from mmactors.label import Label, Mode, areas, rss
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vma_adjust import RmapRequest
from mmactors.mm.entries.change_protection import change_pte_range
from mmactors.mm.entries.mmu_gather import MmuGather
from mmactors.mm.entries.move_page_tables import move_page_tables
from mmactors.mm.fault.populate import FaultInPages, Populate, mm_populate
from mmactors.mm.syscall import madvise
from mmactors.mm.syscall.mlock import LockPages
from mmactors.mm.syscall.mman import MADV_REMOVE
from mmactors.mm.syscall.mprotect import ChangeProtection
from mmactors.mm.syscall.mremap import MovePageTables
from mmactors.mm.syscall.msync import LockForReading, SyncFileRange
from mmactors.mm.syscall.munmap import EvictMapping, UnmapRegion, exit_mmap
from mmactors.mm.syscall.request import AdviceRequest, CallRequest
from mmactors.mm.syscall.unmapped_area import AreaSearched
from mmactors.units import PAGE_SHIFT

CallSteps = Generator[CallRequest, int | None, int]


async def change_mappings(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, steps: Callable[[MmStruct], CallSteps]
) -> int:
    """Do what `steps` says with mmap_lock held for writing; return its result.

    Pages are made present when the lock has been let go of. EINTR: a fatal signal came before the
    thread had the lock (mmap_write_lock_killable).
    """
    lock = space.mmap_lock
    if not lock.acquire_write_nowait() and not await lock.acquire_write_killable():
        return -errno.EINTR
    async with lock.acquired():
        await kernel.engine.spend(kernel.costs.mmap_ns)
        return await _perform(kernel, cpu, space, steps(space.mm), mode=Mode.WRITE)


async def read_mappings(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, steps: Callable[[MmStruct], CallSteps]
) -> int:
    """Do what `steps` says with mmap_lock held for reading; return its result.

    It may let go of the lock and end without it (msync).
    """
    async with space.mmap_lock.read():
        await kernel.engine.spend(kernel.costs.mmap_ns)
        return await _perform(kernel, cpu, space, steps(space.mm), mode=Mode.READ)


async def advise_mappings(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, *, start: int, length: int, advice: int
) -> int:
    """Do madvise, with mmap_lock as the advice needs it; return its result."""
    drops_lock = kernel.rules.madvise_remove_drops_mmap_lock
    is_old_remove = advice == MADV_REMOVE and not drops_lock
    is_writer = madvise.needs_write_lock(advice) or is_old_remove
    do = change_mappings if is_writer else read_mappings
    return await do(
        kernel,
        cpu,
        space,
        lambda mm: madvise.do_madvise(mm, start=start, length=length, advice=advice),
    )


async def exit_mappings(kernel: Kernel, cpu: Cpu, space: AddressSpace) -> None:
    """Take all areas away when the last user has gone (exit_mmap).

    Others may still read entries while pages go (process_mrelease), but not while tables do.
    """
    lock = space.mmap_lock
    await lock.acquire_read()
    await kernel.engine.spend(kernel.costs.mmap_ns)
    await _perform(kernel, cpu, space, exit_mmap(space.mm), mode=Mode.WRITE)
    if lock.writer is None:
        await lock.release_read()  # There was nothing.
    else:
        await lock.release_write()


async def _perform(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, steps: CallSteps, *, mode: Mode
) -> int:
    """Drive a call; `mode`: how it touches areas."""
    call = _Call(kernel, cpu, space, mode)
    result = await perform(steps, call.answer, before=call.before)
    if call.gather is not None:
        await finish_changes(kernel, cpu, call.gather)
    return result


@define
class _Call:
    """A call on the way."""

    kernel: Kernel
    cpu: Cpu
    space: AddressSpace
    mode: Mode
    gather: MmuGather | None = None
    """What mprotect owes; one for all areas of a call: they are flushed together."""

    async def before(self, request: CallRequest | None) -> None:
        """Take the step up to the next request; what follows on `Populate` has no lock."""
        engine, space = self.kernel.engine, self.space
        if not engine.wants_step() or isinstance(request, Populate):
            return
        ctx_id = space.mm.ctx_id
        own = ((areas(ctx_id), self.mode), (rss(ctx_id), Mode.READ))
        label = Label("change areas" if self.mode is Mode.WRITE else "read areas", own)
        if isinstance(request, RmapRequest):
            label = rmap_label(self.kernel, space, request, label)
        elif isinstance(request, Label):
            label = Label(request.text, (*request.touches, *own))
        await engine.step(label)

    async def answer(self, request: CallRequest) -> int | None:
        """Do what is asked for; return the answer."""
        kernel, cpu, space = self.kernel, self.cpu, self.space
        match request:
            case Label():  # A part of the step that follows.
                pass
            case AreaSearched():
                if kernel.probe.on:
                    _tell_search(kernel, space.mm, request)
            case UnmapRegion():
                if request.may_downgrade:
                    await space.mmap_lock.downgrade()
                await unmap_region(kernel, cpu, space, request)
            case EvictMapping(mapping=mapping):
                await evict_unmapped(kernel, cpu, mapping)
            case ChangeProtection():
                await self._change_protection(request)
            case MovePageTables(old_address=old, new_address=new, length=length):
                steps = move_page_tables(
                    space.mm, kernel.rules, old_address=old, new_address=new, length=length
                )
                return int(await perform_page_work(kernel, cpu, space, steps))
            case Populate():
                return await self._populate(request)
            case FaultInPages():
                return await fault_in_pages(kernel, cpu, space, request)
            case _ if isinstance(request, RmapRequest):
                return await answer_rmap(kernel, space, request)
            case _:
                return await _answer_advice(kernel, cpu, space, request)
        return None

    async def _change_protection(self, request: ChangeProtection) -> None:
        kernel, space = self.kernel, self.space
        start, end = request.start, request.end
        if self.gather is None:
            self.gather = await tlb_gather_mmu(kernel, space.mm, start=start, end=end)
        change = partial(change_pte_range, space.mm, kernel.shared_pages, request.vma)
        await gather_changes(
            kernel,
            self.cpu,
            space,
            self.gather,
            start=start,
            end=end,
            text="change protection",
            change=change,
        )

    async def _populate(self, request: Populate) -> int:
        """Make pages present without the lock that the call had (mm_populate)."""
        kernel, space = self.kernel, self.space
        await space.mmap_lock.leave(None)
        if not request.length:
            return 0
        steps = mm_populate(
            space.mm,
            start=request.start,
            length=request.length,
            ignores_errors=request.ignores_errors,
        )
        async with space.mmap_lock.read():
            return await _perform(kernel, self.cpu, space, steps, mode=Mode.READ)


def _tell_search(kernel: Kernel, mm: MmStruct, search: AreaSearched) -> None:
    """Emit where a place was looked for; only AMD's family 15h wants it aligned."""
    kernel.probe.emit(
        VmUnmappedArea(
            addr=max(search.address, 0),
            err=min(search.address, 0),
            total_vm=mm.total_vm,
            flags=search.flags,
            length=search.length,
            low_limit=search.low,
            high_limit=search.high,
            align_mask=0,
            align_offset=search.pgoff << PAGE_SHIFT,
        )
    )


async def _answer_advice(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, request: AdviceRequest
) -> int | None:
    """Do what madvise, mlock and msync want of pages."""
    match request:
        case madvise.LazyFree() | madvise.Deactivate():
            await age_pages(kernel, cpu, space, request)
        case madvise.SwapIn():
            await lru_add_drain(kernel, cpu)
        case madvise.ReadAhead():
            await read_ahead(kernel, cpu, space, request)
        case LockPages():
            await mlock_vma_pages_range(kernel, cpu, space, request)
        case madvise.CollapseHugePages():
            return await collapse_huge_pages(kernel, cpu, space, request)
        case madvise.ZapRange(vma=vma, start=start, end=end):
            await zap_page_range(kernel, cpu, space, vma, start, end)
        case madvise.PunchHole() | SyncFileRange():
            return await _work_on_file(kernel, cpu, space, request)
        case LockForReading():
            await space.mmap_lock.acquire_read()
        case _:
            assert_never(request)
    return None


async def _work_on_file(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, request: madvise.PunchHole | SyncFileRange
) -> int:
    """Do what waits for a file: nobody shall wait for this address space meanwhile.

    The area may go with the lock, so the file gets one more user.
    """
    inode = kernel.file_system.inode_of(request.file.mapping)
    request.file.get()
    is_dropped = space.mmap_lock.writer is None
    if is_dropped:
        await space.mmap_lock.release_read()
    match request:
        case madvise.PunchHole(first=first, end=end):
            await punch_hole(kernel, cpu, inode, first, end)
        case SyncFileRange(offset=offset, length=length):
            first = offset >> PAGE_SHIFT
            end = ((offset + length - 1) >> PAGE_SHIFT) + 1
            await vfs_fsync_range(kernel, cpu, inode, first, end)
    await fput(kernel, cpu, request.file)
    if is_dropped and isinstance(request, madvise.PunchHole):
        await space.mmap_lock.acquire_read()
    return 0
