"""Sets of spans of more than 128 pages, by length and place (SpanSet of src/span.h).

A set is a std::set of libstdc++: a red-black tree (libstdc++-v3/src/c++98/tree.cc). Its header has
no value: its parent is the root, its children are the first and the last node; behind it stands how
many nodes there are. A node: color, parent, left, right, then the span and its length.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.tcmalloc.heap.span import START
from mmactors.malloc.tcmalloc.task import goes_on, longest_list
from mmactors.malloc.user_words import load_bits, load_word, store_bits, store_word

COLOR: Final = 0
PARENT: Final = 8
LEFT: Final = 16
RIGHT: Final = 24
VALUE_SPAN: Final = 32
"""In the header: the number of nodes."""
VALUE_LENGTH: Final = 40
NODE_BYTES: Final = 48
RED: Final = 0
BLACK: Final = 1


@compiled
def init_set(words: Words, log: Words, header: int) -> None:
    """Make an empty set."""
    store_bits(words, log, header + COLOR, 4, RED)
    store_word(words, log, header + PARENT, 0)
    store_word(words, log, header + LEFT, header)
    store_word(words, log, header + RIGHT, header)
    store_word(words, log, header + VALUE_SPAN, 0)


@compiled
def _color(words: Words, log: Words, node: int) -> int:
    return load_bits(words, log, node + COLOR, 4)


@compiled
def _paint(words: Words, log: Words, node: int, color: int) -> None:
    store_bits(words, log, node + COLOR, 4, color)


@compiled
def _is_behind(words: Words, log: Words, node: int, length: int, start: int) -> bool:
    """Return whether a node comes behind a span of such a length and place (SpanBestFitLess)."""
    its_length = load_word(words, log, node + VALUE_LENGTH)
    if its_length != length:
        return its_length > length
    span = load_word(words, log, node + VALUE_SPAN)
    return load_word(words, log, span + START) > start


@compiled
def first_of(words: Words, log: Words, header: int) -> int:
    """Return the smallest span of a set; 0: it is empty."""
    if load_word(words, log, header + VALUE_SPAN) == 0:
        return 0
    return load_word(words, log, load_word(words, log, header + LEFT) + VALUE_SPAN)


@compiled
def best_fit(words: Words, log: Words, header: int, length: int) -> int:
    """Return the smallest span of at least a length; 0: there is none (upper_bound)."""
    found = header
    node = load_word(words, log, header + PARENT)
    left = longest_list(words)
    while node and goes_on(words, left):
        left -= 1
        if _is_behind(words, log, node, length, 0):
            found = node
            node = load_word(words, log, node + LEFT)
        else:
            node = load_word(words, log, node + RIGHT)
    return load_word(words, log, found + VALUE_SPAN) if found != header else 0


@compiled
def place_for(words: Words, log: Words, header: int, length: int, start: int) -> tuple[int, int]:
    """Return where a span belongs: the parent, and 1 for its left side, 0 for its right one.

    The node before it is looked at, too, as no span may be in a set twice.
    """
    parent = header
    node = load_word(words, log, header + PARENT)
    goes_left = 1
    left = longest_list(words)
    while node and goes_on(words, left):
        left -= 1
        parent = node
        goes_left = 1 if _is_behind(words, log, node, length, start) else 0
        node = load_word(words, log, node + (LEFT if goes_left else RIGHT))
    before = parent
    if goes_left:
        if parent == load_word(words, log, header + LEFT):
            return parent, 1
        before = _decrement(words, log, parent)
    _is_behind(words, log, before, length, start)
    return parent, goes_left


@compiled
def _decrement(words: Words, log: Words, node: int) -> int:
    """Return the node before one that is not the first (_Rb_tree_decrement)."""
    left = longest_list(words)
    below = load_word(words, log, node + LEFT)
    if below:
        node = below
        below = load_word(words, log, node + RIGHT)
        while below and goes_on(words, left):
            left -= 1
            node = below
            below = load_word(words, log, node + RIGHT)
        return node
    above = load_word(words, log, node + PARENT)
    while node == load_word(words, log, above + LEFT) and goes_on(words, left):
        left -= 1
        node = above
        above = load_word(words, log, above + PARENT)
    return above


@compiled
def _hang(words: Words, log: Words, header: int, old: int, new: int) -> None:
    """Let the parent of one node have another in its place."""
    parent = load_word(words, log, old + PARENT)
    if old == load_word(words, log, header + PARENT):
        store_word(words, log, header + PARENT, new)
    elif old == load_word(words, log, parent + LEFT):
        store_word(words, log, parent + LEFT, new)
    else:
        store_word(words, log, parent + RIGHT, new)


@compiled
def _rotate(words: Words, log: Words, header: int, node: int, near: int, far: int) -> None:
    """Let a node sink to its near side, and its child of the far side rise."""
    child = load_word(words, log, node + far)
    inner = load_word(words, log, child + near)
    store_word(words, log, node + far, inner)
    if inner:
        store_word(words, log, inner + PARENT, node)
    store_word(words, log, child + PARENT, load_word(words, log, node + PARENT))
    _hang(words, log, header, node, child)
    store_word(words, log, child + near, node)
    store_word(words, log, node + PARENT, child)


@compiled
def insert_node(
    words: Words, log: Words, header: int, node: int, parent: int, goes_left: int
) -> None:
    """Hang a node, which has its value, where it belongs (_Rb_tree_insert_and_rebalance)."""
    store_word(words, log, node + PARENT, parent)
    store_word(words, log, node + LEFT, 0)
    store_word(words, log, node + RIGHT, 0)
    _paint(words, log, node, RED)
    if goes_left:
        store_word(words, log, parent + LEFT, node)
        if parent == header:
            store_word(words, log, header + PARENT, node)
            store_word(words, log, header + RIGHT, node)
        elif parent == load_word(words, log, header + LEFT):
            store_word(words, log, header + LEFT, node)
    else:
        store_word(words, log, parent + RIGHT, node)
        if parent == load_word(words, log, header + RIGHT):
            store_word(words, log, header + RIGHT, node)
    _rebalance_inserted(words, log, header, node)
    count = load_word(words, log, header + VALUE_SPAN)
    store_word(words, log, header + VALUE_SPAN, count + 1)


@compiled
def _rebalance_inserted(words: Words, log: Words, header: int, node: int) -> None:
    left = longest_list(words)
    while node != load_word(words, log, header + PARENT) and goes_on(words, left):
        left -= 1
        parent = load_word(words, log, node + PARENT)
        if _color(words, log, parent) != RED:
            break
        upper = load_word(words, log, parent + PARENT)
        near, far = LEFT, RIGHT
        if parent != load_word(words, log, upper + LEFT):
            near, far = RIGHT, LEFT
        uncle = load_word(words, log, upper + far)
        if uncle and _color(words, log, uncle) == RED:
            _paint(words, log, parent, BLACK)
            _paint(words, log, uncle, BLACK)
            _paint(words, log, upper, RED)
            node = upper
            continue
        if node == load_word(words, log, parent + far):
            node = parent
            _rotate(words, log, header, node, near, far)
        _paint(words, log, load_word(words, log, node + PARENT), BLACK)
        _paint(words, log, upper, RED)
        _rotate(words, log, header, upper, far, near)
    _paint(words, log, load_word(words, log, header + PARENT), BLACK)


@compiled
def _end_of(words: Words, log: Words, node: int, side: int) -> int:
    """Return the last node that is reached by going to one side."""
    left = longest_list(words)
    below = load_word(words, log, node + side)
    while below and goes_on(words, left):
        left -= 1
        node = below
        below = load_word(words, log, node + side)
    return node


@compiled
def erase_node(words: Words, log: Words, header: int, node: int) -> None:
    """Take a node out of its set (_Rb_tree_rebalance_for_erase)."""
    leaving = node
    child = load_word(words, log, node + LEFT)
    if child == 0:
        child = load_word(words, log, node + RIGHT)
    elif load_word(words, log, node + RIGHT):
        leaving = _end_of(words, log, load_word(words, log, node + RIGHT), LEFT)
        child = load_word(words, log, leaving + RIGHT)
    if leaving != node:
        child_parent = _replace(words, log, header, node, leaving, child)
    else:
        child_parent = load_word(words, log, node + PARENT)
        if child:
            store_word(words, log, child + PARENT, child_parent)
        _hang(words, log, header, node, child)
        if load_word(words, log, header + LEFT) == node:
            first = _end_of(words, log, child, LEFT) if child else child_parent
            store_word(words, log, header + LEFT, first)
        if load_word(words, log, header + RIGHT) == node:
            last = _end_of(words, log, child, RIGHT) if child else child_parent
            store_word(words, log, header + RIGHT, last)
    if _color(words, log, node) != RED:
        _rebalance_erased(words, log, header, child, child_parent)
    count = load_word(words, log, header + VALUE_SPAN)
    store_word(words, log, header + VALUE_SPAN, count - 1)


@compiled
def _replace(words: Words, log: Words, header: int, node: int, leaving: int, child: int) -> int:
    """Let the next node stand where one with two children stood, and have its color.

    The old node has the color of the place that is lost; the result is the parent of that place.
    """
    left = load_word(words, log, node + LEFT)
    right = load_word(words, log, node + RIGHT)
    store_word(words, log, left + PARENT, leaving)
    store_word(words, log, leaving + LEFT, left)
    child_parent = leaving
    if leaving != right:
        child_parent = load_word(words, log, leaving + PARENT)
        if child:
            store_word(words, log, child + PARENT, child_parent)
        store_word(words, log, child_parent + LEFT, child)
        store_word(words, log, leaving + RIGHT, right)
        store_word(words, log, right + PARENT, leaving)
    _hang(words, log, header, node, leaving)
    store_word(words, log, leaving + PARENT, load_word(words, log, node + PARENT))
    color = _color(words, log, leaving)
    _paint(words, log, leaving, _color(words, log, node))
    _paint(words, log, node, color)
    return child_parent


@compiled
def _rebalance_erased(words: Words, log: Words, header: int, child: int, parent: int) -> None:
    left = longest_list(words)
    while (
        child != load_word(words, log, header + PARENT)
        and (child == 0 or _color(words, log, child) == BLACK)
        and goes_on(words, left)
    ):
        left -= 1
        near, far = LEFT, RIGHT
        if child != load_word(words, log, parent + LEFT):
            near, far = RIGHT, LEFT
        sibling = load_word(words, log, parent + far)
        if _color(words, log, sibling) == RED:
            _paint(words, log, sibling, BLACK)
            _paint(words, log, parent, RED)
            _rotate(words, log, header, parent, near, far)
            sibling = load_word(words, log, parent + far)
        inner = load_word(words, log, sibling + near)
        outer = load_word(words, log, sibling + far)
        is_inner_black = inner == 0 or _color(words, log, inner) == BLACK
        is_outer_black = outer == 0 or _color(words, log, outer) == BLACK
        if is_inner_black and is_outer_black:
            _paint(words, log, sibling, RED)
            child = parent
            parent = load_word(words, log, parent + PARENT)
            continue
        if is_outer_black:
            _paint(words, log, inner, BLACK)
            _paint(words, log, sibling, RED)
            _rotate(words, log, header, sibling, far, near)
            sibling = load_word(words, log, parent + far)
        _paint(words, log, sibling, _color(words, log, parent))
        _paint(words, log, parent, BLACK)
        outer = load_word(words, log, sibling + far)
        if outer:
            _paint(words, log, outer, BLACK)
        _rotate(words, log, header, parent, near, far)
        break
    if child:
        _paint(words, log, child, BLACK)
