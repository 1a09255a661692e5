"""Mapping pages for a while (vm_map_ram, vm_unmap_ram; mm/vmalloc.c, v6.1).

Up to 64 pages come out of a block of the CPU's, which takes no lock that all CPUs share, nor a
guard page; more have an area of their own.
"""

from collections.abc import Sequence
from typing import Final

from mmactors.mm.page_alloc.gfp import GFP_KERNEL
from mmactors.mm.slab.oops import bug
from mmactors.mm.slab.request import KernelOopsError
from mmactors.mm.vmalloc.alloc_area import alloc_vmap_area
from mmactors.mm.vmalloc.block_queue import (
    READ_LOCK,
    READ_UNLOCK,
    count_seen,
    find_block,
    free_vmap_block,
    insert_block,
    lock_block,
    next_queued,
    queue_block,
    unlock_block,
    unqueue_block,
)
from mmactors.mm.vmalloc.find_area import find_vmap_area
from mmactors.mm.vmalloc.kernel_mapping import VMALLOC_START
from mmactors.mm.vmalloc.lazy import free_unmap_vmap_area, free_vmap_area
from mmactors.mm.vmalloc.request import (
    Kfree,
    Kmalloc,
    VmallocSteps,
    VmapPagesRange,
    VunmapRange,
    Warn,
)
from mmactors.mm.vmalloc.space import (
    VMALLOC_END,
    ThisCpu,
    VmallocSpace,
    address_of,
    block_index,
    page_of,
)
from mmactors.mm.vmalloc.vmap_block import (
    VMAP_BBMAP_BITS,
    VMAP_BLOCK_SIZE,
    VMAP_MAX_ALLOC,
    BlockLink,
    VmapBlock,
)
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_SITE: Final = "vm_map_ram"
"""new_vmap_block is inlined into it."""
_NO_SIZE: Final = Warn(place="mm/vmalloc.c:2129 vm_map_ram")


def vm_map_ram(
    space: VmallocSpace, this_cpu: ThisCpu, pfns: Sequence[int], node: int | None = None
) -> VmallocSteps[int]:
    """Map pages one after the other; return the address, 0: no addresses, or no memory.

    Raise KernelOopsError for no pages at all.
    """
    nr_pages = len(pfns)
    if nr_pages <= VMAP_MAX_ALLOC:
        if not nr_pages:
            yield _NO_SIZE
            raise KernelOopsError(*bug("mm/vmalloc.c", 626))
        first = yield from _vb_alloc(space, this_cpu, 1 << (nr_pages - 1).bit_length())
    else:
        area = yield from alloc_vmap_area(space, this_cpu, nr_pages, 1, GFP_KERNEL, node)
        first = space.view[area] if area else 0
    if not first:
        return 0
    start, end = address_of(first), address_of(first + nr_pages)
    error = yield VmapPagesRange(start=start, end=end, pfns=tuple(pfns), gfp=GFP_KERNEL)
    if error:
        yield from vm_unmap_ram(space, start, nr_pages)
        return 0
    return start


def vm_unmap_ram(space: VmallocSpace, address: int, nr_pages: int) -> VmallocSteps[None]:
    """Unmap what vm_map_ram has mapped; all of it, as it forgets how much it was.

    Raise KernelOopsError for an address at which nothing is, or for no pages.
    """
    if address == 0:
        raise KernelOopsError(*bug("mm/vmalloc.c", 2281))
    if not VMALLOC_START <= address < 0:
        raise KernelOopsError(*bug("mm/vmalloc.c", 2282))
    if address > VMALLOC_END:
        raise KernelOopsError(*bug("mm/vmalloc.c", 2283))
    if address % PAGE_SIZE:
        raise KernelOopsError(*bug("mm/vmalloc.c", 2284))
    if nr_pages <= VMAP_MAX_ALLOC:
        yield from _vb_free(space, address, nr_pages)
        return
    area = yield from find_vmap_area(space, address)
    if not area:
        raise KernelOopsError(*bug("mm/vmalloc.c", 2295))
    yield from free_unmap_vmap_area(space, area)


def _vb_alloc(space: VmallocSpace, this_cpu: ThisCpu, nr_pages: int) -> VmallocSteps[int]:
    """Return the first of so many pages, a power of two, of the CPU's oldest block with room.

    0: there is none, nor can one be made.
    """
    first = 0
    yield READ_LOCK
    cpu = this_cpu()
    link: BlockLink = space.queues[cpu]
    nr_seen = 0
    while not first and (block := (yield from next_queued(space, cpu, link))) is not None:
        nr_seen = count_seen(space, cpu, nr_seen)
        yield from lock_block(space, block, "vb_alloc")
        if block.free >= nr_pages:
            first = block.first + VMAP_BBMAP_BITS - block.free
            block.free -= nr_pages
            if not block.free:
                yield from unqueue_block(space, block, cpu)
        yield unlock_block(block)
        link = block
    yield READ_UNLOCK
    return first or (yield from _new_vmap_block(space, this_cpu, nr_pages))


def _new_vmap_block(space: VmallocSpace, this_cpu: ThisCpu, nr_used: int) -> VmallocSteps[int]:
    """Make a block of which the first pages are in use; return the first page, 0: it cannot be."""
    node = space.node_of_cpu[this_cpu()]
    thing = yield Kmalloc(size=VMAP_BLOCK_SIZE, gfp=GFP_KERNEL, node=node, site=_SITE)
    if not thing:
        return 0
    bits = VMAP_BBMAP_BITS
    area = yield from alloc_vmap_area(space, this_cpu, bits, bits, GFP_KERNEL, node)
    if not area:
        yield Kfree(thing=thing, site=_SITE)
        return 0
    first: int = space.view[area]
    block = VmapBlock(
        area=area, first=first, index=block_index(first), thing=thing, nr_used=nr_used
    )
    if not (yield from insert_block(space, block, GFP_KERNEL)):
        yield Kfree(thing=thing, site=_SITE)
        yield from free_vmap_area(space, area)
        return 0
    yield from queue_block(space, block, this_cpu())
    return first


def _vb_free(space: VmallocSpace, address: int, nr_pages: int) -> VmallocSteps[None]:
    """Unmap pages of a block; the last of its pages to go takes the block away."""
    if not nr_pages:
        raise KernelOopsError(*bug("mm/vmalloc.c", 486))
    nr_used = 1 << (nr_pages - 1).bit_length()
    page = page_of(address)
    block = yield from find_block(space, block_index(page))
    yield VunmapRange(start=address, end=address + (nr_pages << PAGE_SHIFT))
    if block is None:
        raise KernelOopsError("BUG: kernel NULL pointer dereference, address: 0000000000000000")
    yield from lock_block(space, block, "vb_free")
    offset = page - block.first
    block.dirty_min = min(block.dirty_min, offset)
    block.dirty_max = max(block.dirty_max, offset + nr_used)
    block.dirty += nr_used
    is_gone = block.dirty == VMAP_BBMAP_BITS
    if is_gone and block.free:
        raise KernelOopsError(*bug("mm/vmalloc.c", 2200))
    yield unlock_block(block)
    if is_gone:
        yield from free_vmap_block(space, block)
