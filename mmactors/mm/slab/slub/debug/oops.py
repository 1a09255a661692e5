"""Pointers and chains of SLUB that would lead the kernel astray (v6.1).

Each raises KernelOopsError.
"""

from typing import Final

from mmactors.mm.slab.oops import lockup, oops, wild_pointer
from mmactors.mm.slab.slub.cache import KmemCache

_CHAIN_MARGIN: Final = 1024
"""So many slabs more than a cache has may a chain have before it is taken for a circle."""


def check_pointer(s: KmemCache, thing: int) -> None:
    """Raise KernelOopsError for a pointer out of a freelist that leads out of memory."""
    if not 0 < thing <= s.slabs.nr_bytes - s.layout.size:
        oops(s.slabs, *wild_pointer(thing + s.layout.offset))


def check_length(s: KmemCache, cpu: int, length: int) -> None:
    """Raise KernelOopsError for a chain of slabs that never ends: the watchdog finds the CPU."""
    if length > s.nr_slabs + _CHAIN_MARGIN:
        lockup(s.slabs, cpu)
