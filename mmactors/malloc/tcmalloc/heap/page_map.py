"""Which span has a page, and of which class its blocks are (src/pagemap.h, packed-cache-inl.h).

The map is a tree of two levels: a root in .bss, leaves of 2 MiB each among tcmalloc's own memory,
which have the span of each page that borders on others, or of all of a span with blocks. Classes
are also in a table by the low 16 bits of a page's number, beside the bits above.

The table begins with 0x80 in all bytes. So that it needs no memory of the host before it is used,
its words are kept exclusive-or that pattern.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.tcmalloc.layout import PAGE_ID_MASK, PAGE_SHIFT, PAGEMAP_CACHE, PAGEMAP_ROOT
from mmactors.malloc.tcmalloc.task import leads_nowhere
from mmactors.malloc.tcmalloc.tcmalloc_par import DATA_AT
from mmactors.malloc.user_words import load_word, peek_word, store_word

LEAF_BITS: Final = 18
LEAF_BYTES: Final = 8 << LEAF_BITS
ROOT_LENGTH: Final = 1 << 17
PAGE_BITS: Final = 35
UNKNOWN: Final = -1
"""The table does not know a page's class."""

_LEAF_MASK: Final = (1 << LEAF_BITS) - 1
_HASH_MASK: Final = (1 << 16) - 1
_VALUES: Final = 1 << 7
_INVALID: Final = 0x80
CACHE_PATTERN: Final = int.from_bytes(b"\x80" * 8, "little", signed=True)


@compiled
def page_of(address: int) -> int:
    """Return the number of an address's page."""
    return address >> PAGE_SHIFT & PAGE_ID_MASK


@compiled
def span_of(words: Words, log: Words, par: Words, page: int) -> int:
    """Return the span that the map has for a page; 0: none (PageHeap::GetDescriptor)."""
    if page >> PAGE_BITS:
        return 0
    leaf = load_word(words, log, par[DATA_AT] + PAGEMAP_ROOT + 8 * (page >> LEAF_BITS))
    return load_word(words, log, leaf + 8 * (page & _LEAF_MASK)) if leaf else 0


@compiled
def peek_span_of(words: Words, par: Words, page: int) -> int:
    """Return the span that the map has for a page, which nobody accesses; 0: none."""
    if page >> PAGE_BITS:
        return 0
    leaf = peek_word(words, par[DATA_AT] + PAGEMAP_ROOT + 8 * (page >> LEAF_BITS))
    return peek_word(words, leaf + 8 * (page & _LEAF_MASK)) if leaf else 0


@compiled
def set_span(words: Words, log: Words, par: Words, page: int, span: int) -> None:
    """Let the map have a span for a page."""
    number = page >> LEAF_BITS & ROOT_LENGTH - 1
    leaf = load_word(words, log, par[DATA_AT] + PAGEMAP_ROOT + 8 * number)
    if leaf == 0:
        leads_nowhere(words, log, 8 * (page & _LEAF_MASK))
        return
    store_word(words, log, leaf + 8 * (page & _LEAF_MASK), span)


@compiled
def record_span(words: Words, log: Words, par: Words, start: int, length: int, span: int) -> None:
    """Let the map have a span for its first and last page."""
    set_span(words, log, par, start, span)
    if length > 1:
        set_span(words, log, par, start + length - 1, span)


@compiled
def cached_class(words: Words, log: Words, par: Words, page: int) -> int:
    """Return the class of a page's blocks, if the table knows it, else UNKNOWN."""
    place = par[DATA_AT] + PAGEMAP_CACHE + 8 * (page & _HASH_MASK)
    entry = load_word(words, log, place) ^ CACHE_PATTERN ^ (page & ~_HASH_MASK)
    return entry if 0 <= entry < _VALUES else UNKNOWN


@compiled
def peek_cached_class(words: Words, par: Words, page: int) -> int:
    """Return what the table knows of a page, which nobody accesses."""
    place = par[DATA_AT] + PAGEMAP_CACHE + 8 * (page & _HASH_MASK)
    entry = peek_word(words, place) ^ CACHE_PATTERN ^ (page & ~_HASH_MASK)
    return entry if 0 <= entry < _VALUES else UNKNOWN


@compiled
def set_cached_class(words: Words, log: Words, par: Words, page: int, number: int) -> None:
    """Let the table know the class of a page's blocks."""
    place = par[DATA_AT] + PAGEMAP_CACHE + 8 * (page & _HASH_MASK)
    store_word(words, log, place, ((page & ~_HASH_MASK) | number) ^ CACHE_PATTERN)


@compiled
def forget_cached_class(words: Words, log: Words, par: Words, page: int) -> None:
    """Let the table know nothing of a page (InvalidateCachedSizeClass)."""
    set_cached_class(words, log, par, page, _INVALID)
