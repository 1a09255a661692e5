"""SLUB under any sequence of calls: objects are unique, counters are those of the lists."""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
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
    ways = (False, True, False)
    alones = [SlubAlone(nr_cpus=2, hardened=hardened, wants_step=nth == 2) for nth in range(3)]
    caches = [alone.create(size) for alone in alones]
    chance = random.Random(size)
    held = []
    for nth in range(1500):
        cpu = chance.randrange(2)
        if not held or chance.random() < 0.5 + 0.2 * (1 if nth // 300 % 2 else -1):
            found = [
                alone.alloc(s, cpu, local=local)
                for alone, s, local in zip(alones, caches, ways, strict=True)
            ]
            assert 1 == len(set(found))
            held.append(found[0])
        else:
            thing = held.pop(chance.randrange(len(held)))
            for alone, s, local in zip(alones, caches, ways, strict=True):
                alone.free(s, thing, cpu, local=local)

    first = alones[0]
    for other in alones[1:]:
        assert (first.slabs.words == other.slabs.words).all()
        assert (first.memory.words == other.memory.words).all()
        for name in ("next", "prev", "flags", "index", "private", "mapping"):
            assert (getattr(first.pages, name) == getattr(other.pages, name)).all()
