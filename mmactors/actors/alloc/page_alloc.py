"""Allocating and freeing pages from where a CPU stands (mm/page_alloc.c, Linux 6.1).

The CPU's own lists are a plain call. What needs zone->lock is asked of the zone actor, with
interrupts off. A failed allocation is a result, None.

Where others may come between, a path is cut into steps, which do the same: the lagging counters are
looked at, a list is changed, a reference is dropped, the pageblock's type is read. The labels of
these steps stand here: `pages[pfn]` is a struct page, `pageblock[n]` the type of a pageblock,
`pcp[cpu]` a CPU's lists of all zones, `vmstat[n]` the counters of zone number n, `zonelists` the
order in which zones are tried. A section under
zone->lock says in the zone actor what it touches.

Left out: pcp->lock (mm/page_alloc/free_unref.py), zone->lock in interrupts.
"""

from collections.abc import Generator
from functools import cache, partial
from typing import TypeVar

from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.perform import perform
from mmactors.arch.page import PG_HEAD
from mmactors.engine.baton import Engine
from mmactors.engine.chance import ALLOCATION_FAILS
from mmactors.engine.cpu import Cpu
from mmactors.events import MmPageAlloc, MmPageFree, MmPageFreeBatched
from mmactors.label import (
    DATA,
    PAGES,
    VMSTAT,
    ZONELISTS,
    Label,
    Mode,
    Touches,
    data,
    page,
    pageblock,
    pcp,
)
from mmactors.mm.page_alloc import alloc_site
from mmactors.mm.page_alloc.alloc_site import PageAllocation
from mmactors.mm.page_alloc.free_unref import Pfns
from mmactors.mm.page_alloc.gfp import ALLOC_NO_WATERMARKS, ALLOC_RESERVES, gfp_migratetype
from mmactors.mm.page_alloc.order import (
    PAGE_ALLOC_COSTLY_ORDER,
    PAGEBLOCK_ORDER,
)
from mmactors.mm.page_alloc.pcp import COUNT, pcp_allowed_order
from mmactors.mm.page_alloc.slow_path import (
    FAILED_AT_ONCE,
    DirectCompact,
    DirectReclaim,
    OutOfMemory,
    WakeupKswapd,
)
from mmactors.mm.page_alloc.zone_request import (
    AllocAnswer,
    AllocRequest,
    RmqueueBuddy,
    RmqueueBulk,
    ZoneAnswer,
    ZoneRequest,
)
from mmactors.mm.rmap.rmap import put_page, reset_freed_page

T = TypeVar("T")


def touch_pages(pfn: int, order: int, mode: Mode) -> Touches:
    """Return what a step on the struct pages of a block touches."""
    if order > PAGE_ALLOC_COSTLY_ORDER:
        return ((PAGES, mode),)
    return tuple((page(each), mode) for each in range(pfn, pfn + (1 << order)))


def _touch_data(pfn: int, order: int) -> Touches:
    """Return that pages become another's: who still reaches them sees it."""
    if order > PAGE_ALLOC_COSTLY_ORDER:
        return ((DATA, Mode.WRITE),)
    return tuple((data(each), Mode.WRITE) for each in range(pfn, pfn + (1 << order)))


def _is_stepping(engine: Engine) -> bool:
    """Whether paths say at each step what they touch: others could come between, or it is checked.

    In other runs a CPU changes its own lists without waiting for a turn: nobody else looks at them
    but in a section under zone->lock.
    """
    return engine.is_exploring or engine.guard.on


async def _step(engine: Engine, label: Label) -> None:
    """Take a step that ordinary runs do not wait for."""
    if engine.is_exploring:
        await engine.step(label)
    else:
        engine.guard.begin(engine.current, label)


