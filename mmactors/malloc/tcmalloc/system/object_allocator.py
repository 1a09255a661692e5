"""Room for structures of one kind, which is never given back (src/page_heap_allocator.h).

An allocator has an area that it cuts structures from, and a list of those that were given back.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.tcmalloc.steps import NEW_OBJECT
from mmactors.malloc.tcmalloc.task import AFTER_OBJ, GO_ON, OBJ_ALLOCATOR, OBJ_BYTES, STEP
from mmactors.malloc.user_words import load_bits, load_word, store_bits, store_word

FREE_AREA: Final = 0
FREE_AVAIL: Final = 8
FREE_LIST: Final = 16
IN_USE: Final = 24
ALLOC_INCREMENT: Final = 128 << 10
"""Bytes of an area."""


@compiled
def ask_for_object(task: Words, allocator: int, nr_bytes: int, then: int) -> int:
    """Let the next step find room for a structure in OBJ."""
    task[OBJ_ALLOCATOR] = allocator
    task[OBJ_BYTES] = nr_bytes
    task[AFTER_OBJ] = then
    task[STEP] = NEW_OBJECT
    return GO_ON


@compiled
def init_allocator(words: Words, log: Words, allocator: int) -> None:
    """Make an allocator that has nothing yet."""
    store_bits(words, log, allocator + IN_USE, 4, 0)
    store_word(words, log, allocator + FREE_AREA, 0)
    store_word(words, log, allocator + FREE_AVAIL, 0)
    store_word(words, log, allocator + FREE_LIST, 0)


@compiled
def take_object(words: Words, log: Words, allocator: int, nr_bytes: int) -> int:
    """Return room for a structure; 0: the allocator needs another area."""
    place = load_word(words, log, allocator + FREE_LIST)
    if place:
        store_word(words, log, allocator + FREE_LIST, load_word(words, log, place))
    else:
        avail = load_word(words, log, allocator + FREE_AVAIL)
        if avail < nr_bytes:
            return 0
        place = load_word(words, log, allocator + FREE_AREA)
        store_word(words, log, allocator + FREE_AREA, place + nr_bytes)
        store_word(words, log, allocator + FREE_AVAIL, avail - nr_bytes)
    count = load_bits(words, log, allocator + IN_USE, 4)
    store_bits(words, log, allocator + IN_USE, 4, count + 1)
    return place


@compiled
def give_object(words: Words, log: Words, allocator: int, place: int) -> None:
    """Take a structure back."""
    store_word(words, log, place, load_word(words, log, allocator + FREE_LIST))
    store_word(words, log, allocator + FREE_LIST, place)
    count = load_bits(words, log, allocator + IN_USE, 4)
    store_bits(words, log, allocator + IN_USE, 4, count - 1)
