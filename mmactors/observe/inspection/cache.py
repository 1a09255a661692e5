"""Caches of objects (struct kmem_cache): sizes, and how many slabs and objects.

Of SLOB, whose caches have no slabs, there are only the sizes.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import frozen

from mmactors.mm.slab.allocator import KmemCacheLike, ObjectAllocator
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.slabinfo import (
    cpu_partial_slabs,
    node_cpu_slabs,
    node_objects,
    node_partial_slabs,
    node_slabs,
    node_total_objects,
)
from mmactors.observe.inspection.table import Table

if TYPE_CHECKING:
    from mmactors.mm.slab.slab.cache import KmemCache as SlabCache


@frozen(kw_only=True)
class CacheInspection:
    """One cache, as /proc/slabinfo and /sys/kernel/slab count it."""

    name: str
    aliases: tuple[str, ...]
    """Caches that share its slabs."""
    flags: int
    """SLAB_ flags (include/linux/slab.h)."""
    object_size: int
    """Bytes that a user has."""
    size: int
    """Bytes from one object to the next."""
    order: int = 0
    """Of a slab's pages."""
    objects_per_slab: int = 0
    slabs: tuple[int, ...] = ()
    """By node."""
    total_objects: tuple[int, ...] = ()
    """By node: what its slabs have, free ones too."""
    objects: tuple[int, ...] = ()
    """By node: but for the free ones of its partial slabs; SLAB: but for those free in slabs."""
    partial: tuple[int, ...] = ()
    """By node: the length of its list of partial slabs."""
    cpu_slabs: tuple[int, ...] = ()
    """By node: slabs that CPUs have (SLUB)."""
    cpu_partial: tuple[int, ...] = ()
    """By CPU: the length of its list of partial slabs (SLUB)."""
    cpu_objects: tuple[int, ...] = ()
    """By CPU: free objects in its array (SLAB)."""


def inspect_caches(allocator: ObjectAllocator[Any]) -> Table[CacheInspection]:
    """Return all caches, oldest first."""
    looks: dict[str, Callable[[Any], CacheInspection]] = {"slub": _of_slub, "slab": _of_slab}
    look = looks.get(allocator.kind, _of_any)
    return Table(map(look, allocator.caches))


def _of_any(s: KmemCacheLike, **more: Any) -> CacheInspection:
    return CacheInspection(
        name=s.name,
        aliases=tuple(s.aliases),
        flags=s.flags,
        object_size=s.object_size,
        size=s.size,
        **more,
    )


def _of_slub(s: KmemCache) -> CacheInspection:
    return _of_any(
        s,
        order=s.layout.order,
        objects_per_slab=s.layout.objects,
        slabs=tuple(node_slabs(s)),
        total_objects=tuple(node_total_objects(s)),
        objects=tuple(node_objects(s)),
        partial=tuple(node_partial_slabs(s)),
        cpu_slabs=tuple(node_cpu_slabs(s)),
        cpu_partial=tuple(cpu_partial_slabs(s)),
    )


def _of_slab(s: "SlabCache") -> CacheInspection:
    from mmactors.mm.slab.slab.struct_slab import (  # noqa: PLC0415 - of few machines
        AVAIL,
        FREE_OBJECTS,
        SLABS_PARTIAL,
        TOTAL_SLABS,
    )

    view, nodes = s.slabs.view, s.slabs.nodes
    slabs = tuple(view[s.node(node) + TOTAL_SLABS] for node in nodes)
    total = tuple(nr_slabs * s.layout.num for nr_slabs in slabs)
    return _of_any(
        s,
        order=s.layout.order,
        objects_per_slab=s.layout.num,
        slabs=slabs,
        total_objects=total,
        objects=tuple(total[node] - view[s.node(node) + FREE_OBJECTS] for node in nodes),
        partial=tuple(len(s.node_slabs(node, SLABS_PARTIAL)) for node in nodes),
        cpu_objects=tuple(view[s.cpu_cache(cpu) + AVAIL] for cpu in range(s.slabs.nr_cpus)),
    )
