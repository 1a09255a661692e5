"""Allocating and freeing pages from where a CPU stands (mm/page_alloc.c, Linux 6.1).

The CPU's own lists are a plain call. What needs zone->lock is asked of the zone actor, with
interrupts off. A failed allocation is a result, None.
"""

from collections.abc import Generator
from typing import Any

from mmactors.actors.kernel import Kernel
from mmactors.engine.chance import ALLOCATION_FAILS
from mmactors.engine.cpu import Cpu
from mmactors.events import MmPageAlloc, MmPageFree, MmPageFreeBatched, MmVmscanWakeupKswapd
from mmactors.mm.gfp import gfp_migratetype
from mmactors.mm.zone_request import WakeupKswapd


async def alloc_pages(kernel: Kernel, cpu: Cpu, order: int, gfp: int) -> int | None:
    """Return the first frame of 2**order free pages, or None."""
    if kernel.engine.allowed and await kernel.engine.may(ALLOCATION_FAILS):
        return None
    pfn = kernel.allocator.alloc_pcp(cpu.index, order, gfp)
    if pfn is None:
        pfn = await perform(kernel, cpu, kernel.allocator.alloc_pages(cpu.index, order, gfp))
    if kernel.checks is not None and pfn is not None:
        kernel.checks.pages_allocated(pfn, order)
    await kernel.engine.spend(kernel.costs.pcp_ns)
    probe = kernel.probe
    if probe.on:
        probe.emit(
            MmPageAlloc(pfn=pfn, order=order, gfp_flags=gfp, migratetype=gfp_migratetype(gfp))
        )
    return pfn


async def free_pages(kernel: Kernel, cpu: Cpu, pfn: int, order: int) -> None:
    """Give 2**order pages back (__free_pages)."""
    if kernel.probe.on:
        kernel.probe.emit(MmPageFree(pfn=pfn, order=order))
    if kernel.checks is not None:
        kernel.checks.pages_freed(pfn, order)
    await kernel.engine.spend(kernel.costs.pcp_ns)
    if not kernel.allocator.free_pcp(cpu.index, pfn, order):
        await perform(kernel, cpu, kernel.allocator.free_pages(cpu.index, pfn, order))


async def free_page_list(kernel: Kernel, cpu: Cpu, pfns: list[int]) -> None:
    """Give single pages back, batched as free_unref_page_list does."""
    if kernel.probe.on:
        for pfn in pfns:
            kernel.probe.emit(MmPageFreeBatched(pfn=pfn))
    if kernel.checks is not None:
        for pfn in pfns:
            kernel.checks.pages_freed(pfn, 0)
    await kernel.engine.spend(kernel.costs.pcp_ns * len(pfns))
    await perform(kernel, cpu, kernel.allocator.free_page_list(cpu.index, pfns))


async def perform(kernel: Kernel, cpu: Cpu, steps: Generator[Any, Any, Any]) -> Any:
    """Drive a mechanism's generator: each request is asked of the zone it names."""
    answer = None
    with cpu.irqs_off():
        while True:
            try:
                request = steps.send(answer)
            except StopIteration as done:
                return done.value
            if isinstance(request, WakeupKswapd):
                answer = None
                if kernel.probe.on:
                    kernel.probe.emit(
                        MmVmscanWakeupKswapd(
                            nid=request.node,
                            zid=request.highest_zoneidx,
                            order=request.order,
                            gfp_flags=request.gfp,
                        )
                    )
            else:
                answer = await kernel.zone_mailboxes[request.zone].ask(request)
