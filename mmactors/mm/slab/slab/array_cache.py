"""Arrays of free objects: filled, emptied, their objects given back to slabs (mm/slab.c, v6.1).

Models struct array_cache with __free_one, free_block and drain_array_locked.
"""

from typing import Final

from mmactors.arch.page import list_del
from mmactors.label import Mode
from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.oops import oops, wild_pointer
from mmactors.mm.slab.request import Printk, SlabSteps
from mmactors.mm.slab.slab.cache import KmemCache
from mmactors.mm.slab.slab.local import drop_first
from mmactors.mm.slab.slab.local import free_block as free_objects
from mmactors.mm.slab.slab.struct_slab import (
    AVAIL,
    ENTRY,
    FREE_LIMIT,
    FREE_OBJECTS,
    FREE_SLABS,
    HARDENED,
    LIMIT,
    SLABS_FREE,
    TOTAL_SLABS,
)
from mmactors.mm.slab.slab_memory import step, touches_slab
from mmactors.mm.slab.warning import warning_once

_DRAINED_FRACTION: Final = 5
"""An array that was not used gives back one part of so many of its limit."""


def free_one(s: KmemCache, ac: int, thing: int, cpu: int, caller: SlabCaller) -> SlabSteps[None]:
    """Put an object into an array that has room, unless it is the one that came last."""
    view = s.slabs.view
    avail = view[ac + AVAIL]
    if view[s.base + HARDENED] and avail and view[ac + ENTRY + avail - 1] == thing:
        lines = warning_once(s.slabs, cpu, caller, "mm/slab.c:603 __free_one")
        if lines:
            yield Printk(lines=lines)
        return
    view[ac + ENTRY + avail] = thing
    view[ac + AVAIL] = avail + 1


def free_block(s: KmemCache, node: int, ac: int, count: int) -> SlabSteps[list[int]]:
    """Give the `count` oldest objects of an array back to their slabs; list_lock is held.

    They stay in the array. Return slabs that nobody needs any more, off all lists, in the order in
    which they are to go.
    """
    slabs, pages = s.slabs, s.slabs.pages
    first, n = ac + ENTRY, s.node(node)
    if slabs.wants_step():
        touched = slabs.object_slabs(iter(slabs.view[first : first + count]))
        yield step(
            "free_block",
            s.touches_node(node, Mode.WRITE),
            *(touches_slab(slab, Mode.WRITE) for slab in touched),
        )
    found = pages.flags, pages.order
    bad = free_objects(*slabs.objects, *slabs.links, *found, s.base, n, first, count)
    if bad >= 0:
        # What is freed twice and is free by now is counted below nothing.
        oops(slabs, *wild_pointer(slabs.view[first + bad]))
    return _surplus(s, n)


def _surplus(s: KmemCache, n: int) -> list[int]:
    """Take free slabs off a node's list until no more objects are free there than may be."""
    view, pages = s.slabs.view, s.slabs.pages
    head = view[n + SLABS_FREE]
    found: list[int] = []
    while view[n + FREE_OBJECTS] > view[n + FREE_LIMIT] and pages.prev_view[head] != head:
        slab = pages.prev_view[head]
        unlink_free_slab(s, n, slab)
        found.append(slab)
    found.reverse()
    return found


def unlink_free_slab(s: KmemCache, n: int, slab: int) -> None:
    """Take a slab off its node's list of free ones; list_lock is held."""
    view, pages = s.slabs.view, s.slabs.pages
    list_del(pages.next, pages.prev, slab)
    view[n + FREE_OBJECTS] -= s.layout.num
    view[n + FREE_SLABS] -= 1
    view[n + TOTAL_SLABS] -= 1


def drain_array_locked(s: KmemCache, node: int, ac: int, *, free_all: bool) -> SlabSteps[list[int]]:
    """Give objects of an array back to their slabs, oldest first; list_lock is held.

    All of them, or a fifth of what the array may hold; where it has fewer, half of them.
    """
    view = s.slabs.view
    avail = view[ac + AVAIL]
    if not avail:
        return []
    count = avail
    if not free_all:
        count = (view[ac + LIMIT] + _DRAINED_FRACTION - 1) // _DRAINED_FRACTION
        if count > avail:
            count = (avail + 1) // 2
    surplus = yield from free_block(s, node, ac, count)
    drop_first(s.slabs.words, ac, count)
    return surplus
