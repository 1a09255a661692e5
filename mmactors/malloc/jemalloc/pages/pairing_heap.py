"""Pairing heaps of extents, as links in them (jemalloc 5.3.0, ph.h, to the letter).

The first is the root. Newcomers are siblings of the root until somebody wants the first; now and
then pairs of them are merged. A root without children that leaves hands on to its first sibling,
whichever that is, and who is put above that one adopts its siblings: so the first need not be the
least one, and who comes first depends on the order of all that happened before.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.user_words import load_word, longest_walk, store_word

BY_SERIAL: Final = 0
"""The oldest extent first, then the lowest address (edata_snad_comp): edata_heap."""
BY_EDATA: Final = 1
"""The extent structure that was there first, then the lowest (edata_esnead_comp): edata_avail."""

ROOT: Final = 0
AUX_COUNT: Final = 8
"""Newcomers since the siblings of the root were merged, gone ones or not."""

PREV: Final = 40
NEXT: Final = 48
LCHILD: Final = 56
"""The links of an extent, heap_link and avail_link."""

_ADDRESS: Final = 8
_SIZE_ESN: Final = 16
_SERIAL: Final = 32
_ESN_MASK: Final = 0xFFF
_SIGN: Final = -(1 << 63)
"""Flipped, numbers without sign compare as those with it."""


@compiled
def _is_before(words: Words, log: Words, order: int, extent: int, other: int) -> bool:
    if order == BY_EDATA:
        serial = load_word(words, log, extent + _SIZE_ESN) & _ESN_MASK
        other_serial = load_word(words, log, other + _SIZE_ESN) & _ESN_MASK
        return extent < other if serial == other_serial else serial < other_serial
    serial = load_word(words, log, extent + _SERIAL) ^ _SIGN
    other_serial = load_word(words, log, other + _SERIAL) ^ _SIGN
    if serial != other_serial:
        return serial < other_serial
    address = load_word(words, log, extent + _ADDRESS) ^ _SIGN
    return address < load_word(words, log, other + _ADDRESS) ^ _SIGN


@compiled
def _merge(words: Words, log: Words, order: int, one: int, other: int) -> int:
    """Let one tree be the first child of the other's root; return that (phn_merge)."""
    if one == 0:
        return other
    if other == 0:
        return one
    if not _is_before(words, log, order, one, other):
        one, other = other, one
    store_word(words, log, other + PREV, one)
    child = load_word(words, log, one + LCHILD)
    store_word(words, log, other + NEXT, child)
    if child:
        store_word(words, log, child + PREV, other)
    store_word(words, log, one + LCHILD, other)
    return one


@compiled
def _cut(words: Words, log: Words, extent: int) -> None:
    """Let a tree have no siblings."""
    store_word(words, log, extent + PREV, 0)
    store_word(words, log, extent + NEXT, 0)


@compiled
def _merge_siblings(words: Words, log: Words, order: int, first: int) -> int:
    """Merge a row of trees to one: pairs, then what came of these, in a queue."""
    one = first
    other = load_word(words, log, one + NEXT)
    if other == 0:
        return one
    left = longest_walk(words)
    head = 0
    tail = 0
    while one and left:
        left -= 1
        other = load_word(words, log, one + NEXT)
        rest = 0
        if other:
            rest = load_word(words, log, other + NEXT)
            if rest:
                store_word(words, log, rest + PREV, 0)
            _cut(words, log, one)
            _cut(words, log, other)
            one = _merge(words, log, order, one, other)
        if tail:
            store_word(words, log, tail + NEXT, one)
        else:
            head = one
        tail = one
        one = rest
    one = head
    other = load_word(words, log, one + NEXT)
    while other and left:
        left -= 1
        head = load_word(words, log, other + NEXT)
        store_word(words, log, one + NEXT, 0)
        store_word(words, log, other + NEXT, 0)
        one = _merge(words, log, order, one, other)
        if head == 0:
            break
        store_word(words, log, tail + NEXT, one)
        tail = one
        one = head
        other = load_word(words, log, one + NEXT)
    return one


@compiled
def _merge_aux(words: Words, log: Words, order: int, heap: int) -> None:
    """Merge the root and its siblings (ph_merge_aux)."""
    store_word(words, log, heap + AUX_COUNT, 0)
    root = load_word(words, log, heap + ROOT)
    sibling = load_word(words, log, root + NEXT)
    if sibling:
        _cut(words, log, root)
        store_word(words, log, sibling + PREV, 0)
        sibling = _merge_siblings(words, log, order, sibling)
        store_word(words, log, heap + ROOT, _merge(words, log, order, root, sibling))


