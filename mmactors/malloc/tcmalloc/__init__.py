"""tcmalloc, the allocator of gperftools 2.10 (libtcmalloc_minimal), as it is built for x86-64 Linux.

Threads have caches (cache/), which get blocks from central free lists (central/), which cut them
from spans of the page heap (heap/), which gets memory from the system (system/).
"""
