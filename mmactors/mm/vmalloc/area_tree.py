"""The red-black trees of vmap areas, with the largest area below each (lib/rbtree.c, v6.1).

Where a search for free addresses goes depends on the tree's shape, so that it is the kernel's: as
include/linux/rbtree_augmented.h inserts, erases and rotates. An area is AREA_WORDS words, named by
where they begin; 0 is none, whose words are those of a black leaf. A tree's head is such words,
too: its LEFT is the root, and NEXT and PREV make the areas a circle in order of address.

Addresses and sizes are in pages: all areas but the first and the last of the address space begin
and end at pages.

Invariants: no red area has a red child; all ways down have as many black areas; SUBTREE_MAX is the
largest size at or below an area, once `propagate` was called for what has changed.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled

START: Final = 0
END: Final = 1
LEFT: Final = 2
RIGHT: Final = 3
PARENT: Final = 4
COLOUR: Final = 5
SUBTREE_MAX: Final = 6
NEXT: Final = 7
PREV: Final = 8
THING: Final = 9
"""The address of the object that the area is kept in."""
AREA_WORDS: Final = 10

RED: Final = 0
BLACK: Final = 1
_SIDES: Final = LEFT + RIGHT


@compiled
def _compute_max(areas: Words, area: int) -> int:
    """Return the largest size at or below an area."""
    largest = areas[area + END] - areas[area + START]
    largest = max(largest, areas[areas[area + LEFT] + SUBTREE_MAX])
    return int(max(largest, areas[areas[area + RIGHT] + SUBTREE_MAX]))


@compiled
def propagate(areas: Words, area: int, stop: int) -> None:
    """Correct SUBTREE_MAX from an area up, until it is right or `stop` is reached."""
    while area != stop:
        largest = _compute_max(areas, area)
        if areas[area + SUBTREE_MAX] == largest:
            return
        areas[area + SUBTREE_MAX] = largest
        area = areas[area + PARENT]


@compiled
def _change_child(areas: Words, head: int, old: int, new: int, parent: int) -> None:
    """Let what leads to one area lead to another."""
    if parent == 0:
        areas[head + LEFT] = new
    elif areas[parent + LEFT] == old:
        areas[parent + LEFT] = new
    else:
        areas[parent + RIGHT] = new


@compiled
def _set_parent_colour(areas: Words, area: int, parent: int, colour: int) -> None:
    areas[area + PARENT] = parent
    areas[area + COLOUR] = colour


@compiled
def _augment_rotate(areas: Words, old: int, new: int) -> None:
    """Let an area that has come up be the largest of what the other one was the largest of."""
    areas[new + SUBTREE_MAX] = areas[old + SUBTREE_MAX]
    areas[old + SUBTREE_MAX] = _compute_max(areas, old)


@compiled
def _turn(areas: Words, head: int, old: int, new: int, side: int, colour: int) -> None:
    """Let `new`, a child of `old`, stand in its place; `old` gets `colour`, on `side` of it."""
    parent = areas[old + PARENT]
    areas[new + side] = old
    _set_parent_colour(areas, new, parent, areas[old + COLOUR])
    _set_parent_colour(areas, old, new, colour)
    _change_child(areas, head, old, new, parent)
    _augment_rotate(areas, old, new)


@compiled
def _rb_insert(areas: Words, head: int, area: int) -> None:
    """Restore the tree's laws after a red area was made a leaf."""
    parent = areas[area + PARENT]
    while True:
        if parent == 0:
            areas[area + COLOUR] = BLACK
            return
        if areas[parent + COLOUR] == BLACK:
            return
        above = areas[parent + PARENT]
        side = LEFT if areas[above + RIGHT] != parent else RIGHT
        other = _SIDES - side
        uncle = areas[above + other]
        if areas[uncle + COLOUR] == RED:
            areas[uncle + COLOUR] = BLACK
            areas[parent + COLOUR] = BLACK
            areas[above + COLOUR] = RED
            area = above
            parent = areas[area + PARENT]
            continue
        inner = areas[parent + other]
        if area == inner:
            inner = areas[area + side]
            areas[parent + other] = inner
            areas[area + side] = parent
            if inner:
                _set_parent_colour(areas, inner, parent, BLACK)
            _set_parent_colour(areas, parent, area, RED)
            _augment_rotate(areas, parent, area)
            parent = area
            inner = areas[area + other]
        areas[above + side] = inner
        if inner:
            _set_parent_colour(areas, inner, above, BLACK)
        _turn(areas, head, above, parent, other, RED)
        return


@compiled
def _rb_erase_colour(areas: Words, head: int, parent: int) -> None:
    """Restore the tree's laws where one black area is missing on one side of `parent`."""
    area = 0
    while True:
        side = LEFT if areas[parent + RIGHT] != area else RIGHT
        other = _SIDES - side
        sibling = areas[parent + other]
        if areas[sibling + COLOUR] == RED:
            inner = areas[sibling + side]
            areas[parent + other] = inner
            _set_parent_colour(areas, inner, parent, BLACK)
            _turn(areas, head, parent, sibling, side, RED)
            sibling = inner
        outer = areas[sibling + other]
        if areas[outer + COLOUR] == BLACK:
            inner = areas[sibling + side]
            if areas[inner + COLOUR] == BLACK:
                areas[sibling + COLOUR] = RED
                if areas[parent + COLOUR] == RED:
                    areas[parent + COLOUR] = BLACK
                    return
                area = parent
                parent = areas[area + PARENT]
                if parent == 0:
                    return
                continue
            between = areas[inner + other]
            areas[sibling + side] = between
            areas[inner + other] = sibling
            areas[parent + other] = inner
            if between:
                _set_parent_colour(areas, between, sibling, BLACK)
            _augment_rotate(areas, sibling, inner)
            outer = sibling
            sibling = inner
        between = areas[sibling + side]
        areas[parent + other] = between
        _set_parent_colour(areas, outer, sibling, BLACK)
        if between:
            areas[between + PARENT] = parent
        _turn(areas, head, parent, sibling, side, BLACK)
        return


