"""Taking memory offline, and bringing it online, while the machine runs (mm/memory_hotplug.c, 6.1).

The range's pageblocks are isolated, and who does it waits until all pages there are free. No page
of them may wait on a CPU's list then, because nothing would ever drain it: the lists are switched
off before (zone_pcp_disable), so that what is freed goes on to the zone at once, where its
pageblock's type is looked at again.

A page that is freed in between has its type read already and is not yet on a list. In v5.8, which
the rule `offline_disables_pcp` off gives, all lists were drained once when the blocks were
isolated; such a page came to its list after that.

Both are done one at a time (mem_hotplug_begin), which the callers see to.

When pages have come or gone, the limits of all zones are computed anew (mm/page_alloc/online.py).

Left out: moving pages that are in use (it is waited until their owners free them), sections,
notifiers, and what is done when a whole zone is gone.
"""

import errno

from mmactors.actors.alloc.lru_add_drain import lru_cache_disable, lru_cache_enable
from mmactors.actors.alloc.page_alloc import ask_zone, drain_all_pages
from mmactors.actors.alloc.page_isolation import (
    start_isolate_page_range,
    test_pages_isolated,
    undo_isolate_page_range,
)
from mmactors.actors.state.fatal_signal import FATAL_SIGNAL_SEEN
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.engine.report import Deadlock
from mmactors.label import PAGES, PCP, ZONELISTS, Label, Mode, vmstat
from mmactors.mm.page_alloc.buddy import MANAGED_PAGES, ZONE_END, ZONE_START
from mmactors.mm.page_alloc.isolation import first_in_use
from mmactors.mm.page_alloc.online import (
    has_threshold,
    init_per_zone_wmark_min,
    pageset_size,
    set_limits,
)
from mmactors.mm.page_alloc.pcp import BATCH, HIGH
from mmactors.mm.page_alloc.zone import Zone
from mmactors.mm.page_alloc.zone_request import OfflineIsolatedPages, OnlinePages


async def offline_pages(kernel: Kernel, cpu: Cpu, zone: Zone, start_pfn: int, end_pfn: int) -> int:
    """Take whole pageblocks from the allocator; return 0, or -EBUSY: they cannot be isolated."""
    if not kernel.rules.offline_disables_pcp:
        return await _offline_as_v5_8(kernel, cpu, zone, start_pfn, end_pfn)
    await zone_pcp_disable(kernel, cpu, zone)
    await lru_cache_disable(kernel, cpu)
    error = await start_isolate_page_range(kernel, cpu, zone, start_pfn, end_pfn)
    if not error:
        error = await _wait_until_free(kernel, cpu, zone, start_pfn, end_pfn)
        if error:
            await undo_isolate_page_range(kernel, cpu, zone, start_pfn, end_pfn)
        else:
            await _offline_isolated_pages(kernel, cpu, zone, start_pfn, end_pfn)
    lru_cache_enable(kernel)
    await zone_pcp_enable(kernel, zone)
    if not error:
        await _adjust_limits(kernel, zone, start_pfn - end_pfn)
    return error


async def _offline_as_v5_8(
    kernel: Kernel, cpu: Cpu, zone: Zone, start_pfn: int, end_pfn: int
) -> int:
    error = await start_isolate_page_range(kernel, cpu, zone, start_pfn, end_pfn)
    if not error:
        await drain_all_pages(kernel, cpu, zone.number)
        error = await _wait_until_free(kernel, cpu, zone, start_pfn, end_pfn)
        if error:
            await undo_isolate_page_range(kernel, cpu, zone, start_pfn, end_pfn)
            return error
        await _offline_isolated_pages(kernel, cpu, zone, start_pfn, end_pfn)
        await _adjust_limits(kernel, zone, start_pfn - end_pfn)
    return error


async def zone_pcp_disable(kernel: Kernel, cpu: Cpu, zone: Zone) -> None:
    """Let CPUs' lists keep no pages of the zone."""
    await _set_pageset_high_and_batch(kernel, zone, 0, 1)
    await drain_all_pages(kernel, cpu, zone.number, force_all_cpus=True)


async def zone_pcp_enable(kernel: Kernel, zone: Zone) -> None:
    """Let CPUs' lists be as long as they were."""
    await _set_pageset_high_and_batch(kernel, zone, zone.pageset_high, zone.pageset_batch)


def zone_pcp_update(zone: Zone, high: int, batch: int) -> None:
    """Let CPUs' lists be as long as the zone's limits say."""
    zone.pageset_high, zone.pageset_batch = high, batch
    for pcp in zone.pcps:
        pcp.view[HIGH] = high
        pcp.view[BATCH] = batch


async def _set_pageset_high_and_batch(kernel: Kernel, zone: Zone, high: int, batch: int) -> None:
    if kernel.engine.wants_step():
        label = Label(f"size lists of zone {zone.name}", ((PCP, Mode.WRITE),))
        await kernel.engine.step(label)
    for pcp in zone.pcps:
        pcp.view[HIGH] = high
        pcp.view[BATCH] = batch


