"""SLUB without a machine: its requests are answered at once, each lock held to its rules."""

from object_allocators import AllocatorAlone

from mmactors.arch.arena import Arena
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.page import PageColumns
from mmactors.label import Label
from mmactors.mm.page_alloc.freelist import free_pages_prepare, prep_new_page
from mmactors.mm.page_alloc.gfp import GFP_KERNEL
from mmactors.mm.perform import perform
from mmactors.mm.slab.caller import NOBODY
from mmactors.mm.slab.kmalloc import Kmalloc
from mmactors.mm.slab.request import (
    AllocSlabPages,
    CallRcu,
    FlushCpus,
    FreeSlabPages,
    GetCpu,
    ListLock,
    ListUnlock,
    LocalLock,
    LocalUnlock,
    Printk,
    PutCpu,
    RcuBarrier,
    ShouldFailslab,
)
from mmactors.mm.slab.slab_common import Prandom
from mmactors.mm.slab.slub.cache import Slabs
from mmactors.mm.slab.slub.layout import SlubConfig
from mmactors.mm.slab.slub.lists import cpu_partial, node_partial
from mmactors.mm.slab.slub.slub import Slub
from mmactors.mm.slab.slub.struct_slab import (
    COUNTERS_INUSE,
    COUNTERS_OBJECTS,
    FREELIST,
    FULL_HEAD,
    NR_PARTIAL,
    NR_SLABS,
    OBJECTS_SHIFT,
    SLAB,
    TOTAL_OBJECTS,
)
from mmactors.mm.vmstat import VmStat
from mmactors.rules import Rules
from mmactors.units import PAGE_SHIFT

NODE_PAGES = 1 << 13


