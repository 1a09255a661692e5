"""The caches of objects as text: /proc/slabinfo and the files of /sys/kernel/slab (Linux 6.1).

Formats of mm/slab_common.c (slab_show) and mm/slub.c (slab_attrs), byte by byte, as a kernel with
NUMA, SMP, SLUB_DEBUG and SLUB_CPU_PARTIAL prints them. Left out: addresses of constructors that
modules have, SLUB_STATS, FAILSLAB and KFENCE, which Debian's kernel has off.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from mmactors.mm.slab.flags import (
    SLAB_CACHE_DMA,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_HWCACHE_ALIGN,
    SLAB_POISON,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TRACE,
    SLAB_TYPESAFE_BY_RCU,
)
from mmactors.mm.slab.slabinfo import SlabInfo
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.slabinfo import (
    cpu_partial_slabs,
    node_cpu_slabs,
    node_objects,
    node_partial_objects,
    node_partial_slabs,
    node_slabs,
    node_total_objects,
)

_HEADER: Final = (
    "slabinfo - version: 2.1\n"
    "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"
    " : tunables <limit> <batchcount> <sharedfactor>"
    " : slabdata <active_slabs> <num_slabs> <sharedavail>\n"
)
_CONSTRUCTORS: Final = {
    "anon_vma": "anon_vma_ctor+0x0/0x40",
    "ext4_inode_cache": "init_once+0x0/0x70 [ext4]",
    "inode_cache": "init_once+0x0/0x10",
    "radix_tree_node": "radix_tree_node_ctor+0x0/0x50",
    "shmem_inode_cache": "shmem_init_inode+0x0/0x20",
    "sighand_cache": "sighand_ctor+0x0/0x30",
}
"""By cache: symbol, offset and size in Debian's 6.1.0-57-amd64."""


def slabinfo(caches: Iterable[SlabInfo]) -> str:
    """Return /proc/slabinfo; `caches` come newest first."""
    return _HEADER + "".join(
        f"{one.name:<17} {one.active_objs:6} {one.num_objs:6} {one.objsize:6}"
        f" {one.objects_per_slab:4} {1 << one.cache_order:4}"
        f" : tunables {one.limit:4} {one.batchcount:4} {one.shared:4}"
        f" : slabdata {one.active_slabs:6} {one.num_slabs:6} {one.shared_avail:6}\n"
        for one in caches
    )


def _by_node(count: Callable[[KmemCache], Sequence[int]], s: KmemCache) -> str:
    """Return a number, and what of it each node has that has any (show_slab_objects)."""
    nodes = count(s)
    parts = [f" N{node}={number}" for node, number in enumerate(nodes) if number]
    return f"{sum(nodes)}{''.join(parts)}\n"


def _slabs_cpu_partial(s: KmemCache) -> str:
    """Return how many objects CPUs' partial slabs have free, if half of each is, and slabs."""
    cpus, objects = cpu_partial_slabs(s), s.layout.objects
    parts = [f" C{cpu}={nr * objects // 2}({nr})" for cpu, nr in enumerate(cpus) if nr]
    return f"{sum(cpus) * objects // 2}({sum(cpus)}){''.join(parts)}\n"


def _flag(flag: int, s: KmemCache) -> str:
    return f"{int(bool(s.flags & flag))}\n"


def _ctor(s: KmemCache) -> str:
    return f"{_CONSTRUCTORS[s.name]}\n" if s.has_ctor and s.name in _CONSTRUCTORS else ""


def _nothing(_s: KmemCache) -> str:
    return ""


ATTRIBUTES: Final[dict[str, Callable[[KmemCache], str]]] = {
    "slab_size": lambda s: f"{s.size}\n",
    "object_size": lambda s: f"{s.object_size}\n",
    "objs_per_slab": lambda s: f"{s.layout.objects}\n",
    "order": lambda s: f"{s.layout.order}\n",
    "min_partial": lambda s: f"{s.layout.min_partial}\n",
    "cpu_partial": lambda s: f"{s.layout.cpu_partial}\n",
    "objects": partial(_by_node, node_objects),
    "objects_partial": partial(_by_node, node_partial_objects),
    "partial": partial(_by_node, node_partial_slabs),
    "cpu_slabs": partial(_by_node, node_cpu_slabs),
    "ctor": _ctor,
    "aliases": lambda s: f"{0 if s.refcount < 0 else s.refcount - 1}\n",
    "align": lambda s: f"{s.layout.align}\n",
    "hwcache_align": partial(_flag, SLAB_HWCACHE_ALIGN),
    "reclaim_account": partial(_flag, SLAB_RECLAIM_ACCOUNT),
    "destroy_by_rcu": partial(_flag, SLAB_TYPESAFE_BY_RCU),
    "shrink": _nothing,
    "slabs_cpu_partial": _slabs_cpu_partial,
    "total_objects": partial(_by_node, node_total_objects),
    "slabs": partial(_by_node, node_slabs),
    "sanity_checks": partial(_flag, SLAB_CONSISTENCY_CHECKS),
    "trace": partial(_flag, SLAB_TRACE),
    "red_zone": partial(_flag, SLAB_RED_ZONE),
    "poison": partial(_flag, SLAB_POISON),
    "store_user": partial(_flag, SLAB_STORE_USER),
    "validate": _nothing,
    "cache_dma": partial(_flag, SLAB_CACHE_DMA),
    "remote_node_defrag_ratio": lambda _s: "100\n",
    "usersize": lambda s: f"{s.usersize}\n",
}
"""The files of a cache in the kernel's order: what makes the text of each."""