async def alloc_pages(
    kernel: Kernel,
    cpu: Cpu,
    order: int,
    gfp: int,
    *,
    node: int | None = None,
    site: str = alloc_site.ALLOC_PAGES,
    is_of_bulk: bool = False,
) -> int | None:
    """Return the first frame of 2**order free pages, or None; `site`: the function that asks.

    They are of `node` if it has any (alloc_pages_node); None: the CPU's node.
    In an interrupt, which asks no other actor, there is only what the CPU's own lists have.
    `is_of_bulk`: it is one of several, and neither refused nor told of by itself.
    """
    engine = kernel.engine
    if (
        engine.allowed
        and not is_of_bulk
        and await engine.may(ALLOCATION_FAILS, PageAllocation(order, gfp, site))
    ):
        kernel.refuse_page(cpu)
        return None
    if engine.is_exploring or engine.guard.on:
        await _step(engine, _alloc_label(cpu.index))
    pfn = None if node is not None else kernel.allocator.alloc_pcp(cpu.index, order, gfp)
    if pfn is None and not cpu.contexts:
        steps = kernel.allocator.alloc_pages(cpu.index, order, gfp, node)
        pfn = await _perform(kernel, cpu, steps, _alloc_label(cpu.index))
    if engine.is_exploring and pfn is not None:
        for name, mode in (*touch_pages(pfn, order, Mode.WRITE), *_touch_data(pfn, order)):
            engine.touch(name, mode)
    if kernel.checks is not None and pfn is not None:
        kernel.checks.pages_allocated(pfn, order, gfp)
    if not engine.spend_nowait(kernel.costs.pcp_ns):
        await engine.spend(kernel.costs.pcp_ns)
    if kernel.probe.on and not is_of_bulk:
        _emit_alloc(kernel, pfn, order, gfp)
    return pfn


async def alloc_pages_bulk(
    kernel: Kernel, cpu: Cpu, nr: int, gfp: int, *, node: int | None, site: str
) -> tuple[int, ...]:
    """Return at most `nr` single pages, maybe none (__alloc_pages_bulk).

    They come off the CPU's list one after the other, with no tracepoint each. Where list and zone
    have no more, those that there are will do; who wants a single page asks for one.
    """
    engine = kernel.engine
    if nr == 1:
        pfn = await alloc_pages(kernel, cpu, 0, gfp, node=node, site=site)
        return () if pfn is None else (pfn,)
    if engine.allowed and await engine.may(ALLOCATION_FAILS, PageAllocation(0, gfp, site)):
        kernel.refuse_page(cpu)
        return ()
    pfns: list[int] = []
    while len(pfns) < nr:
        pfn = await alloc_pages(kernel, cpu, 0, gfp, node=node, site=site, is_of_bulk=True)
        if pfn is None:
            break
        pfns.append(pfn)
    return tuple(pfns)


def alloc_page_at_once(kernel: Kernel, cpu: Cpu, gfp: int, *, then_ns: int) -> int | None:
    """Take a page off the CPU's own list if nobody has to be waited for, or asked.

    `then_ns`: what else must fit before others have their turn. None changes nothing and means:
    ask `alloc_pages`.
    """
    engine = kernel.engine
    costs = kernel.costs
    if kernel.checks is not None or engine.is_exploring or engine.guard.on:
        return None
    if engine.decider is not None or not engine.may_spend(costs.pcp_ns + then_ns):
        return None
    pfn = kernel.allocator.alloc_pcp(cpu.index, 0, gfp)
    if pfn is not None:
        engine.spend_nowait(costs.pcp_ns)
        if kernel.probe.on:
            _emit_alloc(kernel, pfn, 0, gfp)
    return pfn


def _emit_alloc(kernel: Kernel, pfn: int | None, order: int, gfp: int) -> None:
    kernel.probe.emit(
        MmPageAlloc(pfn=pfn, order=order, gfp_flags=gfp, migratetype=gfp_migratetype(gfp))
    )


async def free_pages(kernel: Kernel, cpu: Cpu, pfn: int, order: int) -> None:
    """Drop the caller's reference of a block that it allocated (__free_pages).

    Whoever drops the last one frees it. Somebody who looked the page up without a lock, when it
    still was another's, may hold one for a moment; it knows of one page only, so the tail of a
    block that is not compound is freed here then.
    """
    pages = kernel.pages
    engine = kernel.engine
    if _is_stepping(engine):
        touches = touch_pages(pfn, order, Mode.WRITE)
        await _step(engine, Label(f"drop reference of {pfn:#x}", touches))
    is_head = pages.flags_view[pfn] & PG_HEAD
    left = pages.refcount_view[pfn] - 1
    assert left >= 0, f"page {pfn:#x} is freed and has no reference"
    pages.refcount_view[pfn] = left
    if left == 0:
        await free_unref_page(kernel, cpu, pfn, order)
    elif not is_head and kernel.rules.free_pages_frees_tails:
        while order > 0:
            order -= 1
            await free_unref_page(kernel, cpu, pfn + (1 << order), order)


