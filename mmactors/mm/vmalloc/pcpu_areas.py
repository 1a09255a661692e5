"""Areas for the per-CPU allocator: several, whose distances are given (mm/vmalloc.c, v6.1).

They are taken from the top, so that they do not come into the way of others. Sizes and offsets are
multiples of the alignment; all in pages here. Nothing of them is free before a purge, lazily as
with all areas.
"""

from collections.abc import Sequence
from typing import Final

from mmactors import label
from mmactors.label import Label, Mode
from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_ZERO
from mmactors.mm.vmalloc.alloc_area import adjust_va_to_fit_type
from mmactors.mm.vmalloc.area_tree import END, LEFT, PREV, RIGHT, START, insert_area
from mmactors.mm.vmalloc.lazy import LOCK_FREE, UNLOCK_FREE, merge_or_add_area
from mmactors.mm.vmalloc.purge import purge_vmap_area_lazy
from mmactors.mm.vmalloc.request import (
    AllocVmapArea,
    FreeVmapArea,
    Kfree,
    Kmalloc,
    VmallocSteps,
    Warn,
)
from mmactors.mm.vmalloc.space import (
    BUSY,
    FREE,
    VMALLOC_FIRST,
    VMALLOC_LAST,
    VMAP_BUSY_LOCK,
    VMAP_BUSY_UNLOCK,
    ThisCpu,
    VmallocSpace,
    address_of,
)
from mmactors.mm.vmalloc.vm_area import free_vm_struct
from mmactors.mm.vmalloc.vm_struct import VM_ALLOC, VM_STRUCT_SIZE, PcpuAreas, VmStruct
from mmactors.units import PAGE_SHIFT

_SITE: Final = "pcpu_get_vm_areas"
_POINTER_BYTES: Final = 8
_GFP: Final = GFP_KERNEL | GFP_ZERO
_FIND: Final = Label("find free addresses", ((label.FREE_VMAP_AREAS, Mode.WRITE),))
_NOT_CUT: Final = Warn(place="mm/vmalloc.c:3986 pcpu_get_vm_areas", is_once=True)
_INSERT: Final = Label("insert the areas", ((label.VMAP_AREAS, Mode.WRITE),))


def pcpu_get_vm_areas(
    space: VmallocSpace,
    this_cpu: ThisCpu,
    offsets: Sequence[int],
    sizes: Sequence[int],
    align: int,
) -> VmallocSteps[int]:
    """Take areas at these offsets from one base; return it, 0: no addresses, or no memory."""
    nr_bytes = len(offsets) * _POINTER_BYTES
    array = yield Kmalloc(size=nr_bytes, gfp=_GFP, node=None, site=_SITE)
    own_array = yield Kmalloc(size=nr_bytes, gfp=_GFP, node=None, site=_SITE)
    things: list[int] = []
    vm_things: list[int] = []
    is_ready = bool(array and own_array)
    for _ in offsets if is_ready else ():
        things.append((yield AllocVmapArea(gfp=_GFP, node=None, site=_SITE)))
        vm_things.append((yield Kmalloc(size=VM_STRUCT_SIZE, gfp=_GFP, node=None, site=_SITE)))
        is_ready = bool(things[-1] and vm_things[-1])
        if not is_ready:
            break
    base = None
    if is_ready:
        base = yield from _take(space, this_cpu, offsets, sizes, align, things)
        if base is None:
            yield from purge_vmap_area_lazy(space)
            if (yield from _refill(things)):
                base = yield from _take(space, this_cpu, offsets, sizes, align, things)
    if base is None:
        for thing, vm_thing in zip(things, vm_things, strict=True):
            if thing:
                yield FreeVmapArea(thing=thing, site=_SITE)
            yield Kfree(thing=vm_thing, site=_SITE)
        yield Kfree(thing=own_array, site=_SITE)
        yield Kfree(thing=array, site=_SITE)
        return 0
    yield VMAP_BUSY_LOCK
    if space.wants_step():
        yield _INSERT
    vms = []
    for offset, size, thing, vm_thing in zip(offsets, sizes, things, vm_things, strict=True):
        area = space.new_area(thing, base + offset, base + offset + size)
        insert_area(space.areas, BUSY, area)
        vm = VmStruct(
            address=space.start_of(area),
            size=size << PAGE_SHIFT,
            flags=VM_ALLOC,
            caller=_SITE,
            thing=vm_thing,
        )
        space.vm[area] = vm
        vms.append(vm)
    yield VMAP_BUSY_UNLOCK
    yield Kfree(thing=own_array, site=_SITE)
    space.pcpu_areas[address_of(base)] = PcpuAreas(vms=tuple(vms), thing=array)
    return address_of(base)


