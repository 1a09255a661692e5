"""SLUB under any sequence of calls: objects are unique, counters are those of the lists."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from object_allocators import assert_twins_leave_the_same
from slubs import SlubAlone

from mmactors.mm.slab.flags import (
    DEBUG_DEFAULT_FLAGS,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_HWCACHE_ALIGN,
    SLAB_STORE_USER,
    SLAB_TYPESAFE_BY_RCU,
)
from mmactors.units import PAGE_SHIFT

CPUS, NODES = 3, 2
FLAGS = (
    0,
    SLAB_HWCACHE_ALIGN,
    SLAB_TYPESAFE_BY_RCU,
    SLAB_HWCACHE_ALIGN | SLAB_TYPESAFE_BY_RCU,
    DEBUG_DEFAULT_FLAGS,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_STORE_USER | SLAB_TYPESAFE_BY_RCU,
)
SIZES = (8, 24, 100, 192, 700, 1024, 2500, 4096, 8192)


class Objects(RuleBasedStateMachine):
    """Three CPUs on two nodes, two caches of odd sizes, pages that may fail."""

    def __init__(self):
        super().__init__()
        self.alone = SlubAlone(nr_cpus=CPUS, nr_nodes=NODES, merge=False)
        self.caches = []
        self.held = []
        self.failing = False
        self.alone.fails = lambda _request: self.failing

    @rule(size=st.sampled_from(SIZES), flags=st.sampled_from(FLAGS))
    @precondition(lambda self: len(self.caches) < 3)
    def create(self, size, flags):
        self.caches.append(self.alone.create(size, f"c{len(self.caches)}", flags=flags))
        self.held.append([])

    @rule(
        data=st.data(),
        cpu=st.integers(0, CPUS - 1),
        node=st.sampled_from([None, None, 0, 1]),
        count=st.integers(1, 60),
        local=st.booleans(),
    )
    @precondition(lambda self: self.caches)
    def alloc(self, data, cpu, node, count, local):
        nth = data.draw(st.integers(0, len(self.caches) - 1))
        for _ in range(count):
            thing = self.alone.alloc(self.caches[nth], cpu, node=node, local=local)
            if not thing:
                assert self.failing
                return
            assert node is None or self.alone.slabs.node_of(thing >> PAGE_SHIFT) == node
            self.held[nth].append(thing)

    @rule(
        data=st.data(),
        cpu=st.integers(0, CPUS - 1),
        count=st.integers(1, 60),
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

    @rule()
    def grace_period(self):
        self.alone.grace_period()

    @rule()
    def let_pages_fail_or_not(self):
        self.failing = not self.failing

    @invariant()
    def nothing_is_lost_or_twice(self):
        for s, held in zip(self.caches, self.held, strict=True):
            self.alone.assert_laws(s, held)
        assert self.alone.nr_pages == self.alone.nr_slab_pages
        reports = [line for line in self.alone.log if line.startswith(("BUG", "FIX", "WARNING"))]
        assert [] == reports

    def teardown(self):
        for s, held in zip(self.caches, self.held, strict=True):
            for thing in held:
                self.alone.free(s, thing)
            assert self.alone.destroy(s)
        self.alone.grace_period()
        assert (0, 0, []) == (self.alone.nr_pages, self.alone.memory.nr_tables, self.alone.waiting)
        assert not self.alone.slub.caches


TestObjects = Objects.TestCase
TestObjects.settings = settings(max_examples=60, stateful_step_count=30)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("hardened", [False, True])
def test_compiled_functions_and_their_twins_leave_the_same(size, hardened):
    """The same calls, in either way: the same objects, lists, words of memory.

    The third way is the twin with every step asked for.
    """
    assert_twins_leave_the_same(SlubAlone, size, hardened=hardened)