def compound_order(kernel: Kernel, pfn: int) -> int:
    """Return the order of the compound page that starts at `pfn`; 0: it is a page of its own."""
    pages = kernel.pages
    return pages.order_view[pfn] if pages.flags_view[pfn] & PG_HEAD else 0


async def free_unref_page(kernel: Kernel, cpu: Cpu, pfn: int, order: int) -> None:
    """Give 2**order pages back to which nobody refers (free_the_page)."""
    engine = kernel.engine
    kernel.lru[cpu.index].forget_page(pfn)
    if kernel.probe.on:
        kernel.probe.emit(MmPageFree(pfn=pfn, order=order))
    if kernel.checks is not None:
        kernel.checks.pages_freed(pfn, order)
    await engine.spend(kernel.costs.pcp_ns)
    allocator = kernel.allocator
    if _is_stepping(engine):
        block = (pageblock(pfn >> PAGEBLOCK_ORDER), Mode.READ)
        touches = (block, *touch_pages(pfn, order, Mode.WRITE), *_touch_data(pfn, order))
        if not engine.is_exploring:
            touches += _free_label(cpu.index).touches  # Both halves are one step then.
        await _step(engine, Label(f"prepare to free {pfn:#x}", touches))
    if not engine.is_exploring and allocator.free_pcp(cpu.index, pfn, order):
        return
    migratetype = allocator.free_unref.prepare(pfn, order)
    steps = allocator.free_unref.commit(cpu.index, pfn, order, migratetype)
    await _perform(kernel, cpu, steps, _free_label(cpu.index))


async def free_page_list(kernel: Kernel, cpu: Cpu, pfns: list[int]) -> None:
    """Give single pages back that are on no list, batched as free_unref_page_list does."""
    engine = kernel.engine
    if kernel.probe.on:
        for pfn in pfns:
            kernel.probe.emit(MmPageFree(pfn=pfn, order=0))
    if kernel.checks is not None:
        for pfn in pfns:
            kernel.checks.pages_freed(pfn, 0)
    await engine.spend(kernel.costs.pcp_ns * len(pfns))
    if _is_stepping(engine):
        blocks = dict.fromkeys(pfn >> PAGEBLOCK_ORDER for pfn in pfns)
        touches = [(pageblock(block), Mode.READ) for block in blocks]
        touches += [(page(pfn), Mode.WRITE) for pfn in pfns]
        touches += [(data(pfn), Mode.WRITE) for pfn in pfns]
        await _step(engine, Label(f"prepare to free {len(pfns)} pages", tuple(touches)))
    freed, nr_isolated = kernel.allocator.free_unref.prepare_list(pfns)
    tell = partial(_emit_batched, kernel) if kernel.probe.on else None
    steps = kernel.allocator.free_unref.commit_list(cpu.index, freed, nr_isolated, tell=tell)
    await _perform(kernel, cpu, steps, _free_label(cpu.index))


def _emit_batched(kernel: Kernel, pfns: Pfns) -> None:
    for pfn in pfns.tolist():
        kernel.probe.emit(MmPageFreeBatched(pfn=pfn))


async def drain_all_pages(
    kernel: Kernel, cpu: Cpu, zone_number: int | None = None, *, force_all_cpus: bool = False
) -> None:
    """Give back the pages of all CPUs' lists, of one zone or all (__drain_all_pages).

    Who has none when all are looked at is left out, unless `force_all_cpus`. Since v6.0 the CPU
    that wants it drains the others' lists itself.
    """
    engine = kernel.engine
    allocator = kernel.allocator
    zones = allocator.zones if zone_number is None else (allocator.zones[zone_number],)
    owners = []
    for owner in range(len(kernel.cpus)):
        if _is_stepping(engine) and not force_all_cpus:
            await _step(engine, _count_label(owner))
        if force_all_cpus or any(zone.pcps[owner].view[COUNT] for zone in zones):
            owners.append(owner)
    for owner in owners:
        steps = allocator.free_unref.drain_pages(cpu.index, zones, of_cpu=owner)
        await _perform(kernel, cpu, steps, _drain_label(owner))


