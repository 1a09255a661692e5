"""Answers to what mechanisms ask for while they work on pages and tables (mm/memory.c, Linux 6.1).

Faults, moves and copies of entries are generators of mm/: they decide, and ask for pages, tables,
locks, flushes and steps as values. Here each request is done by the CPU that runs them. A request
for a table is answered with page_table_lock held, which is let go of at the next request but steps.

Left out: locks of their own for tables of higher levels (split PMD locks).
"""

from collections.abc import Generator
from typing import Final, TypeVar, assert_never

from attrs import define, field

from mmactors.actors.alloc.lru_add_drain import free_released, lru_add_drain, lru_add_drain_all
from mmactors.actors.alloc.page_alloc import alloc_pages, free_page_list, free_pages
from mmactors.actors.alloc.page_table import alloc_table, free_table
from mmactors.actors.file.readahead import read_pages
from mmactors.actors.file.truncate import remove_mapping
from mmactors.actors.rmap.rmap_locks import answer_rmap, rmap_label
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.tlb.tlb import (
    TlbBatch,
    flush_tlb_batched_pending,
    flush_tlb_page,
    flush_tlb_range,
    read_cpumask,
)
from mmactors.engine.cpu import Cpu
from mmactors.engine.lock.lock_observer import SINGLE_DEPTH_NESTING
from mmactors.engine.lock.spinlock import Spinlock
from mmactors.label import Label
from mmactors.mm.area.vma_adjust import RmapRequest
from mmactors.mm.entries.copy_page_range import CopyRequest, EntriesCopied, PageCopied
from mmactors.mm.entries.move_page_tables import EntriesMoved, FlushRange, MoveRequest
from mmactors.mm.fault.fault import ReadPages
from mmactors.mm.fault.handle_mm_fault import Downgrade, LockForWriting, UserFaultRequest
from mmactors.mm.migrate.migrate_device import MigrateRequest
from mmactors.mm.page_alloc.gfp import GFP_ZERO
from mmactors.mm.page_table.page_table import AllocTable, FreeTable, LockTables, UnlockTables
from mmactors.mm.reclaim.vmscan import (
    DeferFlush,
    FlushDeferred,
    FreePages,
    ReclaimRequest,
    RemoveMapping,
)
from mmactors.mm.request import (
    AllocPage,
    FlushBatchedPending,
    FlushPage,
    FreePage,
    LockPage,
    LockPtes,
    LruAddDrain,
    TryLockPage,
    UnlockPage,
    UnlockPtes,
)
from mmactors.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

PageRequest = UserFaultRequest | MoveRequest | CopyRequest | MigrateRequest | ReclaimRequest
"""What mechanisms ask for that work on pages and tables."""
SeldomRequest = (
    TryLockPage
    | UnlockPage
    | LockPage
    | ReadPages
    | FlushPage
    | FlushRange
    | FlushBatchedPending
    | EntriesCopied
    | PageCopied
    | EntriesMoved
    | LockTables
    | UnlockTables
    | LruAddDrain
    | LockForWriting
    | Downgrade
)
T = TypeVar("T")

_PTES_SHIFT: Final = PAGE_SHIFT - 3
"""A table of 512 words is a page."""


@define(eq=False)
class _Held:
    """The locks that a mechanism has at the moment."""

    ptes: list[Spinlock] = field(factory=list)
    tables: bool = False
    tlb_ubc: TlbBatch = field(factory=TlbBatch)
    """Flushes that are deferred."""


async def perform_page_work(
    kernel: Kernel,
    cpu: Cpu,
    space: AddressSpace,
    steps: Generator[PageRequest, int | None, T],
    *,
    answer: int | None = None,
) -> T:
    """Drive a mechanism to its end on `cpu`; return its result. `space` is whose tables it adds.

    `answer` is for what it has asked for already; None: nothing yet. Pages whose last reference a
    batch held are freed before the mechanism goes on.
    """
    lru = kernel.lru[cpu.index]
    released = lru.released
    held: _Held | None = None
    ptl: Spinlock | None = None
    send = steps.send
    while True:
        try:
            request = send(answer)
        except StopIteration as done:
            if released:
                await free_released(kernel, cpu, lru)
            if held is not None and held.tables:
                await space.page_table_lock.release()
            if kernel.checks is not None:
                kernel.checks.revoke_completed(space.mm)
            result: T = done.value
            return result
        if released:
            await free_released(kernel, cpu, lru)
        answer = None
        if held is not None:
            answer = await _answer(kernel, cpu, space, request, held)
        elif isinstance(request, LockPtes) and request.second is None:
            # One lock, as nearly every fault takes it: without more than it needs.
            ptl = kernel.ptls.pte_lockptr(request.index)
            if not ptl.acquire_nowait():
                await ptl.acquire()
        elif isinstance(request, UnlockPtes):
            assert ptl is not None, "a table's lock is held"
            if not ptl.release_nowait():
                await ptl.release()
            ptl = None
        elif isinstance(request, AllocPage):
            answer = await _alloc_page(kernel, cpu, request)
        elif isinstance(request, Label):
            await kernel.engine.step(request)
        else:
            held = _Held([] if ptl is None else [ptl])
            answer = await _answer(kernel, cpu, space, request, held)


