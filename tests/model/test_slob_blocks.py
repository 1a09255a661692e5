"""SLOB under any sequence of calls: no byte is lost or there twice, lists hold what has room."""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from slobs import SlobAlone, is_rcu

from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_ZERO
from mmactors.mm.slab.flags import SLAB_HWCACHE_ALIGN, SLAB_TYPESAFE_BY_RCU
from mmactors.units import PAGE_SHIFT

CPUS, NODES = 3, 2
FLAGS = (0, SLAB_HWCACHE_ALIGN, SLAB_TYPESAFE_BY_RCU, SLAB_HWCACHE_ALIGN | SLAB_TYPESAFE_BY_RCU)
SIZES = (1, 7, 24, 100, 192, 256, 700, 1023, 1024, 2500, 4071, 4095, 4096, 9000)
KMALLOC_SIZES = st.one_of(
    st.integers(1, 300), st.sampled_from([512, 1024, 2048, 4087, 4088, 4096]), st.integers(1, 9000)
)


class Blocks(RuleBasedStateMachine):
    """Three CPUs on two nodes, caches of odd sizes and kmalloc, pages that may fail."""

    def __init__(self):
        super().__init__()
        self.alone = SlobAlone(nr_cpus=CPUS, nr_nodes=NODES)
        self.caches = []
        self.held = []
        self.dying = []
        self.failing = False
        self.alone.fails = lambda _request: self.failing

    @rule(
        size=st.sampled_from(SIZES),
        flags=st.sampled_from(FLAGS),
        align=st.sampled_from([0, 0, 16, 128]),
    )
    @precondition(lambda self: len(self.caches) < 4)
    def create(self, size, flags, align):
        name = f"c{len(self.caches)}"
        self.caches.append(self.alone.create(size, name, flags=flags, align=align))

    @rule(
        data=st.data(),
        cpu=st.integers(0, CPUS - 1),
        node=st.sampled_from([None, None, 0, 1]),
        count=st.integers(1, 40),
    )
    @precondition(lambda self: self.caches)
    def alloc(self, data, cpu, node, count):
        s = data.draw(st.sampled_from(self.caches))
        for _ in range(count):
            self._took(self.alone.alloc(s, cpu, node=node), node, s.align)

    @rule(
        sizes=st.lists(KMALLOC_SIZES, min_size=1, max_size=20),
        cpu=st.integers(0, CPUS - 1),
        node=st.sampled_from([None, None, 0, 1]),
        zero=st.booleans(),
    )
    def kmalloc(self, sizes, cpu, node, zero):
        for size in sizes:
            gfp = GFP_KERNEL | (GFP_ZERO if zero else 0)
            block = self.alone.kmalloc(size, cpu, node=node, gfp=gfp)
            self._took(block, node, size if size & (size - 1) == 0 and size < 4096 else 8)
            if block is not None:
                assert self.alone.common.ksize(block.thing) >= size
                view = self.alone.slob.memory.bytes_view[block.thing : block.thing + size]
                assert not zero or not any(view)
                view[:] = b"\xa5" * size

    def _took(self, block, node, align):
        if block is None:
            assert self.failing
            return
        place = self.alone.slob.memory.node_of(block.thing >> PAGE_SHIFT)
        assert node is None or place == node
        assert block.thing % align == 0
        self.held.append(block)

    @rule(
        cpu=st.integers(0, CPUS - 1),
        count=st.integers(1, 40),
        seed=st.randoms(use_true_random=False),
    )
    @precondition(lambda self: self.held)
    def free(self, cpu, count, seed):
        for _ in range(min(count, len(self.held))):
            self._free(self.held.pop(seed.randrange(len(self.held))), cpu)

    def _free(self, block, cpu=0):
        if is_rcu(block):
            self.dying.append(block)
        self.alone.free(block, cpu)

    @rule()
    def grace_period(self):
        self.alone.grace_period()
        self.dying.clear()

    @rule()
    def let_pages_fail_or_not(self):
        self.failing = not self.failing

    @invariant()
    def nothing_is_lost_or_twice(self):
        self.alone.assert_laws(self.held + self.dying)

    def teardown(self):
        for block in self.held:
            self._free(block)
        for s in self.caches:
            assert self.alone.destroy(s)
        self.alone.grace_period()
        assert (0, 0, []) == (self.alone.nr_pages, self.alone.nr_slab_pages, self.alone.waiting)
        assert [] == self.alone.log
        assert ["kmem_cache"] == [s.name for s in self.alone.slob.caches]


TestBlocks = Blocks.TestCase
TestBlocks.settings = settings(max_examples=60, stateful_step_count=30)


def first_fit(blocks, units, align, header):
    """Return where in a page's free blocks a block goes, None: nowhere; all in units."""
    for offset, length in blocks:
        place = -(-(offset + header) // align) * align - header
        if place + units <= offset + length:
            return place
    return None


@pytest.mark.parametrize("seed", range(4))
def test_the_first_page_with_room_from_the_last_search_on_serves(seed):
    """A model of lists of free blocks, searched and cut in Python, gives the same places."""
    alone = SlobAlone()
    chance = random.Random(seed)
    sizes = [[24, 40, 90], [300, 500], [1100, 1500], [8, 300, 1024, 2048]][seed]
    held = []
    for _ in range(1200):
        if held and chance.random() < 0.48:
            alone.free(held.pop(chance.randrange(len(held))))
            continue
        size = chance.choice(sizes)
        nth = sum(size + 8 >= limit for limit in (256, 1024))
        order = alone.heap.list_of(nth)
        pages = [alone.heap.page(pfn) for pfn in order]
        align = max(8, size if size & (size - 1) == 0 else 8) // 2
        units = -(-(size + 8) // 2)
        fits = [
            (page.pfn, first_fit(page.blocks, units, align, 4))
            for page in pages
            if page.units >= units
        ]
        found = next(((pfn, place) for pfn, place in fits if place is not None), None)

        block = alone.kmalloc(size)

        held.append(block)
        pfn, offset = divmod(block.begin, 4096)
        if found is None:
            assert pfn not in order
        else:
            assert (pfn, offset // 2) == found
            at = order.index(pfn)
            is_full = not alone.heap.is_on_list(pfn)
            turned = order[:at] + order[at + 1 :] if is_full else order[at:] + order[:at]
            assert alone.heap.list_of(nth) == turned
    alone.assert_laws(held)
