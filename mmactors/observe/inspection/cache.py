"""Caches of objects (struct kmem_cache, mm/slub.c): sizes, and how many slabs and objects."""

from typing import Any

from attrs import frozen

from mmactors.mm.slab.allocator import ObjectAllocator
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
    order: int
    """Of a slab's pages."""
    objects_per_slab: int
    slabs: tuple[int, ...]
    """By node."""
    total_objects: tuple[int, ...]
    """By node: what its slabs have, free ones too."""
    objects: tuple[int, ...]
    """By node: but for the free ones of its partial slabs."""
    partial: tuple[int, ...]
    """By node: the length of its list of partial slabs."""
    cpu_slabs: tuple[int, ...]
    """By node: slabs that CPUs have."""
    cpu_partial: tuple[int, ...]
    """By CPU: the length of its list of partial slabs."""


def inspect_caches(allocator: ObjectAllocator[Any]) -> Table[CacheInspection]:
    """Return all caches, oldest first."""
    return Table(map(_inspect, allocator.caches))


def _inspect(s: KmemCache) -> CacheInspection:
    return CacheInspection(
        name=s.name,
        aliases=tuple(s.aliases),
        flags=s.flags,
        object_size=s.object_size,
        size=s.size,
        order=s.layout.order,
        objects_per_slab=s.layout.objects,
        slabs=tuple(node_slabs(s)),
        total_objects=tuple(node_total_objects(s)),
        objects=tuple(node_objects(s)),
        partial=tuple(node_partial_slabs(s)),
        cpu_slabs=tuple(node_cpu_slabs(s)),
        cpu_partial=tuple(cpu_partial_slabs(s)),
    )
