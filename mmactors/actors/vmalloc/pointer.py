"""Addresses of the kernel as modules keep them: counted from where the direct map begins.

Those of memory are physical addresses then, as objects have them; those of vmalloc lie far behind.
"""

from typing import Final

from mmactors.mm.slab.slab_common import PAGE_OFFSET, ZERO_SIZE_PTR

_WORD: Final = 1 << 64


def signed_pointer(thing: int) -> int:
    """Return the signed word that the kernel calls an address; 0 is NULL."""
    if 0 <= thing <= ZERO_SIZE_PTR:
        return thing
    address = (PAGE_OFFSET + thing) % _WORD
    return address - _WORD if address >= _WORD >> 1 else address


def thing_at(address: int) -> int:
    """Return the same, counted from where the direct map begins, of an address of the kernel's."""
    return (address % _WORD) - PAGE_OFFSET
