"""SLAB without a machine: its requests are answered at once, each lock held to its rules."""

from object_allocators import AllocatorAlone

from mmactors.arch.arena import Arena
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.page import PageColumns
from mmactors.label import Label
from mmactors.mm.page_alloc.freelist import free_pages_prepare, prep_new_page
from mmactors.mm.page_alloc.gfp import GFP_DIRECT_RECLAIM, GFP_KERNEL, GFP_THISNODE
from mmactors.mm.perform import perform
from mmactors.mm.slab.caller import NOBODY
from mmactors.mm.slab.kmalloc import Kmalloc
from mmactors.mm.slab.request import (
    AlienLock,
    AlienTryLock,
    AlienUnlock,
    AllocSlabPages,
    CallRcu,
    FlushCpus,
    FreeSlabPages,
    ListLock,
    ListUnlock,
    LocalLock,
    LocalUnlock,
    Printk,
    RcuBarrier,
    ShouldFailslab,
    TellAlloc,
    TellFree,
)
from mmactors.mm.slab.slab.cache import Slabs
from mmactors.mm.slab.slab.layout import SlabConfig
from mmactors.mm.slab.slab.slab import BootStage, Slab
from mmactors.mm.slab.slab.struct_slab import (
    AVAIL,
    FREE_OBJECTS,
    FREE_SLABS,
    LIMIT,
    OBJECT_FREELIST,
    SLABS_FREE,
    SLABS_FULL,
    SLABS_PARTIAL,
    TOTAL_SLABS,
)
from mmactors.mm.slab.slab_common import Prandom
from mmactors.mm.vmstat import VmStat

NODE_PAGES = 1 << 13


