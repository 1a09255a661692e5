"""From virtual to physical: the TLBs in front of the page walker.

A lookup asks the first level, ITLB or DTLB, then the shared STLB, then the walker. What the STLB
knows, or the walker finds, is entered in the first level too; levels are neither inclusive nor
exclusive. A store through an entry that is not dirty, and any access that an entry does not
permit, walks again, since the kernel may have changed the PTE meanwhile (Intel SDM volume 3,
4.10.2.3 and 4.10.4.3): the entry is renewed where it stands.

With `is_watched` (see `walk`) an access stops at a translation that outlived its page.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.jit import compiled
from mmactors.arch.page import Generations
from mmactors.arch.pte import DIRTY, PFN_MASK, RW
from mmactors.hw.layout import (
    DIRTY_WALKS,
    ENTRY,
    FETCH,
    IS_VIRTUAL,
    PAGE_BITS,
    PAGE_SIZES,
    PCID,
    PTE,
    STALE_ENTRY,
    STLB_HIT_PS,
    TICK,
    TLB_COUNTS,
    TLB_COUNTS_EACH,
    TLB_MISSES,
    TLBS,
    WALKS,
)
from mmactors.hw.tlb import (
    FILL_NS,
    GENERATION,
    NR_SIZES,
    fill,
    find,
    is_stale,
    shift_of,
    tag_of,
    use,
)
from mmactors.hw.tlb import PTE as TLB_PTE
from mmactors.hw.walk import (
    ERROR_WRITE,
    STALE,
    is_allowed,
    walk,
)

Words = NDArray[np.int64]

_ITLB: Final = 0
_DTLB: Final = 1
_STLB: Final = 2


@compiled
def _lookup_tlb(state: Words, row: int, tlb: int, address: int) -> int:
    """Look up a translation of any page size; return `index << 2 | size`, or -1."""
    sizes = state[row + PAGE_SIZES + tlb]
    for size in range(NR_SIZES):
        if (sizes >> size) & 1:
            base = state[row + TLBS + tlb * NR_SIZES + size]
            index = find(state, base, tag_of(address, state[row + PCID], size + 1))
            if index >= 0:
                use(state, base, index, state[row + TICK])
                return index << 2 | size
    return -1


@compiled
def _fill_tlb(
    state: Words, generation: Generations, row: int, tlb: int, address: int, now_ns: int
) -> None:
    """Enter the translation that the registers PTE and PAGE_BITS hold."""
    size = (state[row + PAGE_BITS] - 12) // 9
    pte = state[row + PTE]
    pfn = (pte & PFN_MASK) >> 12
    born = generation[pfn] if pfn < len(generation) else 0
    base = state[row + TLBS + tlb * NR_SIZES + size]
    tag = tag_of(address, state[row + PCID], size + 1)
    index = fill(state, base, tag, pte, born, now_ns, state[row + TICK])
    if tlb != _STLB:
        state[row + ENTRY] = index
    state[row + PAGE_SIZES + tlb] |= 1 << size


@compiled
def _forget(state: Words, row: int, tlb: int, address: int) -> None:
    """Drop the translations of `address` from one TLB."""
    for size in range(NR_SIZES):
        base = state[row + TLBS + tlb * NR_SIZES + size]
        index = find(state, base, tag_of(address, state[row + PCID], size + 1))
        if index >= 0:
            state[index] = 0


@compiled
def _renew(
    state: Words, generation: Generations, row: int, tlb: int, address: int, now_ns: int
) -> None:
    """Give an entry, if there is one, the PTE of the register, where it stands."""
    base = state[row + TLBS + tlb * NR_SIZES + (state[row + PAGE_BITS] - 12) // 9]
    code = (state[row + PAGE_BITS] - 12) // 9 + 1
    index = find(state, base, tag_of(address, state[row + PCID], code))
    if index >= 0:
        pfn = (state[row + PTE] & PFN_MASK) >> 12
        state[index + TLB_PTE] = state[row + PTE]
        state[index + GENERATION] = generation[pfn] if pfn < len(generation) else 0
        state[index + FILL_NS] = now_ns


@compiled
def translate(
    state: Words,
    memory: Words,
    generation: Generations,
    is_watched: int,
    row: int,
    address: int,
    who: int,
    kind_bits: int,
    now_ns: int,
    is_counted: int,
) -> int:
    """Translate `address`: leave entry and page shift in the registers PTE and PAGE_BITS.

    Returns the cost in ps; or, if the access may not pass, -1 - its error code: then nothing
    is counted, and the TLBs hold no translation of the page any more (SDM volume 3, 4.10.4.1);
    or -1 - STALE: then nothing is counted or changed but recency.
    """
    state[row + TICK] += 1
    needs = RW | DIRTY if kind_bits & ERROR_WRITE else 0
    first = _ITLB if who == FETCH else _DTLB
    counts = row + TLB_COUNTS + who * TLB_COUNTS_EACH
    tlb = first
    cost = 0
    found = _lookup_tlb(state, row, first, address)
    if found < 0:
        tlb = _STLB
        cost = state[STLB_HIT_PS]
        found = _lookup_tlb(state, row, _STLB, address)
    if found >= 0:
        size = found & 3
        index = found >> 2
        pte = state[index + TLB_PTE]
        if pte & needs == needs and is_allowed(pte, kind_bits):
            if is_watched and is_stale(state, generation, index, needs):
                state[STALE_ENTRY] = index
                return -1 - STALE
            state[row + PTE] = pte
            state[row + PAGE_BITS] = shift_of(size + 1)
            if tlb == _STLB:
                if is_counted:
                    state[counts + TLB_MISSES] += 1
                base = state[row + TLBS + first * NR_SIZES + size]
                tag = tag_of(address, state[row + PCID], size + 1)
                born, filled_ns = state[index + GENERATION], state[index + FILL_NS]
                index = fill(state, base, tag, pte, born, filled_ns, state[row + TICK])
                state[row + PAGE_SIZES + first] |= 1 << size
            state[row + ENTRY] = index
            return cost
    walked = walk(state, memory, generation, is_watched, row, address, kind_bits, now_ns)
    if is_watched and walked == -1 - STALE:
        return walked
    if found >= 0:
        state[row + DIRTY_WALKS] += walked >= 0
        state[row + ENTRY] = index
        if walked < 0 or state[row + PAGE_BITS] != shift_of((found & 3) + 1):
            _forget(state, row, first, address)
            _forget(state, row, _STLB, address)
            if walked >= 0:
                _fill_tlb(state, generation, row, _STLB, address, now_ns)
                tlb = _STLB
        else:
            _renew(state, generation, row, first, address, now_ns)
            _renew(state, generation, row, _STLB, address, now_ns)
    if walked < 0:
        return walked
    if is_counted and tlb == _STLB:
        state[counts + TLB_MISSES] += 1
        state[counts + WALKS] += found < 0
    if tlb == _STLB:
        _fill_tlb(state, generation, row, first, address, now_ns)
    if found < 0:
        _fill_tlb(state, generation, row, _STLB, address, now_ns)
    return cost + walked


@compiled
def key_of(state: Words, row: int, address: int) -> int:
    """Return the address that caches see, from the translation in PTE and PAGE_BITS."""
    if state[IS_VIRTUAL]:
        return address
    offset = (1 << state[row + PAGE_BITS]) - 1
    return (state[row + PTE] & PFN_MASK & ~offset) | (address & offset)  # type: ignore[no-any-return]