@compiled
def _rb_erase(areas: Words, head: int, area: int) -> None:
    """Take an area out of the tree."""
    left = areas[area + LEFT]
    right = areas[area + RIGHT]
    parent = areas[area + PARENT]
    colour = areas[area + COLOUR]
    rebalance = 0
    if left == 0 or right == 0:
        child = left + right
        _change_child(areas, head, area, child, parent)
        if child:
            _set_parent_colour(areas, child, parent, colour)
        elif colour == BLACK:
            rebalance = parent
        changed = parent
    else:
        successor = right
        if areas[right + LEFT] == 0:
            above = successor
            child = areas[successor + RIGHT]
            areas[successor + SUBTREE_MAX] = areas[area + SUBTREE_MAX]
        else:
            above = right
            while areas[successor + LEFT]:
                above = successor
                successor = areas[successor + LEFT]
            child = areas[successor + RIGHT]
            areas[above + LEFT] = child
            areas[successor + RIGHT] = right
            areas[right + PARENT] = successor
            areas[successor + SUBTREE_MAX] = areas[area + SUBTREE_MAX]
            propagate(areas, above, successor)
        areas[successor + LEFT] = left
        areas[left + PARENT] = successor
        _change_child(areas, head, area, successor, parent)
        if child:
            _set_parent_colour(areas, child, above, BLACK)
        elif areas[successor + COLOUR] == BLACK:
            rebalance = above
        _set_parent_colour(areas, successor, parent, colour)
        changed = successor
    propagate(areas, changed, 0)
    if rebalance:
        _rb_erase_colour(areas, head, rebalance)


@compiled
def _find_links(areas: Words, head: int, area: int) -> tuple[int, int]:
    """Return below which area, and on which side, one belongs; (-1, 0): it overlaps another."""
    start = areas[area + START]
    end = areas[area + END]
    parent = 0
    side = LEFT
    each = areas[head + LEFT]
    while each:
        parent = each
        if end <= areas[each + START]:
            side = LEFT
        elif start >= areas[each + END]:
            side = RIGHT
        else:
            return -1, 0
        each = areas[each + side]
    return parent, side


@compiled
def _link(areas: Words, head: int, area: int, parent: int, side: int) -> None:
    """Add an area where `_find_links` has said."""
    before = head
    if parent:
        before = parent if side == RIGHT else areas[parent + PREV]
    areas[area + LEFT] = 0
    areas[area + RIGHT] = 0
    _set_parent_colour(areas, area, parent, RED)
    if parent:
        areas[parent + side] = area
    else:
        areas[head + LEFT] = area
    _rb_insert(areas, head, area)
    areas[area + SUBTREE_MAX] = 0
    after = areas[before + NEXT]
    areas[area + PREV] = before
    areas[area + NEXT] = after
    areas[before + NEXT] = area
    areas[after + PREV] = area
    propagate(areas, area, 0)


@compiled
def unlink_area(areas: Words, head: int, area: int) -> None:
    """Take an area out of its tree and its list (unlink_va)."""
    _rb_erase(areas, head, area)
    before = areas[area + PREV]
    after = areas[area + NEXT]
    areas[before + NEXT] = after
    areas[after + PREV] = before


@compiled
def insert_area(areas: Words, head: int, area: int) -> bool:
    """Add an area; say whether there was room: False leaves all as it is (insert_vmap_area)."""
    parent, side = _find_links(areas, head, area)
    if parent < 0:
        return False
    _link(areas, head, area, parent, side)
    return True


@compiled
def merge_or_add(areas: Words, head: int, area: int) -> tuple[int, int]:
    """Add an area, or let its neighbours have its addresses (merge_or_add_vmap_area).

    Return the area that has them now, and one that is needed no more besides the one that was given
    (0: none). (0, 0): it overlaps another, and nothing is done.
    """
    parent, side = _find_links(areas, head, area)
    if parent < 0:
        return 0, 0
    now = area
    spare = 0
    if parent:
        after = areas[parent + NEXT] if side == RIGHT else parent
        before = areas[after + PREV]
        if after != head and areas[after + START] == areas[area + END]:
            areas[after + START] = areas[area + START]
            now = after
        if before != head and areas[before + END] == areas[area + START]:
            if now != area:
                # Its neighbour goes first, as what lies above it may be turned (rb_erase).
                unlink_area(areas, head, now)
                spare = now
            areas[before + END] = areas[now + END]
            now = before
    if now == area:
        _link(areas, head, area, parent, side)
    else:
        propagate(areas, now, 0)
    return now, spare


@compiled
def find_area(areas: Words, head: int, page: int) -> int:
    """Return the area that an address is in, 0: none (__find_vmap_area)."""
    area = areas[head + LEFT]
    while area:
        if page < areas[area + START]:
            area = areas[area + LEFT]
        elif page >= areas[area + END]:
            area = areas[area + RIGHT]
        else:
            return int(area)
    return 0
