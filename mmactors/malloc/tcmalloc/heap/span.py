"""Spans, and circular lists of them (src/span.h, src/span.cc of gperftools 2.10).

A span is pages that belong together: its first page's number and how many, links of a list, then
either its free blocks or where a set has it, how many blocks are in use, its class and what it is.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.user_words import clear_words, load_bits, load_word, store_bits, store_word

START: Final = 0
LENGTH: Final = 8
NEXT: Final = 16
PREV: Final = 24
OBJECTS: Final = 32
"""The first free block, or the node of a set."""
REFCOUNT: Final = 40
CLASS_OF: Final = 42
FLAGS: Final = 43
SPAN_BYTES: Final = 48

IN_USE: Final = 0
ON_NORMAL_FREELIST: Final = 1
ON_RETURNED_FREELIST: Final = 2
_LOCATION: Final = 3
_SAMPLE: Final = 4
_HAS_ITERATOR: Final = 8


@compiled
def start_of(words: Words, log: Words, span: int) -> int:
    """Return the number of a span's first page."""
    return load_word(words, log, span + START)


@compiled
def length_of(words: Words, log: Words, span: int) -> int:
    """Return how many pages a span has."""
    return load_word(words, log, span + LENGTH)


@compiled
def location_of(words: Words, log: Words, span: int) -> int:
    """Return whether a span is in use, free, or free with its pages given back."""
    return load_bits(words, log, span + FLAGS, 1) & _LOCATION


@compiled
def set_location(words: Words, log: Words, span: int, location: int) -> None:
    """Say what a span is."""
    flags = load_bits(words, log, span + FLAGS, 1)
    store_bits(words, log, span + FLAGS, 1, flags & ~_LOCATION | location)


@compiled
def clear_use(words: Words, log: Words, span: int) -> None:
    """Let a span be free, of no class."""
    store_bits(words, log, span + CLASS_OF, 1, 0)
    flags = load_bits(words, log, span + FLAGS, 1)
    left = flags & ~(_LOCATION | _SAMPLE) | ON_NORMAL_FREELIST
    store_bits(words, log, span + FLAGS, 1, left)


@compiled
def set_iterator(words: Words, log: Words, span: int, node: int) -> None:
    """Let a span know the node of the set that has it; 0: none has it any more."""
    flags = load_bits(words, log, span + FLAGS, 1)
    if node:
        store_bits(words, log, span + FLAGS, 1, flags | _HAS_ITERATOR)
        store_word(words, log, span + OBJECTS, node)
    else:
        store_bits(words, log, span + FLAGS, 1, flags & ~_HAS_ITERATOR)


@compiled
def init_span(words: Words, log: Words, span: int, start: int, length: int) -> None:
    """Make a span of pages (NewSpan)."""
    clear_words(words, log, span, SPAN_BYTES)
    store_word(words, log, span + START, start)
    store_word(words, log, span + LENGTH, length)


@compiled
def dll_init(words: Words, log: Words, head: int) -> None:
    """Make an empty list."""
    store_word(words, log, head + NEXT, head)
    store_word(words, log, head + PREV, head)


@compiled
def dll_remove(words: Words, log: Words, span: int) -> None:
    """Take a span out of the list that it is in."""
    behind = load_word(words, log, span + NEXT)
    before = load_word(words, log, span + PREV)
    store_word(words, log, before + NEXT, behind)
    store_word(words, log, behind + PREV, before)
    store_word(words, log, span + PREV, 0)
    store_word(words, log, span + NEXT, 0)


@compiled
def dll_prepend(words: Words, log: Words, head: int, span: int) -> None:
    """Put a span at the front of a list."""
    first = load_word(words, log, head + NEXT)
    store_word(words, log, span + NEXT, first)
    store_word(words, log, span + PREV, head)
    store_word(words, log, first + PREV, span)
    store_word(words, log, head + NEXT, span)
