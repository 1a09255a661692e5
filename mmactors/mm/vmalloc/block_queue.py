"""The blocks of vm_map_ram: the array of all, the CPUs' lists, those that go (mm/vmalloc.c, v6.1).

A list is walked under RCU without its lock, which protects its links only: who takes a block off
it has both the block's lock and that of the list.
"""

from bisect import bisect_right, insort
from typing import Final

from mmactors import label
from mmactors.label import Label, Mode, vmap_block, vmap_block_queue
from mmactors.mm.page_alloc.gfp import GFP_NOWAIT, GFP_NOWARN
from mmactors.mm.slab.alloc_site import XAS_ALLOC, XAS_NOMEM
from mmactors.mm.slab.request import KernelOopsError
from mmactors.mm.vmalloc.lazy import free_vmap_area_noflush
from mmactors.mm.vmalloc.request import (
    VB_LOCK,
    VBQ_LOCK,
    XA_LOCK,
    AllocXaNode,
    FreeXaNode,
    KfreeRcu,
    RcuReadLock,
    RcuReadUnlock,
    SpinLock,
    SpinUnlock,
    VmallocSteps,
)
from mmactors.mm.vmalloc.space import VmallocSpace
from mmactors.mm.vmalloc.vmap_block import VMAP_BBMAP_BITS, BlockLink, VmapBlock
from mmactors.mm.xarray import NO_NODE

READ_LOCK: Final = RcuReadLock()
READ_UNLOCK: Final = RcuReadUnlock()
_SITE: Final = "free_vmap_block"
_GFP_LOCKED: Final = GFP_NOWAIT | GFP_NOWARN
_XAS_DESTROY: Final = "xas_destroy"
_RCU_FREE: Final = "radix_tree_node_rcu_free"
_XA_LOCK: Final = SpinLock(XA_LOCK)
_XA_UNLOCK: Final = SpinUnlock(XA_LOCK)
_CHANGE_ARRAY: Final = Label("change the array of blocks", ((label.VMAP_BLOCKS, Mode.WRITE),))
_READ_ARRAY: Final = Label("look up a block", ((label.VMAP_BLOCKS, Mode.READ),))
_CHAIN_MARGIN: Final = 1024
"""So many blocks more than there are may a list have before it is taken for a circle."""


def lock_block(space: VmallocSpace, block: VmapBlock, text: str) -> VmallocSteps[None]:
    """Take a block's lock, for a step that may change it."""
    yield SpinLock(VB_LOCK, block.index)
    if space.wants_step():
        yield Label(text, ((vmap_block(block.index), Mode.WRITE),))


def unlock_block(block: VmapBlock) -> SpinUnlock:
    """Return the request that lets go of a block's lock."""
    return SpinUnlock(VB_LOCK, block.index)


def next_queued(space: VmallocSpace, cpu: int, link: BlockLink) -> VmallocSteps[VmapBlock | None]:
    """Return the block behind a link of a CPU's list, None: it was the last."""
    if space.wants_step():
        yield Label("go on in the list", ((vmap_block_queue(cpu), Mode.READ),))
    following = link.next
    return following if isinstance(following, VmapBlock) else None


def next_of_all(space: VmallocSpace, cpu: int, link: BlockLink) -> VmallocSteps[VmapBlock | None]:
    """Return the block of the next higher index, whatever list it is on; None: it was the last."""
    del cpu  # All CPUs' blocks are in one array.
    block = yield from _next_in_array(space, link.index if isinstance(link, VmapBlock) else -1)
    return block


def _next_in_array(space: VmallocSpace, index: int) -> VmallocSteps[VmapBlock | None]:
    if space.wants_step():
        yield _READ_ARRAY
    order = space.block_order
    place = bisect_right(order, index)
    return space.blocks[order[place]] if place < len(order) else None


def find_block(space: VmallocSpace, index: int) -> VmallocSteps[VmapBlock | None]:
    """Return a block by its index (xa_load)."""
    if space.wants_step():
        yield _READ_ARRAY
    return space.blocks.get(index)


