"""A cache's state in the form of the recordings, put in and taken out.

The form is that of linux-6.1/kernel (topic `slab`): arrays with their entries, the last one in
last, the node's counters, its lists of slabs, head first. Slabs are `[pfn, offset of object 0,
objects out, where the array of indexes is, free indexes]`, full ones `[pfn, offset]`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from mmactors.arch.page import PG_HEAD, PG_SLAB
from mmactors.mm.slab.slab.cache import KmemCache
from mmactors.mm.slab.slab.struct_slab import (
    ACTIVE_BITS,
    AVAIL,
    BATCHCOUNT,
    COLOUR_NEXT,
    ENTRY,
    FREE_LIMIT,
    FREE_OBJECTS,
    FREE_SLABS,
    FREE_TOUCHED,
    LIMIT,
    OBJECT_FREELIST,
    SLABS_FREE,
    SLABS_FULL,
    SLABS_PARTIAL,
    TOTAL_SLABS,
    TOUCHED,
)
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

State = dict[str, Any]
ThingOf = Callable[[int, int], int]
"""Returns the address of an object, by its slab and index."""
PlaceOf = Callable[[int], list[int]]
"""Returns slab and index of an object, by its address."""
PLACE_OBJECT: Final = "object"
PLACE_OFF: Final = "off"
PLACE_END: Final = "end"
_COUNTERS: Final = {
    "free_objects": FREE_OBJECTS,
    "free_limit": FREE_LIMIT,
    "free_touched": FREE_TOUCHED,
    "total_slabs": TOTAL_SLABS,
    "free_slabs": FREE_SLABS,
    "colour_next": COLOUR_NEXT,
}
_LISTS: Final = {"partial": SLABS_PARTIAL, "free": SLABS_FREE, "full": SLABS_FULL}


def place_of_indexes(s: KmemCache) -> str:
    """Return where the arrays of indexes of a cache's slabs lie."""
    if s.layout.is_off_slab:
        return PLACE_OFF
    return PLACE_OBJECT if s.flags & OBJECT_FREELIST else PLACE_END


def params_of(s: KmemCache, node: int = 0) -> State:
    """Return the sizes and settings of a cache."""
    layout = s.layout
    return {
        "name": s.name,
        "object_size": s.object_size,
        "size": layout.size,
        "align": layout.align,
        "num": layout.num,
        "order": layout.order,
        "colour": layout.colour,
        "colour_off": layout.colour_off,
        "freelist_size": layout.freelist_size,
        "freelist": place_of_indexes(s),
        "limit": layout.limit,
        "batchcount": layout.batchcount,
        "shared": layout.shared,
        "free_limit": s.slabs.view[s.node(node) + FREE_LIMIT],
        "ctor": int(layout.has_ctor),
        "flags": layout.flags,
        "allocflags": layout.allocflags,
    }


def load_cache(s: KmemCache, state: State, thing_of: ThingOf) -> None:
    """Let a cache that has nothing have what a state says; its pages are taken to be allocated.

    `thing_of`: the address of a kmalloc object, by its slab and index.
    """
    view, n = s.slabs.view, s.node(0)
    for name, which in _LISTS.items():
        for slab in state[name]:
            _load_slab(s, slab, view[n + which], thing_of)
    for cpu in state["cpus"]:
        _load_array(s, s.cpu_cache(cpu["cpu"]), cpu)
    if state["shared"] is not None:
        _load_array(s, s.shared(0), state["shared"])
    for name, word in _COUNTERS.items():
        view[n + word] = state["node"][name]


def _load_array(s: KmemCache, ac: int, array: State) -> None:
    view = s.slabs.view
    view[ac + AVAIL], view[ac + TOUCHED] = array["avail"], array["touched"]
    for nth, (pfn, index) in enumerate(array["entries"]):
        view[ac + ENTRY + nth] = s.first_object(pfn) + index * s.size


def _load_slab(s: KmemCache, slab: Sequence[Any], head: int, thing_of: ThingOf) -> None:
    slabs, pages, layout = s.slabs, s.slabs.pages, s.layout
    pfn, offset, *rest = slab
    start = pfn << PAGE_SHIFT
    is_full = len(rest) < 3
    active = layout.num if is_full else rest[0]
    place: Any = (rest or [None])[0] if is_full else rest[1]
    pages.flags_view[pfn] |= PG_SLAB | (PG_HEAD if layout.order else 0)
    pages.order_view[pfn] = layout.order
    pages.refcount_view[pfn] = 1
    pages.mapping_view[pfn] = 1 + s.number
    pages.private_view[pfn] = start + offset << ACTIVE_BITS | active
    slabs.memory.claim_slab(pfn, 1 << layout.order)
    freelist = 0
    if layout.is_off_slab:
        freelist = thing_of(*place)
    elif not layout.flags & OBJECT_FREELIST:
        freelist = start + (PAGE_SIZE << layout.order) - layout.freelist_size
    elif not is_full and place >= 0:
        freelist = start + offset + place * layout.size
    pages.index_view[pfn] = freelist
    if not is_full:
        slabs.bytes_view[freelist + active : freelist + layout.num] = bytes(rest[2])
    pages.list_add_tail(pfn, head)


def dump_cache(s: KmemCache, place_of: PlaceOf) -> State:
    """Return a cache's state on node 0; `place_of`: where a kmalloc object is."""
    slabs = s.slabs
    view, n, shared = slabs.view, s.node(0), s.shared(0)
    return {
        "cpus": [{"cpu": cpu, **_dump_array(s, s.cpu_cache(cpu))} for cpu in range(slabs.nr_cpus)],
        "shared": _dump_array(s, shared) if view[shared + LIMIT] else None,
        "node": {name: view[n + word] for name, word in _COUNTERS.items()},
        **{
            name: [_dump_slab(s, pfn, place_of) for pfn in slabs.pages.list_pfns(view[n + which])]
            for name, which in _LISTS.items()
        },
    }


def _dump_array(s: KmemCache, ac: int) -> State:
    view, slabs = s.slabs.view, s.slabs
    entries = []
    for thing in s.entries(ac):
        pfn = slabs.head_of(thing)
        entries.append([0, thing] if pfn is None else [pfn, s.index_of(pfn, thing)])
    return {
        "avail": view[ac + AVAIL],
        "limit": view[ac + LIMIT],
        "batchcount": view[ac + BATCHCOUNT],
        "touched": view[ac + TOUCHED],
        "entries": entries,
    }


def _dump_slab(s: KmemCache, pfn: int, place_of: PlaceOf) -> list[Any]:
    offset = s.first_object(pfn) - (pfn << PAGE_SHIFT)
    active, freelist = s.active(pfn), s.slabs.pages.index_view[pfn]
    place: Any = PLACE_END
    if s.layout.is_off_slab:
        place = place_of(freelist)
    elif s.flags & OBJECT_FREELIST:
        place = s.index_of(pfn, freelist) if freelist else -1
    if active == s.layout.num:
        return [pfn, offset, place] if s.layout.is_off_slab else [pfn, offset]
    return [pfn, offset, active, place, s.free_indexes(pfn)]
