"""What SLUB, SLAB and SLOB have in common when a test drives them without a machine."""

import random

from mmactors.mm.slab.caller import NOBODY
from mmactors.mm.slab.request import RcuBarrier
from mmactors.mm.slab.slab_common import CacheRequest
from mmactors.mm.vmstat import NODE_ITEM


class AllocatorAlone:
    """An allocator, its kmalloc, and pages that are counted.

    Whoever is one sets `allocator`, `common`, `pages` and `vmstat`, and has `perform`.
    """

    def __init__(self):
        self.cpu = 0
        self.steps = []
        self.log = []
        self.waiting = []
        """What is freed after the grace period."""
        self.fails = lambda _request: False

    def this_cpu(self):
        return self.cpu

    def create(self, size, name="objects", **options):
        return self.allocator.create(CacheRequest(name=name, object_size=size, **options))

    def kmem_cache_create(self, **request):
        steps = self.common.kmem_cache_create(self.this_cpu, CacheRequest(**request))
        return self.perform(steps)

    def kmem_cache_destroy(self, s, *, caller=NOBODY):
        return self.perform(self.common.kmem_cache_destroy(self.this_cpu, s, caller=caller))

    def shrink(self, s):
        self.cpu = 0
        return self.perform(self.allocator.shrink(s, 0))

    def destroy(self, s, *, caller=NOBODY):
        self.cpu = 0
        return self.kmem_cache_destroy(s, caller=caller)

    def grace_period(self):
        """Let all readers under RCU be done."""
        waiting, self.waiting = self.waiting, []
        for request in waiting:
            if isinstance(request, RcuBarrier):
                self.perform(self.common.release(self.this_cpu, request.cache))
            else:
                self.perform(self.allocator.rcu_free(request.cache, 0, request.freed))

    @property
    def nr_pages(self):
        """How many pages are allocated."""
        return int((self.pages.refcount != 0).sum())

    @property
    def nr_slab_pages(self):
        """What the counters of the nodes say."""
        return sum(
            self.vmstat.node_page_state_snapshot(node, NODE_ITEM[name])
            for name in ("nr_slab_reclaimable", "nr_slab_unreclaimable")
            for node in range(self.vmstat.nr_nodes)
        )


def assert_twins_leave_the_same(alone_of, size, *, hardened):
    """Make the same calls of compiled functions, of their twins, and of those with every step.

    `alone_of` makes an allocator without a machine; each has the same objects, and the same words.
    """
    ways = (False, True, False)
    alones = [alone_of(nr_cpus=2, hardened=hardened, wants_step=nth == 2) for nth in range(3)]
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