def insert_block(space: VmallocSpace, block: VmapBlock, gfp: int) -> VmallocSteps[bool]:
    """Add a new block to the array; say whether there was memory for its nodes (xa_insert)."""
    nodes, index = space.block_nodes, block.index
    spare = 0
    yield _XA_LOCK
    while True:
        if space.wants_step():
            yield _CHANGE_ARRAY
        if nodes.missing(index) == NO_NODE:
            break
        thing = spare or (yield AllocXaNode(gfp=_GFP_LOCKED, site=XAS_ALLOC))
        spare = 0
        if thing:
            nodes.add_node(index, thing)
            continue
        yield _XA_UNLOCK
        spare = yield AllocXaNode(gfp=gfp, site=XAS_NOMEM)
        if not spare:
            return False
        yield _XA_LOCK
    space.blocks[index] = block
    insort(space.block_order, index)
    nodes.store(index)
    yield _XA_UNLOCK
    if spare:
        yield FreeXaNode(thing=spare, site=_XAS_DESTROY, by_rcu=False)
    return True


def queue_block(space: VmallocSpace, block: VmapBlock, cpu: int) -> VmallocSteps[None]:
    """Let a new block be the last of a CPU's list (list_add_tail_rcu)."""
    head = space.queues[cpu]
    yield SpinLock(VBQ_LOCK, cpu)
    if space.wants_step():
        yield Label("read the last block", ((vmap_block_queue(cpu), Mode.READ),))
    before = head.prev
    if space.wants_step():
        yield Label("add the block", ((vmap_block_queue(cpu), Mode.WRITE),))
    block.cpu = cpu
    block.next, block.prev = head, before
    before.next = head.prev = block
    yield SpinUnlock(VBQ_LOCK, cpu)


def unqueue_block(space: VmallocSpace, block: VmapBlock, locked: int) -> VmallocSteps[None]:
    """Take a block off its list with the lock of a CPU's list (list_del_rcu).

    Who stands at the block goes on from there: it knows the next one still.
    """
    yield SpinLock(VBQ_LOCK, locked)
    if space.wants_step():
        yield Label("read the neighbours", ((vmap_block_queue(block.cpu), Mode.READ),))
    before, after = block.prev, block.next
    if space.wants_step():
        yield Label("take the block off", ((vmap_block_queue(block.cpu), Mode.WRITE),))
    after.prev = before
    before.next = after
    yield SpinUnlock(VBQ_LOCK, locked)


def free_vmap_block(space: VmallocSpace, block: VmapBlock) -> VmallocSteps[None]:
    """Free a block of which nothing is mapped, and that is on no list."""
    yield _XA_LOCK
    if space.wants_step():
        yield _CHANGE_ARRAY
    del space.blocks[block.index]
    space.block_order.remove(block.index)
    for thing in space.block_nodes.erase(block.index):
        yield FreeXaNode(thing=thing, site=_RCU_FREE, by_rcu=True)
    yield _XA_UNLOCK
    yield from free_vmap_area_noflush(space, block.area)
    yield KfreeRcu(thing=block.thing, site=_SITE)


def purge_fragmented_blocks_allcpus(space: VmallocSpace) -> VmallocSteps[None]:
    """Free the blocks with room of which all that was handed out is unmapped, CPU by CPU."""
    for cpu in range(space.nr_cpus):
        yield from _purge_fragmented_blocks(space, cpu)


def _purge_fragmented_blocks(space: VmallocSpace, cpu: int) -> VmallocSteps[None]:
    purged: list[VmapBlock] = []
    yield READ_LOCK
    block = yield from next_queued(space, cpu, space.queues[cpu])
    nr_seen = 0
    while block is not None:
        nr_seen = count_seen(space, cpu, nr_seen)
        if block.is_fragmented:
            yield from lock_block(space, block, "purge_fragmented_blocks")
            if block.is_fragmented:
                block.free = 0
                block.dirty = VMAP_BBMAP_BITS
                block.dirty_min, block.dirty_max = 0, VMAP_BBMAP_BITS
                of_block = space.rules.purge_locks_queue_of_block
                locked = block.cpu if of_block else block.index % space.nr_cpus
                yield from unqueue_block(space, block, locked)
                purged.append(block)
            yield unlock_block(block)
        block = yield from next_queued(space, cpu, block)
    yield READ_UNLOCK
    for block in purged:
        yield from free_vmap_block(space, block)


def count_seen(space: VmallocSpace, cpu: int, nr_seen: int) -> int:
    """Count a block that a walk has come to; raise KernelOopsError if it goes round in a circle."""
    if nr_seen > len(space.blocks) + _CHAIN_MARGIN:
        raise KernelOopsError(f"watchdog: BUG: soft lockup - CPU#{cpu} stuck for 26s!")
    return nr_seen + 1