class SlubAlone(AllocatorAlone):
    """An allocator with `nr_nodes` nodes, whose pages are taken from the lowest on.

    Nodes without memory come after them.
    """

    def __init__(
        self,
        *,
        nr_cpus=1,
        nr_nodes=1,
        nr_memoryless=0,
        nr_pages=NODE_PAGES,
        seed=1,
        wants_step=False,
        rules=None,
        may_fail=False,
        config=None,
        **options,
    ):
        super().__init__()
        nr_frames = nr_pages * nr_nodes
        self.nr_node_pages = nr_pages
        arena = Arena()
        self.pages = PageColumns(arena, nr_frames)
        for node in range(nr_nodes):
            self.pages.zone[node * nr_pages : (node + 1) * nr_pages] = 1 + node
        self.vmstat = VmStat(arena, nr_cpus=nr_cpus, nr_zones=nr_nodes, nr_nodes=nr_nodes)
        self.memory = PhysicalMemory(nr_frames)
        self.random = Prandom(seed)
        self.locked = None
        self.nr_asked = 0
        self.next_slab = None
        """Where the next pages are looked for; None: from the lowest on."""
        self.refuses = lambda _allocation: False
        """Says which objects are made to fail."""
        self.between = lambda: None
        """Called before each step."""
        self.slabs = Slabs(
            arena=arena,
            pages=self.pages,
            memory=self.memory,
            zones=[(node, 1) for node in range(nr_nodes)],
            node_of_cpu=[cpu % nr_nodes for cpu in range(nr_cpus)],
            nodes_by_distance=[
                [other for other in range(nr_nodes) if other != node]
                for node in range(nr_nodes + nr_memoryless)
            ],
            config=config or SlubConfig(nr_cpus=nr_cpus, rules=rules or Rules(), **options),
            random_below=self.random.below,
            vmstat=self.vmstat,
            wants_step=lambda: wants_step,
            may_fail=lambda: may_fail,
        )
        self.allocator = self.slub = Slub(self.slabs, random=self.random)
        self.common = self.kmalloc_caches = Kmalloc(self.slub)
        self.gives_cpu_up = True

    def alloc(self, s, cpu=0, *, gfp=GFP_KERNEL, node=None, local=False, caller=NOBODY):
        """Allocate an object; with `local`, the compiled way first."""
        if local and node is None:
            thing = self.slub.alloc_local(s, cpu, gfp)
            if thing:
                return thing
        self.cpu = cpu
        return self.perform(self.slub.alloc(s, self.this_cpu, gfp, node, caller=caller))

    def free(self, s, thing, cpu=0, *, local=False, caller=NOBODY):
        slab = self.slabs.head_of(thing)
        if local and self.slub.free_local(s, cpu, slab, thing):
            return
        self.cpu = cpu
        self.perform(self.slub.free(s, self.this_cpu, slab, thing, caller=caller))

    def kmalloc(self, size, cpu=0, *, gfp=GFP_KERNEL):
        self.cpu = cpu
        return self.perform(self.kmalloc_caches.kmalloc(self.this_cpu, size, gfp))

    def kfree(self, thing, cpu=0):
        self.cpu = cpu
        self.perform(self.kmalloc_caches.kfree(self.this_cpu, thing))

    def perform(self, steps):
        result = perform(steps, self._answer)
        assert self.locked is None
        return result

    def _answer(self, request):
        match request:
            case AllocSlabPages():
                assert self.locked is None, "pages are asked for under list_lock"
                return self._alloc_pages(request)
            case ShouldFailslab(allocation=allocation):
                assert self.locked is None, "it is asked for before anything is taken"
                return int(self.refuses(allocation))
            case FreeSlabPages(pfn=pfn, order=order):
                assert self.locked is None, "pages are given back under list_lock"
                free_pages_prepare(self.pages, pfn, order)
            case ListLock(cache=cache, node=node):
                assert self.locked is None, "list_lock is taken within another"
                self.locked = cache, node
            case ListUnlock(cache=cache, node=node):
                assert (cache, node) == self.locked
                self.locked = None
            case CallRcu() | RcuBarrier():
                self.waiting.append(request)
            case FlushCpus(cache=cache, cpus=cpus):
                for cpu in cpus:
                    self.perform(self.slub.flush_cpu(cache, cpu))
            case Printk(lines=lines):
                self.log += lines
            case Label(text=text):
                self.steps.append(text)
                self.between()
            case LocalLock() | LocalUnlock() | GetCpu() | PutCpu():
                self.steps.append(type(request).__name__)
        return None

    def _alloc_pages(self, request):
        self.nr_asked += 1
        if self.fails(request):
            return None
        nr_pages = 1 << request.order
        node = self.cpu % self.slabs.nr_nodes if request.node is None else request.node
        refcount = self.pages.refcount
        first = max(nr_pages, node * self.nr_node_pages)
        if self.next_slab is not None:
            first = self.next_slab
        for pfn in range(first, (node + 1) * self.nr_node_pages, nr_pages):
            if not refcount[pfn : pfn + nr_pages].any():
                prep_new_page(self.pages, pfn, request.order, request.gfp)
                refcount[pfn : pfn + nr_pages] = 1
                return pfn
        return None

    def free_objects(self, s):
        """Return all free objects of a cache that lists reach, each as often as it is reached."""
        view, first_of = self.slabs.view, self.pages.index_view
        found = []
        for cpu in range(self.slabs.nr_cpus):
            c = s.cpu_slab(cpu)
            found += s.chain(view[c + FREELIST])
            if view[c + SLAB]:
                found += s.chain(first_of[view[c + SLAB]])
            for slab in cpu_partial(s, cpu):
                found += s.chain(first_of[slab])
        for node in range(self.slabs.nr_nodes):
            for slab in node_partial(s, node):
                found += s.chain(first_of[slab])
        return found

    def full_slabs(self, s, node):
        """Return the full slabs that a node remembers."""
        return self.pages.list_pfns(self.slabs.view[s.node(node) + FULL_HEAD])

    def assert_laws(self, s, held):
        """Assert that nothing of a cache is lost, and nothing is there twice."""
        view, counters = self.slabs.view, self.pages.private_view
        free = self.free_objects(s)
        everything = [*free, *held]
        assert len(everything) == len(set(everything)), "an object is in two places"
        nr_objects = sum(view[s.node(n) + TOTAL_OBJECTS] for n in range(self.slabs.nr_nodes))
        assert nr_objects == len(everything), "an object is lost"
        for node in range(self.slabs.nr_nodes):
            listed = list(node_partial(s, node))
            assert view[s.node(node) + NR_PARTIAL] == len(listed)
            assert all(self.slabs.node_of(slab) == node for slab in listed)
            for slab in listed:
                objects = counters[slab] >> OBJECTS_SHIFT & COUNTERS_OBJECTS
                chain = list(s.chain(self.pages.index_view[slab]))
                assert len(chain) == objects - (counters[slab] & COUNTERS_INUSE)
        for cpu in range(self.slabs.nr_cpus):
            c = s.cpu_slab(cpu)
            for thing in s.chain(view[c + FREELIST]):
                assert self.slabs.head_of(thing) == view[c + SLAB], "a CPU's list is of two slabs"
        slabs_of = {self.slabs.head_of(thing) for thing in everything}
        nr_slabs = sum(view[s.node(n) + NR_SLABS] for n in range(self.slabs.nr_nodes))
        assert nr_slabs == len(slabs_of)
        for thing in everything:
            start = self.slabs.head_of(thing) << PAGE_SHIFT
            assert (thing - start - s.layout.red_left_pad) % s.size == 0