class SlabAlone(AllocatorAlone):
    """An allocator with `nr_nodes` nodes, whose pages are taken from the lowest on.

    Nodes without memory come after them.
    """

    def __init__(
        self,
        *,
        nr_cpus=1,
        nr_nodes=1,
        nr_memoryless=0,
        node_of_cpu=None,
        seed=1,
        wants_step=False,
        may_fail=False,
        **options,
    ):
        super().__init__()
        nr_frames = NODE_PAGES * nr_nodes
        arena = Arena()
        self.pages = PageColumns(arena, nr_frames)
        for node in range(nr_nodes):
            self.pages.zone[node * NODE_PAGES : (node + 1) * NODE_PAGES] = 1 + node
        self.vmstat = VmStat(arena, nr_cpus=nr_cpus, nr_zones=nr_nodes, nr_nodes=nr_nodes)
        self.memory = PhysicalMemory(nr_frames)
        self.random = Prandom(seed)
        self.told = []
        self.locked = []
        """Locks that are held, the last one last."""
        self.irqs_off = 0
        self.full_nodes = set()
        """Nodes that have no page left."""
        self.refuses = lambda _allocation: False
        self.slabs = Slabs(
            arena,
            SlabConfig(nr_cpus=nr_cpus, **options),
            pages=self.pages,
            memory=self.memory,
            zones=[(node, 1) for node in range(nr_nodes)],
            node_of_cpu=node_of_cpu or [cpu % nr_nodes for cpu in range(nr_cpus)],
            nodes_by_distance=[
                [other for other in range(nr_nodes) if other != node]
                for node in range(nr_nodes + nr_memoryless)
            ],
            random_below=self.random.below,
            vmstat=self.vmstat,
            wants_step=lambda: wants_step,
            may_fail=lambda: may_fail,
        )
        self.allocator = self.slab = Slab(self.slabs, random=self.random)
        self.common = self.kmalloc_caches = Kmalloc(self.slab)
        self.kmalloc_caches.create_caches()
        self.slab.stage = BootStage.ALL
        self.jiffies = 0

    def alloc(self, s, cpu=0, *, gfp=GFP_KERNEL, node=None, local=False):
        """Allocate an object; with `local`, the compiled way first."""
        if local and node is None:
            thing = self.slab.alloc_local(s, cpu, gfp)
            if thing:
                return thing
        self.cpu = cpu
        return self.perform(self.slab.alloc(s, self.this_cpu, gfp, node, caller=NOBODY))

    def free(self, s, thing, cpu=0, *, local=False):
        slab = self.slabs.head_of(thing)
        if local and self.slab.free_local(s, cpu, slab, thing):
            return
        self.cpu = cpu
        self.perform(self.slab.free(s, self.this_cpu, slab, thing, caller=NOBODY))

    def reap(self, cpu=0):
        self.cpu = cpu
        self.perform(self.slab.cache_reap(self.this_cpu, jiffies=self.jiffies))

    def perform(self, steps):
        held, irqs_off = len(self.locked), self.irqs_off
        result = perform(steps, self._answer)
        assert (held, irqs_off) == (len(self.locked), self.irqs_off)
        return result

    def _answer(self, request):
        match request:
            case AllocSlabPages(gfp=gfp):
                assert not self.locked, "pages are asked for under a lock"
                assert not self.irqs_off or not gfp & GFP_DIRECT_RECLAIM
                return self._alloc_pages(request)
            case ShouldFailslab(allocation=allocation):
                return int(self.refuses(allocation))
            case FreeSlabPages(pfn=pfn, order=order):
                assert not self.locked, "pages are given back under a lock"
                free_pages_prepare(self.pages, pfn, order)
            case ListLock(cache=cache, node=node):
                assert not any(len(lock) == 2 for lock in self.locked), "two list_locks"
                self.locked.append((cache, node))
            case ListUnlock(cache=cache, node=node):
                assert (cache, node) == self.locked.pop()
            case AlienLock(cache=cache, node=node, alien=alien):
                assert not self.locked
                assert node != alien
                self.locked.append((cache, node, alien))
            case AlienTryLock(lock):
                self._answer(lock)
                return 1
            case AlienUnlock(cache=cache, node=node, alien=alien):
                assert (cache, node, alien) == self.locked.pop()
            case LocalLock(cpu=cpu):
                assert cpu == self.cpu
                self.irqs_off += 1
            case LocalUnlock(cpu=cpu):
                assert cpu == self.cpu
                self.irqs_off -= 1
            case CallRcu() | RcuBarrier():
                self.waiting.append(request)
            case FlushCpus(cache=cache, cpus=cpus, is_interrupt=is_interrupt):
                assert is_interrupt
                was = self.cpu
                for self.cpu in cpus:
                    self.perform(self.slab.flush_cpu(cache, self.cpu))
                self.cpu = was
            case Printk(lines=lines):
                self.log += lines
            case TellAlloc() | TellFree():
                self.told.append(request)
            case Label(text=text):
                self.steps.append(text)
            case _:
                raise AssertionError(request)
        return None

    def _alloc_pages(self, request):
        if self.fails(request):
            return None
        nr_pages = 1 << request.order
        node = self.slabs.cpu_to_mem[self.cpu] if request.node is None else request.node
        refcount = self.pages.refcount
        nodes = (
            [node] if request.gfp & GFP_THISNODE else [node, *self.slabs.nodes_by_distance[node]]
        )
        for node in nodes:
            first = max(nr_pages, node * NODE_PAGES)
            for pfn in range(first, (node + 1) * NODE_PAGES, nr_pages):
                if self.is_free(pfn, nr_pages) and node not in self.full_nodes:
                    prep_new_page(self.pages, pfn, request.order, request.gfp)
                    refcount[pfn : pfn + nr_pages] = 1
                    return pfn
        return None

    def is_free(self, pfn, nr_pages):
        refcount = self.pages.refcount
        return pfn < len(refcount) and not refcount[pfn : pfn + nr_pages].any()

    def arrays(self, s):
        """Yield (array, node whose objects it may have) of all arrays there are."""
        for cpu in range(self.slabs.nr_cpus):
            yield s.cpu_cache(cpu), self.slabs.cpu_to_mem[cpu]
        for node in self.slabs.nodes:
            yield s.shared(node), node
            for of in self.slabs.nodes:
                yield s.alien(node, of), of

    def index_arrays(self, s):
        """Return the kmalloc objects that arrays of indexes of a cache's slabs are."""
        if not s.layout.is_off_slab:
            return []
        lists = (SLABS_FULL, SLABS_PARTIAL, SLABS_FREE)
        slabs = [
            p for node in self.slabs.nodes for which in lists for p in s.node_slabs(node, which)
        ]
        return [self.pages.index_view[slab] for slab in slabs]

    def assert_laws(self, s, held):
        """Assert that nothing of a cache is lost, and nothing is there twice."""
        view, slabs = self.slabs.view, self.slabs
        everything = list(held)
        for ac, node in self.arrays(s):
            things = s.entries(ac)
            assert view[ac + AVAIL] <= view[ac + LIMIT]
            assert all(slabs.node_of(slabs.head_of(thing)) == node for thing in things)
            everything += things
        all_objects = []
        for node in slabs.nodes:
            n = s.node(node)
            full, partial, free = (
                s.node_slabs(node, which) for which in (SLABS_FULL, SLABS_PARTIAL, SLABS_FREE)
            )
            assert all(s.active(slab) == s.layout.num for slab in full)
            assert all(0 < s.active(slab) < s.layout.num for slab in partial)
            assert all(s.active(slab) == 0 for slab in free)
            both = [*partial, *free]
            assert len(free) == view[n + FREE_SLABS]
            assert len(full) + len(both) == view[n + TOTAL_SLABS]
            nr_free = sum(s.layout.num - s.active(slab) for slab in both)
            assert nr_free == view[n + FREE_OBJECTS]
            for slab in (*full, *both):
                assert slabs.node_of(slab) == node
                first = s.first_object(slab)
                all_objects += [first + nth * s.size for nth in range(s.layout.num)]
                indexes = s.free_indexes(slab)
                everything += [first + index * s.size for index in indexes]
                if s.flags & OBJECT_FREELIST and indexes:
                    assert s.index_of(slab, self.pages.index_view[slab]) in indexes
        assert len(everything) == len(set(everything)), "an object is in two places"
        assert set(everything) == set(all_objects), "an object is lost"
