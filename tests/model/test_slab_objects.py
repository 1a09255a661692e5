"""SLAB under any sequence of calls: an object is in one place, counters are those of the lists."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from object_allocators import assert_twins_leave_the_same
from slabs import SlabAlone

from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_NOWAIT, GFP_THISNODE
from mmactors.mm.slab.flags import (
    SLAB_HWCACHE_ALIGN,
    SLAB_NOLEAKTRACE,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_TYPESAFE_BY_RCU,
)
from mmactors.mm.slab.slab.reap import REAPTIMEOUT_AC
from mmactors.units import PAGE_SHIFT

CPUS, NODES = 3, 2
FLAGS = (
    0,
    SLAB_HWCACHE_ALIGN,
    SLAB_TYPESAFE_BY_RCU,
    SLAB_HWCACHE_ALIGN | SLAB_TYPESAFE_BY_RCU,
    SLAB_NOLEAKTRACE | SLAB_RECLAIM_ACCOUNT,
)
SIZES = (8, 24, 100, 192, 700, 1024, 2048, 2500, 4096, 8192)


class Objects(RuleBasedStateMachine):
    """Three CPUs on two nodes, caches of odd sizes, pages that may fail, a reaper."""

    def __init__(self):
        super().__init__()
        self.caches = []
        self.held = []
        self.failing = None
        self.nr_asked = 0
        self.alone = None

    @rule(alien=st.booleans(), is_random=st.booleans())
    @precondition(lambda self: self.alone is None)
    def boot(self, alien, is_random):
        self.alone = SlabAlone(
            nr_cpus=CPUS, nr_nodes=NODES, merge=False, alien_caches=alien, random=is_random
        )
        self.alone.fails = self.fails

    def fails(self, _request):
        """Say whether there is no page for a request: if that is so for some, for every other."""
        self.nr_asked += 1
        return self.failing == "all" or (self.failing == "some" and self.nr_asked % 2 == 0)

    @rule(size=st.sampled_from(SIZES), flags=st.sampled_from(FLAGS), has_ctor=st.booleans())
    @precondition(lambda self: self.alone and len(self.caches) < 3)
    def create(self, size, flags, has_ctor):
        name = f"c{len(self.caches)}"
        self.caches.append(self.alone.create(size, name, flags=flags, has_ctor=has_ctor))
        self.held.append([])

    @rule(
        data=st.data(),
        cpu=st.integers(0, CPUS - 1),
        node=st.sampled_from([None, None, 0, 1]),
        gfp=st.sampled_from([GFP_KERNEL, GFP_NOWAIT, GFP_KERNEL | GFP_THISNODE]),
        count=st.integers(1, 150),
        local=st.booleans(),
    )
    @precondition(lambda self: self.caches)
    def alloc(self, data, cpu, node, gfp, count, local):
        nth = data.draw(st.integers(0, len(self.caches) - 1))
        for _ in range(count):
            thing = self.alone.alloc(self.caches[nth], cpu, node=node, gfp=gfp, local=local)
            if not thing:
                assert self.failing or self.alone.full_nodes
                return
            may_go_elsewhere = self.failing or self.alone.full_nodes
            is_bound = not may_go_elsewhere or gfp & GFP_THISNODE
            wanted = self.alone.slabs.cpu_to_mem[cpu] if node is None else node
            assert not is_bound or self.alone.slabs.node_of(thing >> PAGE_SHIFT) == wanted
            self.held[nth].append(thing)

    @rule(
        data=st.data(),
        cpu=st.integers(0, CPUS - 1),
        count=st.integers(1, 150),
        seed=st.randoms(use_true_random=False),
        local=st.booleans(),
    )
    @precondition(lambda self: any(self.held))
    def free(self, data, cpu, count, seed, local):
        nth = data.draw(st.sampled_from([i for i, held in enumerate(self.held) if held]))
        held = self.held[nth]
        for _ in range(min(count, len(held))):
            thing = held.pop(seed.randrange(len(held)))
            self.alone.free(self.caches[nth], thing, cpu, local=local)

    @rule(data=st.data())
    @precondition(lambda self: self.caches)
    def shrink(self, data):
        nth = data.draw(st.integers(0, len(self.caches) - 1))

        is_left = self.alone.shrink(self.caches[nth])

        assert bool(self.held[nth]) == is_left

    @rule(cpu=st.integers(0, CPUS - 1), nr_passes=st.integers(1, 6))
    @precondition(lambda self: self.alone)
    def reap(self, cpu, nr_passes):
        for _ in range(nr_passes):
            self.alone.jiffies += REAPTIMEOUT_AC
            self.alone.reap(cpu)

    @rule()
    @precondition(lambda self: self.alone)
    def grace_period(self):
        self.alone.grace_period()

    @rule(failing=st.sampled_from([None, "some", "all"]))
    @precondition(lambda self: self.alone)
    def let_pages_fail_or_not(self, failing):
        self.failing = failing

    @rule(nodes=st.sets(st.integers(0, NODES - 1), max_size=1))
    @precondition(lambda self: self.alone)
    def let_a_node_be_full_or_none(self, nodes):
        self.alone.full_nodes = nodes

    @invariant()
    def nothing_is_lost_or_twice(self):
        alone = self.alone
        if alone is None:
            return
        for s, held in zip(self.caches, self.held, strict=True):
            alone.assert_laws(s, held)
        indexes = [thing for s in self.caches for thing in alone.index_arrays(s)]
        for s in alone.slab.caches:
            if s not in self.caches:
                own = [thing for thing in indexes if alone.slab.slab_of(thing)[1] is s]
                alone.assert_laws(s, own)
        assert alone.nr_pages == alone.nr_slab_pages
        assert [] == alone.log

    def teardown(self):
        alone = self.alone
        if alone is None:
            return
        for s, held in zip(self.caches, self.held, strict=True):
            for thing in held:
                alone.free(s, thing)
            assert alone.destroy(s)
        alone.grace_period()
        for s in alone.slab.caches:
            assert not alone.shrink(s)
        assert (0, 0, []) == (alone.nr_pages, alone.memory.nr_tables, alone.waiting)


TestObjects = Objects.TestCase
TestObjects.settings = settings(max_examples=40, stateful_step_count=30)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("hardened", [False, True])
def test_compiled_functions_and_their_twins_leave_the_same(size, hardened):
    """The same calls, in either way: the same objects, arrays, lists, words of memory.

    The third way is the twin with every step asked for.
    """
    assert_twins_leave_the_same(SlabAlone, size, hardened=hardened)
