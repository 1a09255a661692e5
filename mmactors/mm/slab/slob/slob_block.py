"""Free blocks as they stand in memory, and how pages are searched, cut and joined (v6.1).

A page's free blocks are strung together inside of them, by address, in units of 2 bytes: a block of
one unit holds minus the offset of the next one, a longer one its length and then that offset. The
offset counts from the begin of the page; that of the last block leads to the page's end. A page is
described in the words of its struct page:

| struct slab | struct page | column |
|---|---|---|
| slab_list | lru | next, prev |
| freelist | index | index: address of the first free block |
| units | private | private: units of all free blocks |
| PG_slob_free | PG_private | flags |

Whoever writes beyond what it was given destroys this. Then the code goes where it is led, until it
leaves memory or goes round for ever: `LOST` and `CIRCLE`, for who calls it to die of. A place in
memory is counted in units here, as `slob_t *` does.
"""

from typing import Final

from mmactors.arch.column import Column, Shorts, Words
from mmactors.arch.jit import compiled
from mmactors.arch.page import PG_PRIVATE, Links, list_add, list_del
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

SLOB_UNIT: Final = 2
"""sizeof(slob_t), bytes: offsets within a page of 4 KiB have 16 bits."""
UNIT_SHIFT: Final = 1
PAGE_UNITS: Final = PAGE_SIZE // SLOB_UNIT
PAGE_UNITS_SHIFT: Final = PAGE_SHIFT - UNIT_SHIFT
PG_SLOB_FREE: Final = PG_PRIVATE
"""The page is on a list."""

LOST: Final = -1
"""Memory ends where the list of blocks leads."""
CIRCLE: Final = -2
"""The list of blocks leads back."""
IS_EMPTY: Final = 1
"""What was freed was all that was out of its page."""
_STEPS_MAX: Final = 1 << 17
"""So many blocks can be reached from one page with offsets of 16 bits."""


@compiled
def _short(value: int) -> int:
    """Return what 16 bits keep of a number, signed."""
    return ((value + 0x8000) & 0xFFFF) - 0x8000


@compiled
def _is_memory(memory: Shorts, s: int) -> bool:
    return s >= 0 and s + 1 < memory.shape[0]


@compiled
def set_slob(memory: Shorts, s: int, size: int, following: int) -> None:
    """Let a free block have a length, and be followed by another."""
    offset = _short(following - (s & -PAGE_UNITS))
    if _short(size) > 1:
        memory[s] = _short(size)
        memory[s + 1] = offset
    else:
        memory[s] = _short(-offset)


@compiled
def slob_units(memory: Shorts, s: int) -> int:
    """Return the length of a free block."""
    return max(int(memory[s]), 1)


@compiled
def slob_next(memory: Shorts, s: int) -> int:
    """Return the free block after another."""
    offset = int(memory[s])
    offset = _short(-offset) if offset < 0 else int(memory[s + 1])
    return (s & -PAGE_UNITS) + offset


@compiled
def slob_last(memory: Shorts, s: int) -> bool:
    """Return whether no free block follows."""
    return slob_next(memory, s) & (PAGE_UNITS - 1) == 0


@compiled
def _slob_page_alloc(
    memory: Shorts,
    freelist: Words,
    units_of: Words,
    sp: int,
    units: int,
    align: int,
    align_offset: int,
) -> int:
    """Cut a block out of the first free one that has room, 0: none has."""
    prev = 0
    cur = int(freelist[sp]) >> UNIT_SHIFT
    aligned = cur
    for _ in range(_STEPS_MAX):
        if not _is_memory(memory, cur):
            return LOST
        avail = slob_units(memory, cur)
        delta = 0
        if align != 0:
            address = ((cur << UNIT_SHIFT) + align_offset + align - 1) & -align
            aligned = (address - align_offset) >> UNIT_SHIFT
            delta = aligned - cur
        if avail >= units + delta:
            if not _is_memory(memory, cur + delta + units):
                return LOST
            following = slob_next(memory, cur)
            if delta != 0:
                set_slob(memory, aligned, avail - delta, following)
                set_slob(memory, cur, delta, aligned)
                prev = cur
                cur = aligned
                avail = slob_units(memory, cur)
                following = slob_next(memory, cur)
            rest = following
            if avail != units:
                rest = cur + units
            if prev != 0:
                set_slob(memory, prev, slob_units(memory, prev), rest)
            else:
                freelist[sp] = rest << UNIT_SHIFT
            if avail != units:
                set_slob(memory, rest, avail - units, following)
            units_of[sp] -= units
            return cur
        if slob_last(memory, cur):
            return 0
        prev = cur
        cur = slob_next(memory, cur)
    return CIRCLE


