"""From a machine's caches of objects to /proc/slabinfo and the files of /sys/kernel/slab."""

from typing import Any

from mmactors.mm.slab.allocator import ObjectAllocator
from mmactors.mm.slab.slub.slabinfo import get_slabinfo
from mmactors.mm.slab.slub.slub import Slub
from mmactors.mm.slab.slub.sysfs import cache_called
from mmactors.observe.proc.slab import ATTRIBUTES, slabinfo


def has_slabinfo(allocator: ObjectAllocator[Any]) -> bool:
    """Return whether there is /proc/slabinfo (CONFIG_SLABINFO): SLOB has none."""
    return allocator.kind != "slob"


def slabinfo_of(allocator: ObjectAllocator[Any]) -> str:
    """Return /proc/slabinfo: the newest cache first, as slab_caches has them; no aliases."""
    listed = (s for s in reversed(allocator.caches) if s.is_listed)
    if isinstance(allocator, Slub):
        return slabinfo(get_slabinfo(s) for s in listed)
    from mmactors.mm.slab.slab import slabinfo as of_slab  # noqa: PLC0415 - of few machines

    return slabinfo(of_slab.get_slabinfo(s) for s in listed)


def sys_slab_text(allocator: ObjectAllocator[Any], path: str) -> str | None:
    """Return a file of a cache, by its path below /sys/kernel/slab; None: there is none.

    Only SLUB has that folder.
    """
    folder, _, name = path.partition("/")
    make = ATTRIBUTES.get(name)
    if make is None or not isinstance(allocator, Slub):
        return None
    s = cache_called(allocator, folder)
    return None if s is None else make(s)


def sys_slab_listing(slub: Slub) -> str:
    """Return the files of all caches that have slabs, as `grep . */*` there prints them.

    A cache that others share is told of once, by its own name; files that are empty are left out.
    """
    texts = (
        (f"{s.name}/{name}", make(s))
        for s in sorted((s for s in slub.caches if s.nr_slabs), key=lambda s: s.name)
        for name, make in sorted(ATTRIBUTES.items())
    )
    return "".join(f"{place}:{text}" for place, text in texts if text)
