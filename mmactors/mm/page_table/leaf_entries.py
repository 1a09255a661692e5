"""The lowest entries of a range: neighbours in one table, and the present ones among them."""

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from mmactors.arch.jit import compiled
from mmactors.arch.pte import PFN_MASK, PFN_SHIFT, TABLE_SHIFT

Words = NDArray[np.int64]


@frozen
class LeafRange:
    """Neighbouring entries of one table that may map pages, all inside the range asked for."""

    level: int
    """1: up to 512 entries. 2 or 3: one entry that maps 2 MiB or 1 GiB."""
    address: int
    """Of the first entry's page."""
    index: int
    """Word index of the first entry."""
    count: int

    @property
    def end(self) -> int:
        """End of the addresses that the entries map."""
        return self.address + (self.count << (PFN_SHIFT + TABLE_SHIFT * (self.level - 1)))


@frozen(eq=False)
class Entries:
    """Present entries with the addresses they map, lowest first."""

    addresses: Words
    entries: Words

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def pfns(self) -> Words:
        """The frames."""
        return (self.entries & PFN_MASK) >> PFN_SHIFT


def join(parts: list[Entries]) -> Entries:
    """Return the entries of all parts, in their order."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        nothing = np.zeros(0, np.int64)
        return Entries(nothing, nothing)
    return Entries(
        np.concatenate([part.addresses for part in parts]),
        np.concatenate([part.entries for part in parts]),
    )


@compiled
def take_present(
    words: Words, first: int, count: int, indices: Words, entries: Words, clear: int
) -> int:
    """Copy the present ones of `count` entries from `first` on; return how many there are.

    Present are also those of PROT_NONE memory, which the hardware does not see: PRESENT or
    PROTNONE (pte_present). `clear` 1: they are set to zero.
    """
    found = 0
    for index in range(first, first + count):
        entry = words[index]
        if entry & 257:
            indices[found] = index
            entries[found] = entry
            found += 1
            if clear:
                words[index] = 0
    return found