@compiled
def _take(
    memory: Shorts,
    freelist: Words,
    units_of: Words,
    links: Links,
    back: Links,
    flags: Column,
    sp: int,
    units: int,
    align: int,
    align_offset: int,
) -> int:
    """Cut a block out of a page that is on a list; if nothing is left, it leaves the list."""
    b = _slob_page_alloc(memory, freelist, units_of, sp, units, align, align_offset)
    if b > 0 and units_of[sp] == 0:
        list_del(links, back, sp)
        flags[sp] &= ~PG_SLOB_FREE
    return b


@compiled
def find_block(
    memory: Shorts,
    freelist: Words,
    units_of: Words,
    links: Links,
    back: Links,
    flags: Column,
    zones: Shorts,
    node_of_zone: Words,
    head: int,
    units: int,
    align: int,
    align_offset: int,
    node: int,
) -> int:
    """Return a block out of the first page of a list that has room, 0: none has.

    The next search begins at that page, if it is on the list still. `node`: the only one whose
    pages will do; -1: any.
    """
    sp = int(links[head])
    while sp != head:
        after = int(links[sp])
        if (node < 0 or node_of_zone[zones[sp] - 1] == node) and units_of[sp] >= units:
            b = _take(
                memory,
                freelist,
                units_of,
                links,
                back,
                flags,
                sp,
                units,
                align,
                align_offset,
            )
            if b != 0:
                if b > 0 and units_of[sp] != 0 and links[head] != sp:
                    # list_rotate_to_front: the head moves, the pages stay in their order.
                    list_del(links, back, head)
                    list_add(links, back, head, back[sp])
                return b
        sp = after
    return 0


@compiled
def open_page(
    memory: Shorts,
    freelist: Words,
    units_of: Words,
    links: Links,
    back: Links,
    flags: Column,
    sp: int,
    head: int,
    units: int,
    align: int,
    align_offset: int,
) -> int:
    """Put a new page at the front of a list and return a block out of it."""
    s = sp << PAGE_UNITS_SHIFT
    units_of[sp] = PAGE_UNITS
    freelist[sp] = s << UNIT_SHIFT
    set_slob(memory, s, PAGE_UNITS, s + PAGE_UNITS)
    list_add(links, back, sp, head)
    flags[sp] |= PG_SLOB_FREE
    return _take(memory, freelist, units_of, links, back, flags, sp, units, align, align_offset)


@compiled
def free_block(
    memory: Shorts,
    freelist: Words,
    units_of: Words,
    links: Links,
    back: Links,
    flags: Column,
    sp: int,
    b: int,
    units: int,
    head: int,
) -> int:
    """Take a block back, 0; a page that was full goes to the front of list `head`.

    IS_EMPTY: all of the page is free now, which was not written down; it is on no list.
    """
    if units_of[sp] + units == PAGE_UNITS:
        if flags[sp] & PG_SLOB_FREE:
            list_del(links, back, sp)
            flags[sp] &= ~PG_SLOB_FREE
        return IS_EMPTY
    if not flags[sp] & PG_SLOB_FREE:
        units_of[sp] = units
        freelist[sp] = b << UNIT_SHIFT
        set_slob(memory, b, units, (b + PAGE_UNITS) & -PAGE_UNITS)
        list_add(links, back, sp, head)
        flags[sp] |= PG_SLOB_FREE
        return 0
    units_of[sp] += units
    first = freelist[sp] >> UNIT_SHIFT
    if not _is_memory(memory, first):
        return LOST
    if b < first:
        following = first
        if b + units == first:
            units += slob_units(memory, first)
            following = slob_next(memory, first)
        set_slob(memory, b, units, following)
        freelist[sp] = b << UNIT_SHIFT
        return 0
    prev = first
    following = slob_next(memory, prev)
    for _ in range(_STEPS_MAX):
        if b <= following:
            break
        prev = following
        if not _is_memory(memory, prev):
            return LOST
        following = slob_next(memory, prev)
    else:
        return CIRCLE
    if not slob_last(memory, prev) and b + units == following:
        if not _is_memory(memory, following):
            return LOST
        units += slob_units(memory, following)
        following = slob_next(memory, following)
    set_slob(memory, b, units, following)
    if prev + slob_units(memory, prev) == b:
        units = slob_units(memory, b) + slob_units(memory, prev)
        set_slob(memory, prev, units, slob_next(memory, b))
    else:
        set_slob(memory, prev, slob_units(memory, prev), b)
    return 0
