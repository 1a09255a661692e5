"""SLOB without a machine: its requests are answered at once, its lock held to its rules."""

from attrs import frozen
from object_allocators import AllocatorAlone

from mmactors.arch.arena import Arena
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.page import PG_SLAB, PageColumns
from mmactors.label import Label
from mmactors.mm.page_alloc.freelist import free_pages_prepare, prep_new_page
from mmactors.mm.page_alloc.gfp import GFP_KERNEL
from mmactors.mm.perform import perform
from mmactors.mm.slab.flags import SLAB_TYPESAFE_BY_RCU
from mmactors.mm.slab.request import (
    AllocSlabPages,
    CallRcu,
    FreeSlabPages,
    Printk,
    RcuBarrier,
    SlobLock,
    SlobUnlock,
    TellAlloc,
    TellFree,
)
from mmactors.mm.slab.slab_common import large_order
from mmactors.mm.slab.slab_memory import SlabMemory
from mmactors.mm.slab.slob.heap import LISTS
from mmactors.mm.slab.slob.kmalloc import SlobKmalloc
from mmactors.mm.slab.slob.slob import Slob
from mmactors.mm.slab.slob.slob_block import PAGE_UNITS, SLOB_UNIT
from mmactors.mm.vmstat import VmStat
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

NODE_PAGES = 1 << 11
HEADER = 8


@frozen
class Block:
    """What is out: where it begins, header and all, how long it is, where its user begins."""

    begin: int
    nr_bytes: int
    thing: int
    cache: object = None
    """None: kmalloc."""


class SlobAlone(AllocatorAlone):
    """An allocator with `nr_nodes` nodes, whose pages are taken from the lowest on."""

    def __init__(self, *, nr_cpus=1, nr_nodes=1, wants_step=False):
        super().__init__()
        self.nr_nodes = nr_nodes
        nr_frames = NODE_PAGES * nr_nodes
        arena = Arena()
        self.pages = PageColumns(arena, nr_frames)
        for node in range(nr_nodes):
            self.pages.zone[node * NODE_PAGES : (node + 1) * NODE_PAGES] = 1 + node
        self.vmstat = VmStat(arena, nr_cpus=nr_cpus, nr_zones=nr_nodes, nr_nodes=nr_nodes)
        self.memory = PhysicalMemory(nr_frames)
        self.is_locked = False
        self.allocator = self.slob = Slob(
            SlabMemory(
                pages=self.pages,
                memory=self.memory,
                zones=[(node, 1) for node in range(nr_nodes)],
                node_of_cpu=[cpu % nr_nodes for cpu in range(nr_cpus)],
                nodes_by_distance=[
                    [other for other in range(nr_nodes) if other != node]
                    for node in range(nr_nodes)
                ],
                random_below=int,
                vmstat=self.vmstat,
                wants_step=lambda: wants_step,
            )
        )
        self.heap = self.slob.heap
        self.common = SlobKmalloc(self.slob)
        self.common.create_caches()

    def alloc(self, s, cpu=0, *, gfp=GFP_KERNEL, node=None):
        """Return what is out then, None: no memory."""
        self.cpu = cpu
        thing = self.perform(self.slob.alloc(s, self.this_cpu, gfp, node))
        nr_bytes = s.size if s.size < PAGE_SIZE else PAGE_SIZE << large_order(s.size)
        return Block(thing, nr_bytes, thing, s) if thing else None

    def kmalloc(self, size, cpu=0, *, gfp=GFP_KERNEL, node=None):
        self.cpu = cpu
        thing = self.perform(self.common.kmalloc(self.this_cpu, size, gfp, node))
        if not thing:
            return None
        if size >= PAGE_SIZE - HEADER:
            return Block(thing, self.common.bytes_alloc(size, gfp), thing)
        return Block(thing - HEADER, size + HEADER, thing)

    def free(self, block, cpu=0):
        self.cpu = cpu
        if block.cache is None:
            self.perform(self.common.kfree(self.this_cpu, block.thing))
        else:
            self.perform(self.slob.kmem_cache_free(block.cache, self.this_cpu, block.thing))

    def perform(self, steps):
        result = perform(steps, self._answer)
        assert not self.is_locked
        return result

    def _answer(self, request):
        match request:
            case AllocSlabPages():
                assert not self.is_locked, "pages are asked for under slob_lock"
                return self._alloc_pages(request)
            case FreeSlabPages(pfn=pfn, order=order):
                assert not self.is_locked, "pages are given back under slob_lock"
                self.pages.refcount[pfn : pfn + (1 << order)] = 0
                free_pages_prepare(self.pages, pfn, order)
            case SlobLock():
                assert not self.is_locked, "slob_lock is taken within itself"
                self.is_locked = True
            case SlobUnlock():
                assert self.is_locked
                self.is_locked = False
            case CallRcu() | RcuBarrier():
                self.waiting.append(request)
            case Printk(lines=lines):
                self.log += lines
            case Label(text=text):
                assert self.is_locked, "blocks are touched without slob_lock"
                self.steps.append(text)
            case TellAlloc() | TellFree():
                pass
            case _:
                raise AssertionError(f"SLOB asks for {request}")
        return None

    def _alloc_pages(self, request):
        if self.fails(request):
            return None
        nr_pages = 1 << request.order
        node = self.cpu % self.nr_nodes if request.node is None else request.node
        refcount = self.pages.refcount
        for pfn in range(max(nr_pages, node * NODE_PAGES), (node + 1) * NODE_PAGES, nr_pages):
            if not refcount[pfn : pfn + nr_pages].any():
                prep_new_page(self.pages, pfn, request.order, request.gfp)
                refcount[pfn : pfn + nr_pages] = 1
                return pfn
        return None

    def assert_laws(self, held):
        """Assert that lists hold exactly the pages with room, and no byte is there twice."""
        listed = [pfn for nth in range(len(LISTS)) for pfn in self.heap.list_of(nth)]
        assert len(listed) == len(set(listed)), "a page is on two lists"
        on_list = [pfn for pfn in range(self.pages.nr_frames) if self.heap.is_on_list(pfn)]
        assert on_list == sorted(listed)
        used = {}
        for block in held:
            units = -(-block.nr_bytes // SLOB_UNIT)
            if not self.pages.flags_view[block.begin >> PAGE_SHIFT] & PG_SLAB:
                continue
            used.setdefault(block.begin >> PAGE_SHIFT, []).append(
                (block.begin % PAGE_SIZE // SLOB_UNIT, units)
            )
        for pfn in listed:
            page = self.heap.page(pfn)
            ends = [offset + units for offset, units in page.blocks]
            assert all(end < after[0] for end, after in zip(ends, page.blocks[1:], strict=False))
            assert 0 < page.units == sum(units for _, units in page.blocks) < PAGE_UNITS
            used.setdefault(pfn, []).extend(page.blocks)
        for pfn, blocks in used.items():
            end = 0
            for offset, units in sorted(blocks):
                assert offset == end, f"bytes of page {pfn:#x} are lost, or there twice"
                end = offset + units
            assert end == PAGE_UNITS, f"the end of page {pfn:#x} is lost"
        large = sum(
            block.nr_bytes >> PAGE_SHIFT
            for block in held
            if not self.pages.flags_view[block.begin >> PAGE_SHIFT] & PG_SLAB
        )
        assert self.nr_pages == self.nr_slab_pages == len(used) + large


def is_rcu(block):
    """Return whether a block waits for readers when it is freed."""
    return block.cache is not None and bool(block.cache.flags & SLAB_TYPESAFE_BY_RCU)
