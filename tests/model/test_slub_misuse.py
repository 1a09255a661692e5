"""Whatever callers do to SLUB, it ends in a result, a report, or an oops of the kernel."""

import random

import pytest
from slubs import SlubAlone

from mmactors.mm.slab.flags import (
    DEBUG_DEFAULT_FLAGS,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_POISON,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TYPESAFE_BY_RCU,
)
from mmactors.mm.slab.request import KernelOopsError

FLAGS = (
    *(0, 0, 0, SLAB_TYPESAFE_BY_RCU, DEBUG_DEFAULT_FLAGS, SLAB_CONSISTENCY_CHECKS, SLAB_RED_ZONE),
    *(SLAB_POISON, SLAB_STORE_USER, SLAB_CONSISTENCY_CHECKS | SLAB_POISON),
)
SIZES = (8, 24, 64, 100, 512, 1024, 3000, 8192)
OFFSETS = (0, 0, 0, 8, 16, 4, 1)


class Misuser:
    """Allocates and frees as it should and as it should not, by a seed."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        nr_nodes, hardened = self.chance.choice([1, 2]), self.chance.random() < 0.5
        self.alone = SlubAlone(nr_cpus=2, nr_nodes=nr_nodes, merge=False, hardened=hardened)
        self.alone.kmalloc_caches.create_caches()
        self.caches = [
            self.alone.create(self.chance.choice(SIZES), f"c{nth}", flags=self.chance.choice(FLAGS))
            for nth in range(3)
        ]
        self.held = []
        self.freed = []

    def run(self, nr_calls):
        calls = (
            *(
                *[self.alloc] * 450,
                *[self.free] * 320,
                *[self.free_again] * 6,
                *[self.scribble] * 2,
            ),
            *(*[self.shrink] * 30, *[self.kmalloc] * 40, *[self.alone.grace_period] * 10),
            self.kfree,
        )
        for _ in range(nr_calls):
            self.alone.cpu = self.chance.randrange(2)
            self.chance.choice(calls)()
        for s in self.caches:
            self.alone.destroy(s)
        self.alone.grace_period()

    def alloc(self):
        s = self.chance.choice(self.caches)
        local = self.chance.random() < 0.5
        thing = self.alone.alloc(s, self.alone.cpu, local=local)
        if thing:
            self.held.append((s, thing))

    def free(self):
        if self.held:
            s, thing = self.held.pop(self.chance.randrange(len(self.held)))
            self.freed.append((s, thing))
            if self.alone.slabs.head_of(thing) is not None:
                local = self.chance.random() < 0.5
                self.alone.free(s, thing, self.alone.cpu, local=local)

    def free_again(self):
        if self.freed:
            s, thing = self.chance.choice(self.freed)
            wrong = self.chance.choice([s, s, *self.caches])
            thing += self.chance.choice(OFFSETS)
            slub = self.alone.slub
            self.alone.perform(slub.kmem_cache_free(wrong, self.alone.this_cpu, thing))

    def scribble(self):
        if self.held or self.freed:
            s, thing = self.chance.choice(self.held + self.freed)
            for _ in range(self.chance.randrange(1, 30)):
                address = thing + self.chance.randrange(-16, s.size + 16)
                if 0 < address < self.alone.slabs.nr_bytes:
                    self.alone.slabs.bytes_view[address] = self.chance.randrange(256)

    def kfree(self):
        things = [0, 16, self.chance.randrange(self.alone.slabs.nr_bytes), -5, 1 << 50]
        self.alone.kfree(self.chance.choice(things + [thing for _, thing in self.freed]))

    def shrink(self):
        self.alone.shrink(self.chance.choice(self.caches))

    def kmalloc(self):
        thing = self.alone.kmalloc(self.chance.choice([1, 100, 5000, 20000]), self.alone.cpu)
        if self.chance.random() < 0.8:
            self.alone.kfree(thing, self.alone.cpu)


def end_of(seed):
    """Return how a run ends: fine, or with an oops."""
    misuser = Misuser(seed)
    try:
        misuser.run(50 + seed * 37 % 500)
    except KernelOopsError as oops:
        return oops.lines[0]
    return "fine"


@pytest.mark.parametrize("first", range(0, 60, 15))
def test_misuse_ends_in_a_result_a_report_or_an_oops(first):
    """60 of them, the same each time; half the kernels die of it, as real ones would."""
    ends = [end_of(seed) for seed in range(first, first + 15)]

    assert 1 < ends.count("fine") < 14


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 3000, 250))
def test_more_misuse_ends_in_a_result_a_report_or_an_oops(first):
    """2000 more than the ordinary suite has."""
    for seed in range(first, first + 250):
        assert end_of(seed)
