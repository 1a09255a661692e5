"""Heaps of edatas whose first is known at once, ph_t (jemalloc 5.3.0, ph.h).

A node has three links: the one before it, or its parent, the next one, its first child. What is
inserted waits in a list behind the root, and is merged when somebody wants the first, in pairs
before that. `order` says who comes first: of extents the oldest and lowest, of unused edatas the
one of the oldest memory. That is not always so: a root without children that leaves hands on to who
waits first behind it, and who is put above that one adopts all who wait.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.pages.edata import HEAP_LINK, SIZE_ESN, is_before
from mmactors.malloc.user_words import load_word, longest_walk, store_word
from mmactors.units import PAGE_SIZE

BY_SERIAL: Final = 0
"""edata_snad_comp."""
BY_MEMORY: Final = 1
"""edata_esnead_comp."""

AUXCOUNT: Final = 8
PREV: Final = HEAP_LINK
NEXT: Final = HEAP_LINK + 8
LCHILD: Final = HEAP_LINK + 16


@compiled
def _comes_first(words: Words, log: Words, order: int, node: int, other: int) -> bool:
    if order == BY_SERIAL:
        return is_before(words, log, node, other)
    esn = load_word(words, log, node + SIZE_ESN) & PAGE_SIZE - 1
    other_esn = load_word(words, log, other + SIZE_ESN) & PAGE_SIZE - 1
    if esn != other_esn:
        return esn < other_esn
    return node < other


@compiled
def _unlink(words: Words, log: Words, node: int) -> None:
    store_word(words, log, node + PREV, 0)
    store_word(words, log, node + NEXT, 0)


@compiled
def _adopt(words: Words, log: Words, parent: int, node: int) -> None:
    """Let a node be the first child of another (phn_merge_ordered)."""
    store_word(words, log, node + PREV, parent)
    child = load_word(words, log, parent + LCHILD)
    store_word(words, log, node + NEXT, child)
    if child:
        store_word(words, log, child + PREV, node)
    store_word(words, log, parent + LCHILD, node)


@compiled
def _merge(words: Words, log: Words, order: int, node: int, other: int) -> int:
    """Return the one of two trees that has the other now (phn_merge)."""
    if node == 0:
        return other
    if other == 0:
        return node
    if _comes_first(words, log, order, node, other):
        _adopt(words, log, node, other)
        return node
    _adopt(words, log, other, node)
    return other


@compiled
def _merge_siblings(words: Words, log: Words, order: int, node: int) -> int:
    """Return one tree of all siblings from a node on (phn_merge_siblings).

    Pairs are merged into a queue, and what is there in pairs again, until one is left.
    """
    other = load_word(words, log, node + NEXT)
    if other == 0:
        return node
    head = tail = 0
    nr_steps = 0
    while node and nr_steps <= longest_walk(words):
        nr_steps += 1
        other = load_word(words, log, node + NEXT)
        rest = 0
        if other:
            rest = load_word(words, log, other + NEXT)
            if rest:
                store_word(words, log, rest + PREV, 0)
            _unlink(words, log, node)
            _unlink(words, log, other)
            node = _merge(words, log, order, node, other)
        if tail:
            store_word(words, log, tail + NEXT, node)
        else:
            head = node
        tail = node
        node = rest
    node = head
    other = load_word(words, log, node + NEXT)
    while other and nr_steps <= longest_walk(words):
        nr_steps += 1
        rest = load_word(words, log, other + NEXT)
        store_word(words, log, node + NEXT, 0)
        store_word(words, log, other + NEXT, 0)
        node = _merge(words, log, order, node, other)
        if rest == 0:
            break
        store_word(words, log, tail + NEXT, node)
        tail = node
        node = rest
        other = load_word(words, log, node + NEXT)
    return node


@compiled
def _merge_aux(words: Words, log: Words, order: int, heap: int) -> None:
    """Let all that waits behind the root be in its tree (ph_merge_aux)."""
    store_word(words, log, heap + AUXCOUNT, 0)
    root = load_word(words, log, heap)
    node = load_word(words, log, root + NEXT)
    if node:
        _unlink(words, log, root)
        store_word(words, log, node + PREV, 0)
        node = _merge_siblings(words, log, order, node)
        store_word(words, log, heap, _merge(words, log, order, root, node))


@compiled
def _merge_children(words: Words, log: Words, order: int, node: int) -> int:
    child = load_word(words, log, node + LCHILD)
    return _merge_siblings(words, log, order, child) if child else 0


@compiled
def _merge_pair(words: Words, log: Words, order: int, root: int) -> bool:
    """Merge two that wait; return whether there are no more (ph_try_aux_merge_pair)."""
    node = load_word(words, log, root + NEXT)
    if node == 0:
        return True
    other = load_word(words, log, node + NEXT)
    if other == 0:
        return True
    rest = load_word(words, log, other + NEXT)
    _unlink(words, log, node)
    _unlink(words, log, other)
    node = _merge(words, log, order, node, other)
    store_word(words, log, node + NEXT, rest)
    if rest:
        store_word(words, log, rest + PREV, node)
    store_word(words, log, root + NEXT, node)
    store_word(words, log, node + PREV, root)
    return rest == 0


@compiled
def insert_into(words: Words, log: Words, order: int, heap: int, node: int) -> None:
    """Take an edata (ph_insert)."""
    _unlink(words, log, node)
    store_word(words, log, node + LCHILD, 0)
    root = load_word(words, log, heap)
    if root == 0:
        store_word(words, log, heap, node)
        return
    if _comes_first(words, log, order, node, root):
        store_word(words, log, node + LCHILD, root)
        store_word(words, log, root + PREV, node)
        store_word(words, log, heap, node)
        store_word(words, log, heap + AUXCOUNT, 0)
        return
    auxcount = load_word(words, log, heap + AUXCOUNT) + 1
    store_word(words, log, heap + AUXCOUNT, auxcount)
    waiting = load_word(words, log, root + NEXT)
    store_word(words, log, node + NEXT, waiting)
    if waiting:
        store_word(words, log, waiting + PREV, node)
    store_word(words, log, node + PREV, root)
    store_word(words, log, root + NEXT, node)
    rest = auxcount - 1
    while rest > 0 and rest & 1 == 0:
        if _merge_pair(words, log, order, root):
            break
        rest >>= 1


@compiled
def first_of(words: Words, log: Words, order: int, heap: int) -> int:
    """Return the first edata; 0: there is none (ph_first)."""
    if load_word(words, log, heap) == 0:
        return 0
    _merge_aux(words, log, order, heap)
    return load_word(words, log, heap)


@compiled
def take_first_of(words: Words, log: Words, order: int, heap: int) -> int:
    """Return the first edata, which is no more in the heap; 0: there is none (ph_remove_first)."""
    first = first_of(words, log, order, heap)
    if first:
        store_word(words, log, heap, _merge_children(words, log, order, first))
    return first


@compiled
def remove_from(words: Words, log: Words, order: int, heap: int, node: int) -> None:
    """Take an edata from the heap, wherever in it it is (ph_remove)."""
    if load_word(words, log, heap) == node:
        if load_word(words, log, node + LCHILD) == 0:
            following = load_word(words, log, node + NEXT)
            store_word(words, log, heap, following)
            if following:
                store_word(words, log, following + PREV, 0)
            return
        _merge_aux(words, log, order, heap)
        if load_word(words, log, heap) == node:
            store_word(words, log, heap, _merge_children(words, log, order, node))
            return
    before = load_word(words, log, node + PREV)
    is_child = before != 0 and load_word(words, log, before + LCHILD) == node
    heir = _merge_children(words, log, order, node)
    following = load_word(words, log, node + NEXT)
    link = LCHILD if is_child else NEXT
    if heir:
        store_word(words, log, heir + PREV, before)
        if before:
            store_word(words, log, before + link, heir)
        store_word(words, log, heir + NEXT, following)
        if following:
            store_word(words, log, following + PREV, heir)
        return
    store_word(words, log, before + link, following)
    if following:
        store_word(words, log, following + PREV, before)


@compiled
def heap_insert(words: Words, log: Words, heap: int, edata: int) -> None:
    """Take an extent into a heap of extents (edata_heap_insert)."""
    insert_into(words, log, BY_SERIAL, heap, edata)


@compiled
def heap_remove(words: Words, log: Words, heap: int, edata: int) -> None:
    """Take an extent from a heap of extents (edata_heap_remove)."""
    remove_from(words, log, BY_SERIAL, heap, edata)


@compiled
def heap_remove_first(words: Words, log: Words, heap: int) -> int:
    """Return the first extent of a heap, which is no more in it; 0: there is none."""
    return take_first_of(words, log, BY_SERIAL, heap)
