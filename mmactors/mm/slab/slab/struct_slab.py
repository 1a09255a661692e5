"""struct slab, struct array_cache and struct kmem_cache_node as words (mm/slab.h, mm/slab.c; 6.1).

A slab is described by the struct page of its first page:

| struct slab | column of struct page |
|---|---|
| slab_list | next, prev |
| slab_cache | mapping: 1 + number of the cache |
| freelist | index: where its array of free object indexes lies; 0: nowhere |
| s_mem, active | private: address of object 0 << ACTIVE_BITS, how many objects are out |

An object is named by its physical address in bytes, 0 is NULL. The array of indexes lies in
simulated memory, a byte each: in a free object of the slab, in a kmalloc object, or at the slab's
end. Objects in arrays of free objects count as out.
"""

from typing import Final

ACTIVE_BITS: Final = 8
ACTIVE_MASK: Final = (1 << ACTIVE_BITS) - 1
INDEX_MASK: Final = 0xFF
"""An index is a byte (freelist_idx_t)."""
SLAB_OBJ_MAX_NUM: Final = INDEX_MASK

OBJECT_FREELIST: Final = 0x40000000
"""CFLGS_OBJFREELIST_SLAB: the array of indexes lies in a free object."""
OFF_SLAB: Final = 0x80000000
"""CFLGS_OFF_SLAB: the array of indexes is a kmalloc object."""

SIZE: Final = 0
NUM: Final = 1
"""Objects of a slab."""
CLEARED: Final = 2
"""Words of an object that are cleared when it is handed out; 0: none."""
HARDENED: Final = 3
"""Whether the object that was freed last is not freed again (SLAB_FREELIST_HARDENED)."""
IN_OBJECT: Final = 4
"""Whether the array of indexes lies in a free object."""
NR_CACHE_WORDS: Final = 5

TOTAL_SLABS: Final = 0
FREE_SLABS: Final = 1
FREE_OBJECTS: Final = 2
"""Of the node's slabs; those in arrays are not among them."""
FREE_LIMIT: Final = 3
COLOUR_NEXT: Final = 4
FREE_TOUCHED: Final = 5
NEXT_REAP: Final = 6
"""Jiffies at which the node's part is due to be reaped."""
SLABS_FULL: Final = 7
"""Number of the list head."""
SLABS_PARTIAL: Final = 8
SLABS_FREE: Final = 9
NR_NODE_WORDS: Final = 10

AVAIL: Final = 0
LIMIT: Final = 1
"""0: there is no such array."""
BATCHCOUNT: Final = 2
TOUCHED: Final = 3
ENTRY: Final = 4
"""The first of the entries; the last one in is handed out first."""

BATCHREFILL_LIMIT: Final = 16
"""So many objects at most come to an array that was not used lately."""
NODE_ARRAY_BATCHCOUNT: Final = 0xBAADF00D
"""Of arrays of nodes, which nobody reads."""
ALIEN_LIMIT: Final = 12
