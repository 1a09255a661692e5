"""Where libtcmalloc_minimal keeps its data, and how its structures are laid out.

Places in the library's data are those of Debian 12's binary (libtcmalloc-minimal4 2.10-1, amd64),
from where its writable pages begin: read from its symbols, and from the code that uses those which
have none. What lies in structures follows from their declarations in gperftools 2.10.
"""

from typing import Final

DATA_BYTES: Final = 0x1B5000
"""All pages of .data and .bss."""
_FIRST_PAGE: Final = 0x28000
"""Where these pages are linked to."""

UNCLAIMED_CACHE_SPACE: Final = 0x297C0 - _FIRST_PAGE
"""static members of ThreadCache (src/thread_cache.h)."""
OVERALL_CACHE_SIZE: Final = 0x297C8 - _FIRST_PAGE
PER_THREAD_CACHE_SIZE: Final = 0x297D0 - _FIRST_PAGE
NEW_HOOKS: Final = 0x298A0 - _FIRST_PAGE
"""How many hooks malloc has to call: none (src/malloc_hook.cc)."""
DELETE_HOOKS: Final = 0x1D8260 - _FIRST_PAGE
RACE_COUNTER: Final = 0x2DD10 - _FIRST_PAGE
"""Of CentralFreeList::EvictRandomSizeClass."""
NODE_ALLOCATOR: Final = 0x2DD40 - _FIRST_PAGE
"""That of nodes of sets of spans."""
NODES_INITIALIZED: Final = NODE_ALLOCATOR + 0x20
PAGE_HEAP: Final = 0x2DDC0 - _FIRST_PAGE
GROWTH_STACKS: Final = 0x1B0E90 - _FIRST_PAGE
SAMPLED_OBJECTS: Final = 0x1B0EA0 - _FIRST_PAGE
STACKTRACE_ALLOCATOR: Final = 0x1B0EE0 - _FIRST_PAGE
SPAN_ALLOCATOR: Final = 0x1B0F00 - _FIRST_PAGE
CENTRAL_CACHE: Final = 0x1B0F20 - _FIRST_PAGE
SIZE_MAP: Final = 0x1D6F20 - _FIRST_PAGE
PAGE_HEAP_LOCK: Final = 0x1D7FA8 - _FIRST_PAGE
NEXT_MEMORY_STEAL: Final = 0x1D7FC8 - _FIRST_PAGE
THREAD_HEAP_COUNT: Final = 0x1D7FD0 - _FIRST_PAGE
THREAD_HEAPS: Final = 0x1D7FD8 - _FIRST_PAGE
THREADCACHE_ALLOCATOR: Final = 0x1D7FE0 - _FIRST_PAGE

PAGE_SHIFT: Final = 13
"""Pages of tcmalloc's are of 8 KiB."""
PAGE_BYTES: Final = 1 << PAGE_SHIFT
MAX_PAGES: Final = 1 << (20 - PAGE_SHIFT)
"""Spans of so many pages have a list of their own (kMaxPages)."""
MAX_SIZE: Final = 256 * 1024
"""The largest class (kMaxSize)."""
CLASSES_MAX: Final = 128
PAGE_ID_MASK: Final = (1 << 64 - PAGE_SHIFT) - 1

# PageHeap (src/page_heap.h)
PAGEMAP_CACHE: Final = PAGE_HEAP
PAGEMAP_ROOT: Final = PAGE_HEAP + 0x80000
LARGE_NORMAL: Final = PAGE_HEAP + 0x180010
"""The header of the tree of a set."""
LARGE_RETURNED: Final = PAGE_HEAP + 0x180040
FREE_LISTS: Final = PAGE_HEAP + 0x180068
FREE_LIST_BYTES: Final = 96
RETURNED_LIST: Final = 48
"""The list of returned spans, from that of normal ones."""
SYSTEM_BYTES: Final = PAGE_HEAP + 0x183068
"""PageHeap::Stats, from here on."""
FREE_BYTES: Final = SYSTEM_BYTES + 8
UNMAPPED_BYTES: Final = SYSTEM_BYTES + 16
COMMITTED_BYTES: Final = SYSTEM_BYTES + 24
SCAVENGE_COUNT: Final = SYSTEM_BYTES + 32
COMMIT_COUNT: Final = SYSTEM_BYTES + 40
TOTAL_COMMIT_BYTES: Final = SYSTEM_BYTES + 48
DECOMMIT_COUNT: Final = SYSTEM_BYTES + 56
TOTAL_DECOMMIT_BYTES: Final = SYSTEM_BYTES + 64
RESERVE_COUNT: Final = SYSTEM_BYTES + 72
TOTAL_RESERVE_BYTES: Final = SYSTEM_BYTES + 80
SCAVENGE_COUNTER: Final = PAGE_HEAP + 0x1830C0
RELEASE_INDEX: Final = PAGE_HEAP + 0x1830C8
AGGRESSIVE_DECOMMIT: Final = PAGE_HEAP + 0x1830CC

# SizeMap (src/common.h)
CLASS_ARRAY_BYTES: Final = 2169
NUM_OBJECTS_TO_MOVE: Final = SIZE_MAP + 2172
CLASS_TO_SIZE: Final = NUM_OBJECTS_TO_MOVE + 4 * CLASSES_MAX
CLASS_TO_PAGES: Final = CLASS_TO_SIZE + 4 * CLASSES_MAX + 4
NUM_SIZE_CLASSES: Final = CLASS_TO_PAGES + 8 * CLASSES_MAX

# CentralFreeList, padded to lines of the cache (src/central_freelist.h)
CENTRAL_BYTES: Final = 0x4C0
CENTRAL_LOCK: Final = 0
SIZE_CLASS: Final = 8
EMPTY: Final = 0x10
NONEMPTY: Final = 0x40
NUM_SPANS: Final = 0x70
COUNTER: Final = 0x78
TC_SLOTS: Final = 0x80
USED_SLOTS: Final = 0x480
CACHE_SIZE: Final = 0x484
MAX_CACHE_SIZE: Final = 0x488
TRANSFER_ENTRIES_MAX: Final = 64
"""kMaxNumTransferEntries."""

# ThreadCache and its FreeList (src/thread_cache.h)
FREE_LIST_SIZE: Final = 32
LIST: Final = 0
LENGTH: Final = 8
LOWATER: Final = 12
MAX_LENGTH: Final = 16
OVERAGES: Final = 20
OBJECT_SIZE: Final = 24
CACHED_BYTES: Final = FREE_LIST_SIZE * CLASSES_MAX
MAX_CACHED_BYTES: Final = CACHED_BYTES + 4
SAMPLER: Final = CACHED_BYTES + 8
TID: Final = 0x1020
IN_SETSPECIFIC: Final = 0x1028
NEXT_CACHE: Final = 0x1030
PREV_CACHE: Final = 0x1038
THREAD_CACHE_BYTES: Final = 0x1040

STACKTRACE_BYTES: Final = 264
"""StackTrace (src/common.h): size, depth, 31 places in code."""
LAST_PLACE: Final = 256
"""The last of these: in a record of growth the link to the next."""
