"""vmalloc without a machine: its requests are answered at once, each lock held to its rules."""

from itertools import count, pairwise

from mmactors.label import Label
from mmactors.mm.page_alloc.gfp import GFP_DIRECT_RECLAIM
from mmactors.mm.perform import perform
from mmactors.mm.vmalloc import request as ask
from mmactors.mm.vmalloc.area_tree import (
    BLACK,
    COLOUR,
    END,
    LEFT,
    PARENT,
    RED,
    RIGHT,
    START,
    SUBTREE_MAX,
    THING,
)
from mmactors.mm.vmalloc.purge import drain_vmap_area_work
from mmactors.mm.vmalloc.space import BUSY, FREE, LAZY, NR_PAGES, VmallocSpace, page_of
from mmactors.mm.vmalloc.vfree import free_work
from mmactors.mm.vmalloc.vmap_block import VMAP_BBMAP_BITS, VmapBlock
from mmactors.rules import Rules
from mmactors.units import PAGE_SHIFT

MAY_FAIL = (ask.AllocVmapArea, ask.AllocXaNode, ask.Kmalloc, ask.AllocPagesBulk, ask.AllocPage)
SLEEPS = (ask.VmapPagesRange, ask.VunmapRange, ask.CondResched, ask.PurgeLock, ask.ScheduleTimeout)


