"""Taking addresses: the lowest free ones that fit (alloc_vmap_area, mm/vmalloc.c, v6.1).

Where nothing fits, all that waits to be purged is, once. What is cut out of the middle of a free
area leaves one more of them; the struct for it the CPU has ready, as nothing that may sleep can be
asked for while the tree is locked.
"""

from typing import Final

from mmactors import label
from mmactors.label import Label, Mode, ne_fit_preload
from mmactors.mm.page_alloc.gfp import GFP_NOWAIT, GFP_NOWARN, GFP_RECLAIM_MASK
from mmactors.mm.slab.request import Printk
from mmactors.mm.vmalloc.area_fit import FL_FIT_TYPE, NE_FIT_TYPE, adjust_to_fit, find_fit, fit_type
from mmactors.mm.vmalloc.area_tree import insert_area
from mmactors.mm.vmalloc.lazy import LOCK_FREE, UNLOCK_FREE
from mmactors.mm.vmalloc.purge import purge_vmap_area_lazy
from mmactors.mm.vmalloc.request import AllocVmapArea, FreeVmapArea, VmallocSteps, Warn
from mmactors.mm.vmalloc.space import (
    BUSY,
    FREE,
    VMALLOC_FIRST,
    VMALLOC_LAST,
    VMAP_BUSY_LOCK,
    VMAP_BUSY_UNLOCK,
    ThisCpu,
    VmallocSpace,
)
from mmactors.units import PAGE_SHIFT

_SITE: Final = "alloc_vmap_area"
_ADJUST_SITE: Final = "adjust_va_to_fit_type"
_NO_STRUCT: Final = Warn(place="mm/vmalloc.c:1598 alloc_vmap_area", is_once=True)
_FIND: Final = Label("find free addresses", ((label.FREE_VMAP_AREAS, Mode.WRITE),))
_INSERT: Final = Label("insert the area", ((label.VMAP_AREAS, Mode.WRITE),))


def alloc_vmap_area(
    space: VmallocSpace,
    this_cpu: ThisCpu,
    nr_pages: int,
    align: int,
    gfp: int,
    node: int | None,
) -> VmallocSteps[int]:
    """Return a new area in use of so many pages, 0: no addresses, or no memory for its struct.

    `align`: pages, a power of two.
    """
    gfp &= GFP_RECLAIM_MASK
    thing = yield AllocVmapArea(gfp=gfp, node=node, site=_SITE)
    if not thing:
        return 0
    is_purged = False
    while True:
        yield from _preload_this_cpu_lock(space, this_cpu, gfp, node)
        first = yield from _take_lowest(space, this_cpu, nr_pages, align)
        yield UNLOCK_FREE
        if first:
            break
        if is_purged:
            if not gfp & GFP_NOWARN:
                yield Printk(lines=(no_room(nr_pages << PAGE_SHIFT),))
            yield FreeVmapArea(thing=thing, site=_SITE)
            return 0
        yield from purge_vmap_area_lazy(space)
        is_purged = True
    area = space.new_area(thing, first, first + nr_pages)
    yield VMAP_BUSY_LOCK
    if space.wants_step():
        yield _INSERT
    insert_area(space.areas, BUSY, area)
    yield VMAP_BUSY_UNLOCK
    return area


def no_room(nr_bytes: int) -> str:
    """Return what the kernel says when no addresses are left."""
    return f"vmap allocation for size {nr_bytes} failed: use vmalloc=<size> to increase size"


def _preload_this_cpu_lock(
    space: VmallocSpace, this_cpu: ThisCpu, gfp: int, node: int | None
) -> VmallocSteps[None]:
    """Lock the free areas on a CPU that has a struct ready, if there is memory for one."""
    preloaded = space.preloaded
    if space.wants_step():
        yield Label("has the CPU one ready", ((ne_fit_preload(this_cpu()), Mode.READ),))
    thing = 0
    if not preloaded[this_cpu()]:
        thing = yield AllocVmapArea(gfp=gfp, node=node, site=_SITE)
    yield LOCK_FREE
    if thing:
        cpu = this_cpu()
        if space.wants_step():
            yield Label("let the CPU have it ready", ((ne_fit_preload(cpu), Mode.WRITE),))
        if preloaded[cpu]:
            yield FreeVmapArea(thing=thing, site=_SITE)
        else:
            preloaded[cpu] = space.new_area(thing)


def _take_lowest(
    space: VmallocSpace, this_cpu: ThisCpu, nr_pages: int, align: int
) -> VmallocSteps[int]:
    """Take the lowest pages that fit off the free ones; return the first, 0: there are none."""
    if space.wants_step():
        yield _FIND
    areas = space.areas
    free, first = find_fit(areas, FREE, nr_pages, align, VMALLOC_FIRST, VMALLOC_LAST)
    if not free:
        return 0
    if not (yield from adjust_va_to_fit_type(space, this_cpu, free, first, nr_pages)):
        yield _NO_STRUCT
        return 0
    return first


def adjust_va_to_fit_type(
    space: VmallocSpace, this_cpu: ThisCpu, free: int, first: int, nr_pages: int
) -> VmallocSteps[bool]:
    """Cut pages off a free area; False: that needs a struct, and there is no memory for one."""
    kind = fit_type(space.areas, free, first, nr_pages)
    lower = 0
    if kind == NE_FIT_TYPE:
        cpu = this_cpu()
        if space.wants_step():
            yield Label("take the CPU's", ((ne_fit_preload(cpu), Mode.WRITE),))
        lower, space.preloaded[cpu] = space.preloaded[cpu], 0
        if not lower:
            thing = yield AllocVmapArea(gfp=GFP_NOWAIT, node=None, site=_ADJUST_SITE)
            if not thing:
                return False
            lower = space.new_area(thing)
    adjust_to_fit(space.areas, FREE, free, first, nr_pages, lower)
    if kind == FL_FIT_TYPE:
        yield from space.free_area(free, _ADJUST_SITE)
    return True
