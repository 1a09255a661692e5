"""struct slab and the pointers between free objects (mm/slab.h, mm/slub.c; Linux 6.1).

A slab is described by the struct page of its first page, in the same words as Linux does it:

| struct slab | struct page | column |
|---|---|---|
| slab_list, next | lru, compound_head | next, prev |
| slabs | lru.prev | prev |
| slab_cache | mapping | mapping: 1 + number of the cache |
| freelist | index | index: the first free object |
| counters | private | private: inuse, objects, frozen |

An object is named by its physical address in bytes, 0 is NULL. What stands in simulated memory is
its address in the direct map, hidden as SLAB_FREELIST_HARDENED does it.

The functions that are compiled run on memoryviews as plain Python, too.
"""

from typing import Final

from mmactors.arch.column import WordsView
from mmactors.arch.jit import compiled
from mmactors.mm.slab.slab_common import PAGE_OFFSET

PAGE_OFFSET_SIGNED: Final = PAGE_OFFSET - (1 << 64)
"""PAGE_OFFSET as a signed word."""

_WORD_MAX: Final = (1 << 63) - 1
_MOST: Final = _WORD_MAX + PAGE_OFFSET_SIGNED
"""A pointer above it, which somebody else wrote, is less than no physical address."""
_LEAST: Final = -PAGE_OFFSET_SIGNED - (1 << 63)
"""A physical address below it is no word in the direct map."""

COUNTERS_INUSE: Final = 0xFFFF
OBJECTS_SHIFT: Final = 16
COUNTERS_OBJECTS: Final = 0x7FFF
FROZEN: Final = 1 << 31

SIZE: Final = 0
OFFSET: Final = 1
RANDOM: Final = 2
HARDENED: Final = 3
CPU_PARTIAL_SLABS: Final = 4
MIN_PARTIAL: Final = 5
CLEARED: Final = 6
"""Words of an object that are cleared when it is handed out; 0: none."""
IS_DEBUG: Final = 7
"""Whether the cache works without per-CPU slabs."""
NR_CACHE_WORDS: Final = 8

NR_PARTIAL: Final = 0
NR_SLABS: Final = 1
TOTAL_OBJECTS: Final = 2
PARTIAL_HEAD: Final = 3
"""Number of the list head of the node's partial slabs."""
FULL_HEAD: Final = 4
"""The same of full slabs, which only SLAB_STORE_USER lists."""
NR_NODE_WORDS: Final = 5

FREELIST: Final = 0
TID: Final = 1
SLAB: Final = 2
"""PFN of the slab that a CPU takes objects from."""
PARTIAL: Final = 3
"""PFN of a CPU's first partial slab."""
NR_CPU_WORDS: Final = 4

TID_STEP: Final = 8192
"""CONFIG_NR_CPUS, a power of two; a CPU's transactions begin with its number."""


def counters_of(*, inuse: int, objects: int, is_frozen: bool) -> int:
    """Return the word that holds all three."""
    return (inuse & COUNTERS_INUSE) | objects << OBJECTS_SHIFT | (FROZEN if is_frozen else 0)


def virtual(address: int) -> int:
    """Return where a physical address is seen in the direct map; 0 stays NULL."""
    return PAGE_OFFSET + address if address else 0


def swab(value: int) -> int:
    """Return the bytes of a signed word in reverse order, as a signed word."""
    low = value & 0xFF
    return (
        (low - ((low & 0x80) << 1)) << 56
        | (value >> 8 & 0xFF) << 48
        | (value >> 16 & 0xFF) << 40
        | (value >> 24 & 0xFF) << 32
        | (value >> 32 & 0xFF) << 24
        | (value >> 40 & 0xFF) << 16
        | (value >> 48 & 0xFF) << 8
        | (value >> 56 & 0xFF)
    )


_swab = compiled(swab)


def get_freepointer(slub: WordsView, memory: WordsView, base: int, thing: int) -> int:
    """Return the free object after `thing`; whatever somebody wrote there, it may be nowhere."""
    address = thing + slub[base + OFFSET]
    pointer = memory[address >> 3]
    if slub[base + HARDENED] != 0:
        pointer ^= slub[base + RANDOM] ^ _swab(address + PAGE_OFFSET_SIGNED)
    if pointer == 0:
        return 0
    if pointer > _MOST:  # It goes round at 64 bits.
        return pointer - _WORD_MAX - (PAGE_OFFSET_SIGNED + _WORD_MAX) - 2
    return pointer - PAGE_OFFSET_SIGNED


def set_freepointer(
    slub: WordsView, memory: WordsView, base: int, thing: int, following: int
) -> None:
    """Let `following` be the free object after `thing`."""
    address = thing + slub[base + OFFSET]
    pointer = 0
    if following != 0:
        if following < _LEAST:
            pointer = following + _WORD_MAX + (PAGE_OFFSET_SIGNED + _WORD_MAX) + 2
        else:
            pointer = following + PAGE_OFFSET_SIGNED
    if slub[base + HARDENED] != 0:
        pointer ^= slub[base + RANDOM] ^ _swab(address + PAGE_OFFSET_SIGNED)
    memory[address >> 3] = pointer
