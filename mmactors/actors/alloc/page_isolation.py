"""Isolating ranges of pageblocks (mm/page_isolation.c, Linux 6.1).

First the blocks at both ends, whose neighbours may be part of the same free block, which is then
cut at the boundary; then those between. Each section under zone->lock is
mm/page_alloc/isolation.py.

Left out: moving compound pages that reach over the boundary: -EBUSY.
"""

import errno

import numpy as np

from mmactors.actors.alloc.page_alloc import ask_zone, compound_order
from mmactors.actors.state.kernel import Kernel
from mmactors.arch.page import PG_HEAD
from mmactors.engine.cpu import Cpu
from mmactors.label import PAGES, Label, Mode, pageblock
from mmactors.mm.page_alloc.buddy import (
    PAGEBLOCK_PAGES,
    ZONE_END,
    ZONE_START,
)
from mmactors.mm.page_alloc.gfp import MIGRATE_ISOLATE, MIGRATE_MOVABLE
from mmactors.mm.page_alloc.isolation import MAX_ORDER_NR_PAGES, free_page_before
from mmactors.mm.page_alloc.order import PAGEBLOCK_ORDER
from mmactors.mm.page_alloc.zone import Zone
from mmactors.mm.page_alloc.zone_request import (
    SetMigratetypeIsolate,
    SplitFreePage,
    TestPagesIsolated,
    UnsetMigratetypeIsolate,
)


async def start_isolate_page_range(
    kernel: Kernel, cpu: Cpu, zone: Zone, start_pfn: int, end_pfn: int
) -> int:
    """Isolate whole pageblocks; return 0, or -EBUSY: one is isolated already or unmovable.

    Nothing is isolated then. Pages may wait on CPUs' lists still.
    """
    error = await _isolate_single_pageblock(kernel, cpu, zone, start_pfn, start_pfn)
    if error:
        return error
    last = end_pfn - PAGEBLOCK_PAGES
    error = await _isolate_single_pageblock(
        kernel, cpu, zone, last, end_pfn, skip_isolation=last == start_pfn
    )
    done_pfn = start_pfn + PAGEBLOCK_PAGES
    while not error and done_pfn < last:
        error = await _set_migratetype_isolate(kernel, cpu, zone, done_pfn)
        if error:
            await _unset_migratetype_isolate(kernel, cpu, zone, last)
        else:
            done_pfn += PAGEBLOCK_PAGES
    if error:
        await undo_isolate_page_range(kernel, cpu, zone, start_pfn, done_pfn)
    return error


async def undo_isolate_page_range(
    kernel: Kernel, cpu: Cpu, zone: Zone, start_pfn: int, end_pfn: int
) -> None:
    """Give isolated pageblocks back to movable pages."""
    for pfn in range(start_pfn, end_pfn, PAGEBLOCK_PAGES):
        await _unset_migratetype_isolate(kernel, cpu, zone, pfn)


async def test_pages_isolated(
    kernel: Kernel, cpu: Cpu, zone: Zone, start_pfn: int, end_pfn: int
) -> int | None:
    """Return the first page of an isolated range that is not free; None: all are."""
    for pfn in range(start_pfn, end_pfn, PAGEBLOCK_PAGES):
        if kernel.engine.wants_step():
            block = (pageblock(pfn >> PAGEBLOCK_ORDER), Mode.READ)
            await kernel.engine.step(Label(f"is pageblock of {pfn:#x} isolated", (block,)))
        if zone.pageblock_migratetype(pfn) != MIGRATE_ISOLATE:
            return pfn
    request = TestPagesIsolated(
        zone=zone.number, cpu=cpu.index, start_pfn=start_pfn, end_pfn=end_pfn
    )
    answer = await ask_zone(kernel, cpu, request)
    return answer.pfn


async def _isolate_single_pageblock(
    kernel: Kernel,
    cpu: Cpu,
    zone: Zone,
    pfn: int,
    boundary_pfn: int,
    *,
    skip_isolation: bool = False,
) -> int:
    """Isolate one pageblock, and cut the free block that reaches over one of its ends."""
    if not skip_isolation:
        error = await _set_migratetype_isolate(kernel, cpu, zone, pfn)
        if error:
            return error
    if not zone.view[ZONE_START] < boundary_pfn < zone.view[ZONE_END]:
        return 0
    while True:
        if kernel.engine.wants_step():
            label = Label(f"is a block over {boundary_pfn:#x}", ((PAGES, Mode.READ),))
            await kernel.engine.step(label)
        over = free_page_before(zone, boundary_pfn)
        if over is None:
            break
        request = SplitFreePage(
            zone=zone.number, cpu=cpu.index, pfn=over, boundary_pfn=boundary_pfn
        )
        await ask_zone(kernel, cpu, request)
    if _compound_page_before(kernel, zone, boundary_pfn):
        if not skip_isolation:
            await _unset_migratetype_isolate(kernel, cpu, zone, pfn)
        return -errno.EBUSY
    return 0


def _compound_page_before(kernel: Kernel, zone: Zone, boundary_pfn: int) -> bool:
    """Return whether a compound page reaches over the boundary."""
    start = max(boundary_pfn & ~(MAX_ORDER_NR_PAGES - 1), zone.view[ZONE_START])
    heads = np.flatnonzero(kernel.pages.flags[start:boundary_pfn] & PG_HEAD).tolist()
    return any(
        start + head + (1 << compound_order(kernel, start + head)) > boundary_pfn for head in heads
    )


async def _set_migratetype_isolate(kernel: Kernel, cpu: Cpu, zone: Zone, pfn: int) -> int:
    request = SetMigratetypeIsolate(
        zone=zone.number,
        cpu=cpu.index,
        pfn=pfn,
        start_pfn=pfn,
        end_pfn=pfn + PAGEBLOCK_PAGES,
    )
    answer = await ask_zone(kernel, cpu, request)
    return 0 if answer.is_done else -errno.EBUSY


async def _unset_migratetype_isolate(kernel: Kernel, cpu: Cpu, zone: Zone, pfn: int) -> None:
    request = UnsetMigratetypeIsolate(
        zone=zone.number, cpu=cpu.index, pfn=pfn, migratetype=MIGRATE_MOVABLE
    )
    await ask_zone(kernel, cpu, request)
