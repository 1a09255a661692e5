"""What a cache of SLAB is made of besides its slabs (setup_kmem_cache_node; mm/slab.c, v6.1).

For each node, in objects of kmalloc: the arrays for objects of other nodes, the array that its CPUs
share, and struct kmem_cache_node. Here they only take their memory: what they hold is in the words
of the cache. Left out: the per-CPU memory of the CPUs' arrays.
"""

from errno import ENOMEM
from typing import Final

from attrs import evolve

from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_ZERO
from mmactors.mm.slab.alloc_site import (
    CACHE_RANDOM_SEQ_CREATE,
    CACHE_RANDOM_SEQ_DESTROY,
    KMEM_CACHE_RELEASE,
)
from mmactors.mm.slab.allocator import Common
from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.request import Printk, SlabSteps
from mmactors.mm.slab.slab.cache import KmemCache
from mmactors.mm.slab.slab.reap import REAPTIMEOUT_NODE
from mmactors.mm.slab.slab.struct_slab import LIMIT, NEXT_REAP
from mmactors.mm.slab.slab_common import WORD
from mmactors.mm.slab.slab_memory import ThisCpu

CACHE_GROW_BEGIN: Final = "cache_grow_begin"
"""Of an array of indexes."""
SLABS_DESTROY: Final = "slabs_destroy"
SETUP_KMEM_CACHE_NODE: Final = "setup_kmem_cache_node"
"""Of struct kmem_cache_node and of the arrays of a node."""
KMEM_CACHE_NODE_SIZE: Final = 120
"""sizeof(struct kmem_cache_node)."""
_ARRAY_CACHE_SIZE: Final = 16
"""sizeof(struct array_cache), without entries."""
_ALIEN_CACHE_SIZE: Final = 24
"""sizeof(struct alien_cache), without entries: its lock stands before."""
KMEM_CACHE_SIZE: Final = 128
"""sizeof(struct kmem_cache) with one node."""
_UINT: Final = 4


def open_cache(
    s: KmemCache, common: Common[KmemCache], this_cpu: ThisCpu, caller: SlabCaller
) -> SlabSteps[tuple[int, list[int]]]:
    """Allocate the order of a cache's objects, and its nodes' parts.

    Return 0 with what `close_cache` takes, or an error: nothing of it is left.
    """
    gone = evolve(caller, site=CACHE_RANDOM_SEQ_DESTROY)
    by = evolve(caller, site=SETUP_KMEM_CACHE_NODE)
    seq = 0
    if s.random_seq:
        size = _UINT * s.layout.num
        at = evolve(caller, site=CACHE_RANDOM_SEQ_CREATE)
        seq = yield from common.told_kmalloc(this_cpu, size, GFP_KERNEL | GFP_ZERO, at)
        if not seq:
            yield from _failed(s, common, this_cpu, 0, gone)
            return -ENOMEM, []
    made: list[list[int]] = []
    for node in s.slabs.nodes:
        parts = yield from _open_node(s, common, this_cpu, node, by)
        if parts is None:
            for each in reversed(made):
                yield from _close_node(each, common, this_cpu, by)
            yield from _failed(s, common, this_cpu, seq, gone)
            return -ENOMEM, []
        made.append(parts)
        view, n = s.slabs.view, s.node(node)
        view[n + NEXT_REAP] = next_reap(s, caller.jiffies)
    return 0, [seq, *(thing for parts in made for thing in parts)]


def next_reap(s: KmemCache, jiffies: int) -> int:
    """Return when a node of a new cache is due first: caches differ by their struct's address."""
    return jiffies + REAPTIMEOUT_NODE + (s.number * KMEM_CACHE_SIZE) % REAPTIMEOUT_NODE


def _failed(
    s: KmemCache, common: Common[KmemCache], this_cpu: ThisCpu, seq: int, gone: SlabCaller
) -> SlabSteps[None]:
    yield Printk(lines=(f"enable_cpucache failed for {s.name}, error {ENOMEM}",))
    yield from common.told_kfree(this_cpu, seq, gone)


def _sizes(s: KmemCache, node: int) -> list[int]:
    """Return the bytes of what a node is made of, in order; 0: it has no such part."""
    slabs, layout = s.slabs, s.layout
    others = [of for of in slabs.nodes if slabs.view[s.alien(node, of) + LIMIT]]
    sizes = [WORD * slabs.nr_nodes if others else 0]
    sizes += [_ALIEN_CACHE_SIZE + WORD * layout.alien_limit for _ in others]
    sizes.append(_ARRAY_CACHE_SIZE + WORD * layout.shared_limit if layout.shared else 0)
    return [*sizes, KMEM_CACHE_NODE_SIZE]


def _open_node(
    s: KmemCache, common: Common[KmemCache], this_cpu: ThisCpu, node: int, by: SlabCaller
) -> SlabSteps[list[int] | None]:
    """Allocate what a node is made of; None: nothing of it is left."""
    found: list[int] = []
    for size in _sizes(s, node):
        thing = 0
        if size:
            gfp = GFP_KERNEL | (0 if found else GFP_ZERO)
            thing = yield from common.told_kmalloc(this_cpu, size, gfp, by, node)
            if not thing:
                for each in reversed(found):
                    yield from common.told_kfree(this_cpu, each, by)
                return None
        found.append(thing)
    return found


def _close_node(
    parts: list[int], common: Common[KmemCache], this_cpu: ThisCpu, by: SlabCaller
) -> SlabSteps[None]:
    """Give back what a node is made of."""
    pointers, *aliens, shared, node = parts
    for thing in (shared, *aliens, pointers, node):
        if thing:
            yield from common.told_kfree(this_cpu, thing, by)


def close_cache(
    s: KmemCache, parts: list[int], common: Common[KmemCache], this_cpu: ThisCpu, caller: SlabCaller
) -> SlabSteps[None]:
    """Give back what `open_cache` has returned (__kmem_cache_release)."""
    seq, *rest = parts
    gone = evolve(caller, site=CACHE_RANDOM_SEQ_DESTROY)
    yield from common.told_kfree(this_cpu, seq, gone)
    nr_parts = len(rest) // len(s.slabs.nodes)
    by = evolve(caller, site=KMEM_CACHE_RELEASE)
    for first in range(0, len(rest), nr_parts):
        yield from _close_node(rest[first : first + nr_parts], common, this_cpu, by)
