"""What a process's C library has of memory: names, units and meanings, in the order of reading.

Fragmentation inside is what `malloc_usable_bytes` has over `malloc_live_bytes`: blocks are larger
than was asked for. Fragmentation outside is what `malloc_system_bytes` has over
`malloc_usable_bytes`: free chunks, cached blocks, headers, what was mapped and never used. What of
it is resident shows in the process's RSS.
"""

from typing import Final

HEAP_CALLS: Final = ("brk", "mmap", "munmap", "mremap", "madvise", "mprotect")
"""System calls of a library."""
HEAP_COUNTERS: Final = (
    ("malloc_live_bytes", "bytes", "Asked for, of blocks that are not freed."),
    ("malloc_usable_bytes", "bytes", "Of these blocks, that the program may use."),
    ("malloc_live_blocks", "blocks", "That are not freed."),
    ("malloc_system_bytes", "bytes", "From the kernel by brk and mmap, and not given back."),
    ("malloc_free_bytes", "bytes", "In free chunks of all arenas, their tops among them."),
    ("malloc_cached_bytes", "bytes", "In caches of threads."),
    ("malloc_calls", "calls", "Of the library, that have returned."),
    *((f"malloc_{call}", "calls", f"Of {call}, that the library has made.") for call in HEAP_CALLS),
)
NR_HEAP: Final = len(HEAP_COUNTERS)
