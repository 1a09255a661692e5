"""What a CPU does every two seconds: it gives back what nobody used since (cache_reap; v6.1).

Models cache_reap, drain_array and next_reap_node of mm/slab.c. Times are in jiffies.
"""

from typing import Final

from mmactors.label import Mode, Touch
from mmactors.mm.slab.request import SlabSteps
from mmactors.mm.slab.slab.alien import reap_alien
from mmactors.mm.slab.slab.array_cache import drain_array_locked
from mmactors.mm.slab.slab.cache import KmemCache
from mmactors.mm.slab.slab.shrink import drain_freelist
from mmactors.mm.slab.slab.slab_page import slabs_destroy
from mmactors.mm.slab.slab.struct_slab import (
    AVAIL,
    FREE_LIMIT,
    FREE_TOUCHED,
    NEXT_REAP,
    TOUCHED,
)
from mmactors.mm.slab.slab_memory import ThisCpu, step
from mmactors.units import HZ

REAPTIMEOUT_AC: Final = 2 * HZ
REAPTIMEOUT_NODE: Final = 4 * HZ
REAP_FRACTION: Final = 5
"""One part of so many of the objects that may be free goes, in whole slabs."""


def reap_cache(s: KmemCache, this_cpu: ThisCpu, *, reap_node: int, jiffies: int) -> SlabSteps[None]:
    """Reap a cache on a CPU, and on its node if that is due; `reap_node`: whose objects go home."""
    slabs, view = s.slabs, s.slabs.view
    node = slabs.cpu_to_mem[this_cpu()]
    n = s.node(node)
    yield from reap_alien(s, this_cpu, node, reap_node)
    yield from drain_array(s, this_cpu, s.cpu_cache(this_cpu()), node)
    if view[n + NEXT_REAP] > jiffies:
        return
    if slabs.wants_step():
        yield step("the node is due", s.touches_node(node, Mode.WRITE))
    view[n + NEXT_REAP] = jiffies + REAPTIMEOUT_NODE
    yield from drain_array(s, this_cpu, s.shared(node), node)
    if view[n + FREE_TOUCHED]:
        view[n + FREE_TOUCHED] = 0
    else:
        per_slab = REAP_FRACTION * s.layout.num
        nr_slabs = (view[n + FREE_LIMIT] + per_slab - 1) // per_slab
        yield from drain_freelist(s, this_cpu, node, nr_slabs)


def drain_array(s: KmemCache, this_cpu: ThisCpu, ac: int, node: int) -> SlabSteps[None]:
    """Give a part of an array's objects back, unless it was used since the last time."""
    slabs, view = s.slabs, s.slabs.view
    if slabs.wants_step():
        yield step("look at the array", s.touches_node(node, Mode.WRITE), *_cpus(s, ac))
    if not view[ac + AVAIL]:
        return
    if view[ac + TOUCHED]:
        view[ac + TOUCHED] = 0
        return
    yield s.list_locks[node]
    if slabs.wants_step():
        yield step("drain the array", s.touches_node(node, Mode.WRITE), *_cpus(s, ac))
    surplus = yield from drain_array_locked(s, node, ac, free_all=False)
    yield s.list_unlocks[node]
    yield from slabs_destroy(s, this_cpu, surplus)


def _cpus(s: KmemCache, ac: int) -> list[Touch]:
    """Return the touch of a CPU's array; of a node's, none."""
    return [
        s.touches_cpu(cpu, Mode.WRITE) for cpu in range(s.slabs.nr_cpus) if s.cpu_cache(cpu) == ac
    ]