@cache
def _alloc_label(cpu: int) -> Label:
    """Return what looking for a page touches besides the page: the CPU's lists and watermarks."""
    touches = ((pcp(cpu), Mode.WRITE), (VMSTAT, Mode.READ), (ZONELISTS, Mode.READ))
    return Label(f"look for pages on cpu{cpu}", touches)


@cache
def _free_label(cpu: int) -> Label:
    return Label(f"put on list of cpu{cpu}", ((pcp(cpu), Mode.WRITE),))


@cache
def _count_label(cpu: int) -> Label:
    return Label(f"look at lists of cpu{cpu}", ((pcp(cpu), Mode.READ),))


@cache
def _drain_label(cpu: int) -> Label:
    return Label(f"drain lists of cpu{cpu}", ((pcp(cpu), Mode.WRITE),))


def _tell_watermark(kernel: Kernel, request: RmqueueBulk | RmqueueBuddy) -> None:
    """Tell checkers that an ordinary request has just passed a watermark of a zone."""
    is_second_try = isinstance(request, RmqueueBuddy) and pcp_allowed_order(request.order)
    if is_second_try or request.alloc_flags & (ALLOC_RESERVES | ALLOC_NO_WATERMARKS):
        return
    assert kernel.checks is not None, "nobody listens"
    kernel.checks.watermark_passed(request.zone, request.order)


async def ask_zone(kernel: Kernel, cpu: Cpu, request: ZoneRequest) -> ZoneAnswer:
    """Let a section run under the lock of the zone that it names, with interrupts off."""
    with cpu.irqs_off():
        answer: ZoneAnswer = await kernel.zone_mailboxes[request.zone].ask(request)
        return answer


async def _perform(
    kernel: Kernel,
    cpu: Cpu,
    steps: Generator[AllocRequest, AllocAnswer | None, T],
    label: Label,
) -> T:
    """Drive the allocator with interrupts off; `label`: what it touches between two requests."""
    engine = kernel.engine
    with cpu.irqs_off():
        if not _is_stepping(engine):
            return await perform(steps, partial(_answer, kernel, cpu))

        goes_on = False  # What failed at once has changed nothing: the step before is not over.

        async def before(_request: AllocRequest | None) -> None:
            if not goes_on:
                await _step(engine, label)

        async def answer(request: AllocRequest) -> AllocAnswer | None:
            nonlocal goes_on
            reply = await _answer(kernel, cpu, request)
            goes_on = reply is FAILED_AT_ONCE
            return reply

        return await perform(steps, answer, before=before)


async def _answer(kernel: Kernel, cpu: Cpu, request: AllocRequest) -> AllocAnswer | None:
    """Ask the zone's actor for what happens under its lock, the slow path for all else."""
    match request:
        case WakeupKswapd():
            kernel.slow_path.wake_kswapd(request)
            return None
        case DirectReclaim():
            return await kernel.slow_path.direct_reclaim(cpu, request)
        case DirectCompact():
            return await kernel.slow_path.direct_compact(cpu, request)
        case OutOfMemory():
            return await kernel.slow_path.out_of_memory(cpu, request)
        case _:
            if kernel.checks is not None and isinstance(request, RmqueueBulk | RmqueueBuddy):
                _tell_watermark(kernel, request)
            answer: ZoneAnswer = await kernel.zone_mailboxes[request.zone].ask(request)
            return answer


async def put_and_free_page(kernel: Kernel, cpu: Cpu, pfn: int) -> None:
    """Drop a reference, and with the last one the page (put_page)."""
    if kernel.engine.wants_step():
        await kernel.engine.step(Label(f"put page {pfn:#x}", ((page(pfn), Mode.WRITE),)))
    if put_page(kernel.shared_pages, pfn):
        order = compound_order(kernel, pfn)
        kernel.lru[cpu.index].forget_page(pfn)
        reset_freed_page(kernel.shared_pages, pfn)
        await free_unref_page(kernel, cpu, pfn, order)
