"""What SLUB, SLAB and SLOB have in common when a test drives them without a machine."""

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