async def _alloc_page(kernel: Kernel, cpu: Cpu, request: AllocPage) -> int | None:
    pfn = await alloc_pages(kernel, cpu, 0, request.gfp, site=request.site)
    if pfn is not None:
        costs = kernel.costs
        if request.gfp & GFP_ZERO:
            await kernel.engine.spend(costs.clear_page_ns)
        elif request.is_copy:
            await kernel.engine.spend(costs.copy_page_ns)
    return pfn


async def _answer(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, request: PageRequest, held: _Held
) -> int | None:
    """Do what is asked for; return the answer."""
    if held.tables and not isinstance(request, Label):
        held.tables = False
        await space.page_table_lock.release()
    match request:
        case Label():
            await kernel.engine.step(request)
        case LockPtes():
            await _lock_ptes(kernel, request, held)
        case UnlockPtes():
            while held.ptes:
                await held.ptes.pop().release()
        case AllocPage():
            return await _alloc_page(kernel, cpu, request)
        case FreePage(pfn=freed):
            await free_pages(kernel, cpu, freed, 0)
        case DeferFlush(address=address, is_dirty=is_dirty):
            if kernel.checks is not None:
                kernel.checks.revoke(space.mm, address, address + PAGE_SIZE)
            if await read_cpumask(kernel, space.mm) & ~(1 << cpu.index):
                await held.tlb_ubc.add_mm(kernel, space.mm, is_dirty=is_dirty)
            else:
                await flush_tlb_page(kernel, cpu, space.mm, address)
        case FlushDeferred(only_dirty=only_dirty):
            if held.tlb_ubc.writable or not only_dirty:
                await held.tlb_ubc.flush(kernel, cpu)
        case RemoveMapping(mapping=mapping, index=index):
            inode = kernel.file_system.inode_of(mapping)
            return await remove_mapping(kernel, cpu, inode, index)
        case FreePages(pfns=pfns):
            await free_page_list(kernel, cpu, list(pfns))
        case AllocTable(level=level, is_for_later=is_for_later):
            pfn = await alloc_table(kernel, cpu, level)
            if pfn is not None and not is_for_later:
                await space.page_table_lock.acquire()
                held.tables = True
            return pfn
        case FreeTable(pfn=freed, level=level):
            await free_table(kernel, cpu, freed, level)
        case _:
            if not isinstance(request, RmapRequest):
                return await _answer_seldom(kernel, cpu, space, request)
            reply = await answer_rmap(kernel, space, request)
            if kernel.engine.wants_step():
                await kernel.engine.step(rmap_label(kernel, space, request))
            return reply
    return None


async def _answer_seldom(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, request: SeldomRequest
) -> int | None:
    match request:
        case TryLockPage(pfn=pfn):
            return await kernel.page_locks.trylock(pfn)
        case UnlockPage(pfn=pfn):
            await kernel.page_locks.unlock(pfn)
        case FlushPage(address=address):
            if kernel.checks is not None:
                kernel.checks.revoke(
                    space.mm, address & PAGE_MASK, (address & PAGE_MASK) + PAGE_SIZE
                )
            await flush_tlb_page(kernel, cpu, space.mm, address)
        case EntriesCopied():
            if kernel.checks is not None:
                start, end = request.start, request.end
                kernel.checks.pages_forked(request.parent, request.child, start, end)
                kernel.checks.revoke(request.parent, start, end)
        case PageCopied():
            kernel.frame_words.copy(request.source, request.target)
            if kernel.checks is not None:
                kernel.checks.page_copied(request.source, request.target)
                kernel.checks.page_made_private(request.child, request.address, request.target)
        case EntriesMoved(old=old, new=new, nr_bytes=nr_bytes):
            if kernel.checks is not None:
                kernel.checks.pages_moved(space.mm, old, new, nr_bytes)
                kernel.checks.revoke(space.mm, old, old + nr_bytes)
        case FlushRange(start=start, end=end):
            await flush_tlb_range(kernel, cpu, space.mm, start=start, end=end)
        case FlushBatchedPending():
            await flush_tlb_batched_pending(kernel, cpu, space.mm)
        case LruAddDrain(all_cpus=all_cpus):
            await (lru_add_drain_all if all_cpus else lru_add_drain)(kernel, cpu)
        case LockTables():
            await space.page_table_lock.acquire()
        case UnlockTables():
            await space.page_table_lock.release()
        case LockForWriting():
            await space.mmap_lock.release_read()
            await space.mmap_lock.acquire_write()
        case Downgrade():
            await space.mmap_lock.downgrade()
        case LockPage(pfn=pfn):
            await kernel.page_locks.lock(pfn)
        case ReadPages():
            return await read_pages(kernel, cpu, space, request)
        case _:
            assert_never(request)
    return None


async def _lock_ptes(kernel: Kernel, request: LockPtes, held: _Held) -> None:
    assert not held.ptes, "the lock of a table is held already"
    ptl = kernel.ptls.pte_lockptr(request.index)
    await ptl.acquire()
    held.ptes.append(ptl)
    if request.second is not None and request.second >> _PTES_SHIFT != request.index >> _PTES_SHIFT:
        second = kernel.ptls.pte_lockptr(request.second)
        await second.acquire(SINGLE_DEPTH_NESTING)
        held.ptes.append(second)