@compiled
def _merge_children(words: Words, log: Words, order: int, extent: int) -> int:
    """Merge the children of a tree's root to one tree; 0: there are none."""
    child = load_word(words, log, extent + LCHILD)
    return _merge_siblings(words, log, order, child) if child else 0


@compiled
def heap_first(words: Words, log: Words, order: int, heap: int) -> int:
    """Return the first; 0: there is none (ph_first)."""
    if load_word(words, log, heap + ROOT) == 0:
        return 0
    _merge_aux(words, log, order, heap)
    return load_word(words, log, heap + ROOT)


@compiled
def heap_remove_first(words: Words, log: Words, order: int, heap: int) -> int:
    """Take the first out; 0: there is none (ph_remove_first)."""
    first = heap_first(words, log, order, heap)
    if first:
        store_word(words, log, heap + ROOT, _merge_children(words, log, order, first))
    return first


@compiled
def heap_insert(words: Words, log: Words, order: int, heap: int, extent: int) -> None:
    """Put somebody in (ph_insert)."""
    _cut(words, log, extent)
    store_word(words, log, extent + LCHILD, 0)
    root = load_word(words, log, heap + ROOT)
    if root == 0:
        store_word(words, log, heap + ROOT, extent)
    elif _is_before(words, log, order, extent, root):
        store_word(words, log, extent + LCHILD, root)
        store_word(words, log, root + PREV, extent)
        store_word(words, log, heap + ROOT, extent)
        store_word(words, log, heap + AUX_COUNT, 0)
        return
    else:
        nr_aux = load_word(words, log, heap + AUX_COUNT) + 1
        store_word(words, log, heap + AUX_COUNT, nr_aux)
        sibling = load_word(words, log, root + NEXT)
        store_word(words, log, extent + NEXT, sibling)
        if sibling:
            store_word(words, log, sibling + PREV, extent)
        store_word(words, log, extent + PREV, root)
        store_word(words, log, root + NEXT, extent)
    nr_aux = load_word(words, log, heap + AUX_COUNT)
    if nr_aux > 1:
        _merge_pairs(words, log, order, heap, nr_aux - 1)


@compiled
def _merge_pairs(words: Words, log: Words, order: int, heap: int, count: int) -> None:
    """Merge a pair of the root's siblings for each 0 that `count` has at its low end."""
    root = load_word(words, log, heap + ROOT)
    while count and not count & 1:
        count >>= 1
        one = load_word(words, log, root + NEXT)
        other = load_word(words, log, one + NEXT) if one else 0
        if other == 0:
            return
        rest = load_word(words, log, other + NEXT)
        _cut(words, log, one)
        _cut(words, log, other)
        one = _merge(words, log, order, one, other)
        store_word(words, log, one + NEXT, rest)
        if rest:
            store_word(words, log, rest + PREV, one)
        store_word(words, log, root + NEXT, one)
        store_word(words, log, one + PREV, root)
        if rest == 0:
            return


@compiled
def heap_remove(words: Words, log: Words, order: int, heap: int, extent: int) -> None:
    """Take somebody out (ph_remove)."""
    if load_word(words, log, heap + ROOT) == extent:
        if load_word(words, log, extent + LCHILD) == 0:
            root = load_word(words, log, extent + NEXT)
            store_word(words, log, heap + ROOT, root)
            if root:
                store_word(words, log, root + PREV, 0)
            return
        _merge_aux(words, log, order, heap)
        if load_word(words, log, heap + ROOT) == extent:
            store_word(words, log, heap + ROOT, _merge_children(words, log, order, extent))
            return
    before = load_word(words, log, extent + PREV)
    parent = before if before and load_word(words, log, before + LCHILD) == extent else 0
    replace = _merge_children(words, log, order, extent)
    following = load_word(words, log, extent + NEXT)
    if replace:
        store_word(words, log, replace + PREV, before)
        if parent:
            store_word(words, log, parent + LCHILD, replace)
        elif before:
            store_word(words, log, before + NEXT, replace)
        store_word(words, log, replace + NEXT, following)
        if following:
            store_word(words, log, following + PREV, replace)
    else:
        if parent:
            store_word(words, log, parent + LCHILD, following)
        elif before:
            store_word(words, log, before + NEXT, following)
        if following:
            store_word(words, log, following + PREV, before)
