"""What a checker sees of TLBs and walk caches: entries with their histories, found and marked.

Nothing here is on the path of an access. Marks stand in the word GENERATION, which no mechanism
reads, so that a machine that is looked at does what it would have done anyway. An entry stands
still until it is replaced, so an index with the tick of its fill names it for ever.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from mmactors.arch.column import WordsView
from mmactors.arch.jit import compiled
from mmactors.arch.page import Generations
from mmactors.arch.pte import PFN_MASK, PFN_SHIFT
from mmactors.hw.layout import NR_TLBS, NR_WALK_CACHES, STALE_ENTRY, TLBS
from mmactors.hw.tlb import (
    CODE_MASK,
    ENTRY_WORDS,
    FILL_NS,
    FILLED,
    GENERATION,
    GENERATION_MASK,
    HEADER_WORDS,
    MASK,
    PCID_MASK,
    PCID_SHIFT,
    PMD_TABLE,
    PTE,
    REVOKED_ALL,
    REVOKED_WRITE,
    STRIDE,
    TAG_GLOBAL,
    TAG_SHIFT,
    WAYS,
    find,
    shift_of,
)

Words = NDArray[np.int64]

_NR_TRANSLATING: Final = NR_TLBS - NR_WALK_CACHES
_TABLES: Final = {
    PMD_TABLE: "PMD",
    PMD_TABLE + 1: "PUD",
    PMD_TABLE + 2: "P4D",
    PMD_TABLE + 3: "PGD",
}
"""What table an entry of a walk cache was read from, by its code."""


@frozen(kw_only=True)
class CachedEntry:
    """One entry of a TLB or walk cache with its history."""

    index: int
    """Where it stands in the hardware's state."""
    filled: int
    """The tick of its fill; tells it from another that stood there before."""
    place: str
    """`TLB`, or the walk cache by its table, such as `PMD walk cache`."""
    start: int
    """First byte that it covers."""
    end: int
    pcid: int
    """0 if it is global."""
    is_global: bool
    pte: int
    generation: int
    """Of the page it points to, when it was filled."""
    fill_ns: int
    is_revoked_all: bool
    is_revoked_write: bool

    @property
    def pfn(self) -> int:
        """The page or the table it points to."""
        return (self.pte & PFN_MASK) >> PFN_SHIFT


def entry_at(state: Words | WordsView, index: int) -> CachedEntry:
    """Return the entry that stands at `index`."""
    tag, born = int(state[index]), int(state[index + GENERATION])
    code = tag & CODE_MASK
    shift = int(shift_of(code))
    start = tag >> TAG_SHIFT << shift
    return CachedEntry(
        index=index,
        filled=int(state[index + FILLED]),
        place=f"{_TABLES[code]} walk cache" if code in _TABLES else "TLB",
        start=start,
        end=start + (1 << shift),
        pcid=tag >> PCID_SHIFT & PCID_MASK,
        is_global=tag & TAG_GLOBAL != 0,
        pte=int(state[index + PTE]),
        generation=born & GENERATION_MASK,
        fill_ns=int(state[index + FILL_NS]),
        is_revoked_all=born & REVOKED_ALL != 0,
        is_revoked_write=born & REVOKED_WRITE != 0,
    )


def stale_entry(state: Words) -> CachedEntry:
    """Return the entry that the last batch stopped at."""
    return entry_at(state, int(state[STALE_ENTRY]))


def all_entries(state: Words, row: int, names: Sequence[str]) -> list[tuple[str, CachedEntry]]:
    """Return all that the TLBs and walk caches of a row hold, set by set; `names` by register."""
    bases: dict[int, str] = {}
    for register, name in enumerate(names):
        # A TLB for two page sizes has the name of the smaller one.
        bases.setdefault(int(state[row + TLBS + register]), name)
    return [
        (name, entry_at(state, index))
        for base, name in bases.items()
        if base
        for index in _filled(state, base)
    ]


def _filled(state: Words, base: int) -> list[int]:
    """Return where the entries of the TLB at `base` stand."""
    nr_sets, stride = int(state[base + MASK]) + 1, int(state[base + STRIDE])
    first = base + HEADER_WORDS
    sets = state[first : first + nr_sets * stride].reshape(nr_sets, stride)
    tags = sets[:, : int(state[base + WAYS]) * ENTRY_WORDS : ENTRY_WORDS]
    at, way = np.nonzero(tags)
    places: list[int] = (first + at * stride + way * ENTRY_WORDS).tolist()
    return places


@compiled
def acknowledge(state: Words, generation: Generations, row: int) -> None:
    """Let accesses pass through the entry that the last batch stopped at, and through its twins."""
    tag = state[state[STALE_ENTRY]]
    for tlb in range(NR_TLBS):
        base = state[row + TLBS + tlb]
        if base != 0:
            index = find(state, base, tag)
            if index >= 0:
                pfn = (state[index + PTE] & PFN_MASK) >> 12
                state[index + GENERATION] = generation[pfn] if pfn < len(generation) else 0


@compiled
def entries_within(state: Words, row: int, pcid: int, start: int, end: int, found: Words) -> int:
    """Note in `found` where translations under `pcid` of any page of a range stand; count them."""
    count = 0
    for tlb in range(_NR_TRANSLATING):
        base = state[row + TLBS + tlb]
        if base == 0:
            continue
        for set_index in range(state[base + MASK] + 1):
            first = base + HEADER_WORDS + set_index * state[base + STRIDE]
            for index in range(first, first + state[base + WAYS] * ENTRY_WORDS, ENTRY_WORDS):
                tag = state[index]
                if tag == 0 or (tag >> PCID_SHIFT) & PCID_MASK != pcid:
                    continue
                shift = shift_of(tag & CODE_MASK)
                begin = tag >> TAG_SHIFT << shift
                if begin < end and begin + (1 << shift) > start and count < len(found):
                    found[count] = index
                    count += 1
    return count
