"""Where in the tree of free areas an area fits, and what is left then (mm/vmalloc.c, v6.1).

Addresses and sizes are in pages, as in area_tree.py.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.mm.vmalloc.area_tree import (
    END,
    LEFT,
    NEXT,
    PARENT,
    PREV,
    RIGHT,
    START,
    SUBTREE_MAX,
    insert_area,
    propagate,
    unlink_area,
)

FL_FIT_TYPE: Final = 1
"""It is as large as the free area."""
LE_FIT_TYPE: Final = 2
"""It begins where the free area does."""
RE_FIT_TYPE: Final = 3
"""It ends where the free area does."""
NE_FIT_TYPE: Final = 4
"""Something is left on both sides."""


@compiled
def _first_in(areas: Words, area: int, align: int, vstart: int) -> int:
    """Return the first aligned page of an area from `vstart` on."""
    start = max(areas[area + START], vstart)
    return int((start + align - 1) & -align)


@compiled
def _is_within(areas: Words, area: int, size: int, align: int, vstart: int) -> bool:
    """Return whether so many pages fit into an area (is_within_this_va)."""
    return bool(_first_in(areas, area, align, vstart) + size <= areas[area + END])


@compiled
def _find_lowest_match(
    areas: Words, head: int, size: int, align: int, vstart: int, length: int
) -> int:
    """Return the free area that a request gets, 0: none (find_vmap_lowest_match).

    It is the first that fits on the way to the lowest one of `length` pages, which is more than
    `size` where an aligned part is wanted: then others that lie lower may fit, too.
    """
    area = areas[head + LEFT]
    while area:
        if areas[areas[area + LEFT] + SUBTREE_MAX] >= length and vstart < areas[area + START]:
            area = areas[area + LEFT]
            continue
        if _is_within(areas, area, size, align, vstart):
            return int(area)
        if areas[areas[area + RIGHT] + SUBTREE_MAX] >= length:
            area = areas[area + RIGHT]
            continue
        area = areas[area + PARENT]
        while area:
            if _is_within(areas, area, size, align, vstart):
                return int(area)
            right = areas[area + RIGHT]
            if areas[right + SUBTREE_MAX] >= length and vstart <= areas[area + START]:
                # What is left of here was looked at.
                vstart = areas[area + START] + 1
                area = right
                break
            area = areas[area + PARENT]
    return 0


@compiled
def find_fit(
    areas: Words, head: int, size: int, align: int, vstart: int, vend: int
) -> tuple[int, int]:
    """Return the free area that a request is cut from, and the page at which; (0, 0): none.

    For a request that is aligned to more than a page, the search asks for size + align - 1 bytes,
    which fit wherever they begin. As all sizes are pages, that is size + align pages.
    """
    length = size if align == 1 else size + align
    area = _find_lowest_match(areas, head, size, align, vstart, length)
    if area == 0:
        return 0, 0
    start = _first_in(areas, area, align, vstart)
    if start + size > vend:
        return 0, 0
    return area, start


@compiled
def fit_type(areas: Words, area: int, start: int, size: int) -> int:
    """Return how a request lies in the free area that it is cut from (classify_va_fit_type)."""
    if areas[area + START] == start:
        return FL_FIT_TYPE if areas[area + END] == start + size else LE_FIT_TYPE
    return RE_FIT_TYPE if areas[area + END] == start + size else NE_FIT_TYPE


@compiled
def adjust_to_fit(areas: Words, head: int, area: int, start: int, size: int, lower: int) -> None:
    """Cut pages off a free area (adjust_va_to_fit_type).

    Without an edge in common, `lower` becomes the area of what is left below; one that is as large
    leaves the tree.
    """
    kind = fit_type(areas, area, start, size)
    if kind == FL_FIT_TYPE:
        unlink_area(areas, head, area)
        return
    if kind == LE_FIT_TYPE:
        areas[area + START] += size
    elif kind == RE_FIT_TYPE:
        areas[area + END] = start
    else:
        areas[lower + START] = areas[area + START]
        areas[lower + END] = start
        areas[area + START] = start + size
    propagate(areas, area, 0)
    if kind == NE_FIT_TYPE:
        insert_area(areas, head, lower)


@compiled
def take_all(areas: Words, head: int, out: Words) -> int:
    """Empty a tree; put its areas into `out` in order of address, and return how many there were.

    `out` has room for all.
    """
    nr_taken = 0
    area = areas[head + NEXT]
    while area != head:
        out[nr_taken] = area
        nr_taken += 1
        area = areas[area + NEXT]
    areas[head + LEFT] = 0
    areas[head + NEXT] = head
    areas[head + PREV] = head
    return nr_taken
