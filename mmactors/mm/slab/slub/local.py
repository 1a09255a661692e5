"""What a CPU does with its own slabs, compiled: the twin of alloc.py and free.py (v6.1).

Nothing here takes list_lock or needs a page. Each function does an operation as a whole, or, where
it would need either, leaves it to the generator. No step of these can be told apart from outside:
who asks for steps drives the generators instead, and so do caches that are debugged.
"""

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.arch.page import Links
from mmactors.mm.slab.slub.struct_slab import (
    CLEARED,
    COUNTERS_INUSE,
    COUNTERS_OBJECTS,
    CPU_PARTIAL_SLABS,
    FREELIST,
    FROZEN,
    IS_DEBUG,
    OBJECTS_SHIFT,
    PARTIAL,
    SIZE,
    SLAB,
    TID,
    TID_STEP,
    get_freepointer,
    set_freepointer,
)

_get_freepointer = compiled(get_freepointer)
_set_freepointer = compiled(set_freepointer)


@compiled
def _is_object(memory: Words, thing: int) -> bool:
    return 0 < thing < memory.shape[0] * 8 and thing & 7 == 0


@compiled
def alloc_local(
    slub: Words, memory: Words, freelist: Words, counters: Words, links: Links, base: int, c: int
) -> int:
    """Return an object of what the CPU has, 0: it has none, or its freelist is broken."""
    while True:
        slab = slub[c + SLAB]
        if slab == 0:
            slab = slub[c + PARTIAL]
            if slab == 0:
                return 0
            slub[c + SLAB] = slab
            slub[c + PARTIAL] = links[slab]
        thing: int = slub[c + FREELIST]
        if thing == 0:
            thing = freelist[slab]
            if thing != 0 and not _is_object(memory, thing):
                return 0
            objects = counters[slab] >> OBJECTS_SHIFT & COUNTERS_OBJECTS
            word = objects | objects << OBJECTS_SHIFT
            freelist[slab] = 0
            if thing == 0:
                counters[slab] = word
                slub[c + SLAB] = 0
                slub[c + TID] += TID_STEP
                continue
            counters[slab] = word | FROZEN
        elif not _is_object(memory, thing):
            return 0
        slub[c + FREELIST] = _get_freepointer(slub, memory, base, thing)
        slub[c + TID] += TID_STEP
        first = thing >> 3
        for nth in range(first, first + slub[base + CLEARED]):
            if memory[nth] != 0:
                memory[nth] = 0
        return thing


@compiled
def free_local(
    slub: Words,
    memory: Words,
    freelist: Words,
    counters: Words,
    links: Links,
    back: Links,
    base: int,
    c: int,
    slab: int,
    thing: int,
) -> bool:
    """Free an object, if no slab comes to a node's list or leaves it by that."""
    if slub[base + IS_DEBUG] != 0 or thing & 7 != 0:
        return False
    if slab == slub[c + SLAB]:
        following = slub[c + FREELIST]
        if following == thing:
            return False
        _set_freepointer(slub, memory, base, thing, following)
        slub[c + FREELIST] = thing
        slub[c + TID] += TID_STEP
        return True
    prior = freelist[slab]
    word = counters[slab]
    inuse = word & COUNTERS_INUSE
    if prior == thing or inuse == 0:
        return False
    if word & FROZEN == 0:
        if prior != 0:
            if inuse == 1:
                return False
        else:
            old = slub[c + PARTIAL]
            nr_slabs = 0
            if old != 0:
                nr_slabs = back[old]
                if nr_slabs >= slub[base + CPU_PARTIAL_SLABS]:
                    return False
            back[slab] = nr_slabs + 1
            links[slab] = old
            slub[c + PARTIAL] = slab
            word |= FROZEN
    _set_freepointer(slub, memory, base, thing, prior)
    freelist[slab] = thing
    counters[slab] = word - 1
    return True


@compiled
def make_freelist(
    slub: Words,
    memory: Words,
    base: int,
    sequence: Words,
    position: int,
    start: int,
    objects: int,
) -> int:
    """String the objects of a new slab together; return the first (shuffle_freelist)."""
    size = slub[base + SIZE]
    length = sequence.shape[0]
    if objects < 2 or length == 0:
        for nth in range(objects - 1):
            _set_freepointer(slub, memory, base, start + nth * size, start + (nth + 1) * size)
        _set_freepointer(slub, memory, base, start + (objects - 1) * size, 0)
        return start
    first = 0
    last = 0
    for nth in range(length):
        index = sequence[(position + nth) % length]
        # A slab of the least order may have fewer objects than the sequence.
        if index < objects:
            thing = start + index * size
            if first == 0:
                first = thing
            else:
                _set_freepointer(slub, memory, base, last, thing)
            last = thing
    _set_freepointer(slub, memory, base, last, 0)
    return first
