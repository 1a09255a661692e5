"""Free spans by length, and how many bytes they have (PageHeap of src/page_heap.cc).

For each length up to 128 pages there are two lists, of spans whose pages are there and of those
whose pages were given back; longer spans are in two sets.
"""

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.tcmalloc.heap.span import (
    NEXT,
    OBJECTS,
    ON_NORMAL_FREELIST,
    dll_remove,
    length_of,
    location_of,
    set_iterator,
)
from mmactors.malloc.tcmalloc.heap.span_set import erase_node
from mmactors.malloc.tcmalloc.layout import (
    FREE_BYTES,
    FREE_LIST_BYTES,
    FREE_LISTS,
    LARGE_NORMAL,
    LARGE_RETURNED,
    MAX_PAGES,
    NODE_ALLOCATOR,
    PAGE_SHIFT,
    RETURNED_LIST,
    UNMAPPED_BYTES,
)
from mmactors.malloc.tcmalloc.system.object_allocator import give_object
from mmactors.malloc.tcmalloc.tcmalloc_par import DATA_AT
from mmactors.malloc.user_words import add_to, load_word


@compiled
def list_of(par: Words, nr_pages: int, location: int) -> int:
    """Return the list for free spans of so many pages, 1 to 128."""
    normal = int(par[DATA_AT]) + FREE_LISTS + (nr_pages - 1) * FREE_LIST_BYTES
    return normal if location == ON_NORMAL_FREELIST else normal + RETURNED_LIST


@compiled
def set_of(par: Words, location: int) -> int:
    """Return the set for free spans of more pages."""
    normal = location == ON_NORMAL_FREELIST
    return int(par[DATA_AT]) + (LARGE_NORMAL if normal else LARGE_RETURNED)


@compiled
def first_in_list(words: Words, log: Words, head: int) -> int:
    """Return the first span of a list; 0: it is empty."""
    first = load_word(words, log, head + NEXT)
    return first if first != head else 0


@compiled
def count_free(words: Words, log: Words, par: Words, location: int, nr_pages: int) -> None:
    """Count pages that have come to free spans, or have left them."""
    normal = location == ON_NORMAL_FREELIST
    place = int(par[DATA_AT]) + (FREE_BYTES if normal else UNMAPPED_BYTES)
    add_to(words, log, place, nr_pages << PAGE_SHIFT)


@compiled
def remove_from_free_list(words: Words, log: Words, par: Words, span: int) -> None:
    """Take a free span out of its list or set."""
    location = location_of(words, log, span)
    length = length_of(words, log, span)
    count_free(words, log, par, location, -length)
    if length <= MAX_PAGES:
        dll_remove(words, log, span)
        return
    node = load_word(words, log, span + OBJECTS)
    set_iterator(words, log, span, 0)
    erase_node(words, log, set_of(par, location), node)
    give_object(words, log, int(par[DATA_AT]) + NODE_ALLOCATOR, node)