def pcpu_free_vm_areas(space: VmallocSpace, base: int) -> VmallocSteps[None]:
    """Give back the areas whose offsets count from a base."""
    areas = space.pcpu_areas.pop(base)
    for vm in areas.vms:
        yield from free_vm_struct(space, vm)
    yield Kfree(thing=areas.thing, site="pcpu_free_vm_areas")


def _refill(things: list[int]) -> VmallocSteps[bool]:
    """Let all areas have an object again; False: there is no memory for one."""
    for nth, thing in enumerate(things):
        if not thing:
            things[nth] = yield AllocVmapArea(gfp=_GFP, node=None, site=_SITE)
            if not things[nth]:
                return False
    return True


def _take(
    space: VmallocSpace,
    this_cpu: ThisCpu,
    offsets: Sequence[int],
    sizes: Sequence[int],
    align: int,
    things: list[int],
) -> VmallocSteps[int | None]:
    """Cut the areas off the free ones; return the base, None: they fit nowhere.

    Those that were cut off when one could not be are free again, each in its object, which is gone.
    """
    yield LOCK_FREE
    if space.wants_step():
        yield _FIND
    base = _find_base(space, offsets, sizes, align)
    for nth, offset in enumerate(offsets if base is not None else ()):
        assert base is not None, "there is nothing to cut off"
        first = base + offset
        free = _enclosing(space, first)
        if (yield from adjust_va_to_fit_type(space, this_cpu, free, first, sizes[nth])):
            continue
        yield _NOT_CUT
        for other in range(nth - 1, -1, -1):
            start = base + offsets[other]
            area = space.new_area(things[other], start, start + sizes[other])
            things[other] = 0
            yield from merge_or_add_area(space, FREE, area)
        base = None
        break
    yield UNLOCK_FREE
    return base


def _find_base(
    space: VmallocSpace, offsets: Sequence[int], sizes: Sequence[int], align: int
) -> int | None:
    """Return the highest page from which on all areas are free, None: there is none.

    Whenever an area does not fit, the base goes down, and all are looked at again.
    """
    view = space.view
    nr_areas = len(offsets)
    area = term = max(range(nr_areas), key=lambda nth: offsets[nth])
    start, end = offsets[area], offsets[area] + sizes[area]
    free, highest = _end_from_reverse(space, _enclosing(space, VMALLOC_LAST & -align), align)
    base = highest - end
    while free and base >= (VMALLOC_FIRST + align - 1) & -align:
        if base + end > view[free + END] or base + start < view[free + START]:
            if base + end <= view[free + END]:
                free = _before(space, free)
            free, highest = _end_from_reverse(space, free, align)
            base = highest - end
            term = area
            continue
        area = (area - 1) % nr_areas
        if area == term:
            return base
        start, end = offsets[area], offsets[area] + sizes[area]
        free = _enclosing(space, base + end)
    return None


def _enclosing(space: VmallocSpace, page: int) -> int:
    """Return the free area that a page is in or behind, else the one below, 0: there is none."""
    view, found, area = space.view, 0, space.view[FREE + LEFT]
    while area:
        if view[area + START] > page:
            area = view[area + LEFT]
            continue
        found = area
        if view[area + END] >= page:
            break
        area = view[area + RIGHT]
    return found


def _before(space: VmallocSpace, area: int) -> int:
    """Return the free area below another, 0: there is none."""
    before = space.view[area + PREV]
    return 0 if before == FREE else before


def _end_from_reverse(space: VmallocSpace, free: int, align: int) -> tuple[int, int]:
    """Return the first free area from one on downwards that has an aligned end, and that end.

    (0, 0): there is none.
    """
    view, last = space.view, VMALLOC_LAST & -align
    while free:
        highest = min(view[free + END] & -align, last)
        if view[free + START] < highest:
            return free, highest
        free = _before(space, free)
    return 0, 0
