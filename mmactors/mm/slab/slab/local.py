"""What is done with arrays of objects and with slabs at once, compiled (mm/slab.c, v6.1).

`alloc_local` and `free_local` are a CPU's own array, and ask for nothing. The others run under
list_lock, out of the generators of alloc.py and free.py: no step of them can be told apart.
"""

from mmactors.arch.column import Bytes, Column, Words
from mmactors.arch.jit import compiled
from mmactors.arch.page import PG_SLAB, Links, list_add, list_add_tail, list_del
from mmactors.mm.slab.slab.struct_slab import (
    ACTIVE_BITS,
    ACTIVE_MASK,
    AVAIL,
    CLEARED,
    ENTRY,
    FREE_OBJECTS,
    FREE_SLABS,
    FREE_TOUCHED,
    HARDENED,
    IN_OBJECT,
    INDEX_MASK,
    LIMIT,
    NUM,
    SIZE,
    SLABS_FREE,
    SLABS_FULL,
    SLABS_PARTIAL,
    TOUCHED,
)
from mmactors.mm.slab.slab_memory import head_of
from mmactors.units import PAGE_SHIFT


@compiled
def alloc_local(slab: Words, memory: Words, base: int, ac: int) -> int:
    """Return the last object of a CPU's array, 0: it has none, or only a generator may see it."""
    avail = slab[ac + AVAIL]
    if avail == 0:
        return 0
    thing: int = slab[ac + ENTRY + avail - 1]
    if thing & 7 != 0:
        return 0
    slab[ac + AVAIL] = avail - 1
    slab[ac + TOUCHED] = 1
    first = thing >> 3
    for nth in range(first, first + slab[base + CLEARED]):
        if memory[nth] != 0:
            memory[nth] = 0
    return thing


@compiled
def free_local(slab: Words, base: int, ac: int, thing: int) -> bool:
    """Put an object into a CPU's array if it has room."""
    avail = slab[ac + AVAIL]
    if avail >= slab[ac + LIMIT]:
        return False
    if slab[base + HARDENED] != 0 and avail > 0 and slab[ac + ENTRY + avail - 1] == thing:
        return False
    slab[ac + ENTRY + avail] = thing
    slab[ac + AVAIL] = avail + 1
    return True


@compiled
def transfer_objects(slab: Words, to: int, source: int, most: int) -> int:
    """Move the last objects of an array to another one, in order; return how many."""
    avail = slab[source + AVAIL]
    there = slab[to + AVAIL]
    count: int = min(avail, most, slab[to + LIMIT] - there)
    for nth in range(count):
        slab[to + ENTRY + there + nth] = slab[source + ENTRY + avail - count + nth]
    slab[source + AVAIL] = avail - count
    slab[to + AVAIL] = there + count
    return count


@compiled
def drop_first(slab: Words, ac: int, count: int) -> None:
    """Let an array have no more its `count` oldest objects."""
    left = slab[ac + AVAIL] - count
    slab[ac + AVAIL] = left
    for nth in range(left):
        slab[ac + ENTRY + nth] = slab[ac + ENTRY + count + nth]


@compiled
def get_object(
    slab: Words, memory: Bytes, freelist: Words, counters: Words, base: int, pfn: int
) -> int:
    """Take the next free object of a slab (slab_get_obj)."""
    word = counters[pfn]
    index = int(memory[freelist[pfn] + (word & ACTIVE_MASK)]) & INDEX_MASK
    counters[pfn] = word + 1
    thing: int = (word >> ACTIVE_BITS) + index * slab[base + SIZE]
    return thing


@compiled
def alloc_block(
    slab: Words,
    memory: Bytes,
    freelist: Words,
    counters: Words,
    base: int,
    ac: int,
    pfn: int,
    batch: int,
) -> int:
    """Move up to `batch` free objects of a slab into an array; return how many are still due."""
    avail = slab[ac + AVAIL]
    while batch > 0 and counters[pfn] & ACTIVE_MASK < slab[base + NUM]:
        slab[ac + ENTRY + avail] = get_object(slab, memory, freelist, counters, base, pfn)
        avail += 1
        batch -= 1
    slab[ac + AVAIL] = avail
    return batch


@compiled
def first_slab(slab: Words, links: Links, n: int) -> int:
    """Return a node's slab to take objects from, 0: it has none (get_first_slab)."""
    head = slab[n + SLABS_PARTIAL]
    pfn: int = links[head]
    if pfn != head:
        return pfn
    slab[n + FREE_TOUCHED] = 1
    head = slab[n + SLABS_FREE]
    pfn = links[head]
    if pfn == head:
        return 0
    slab[n + FREE_SLABS] -= 1
    return pfn


@compiled
def fixup_slab_list(
    slab: Words,
    memory: Bytes,  # noqa: ARG001 - all take the same
    freelist: Words,
    counters: Words,
    links: Links,
    back: Links,
    base: int,
    n: int,
    pfn: int,
) -> None:
    """Put a slab from which objects were taken where it belongs."""
    list_del(links, back, pfn)
    if counters[pfn] & ACTIVE_MASK == slab[base + NUM]:
        list_add(links, back, pfn, slab[n + SLABS_FULL])
        if slab[base + IN_OBJECT] != 0:
            freelist[pfn] = 0
    else:
        list_add(links, back, pfn, slab[n + SLABS_PARTIAL])


@compiled
def refill_from_slabs(
    slab: Words,
    memory: Bytes,
    freelist: Words,
    counters: Words,
    links: Links,
    back: Links,
    base: int,
    n: int,
    ac: int,
    batch: int,
) -> int:
    """Move `batch` objects of a node's slabs into an empty array; return how many it lacks."""
    while batch > 0:
        pfn = first_slab(slab, links, n)
        if pfn == 0:
            break
        batch = alloc_block(slab, memory, freelist, counters, base, ac, pfn, batch)
        fixup_slab_list(slab, memory, freelist, counters, links, back, base, n, pfn)
    slab[n + FREE_OBJECTS] -= slab[ac + AVAIL]
    return batch


@compiled
def free_block(
    slab: Words,
    memory: Bytes,
    freelist: Words,
    counters: Words,
    links: Links,
    back: Links,
    flags: Column,
    orders: Bytes,
    base: int,
    n: int,
    first: int,
    count: int,
) -> int:
    """Give `count` objects, whose addresses stand from word `first` on, back to their slabs.

    Return -1; or the place of one whose slab has no object out, or that lies in no slab: those
    before it were given back.
    """
    slab[n + FREE_OBJECTS] += count
    size = slab[base + SIZE]
    for nth in range(count):
        thing = slab[first + nth]
        pfn = head_of(flags, orders, PG_SLAB, thing >> PAGE_SHIFT)
        if pfn < 0 or counters[pfn] & ACTIVE_MASK == 0:
            return nth
        list_del(links, back, pfn)
        word = counters[pfn] - 1
        counters[pfn] = word
        active = word & ACTIVE_MASK
        if freelist[pfn] == 0:
            freelist[pfn] = thing
        index = (thing - (word >> ACTIVE_BITS)) // size & INDEX_MASK
        memory[freelist[pfn] + active] = index - ((index & 0x80) << 1)
        if active == 0:
            list_add(links, back, pfn, slab[n + SLABS_FREE])
            slab[n + FREE_SLABS] += 1
        else:
            list_add_tail(links, back, pfn, slab[n + SLABS_PARTIAL])
    return -1