class VmallocAlone:
    """The kernel's addresses with memory that ends when a test wants it to.

    `mapped` are the pages by address; `stale` are addresses that a CPU may still know a translation
    of: each that was mapped since the last flush of it.
    """

    def __init__(self, *, nr_cpus=1, totalram=1 << 20, wants_step=False, rules=None):
        self.wants_step = wants_step
        self.space = VmallocSpace(
            nr_cpus=nr_cpus,
            node_of_cpu=[0] * nr_cpus,
            totalram_pages=lambda: totalram,
            rules=rules or Rules(),
            wants_step=lambda: self.wants_step,
        )
        self.cpu = 0
        self.fails_in = None
        """How many more allocations there are until one fails; None: none does."""
        self.has_failed = False
        self.is_interrupt = False
        self.is_dying = False
        self.things = {}
        """What objects there are: by address their kind."""
        self.in_grace = []
        self.pages = set()
        self.mapped = {}
        self.stale = {}
        self.log = []
        self.flushed = []
        self.steps = []
        self.waiting = []
        """Works that somebody has scheduled."""
        self._next = count(64, 64)
        self._next_pfn = count(1)
        self._held = []

    def this_cpu(self):
        return self.cpu

    def perform(self, steps):
        """Drive a path to its end; nothing is locked then."""
        result = perform(steps, self.answer)
        assert [] == self._held
        return result

    def work(self):
        """Let workers do what they were told."""
        while self.waiting:
            request = self.waiting.pop(0)
            if isinstance(request, ask.ScheduleDrain):
                self.perform(drain_vmap_area_work(self.space))
            else:
                self.perform(free_work(self.space, self.this_cpu, request.cpu))

    def grace_period(self):
        for thing in self.in_grace:
            del self.things[thing]
        self.in_grace.clear()

    def answer(self, request):
        if isinstance(request, SLEEPS) or getattr(request, "gfp", 0) & GFP_DIRECT_RECLAIM:
            assert [] == [each for each in self._held if each != "vmap_purge_lock"], request
        if isinstance(request, MAY_FAIL) and self._fails():
            return {ask.AllocPagesBulk: (), ask.AllocPage: None}.get(type(request), 0)
        match request:
            case Label():
                assert self.wants_step
                self.steps.append(request)
            case ask.AllocVmapArea() | ask.AllocXaNode():
                return self._new(type(request).__name__)
            case ask.Kmalloc(size=size):
                return self._new(size)
            case ask.FreeVmapArea(thing=thing) | ask.Kfree(thing=thing):
                del self.things[thing]
            case ask.FreeXaNode(thing=thing, by_rcu=False):
                del self.things[thing]
            case ask.KfreeRcu(thing=thing) | ask.FreeXaNode(thing=thing):
                assert thing not in self.in_grace
                self.in_grace.append(thing)
            case ask.AllocPagesBulk(nr=nr):
                return tuple(self._new_page() for _ in range(nr))
            case ask.AllocPage():
                return self._new_page()
            case ask.FreePage(pfn=pfn):
                self.pages.remove(pfn)
            case ask.VmapPagesRange(start=start, end=end, pfns=pfns):
                return self._map(start, end, pfns)
            case ask.VunmapRange(start=start, end=end):
                first, end = page_of(start), page_of(end)
                for page in [page for page in self.mapped if first <= page < end]:
                    del self.mapped[page]
            case ask.FlushTlbKernelRange(start=start, end=end):
                assert set(self._held) <= {"vmap_purge_lock"}
                self.flushed.append((start, end))
                first, end = page_of(start), page_of(end)
                for page in [page for page in self.stale if first <= page < end]:
                    del self.stale[page]
            case ask.SpinLock(name=name, number=number):
                self._lock((name, number))
            case ask.SpinUnlock(name=name, number=number):
                self._held.remove((name, number))
            case ask.PurgeLock():
                self._lock("vmap_purge_lock")
            case ask.PurgeUnlock():
                self._held.remove("vmap_purge_lock")
            case ask.RcuReadLock():
                self._held.append("rcu")
            case ask.RcuReadUnlock():
                self._held.remove("rcu")
            case ask.ScheduleDrain() | ask.ScheduleVfree():
                if request not in self.waiting:
                    self.waiting.append(request)
            case ask.CondReschedLock(name=name, number=number):
                assert (name, number) in self._held
            case ask.IsInterrupt():
                return int(self.is_interrupt)
            case ask.FatalSignalPending():
                return int(self.is_dying)
            case ask.WarnAlloc(text=text) | ask.Warn(text=text):
                self.log.append(text)
            case ask.Printk(lines=lines):
                self.log += lines
            case ask.CondResched() | ask.ScheduleTimeout():
                pass
            case _:
                raise AssertionError(request)
        return None

    def _fails(self):
        if self.fails_in is None:
            return False
        self.fails_in -= 1
        self.has_failed |= self.fails_in < 0
        return self.fails_in < 0

    def _lock(self, lock):
        assert lock not in self._held
        self._held.append(lock)

    def _new(self, kind):
        thing = next(self._next)
        self.things[thing] = kind
        return thing

    def _new_page(self):
        pfn = next(self._next_pfn)
        self.pages.add(pfn)
        return pfn

    def _map(self, start, end, pfns):
        """Map page by page; a CPU looks at each at once. A page table may be missing."""
        first = page_of(start)
        assert page_of(end) - first == len(pfns) > 0
        for nth, pfn in enumerate(pfns):
            page = first + nth
            if not page % 512 and self._fails():
                return -12
            assert page not in self.mapped
            assert self.stale.get(page, pfn) == pfn, f"a CPU knows page {page:#x} as another"
            self.mapped[page] = self.stale[page] = pfn
        return 0

    def assert_laws(self):
        """Check that all addresses are somewhere once, and trees, lists, blocks and objects."""
        space = self.space
        spans = []
        for head in (FREE, BUSY, LAZY):
            areas = list(space.areas_of(head))
            assert areas == self._in_order(head)
            found = [(space.view[area + START], space.view[area + END]) for area in areas]
            if head != BUSY:
                assert all(end < first for (_, end), (first, _) in pairwise(found)), "not merged"
            spans += found
        spans.sort()
        assert all(first < end for first, end in spans)
        edges = [0, *(edge for span in spans for edge in span), NR_PAGES - 1]
        assert edges[::2] == edges[1::2], "addresses are lost, or are somewhere twice"
        assert space.lazy_nr == sum(map(space.size_of, space.areas_of(LAZY)))
        self._assert_blocks()
        self._assert_objects()

    def _in_order(self, head):
        """Return a tree's areas in order, having checked the tree."""
        view = self.space.view
        order = []

        def height(area, parent):
            if not area:
                return 0, 0
            assert view[area + PARENT] == parent
            left, largest = height(view[area + LEFT], area)
            order.append(area)
            right, other = height(view[area + RIGHT], area)
            largest = max(largest, other, view[area + END] - view[area + START])
            assert left == right, "ways down with unequally many black areas"
            assert view[area + SUBTREE_MAX] == largest
            if view[area + COLOUR] == RED:
                assert parent, "a red root"
                assert view[parent + COLOUR] == BLACK
            return left + (view[area + COLOUR] == BLACK), largest

        height(view[head + LEFT], 0)
        return order

    def queued_on(self, cpu):
        blocks = []
        link = self.space.queues[cpu].next
        while isinstance(link, VmapBlock):
            assert link.next.prev is link
            blocks.append(link)
            link = link.next
        assert link is self.space.queues[cpu]
        return blocks

    def _assert_blocks(self):
        space = self.space
        queued = [(cpu, block) for cpu in range(space.nr_cpus) for block in self.queued_on(cpu)]
        assert all(block.cpu == cpu for cpu, block in queued)
        with_room = [block.index for block in space.blocks.values() if block.free]
        assert sorted(with_room) == sorted(block.index for _, block in queued)
        assert sorted(space.blocks) == space.block_order
        for index, block in space.blocks.items():
            assert index == block.index
            assert block.area in set(space.areas_of(BUSY))
            assert block.area not in space.vm
            assert 0 <= block.dirty <= VMAP_BBMAP_BITS - block.free < VMAP_BBMAP_BITS + 1
            assert block.dirty != VMAP_BBMAP_BITS, "it should be gone"

    def _assert_objects(self):
        space = self.space
        areas = [area for head in (FREE, BUSY, LAZY) for area in space.areas_of(head)]
        areas += filter(None, space.preloaded)
        used = [space.view[area + THING] for area in areas if space.view[area + THING]]
        used += [vm.thing for vm in space.vm.values()]
        used += [vm.pages_address for vm in space.vm.values() if vm.pages_address > 0]
        used += [block.thing for block in space.blocks.values()]
        used += [node.thing for node in space.block_nodes.nodes]
        assert sorted(used) == sorted(self.things.keys() - set(self.in_grace))
        assert set(space.vm) <= set(space.areas_of(BUSY))
        pages = [pfn for vm in space.vm.values() for pfn in vm.pages]
        assert sorted(pages) == sorted(self.pages)
        assert len(pages) == space.nr_vmalloc_pages
        assert sum(len(vm.pages) for vm in space.vm.values()) <= len(self.mapped)
        assert all(vm.size >> PAGE_SHIFT for vm in space.vm.values())