async def _wait_until_free(
    kernel: Kernel, cpu: Cpu, zone: Zone, start_pfn: int, end_pfn: int
) -> int:
    """Look again and again until all pages of an isolated range are on the buddy lists.

    A look without the lock comes before each that takes it, so that waiting is one step. Return 0,
    or -EINTR: a fatal signal ends it. A run in which nobody is left to free the pages is stuck.
    """
    task = kernel.fault_context(cpu).task
    while True:
        while await _is_in_use(kernel, zone, start_pfn, end_pfn):
            if task.fatal_signal_pending:
                kernel.engine.observe(FATAL_SIGNAL_SEEN)
                return -errno.EINTR
            if kernel.engine.is_stuck and not kernel.engine.is_exploring and not cpu.queued():
                pfn = first_in_use(zone, start_pfn, end_pfn)
                raise Deadlock(
                    f"at t={cpu.clock.now} ns nobody is left to free page {pfn:#x}, for which "
                    f"{cpu.current} waits, to take {start_pfn:#x} to {end_pfn:#x} offline"
                )
            await kernel.engine.spend(kernel.costs.zone_page_ns * (end_pfn - start_pfn))
            await cpu.cond_resched()
        if await test_pages_isolated(kernel, cpu, zone, start_pfn, end_pfn) is None:
            return 0


async def _is_in_use(kernel: Kernel, zone: Zone, start_pfn: int, end_pfn: int) -> bool:
    """Return whether a page of the range is in use, or on its way to the buddy lists."""
    if kernel.engine.wants_step():
        lock = kernel.zone_mailboxes[zone.number].name
        touches = ((PAGES, Mode.READ), (lock, Mode.READ))
        await kernel.engine.step(Label(f"scan {start_pfn:#x} to {end_pfn:#x}", touches))
    return first_in_use(zone, start_pfn, end_pfn) is not None


async def _offline_isolated_pages(
    kernel: Kernel, cpu: Cpu, zone: Zone, start_pfn: int, end_pfn: int
) -> None:
    request = OfflineIsolatedPages(
        zone=zone.number, cpu=cpu.index, start_pfn=start_pfn, end_pfn=end_pfn
    )
    await ask_zone(kernel, cpu, request)


async def _adjust_limits(kernel: Kernel, zone: Zone, nr_pages: int) -> None:
    """Count pages that the zone lost, and give all zones the limits that follow."""
    zone.adjust_managed_pages(nr_pages)
    await _init_per_zone_wmark_min(kernel)


async def _init_per_zone_wmark_min(kernel: Kernel) -> None:
    """Give all zones the limits that follow from what they manage now (mm/page_alloc/online.py)."""
    allocator = kernel.allocator
    kernel.overcommit.set_totalram(sum(int(zone.view[MANAGED_PAGES]) for zone in allocator.zones))
    limits = init_per_zone_wmark_min(allocator)
    pairs = list(zip(allocator.zones, limits.zones, strict=True))
    if kernel.engine.wants_step():
        changed = [
            (vmstat(zone.number), Mode.WRITE)
            for zone, new in pairs
            if zone.present_pages and not has_threshold(allocator, zone, new.stat_threshold)
        ]
        await kernel.engine.step(Label("set watermarks of all zones", tuple(changed)))
    set_limits(allocator, limits)
    is_step = kernel.engine.wants_step()
    for zone, new in pairs:
        size = new.pcp_high, new.pcp_batch
        if zone.present_pages and size != (zone.pageset_high, zone.pageset_batch):
            if is_step:
                await kernel.engine.step(Label("size lists of all zones", ((PCP, Mode.WRITE),)))
                is_step = False
            zone_pcp_update(zone, *size)


async def online_pages(kernel: Kernel, cpu: Cpu, zone: Zone) -> int:
    """Let requests have the memory of a zone that has none yet; return 0, or -EEXIST.

    With the rule off as in v2.6.34: the zone's lists, which are still those that it shares with
    other such zones, are sized for it (zone_pcp_update), requests find it, and only then it gets
    lists of its own.
    """
    if zone.present_pages:
        return -errno.EEXIST
    start_pfn, end_pfn = int(zone.view[ZONE_START]), int(zone.view[ZONE_END])
    is_first = kernel.rules.online_sets_up_pageset_first
    if is_first:
        await _setup_zone_pageset(kernel, zone)
    await ask_zone(kernel, cpu, OnlinePages(zone=zone.number, cpu=cpu.index))
    if not is_first:
        size = pageset_size(kernel.allocator, zone)
        await _set_pageset_high_and_batch(kernel, zone, *size)
    if kernel.engine.wants_step():
        await kernel.engine.step(Label("build zonelists", ((ZONELISTS, Mode.WRITE),)))
    kernel.allocator.build_all_zonelists()
    await undo_isolate_page_range(kernel, cpu, zone, start_pfn, end_pfn)
    if not is_first:
        await _setup_zone_pageset(kernel, zone)
    await _init_per_zone_wmark_min(kernel)
    return 0


async def _setup_zone_pageset(kernel: Kernel, zone: Zone) -> None:
    if kernel.engine.wants_step():
        label = Label(f"set up lists of zone {zone.name}", ((PCP, Mode.WRITE),))
        await kernel.engine.step(label)
    kernel.allocator.setup_zone_pageset(zone)
