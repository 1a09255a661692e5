"""Letting lazily freed areas be free, and aliases of pages be unknown (mm/vmalloc.c, v6.1).

vm_unmap_aliases promises that no CPU knows a translation of vmalloc's to a page that was unmapped:
besides the areas that were freed lazily these are the pages that were unmapped of blocks in use.
"""

from typing import Final

from mmactors import label
from mmactors.label import Label, Mode
from mmactors.mm.vmalloc.block_queue import (
    READ_LOCK,
    READ_UNLOCK,
    count_seen,
    lock_block,
    next_of_all,
    next_queued,
    purge_fragmented_blocks_allcpus,
    unlock_block,
)
from mmactors.mm.vmalloc.lazy import purge_lazy
from mmactors.mm.vmalloc.request import (
    FlushTlbKernelRange,
    PurgeLock,
    PurgeUnlock,
    VmallocSteps,
)
from mmactors.mm.vmalloc.space import NR_PAGES, VmallocSpace, address_of
from mmactors.mm.vmalloc.vmap_block import VMAP_BBMAP_BITS, BlockLink

_PURGE_LOCK: Final = PurgeLock()
_PURGE_UNLOCK: Final = PurgeUnlock()
_READ_LAZY_NR: Final = Label("read how much is lazy", ((label.VMAP_LAZY_NR, Mode.READ),))


def purge_vmap_area_lazy(space: VmallocSpace) -> VmallocSteps[None]:
    """Let all be free that can be, as no addresses are left."""
    yield _PURGE_LOCK
    yield from purge_fragmented_blocks_allcpus(space)
    yield from purge_lazy(space, NR_PAGES - 1, 0)
    yield _PURGE_UNLOCK


def drain_vmap_area_work(space: VmallocSpace) -> VmallocSteps[None]:
    """Purge until not too much is lazy: what the worker does that `ScheduleDrain` wakes."""
    while True:
        yield _PURGE_LOCK
        yield from purge_lazy(space, NR_PAGES - 1, 0)
        yield _PURGE_UNLOCK
        if space.wants_step():
            yield _READ_LAZY_NR
        if space.lazy_nr <= space.lazy_max_pages():
            return


def vm_unmap_aliases(space: VmallocSpace) -> VmallocSteps[None]:
    """Let no CPU know a translation of what was unmapped."""
    first, end = NR_PAGES - 1, 0
    if space.rules.vm_unmap_aliases_sees_full_blocks:
        following, nr_walks = next_of_all, 1
    else:
        following, nr_walks = next_queued, space.nr_cpus
    for cpu in range(nr_walks):
        yield READ_LOCK
        link: BlockLink = space.queues[cpu]
        nr_seen = 0
        while (block := (yield from following(space, cpu, link))) is not None:
            nr_seen = count_seen(space, cpu, nr_seen)
            yield from lock_block(space, block, "_vm_unmap_aliases")
            if block.dirty and block.dirty != VMAP_BBMAP_BITS:
                first = min(first, block.first + block.dirty_min)
                end = max(end, block.first + block.dirty_max)
            yield unlock_block(block)
            link = block
        yield READ_UNLOCK
    yield _PURGE_LOCK
    yield from purge_fragmented_blocks_allcpus(space)
    if not (yield from purge_lazy(space, first, end)) and end:
        yield FlushTlbKernelRange(start=address_of(first), end=address_of(end))
    yield _PURGE_UNLOCK
