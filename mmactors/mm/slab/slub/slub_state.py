"""A cache's state in the form of the recordings, put in and taken out.

The form is that of linux-6.1/kernel (topic `slub`): `cpus` with `slab` and `partial`, `nodes` with
their lists, objects as indices, all lists head first. Slabs that are full are not in it.
"""

from typing import Any

from mmactors.arch.page import PG_HEAD, PG_SLAB
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.lists import add_partial, cpu_partial, node_partial
from mmactors.mm.slab.slub.struct_slab import (
    COUNTERS_INUSE,
    COUNTERS_OBJECTS,
    FREELIST,
    FROZEN,
    NR_PARTIAL,
    NR_SLABS,
    OBJECTS_SHIFT,
    PARTIAL,
    SLAB,
    TOTAL_OBJECTS,
    counters_of,
)

State = dict[str, Any]


def load_cache(s: KmemCache, state: State) -> None:
    """Let a cache that has nothing have what a state says; its pages are taken to be allocated."""
    view, pages = s.slabs.view, s.slabs.pages
    for each in state["cpus"]:
        c = s.cpu_slab(each["cpu"])
        own = each["slab"]
        if own is not None:
            _load_slab(s, own, own["slab_freelist"], is_frozen=True)
            view[c + SLAB] = own["pfn"]
            view[c + FREELIST] = _load_freelist(s, own["pfn"], own["cpu_freelist"])
        for slab in reversed(each["partial"]):
            pfn = slab["pfn"]
            _load_slab(s, slab, slab["freelist"], is_frozen=True)
            pages.next_view[pfn] = view[c + PARTIAL]
            pages.prev_view[pfn] = slab["slabs"]
            view[c + PARTIAL] = pfn
    for each in state["nodes"]:
        word = s.node(each["node"])
        for slab in each["partial"]:
            _load_slab(s, slab, slab["freelist"], is_frozen=False)
            add_partial(s, each["node"], slab["pfn"], at_tail=True)
        view[word + NR_PARTIAL] = each["nr_partial"]
        view[word + NR_SLABS] = each["nr_slabs"]
        view[word + TOTAL_OBJECTS] = each["total_objects"]


def _load_slab(s: KmemCache, slab: State, freelist: list[int], *, is_frozen: bool) -> None:
    pages, pfn = s.slabs.pages, slab["pfn"]
    layout = s.layout
    order = layout.order if slab["objects"] == layout.objects else layout.min_order
    pages.flags_view[pfn] |= PG_SLAB | (PG_HEAD if order else 0)
    pages.order_view[pfn] = order
    pages.refcount_view[pfn] = 1
    pages.mapping_view[pfn] = 1 + s.number
    pages.private_view[pfn] = counters_of(
        inuse=slab["inuse"], objects=slab["objects"], is_frozen=is_frozen
    )
    s.slabs.memory.claim_slab(pfn, 1 << order)
    pages.index_view[pfn] = _load_freelist(s, pfn, freelist)


def _load_freelist(s: KmemCache, slab: int, indices: list[int]) -> int:
    things = [s.first_object(slab) + nth * s.size for nth in indices]
    following = 0
    for thing in reversed(things):
        s.set_freepointer(thing, following)
        following = thing
    return following


def params_of(s: KmemCache) -> State:
    """Return the sizes and settings of a cache."""
    layout = s.layout
    return {
        "name": s.name,
        "size": layout.size,
        "object_size": s.object_size,
        "inuse": s.inuse,
        "offset": layout.offset,
        "align": layout.align,
        "order": layout.order,
        "objects": layout.objects,
        "min_order": layout.min_order,
        "min_objects": layout.min_objects,
        "cpu_partial": layout.cpu_partial,
        "cpu_partial_slabs": layout.cpu_partial_slabs,
        "min_partial": layout.min_partial,
        "flags": layout.flags,
        "allocflags": layout.allocflags,
        "ctor": int(layout.has_ctor),
        "refcount": s.refcount,
        "red_left_pad": layout.red_left_pad,
        "useroffset": s.useroffset,
        "usersize": s.usersize,
    }


def dump_cache(s: KmemCache) -> State:
    """Return a cache's state; a CPU that has nothing is left out."""
    slabs = s.slabs
    view, pages = slabs.view, slabs.pages
    cpus = []
    for cpu in range(slabs.nr_cpus):
        c = s.cpu_slab(cpu)
        own = None
        if view[c + SLAB]:
            pfn = view[c + SLAB]
            own = {
                **_dump_slab(s, pfn),
                "frozen": int(pages.private_view[pfn] & FROZEN != 0),
                "cpu_freelist": _indices(s, pfn, view[c + FREELIST]),
                "slab_freelist": _indices(s, pfn, pages.index_view[pfn]),
            }
        partial = [
            {
                **_dump_slab(s, pfn),
                "slabs": pages.prev_view[pfn],
                "freelist": _indices(s, pfn, pages.index_view[pfn]),
            }
            for pfn in cpu_partial(s, cpu)
        ]
        if own or partial:
            cpus.append({"cpu": cpu, "slab": own, "partial": partial})
    nodes = [
        {
            "node": node,
            "nr_partial": view[s.node(node) + NR_PARTIAL],
            "nr_slabs": view[s.node(node) + NR_SLABS],
            "total_objects": view[s.node(node) + TOTAL_OBJECTS],
            "partial": [
                {**_dump_slab(s, pfn), "freelist": _indices(s, pfn, pages.index_view[pfn])}
                for pfn in node_partial(s, node)
            ],
        }
        for node in range(slabs.nr_nodes)
    ]
    return {"cpus": cpus, "nodes": nodes}


def _dump_slab(s: KmemCache, pfn: int) -> State:
    counters = s.slabs.pages.private_view[pfn]
    return {
        "pfn": pfn,
        "inuse": counters & COUNTERS_INUSE,
        "objects": counters >> OBJECTS_SHIFT & COUNTERS_OBJECTS,
    }


def _indices(s: KmemCache, slab: int, thing: int) -> list[int]:
    return [s.index_of(slab, each) for each in s.chain(thing)]
