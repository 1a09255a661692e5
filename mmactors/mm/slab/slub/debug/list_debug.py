"""Lists that are looked at before they are changed (DEBUG_LIST, lib/list_debug.c; Linux 6.1).

Debian's kernel has BUG_ON_DATA_CORRUPTION: a list that is broken ends in a BUG(). An entry that is
on no list points to LIST_POISON1 and LIST_POISON2.
"""

from typing import Final, NoReturn

from mmactors.mm.slab.oops import STRUCT_PAGE_SIZE, VMEMMAP, bug, oops
from mmactors.mm.slab.slub.cache import Slabs

LIST_POISON1: Final = -1
LIST_POISON2: Final = -2
_FILE: Final = "lib/list_debug.c"
_POISONS: Final = {0: 0, LIST_POISON1: 0xDEAD000000000100, LIST_POISON2: 0xDEAD000000000122}
_SLAB_LIST: Final = 8
"""offsetof(struct slab, slab_list)."""


def list_add(slabs: Slabs, entry: int, before: int, after: int) -> None:
    """Put an entry between two neighbours (__list_add)."""
    links, back = slabs.pages.next_view, slabs.pages.prev_view
    if back[after] != before:
        _add_corruption(slabs, 27, "next->prev should be prev", before, back[after], "next", after)
    if links[before] != after:
        _add_corruption(
            slabs, 30, "prev->next should be next", after, links[before], "prev", before
        )
    if entry in (before, after):
        new, prev, following = (_pointer(each) for each in (entry, before, after))
        text = f"list_add double add: new={new}, prev={prev}, next={following}."
        oops(slabs, text, *bug(_FILE, 33))
    back[after] = entry
    links[entry] = after
    back[entry] = before
    links[before] = entry


def list_del(slabs: Slabs, entry: int) -> None:
    """Take an entry off its list."""
    links, back = slabs.pages.next_view, slabs.pages.prev_view
    after, before = links[entry], back[entry]
    for line, name, value, poison in (
        (49, "next", after, 0),
        (51, "prev", before, 0),
        (53, "next", after, LIST_POISON1),
        (56, "prev", before, LIST_POISON2),
    ):
        if value == poison:
            what = "NULL"
            if poison:
                what = f"LIST_POISON{-poison} ({_pointer(poison)})"
            text = f"list_del corruption, {_pointer(entry)}->{name} is {what}"
            oops(slabs, text, *bug(_FILE, line))
    if links[before] != entry:
        _del_corruption(slabs, 59, "prev->next", entry, links[before], "prev", before)
    if back[after] != entry:
        _del_corruption(slabs, 62, "next->prev", entry, back[after], "next", after)
    back[after] = before
    links[before] = after
    links[entry] = LIST_POISON1
    back[entry] = LIST_POISON2


def _pointer(entry: int) -> str:
    """Return the address of a slab's list entry; of a list's head, where it would be in a row."""
    if entry in _POISONS:
        return f"{_POISONS[entry]:016x}"
    return f"{VMEMMAP + entry * STRUCT_PAGE_SIZE + _SLAB_LIST:016x}"


def _add_corruption(
    slabs: Slabs, line: int, what: str, right: int, found: int, name: str, place: int
) -> NoReturn:
    values = f"({_pointer(right)}), but was {_pointer(found)}. ({name}={_pointer(place)})."
    oops(slabs, f"list_add corruption. {what} {values}", *bug(_FILE, line))


def _del_corruption(
    slabs: Slabs, line: int, what: str, right: int, found: int, name: str, place: int
) -> NoReturn:
    values = f"{_pointer(right)}, but was {_pointer(found)}. ({name}={_pointer(place)})"
    oops(slabs, f"list_del corruption. {what} should be {values}", *bug(_FILE, line))
