"""The page walker: reads x86-64 entries from frames, sets accessed and dirty there.

Intel SDM volume 3, 4.5 (4-level and 5-level paging), 4.6 (access rights), 4.7 (error codes), 4.8
(accessed and dirty), 4.10.3 (paging-structure caches). The walker and the kernel share nothing
but the words of physical memory.

With `is_watched` a walk stops (STALE) at a walk-cache entry that outlived its table.

Data accesses pass only where the page's protection key is 0: PKRU is what Linux gives a new program
(4.6.2). Left out: other values of PKRU, SMEP and SMAP, reserved bits, memory types. CR0.WP is set,
EFER.NXE too.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.jit import compiled
from mmactors.arch.page import Generations
from mmactors.arch.pte import (
    ACCESSED,
    DIRTY,
    NX,
    PFN_MASK,
    PKEY_MASK,
    PRESENT,
    PSE,
    RW,
    USER,
)
from mmactors.hw.cache import LINE_SHIFT
from mmactors.hw.layout import (
    COUNTS,
    COUNTS_EACH,
    CR3,
    IS_KERNEL_CACHED,
    L1D,
    LEVELS,
    NR_TOUCHED,
    PAGE_BITS,
    PCID,
    PTE,
    REFERENCES,
    STALE_ENTRY,
    TICK,
    TOUCHED,
    WALK,
    WALK_CACHES,
    WALK_PS,
    WALK_READ_PS,
)
from mmactors.hw.tlb import (
    PMD_TABLE,
    fill,
    find,
    is_stale,
    tag_of,
    use,
)
from mmactors.hw.tlb import PTE as TLB_PTE

Words = NDArray[np.int64]

ERROR_PROTECTION: Final = 1
ERROR_WRITE: Final = 2
ERROR_USER: Final = 4
ERROR_INSTRUCTION: Final = 16
ERROR_PKEY: Final = 32
"""Bits of the page-fault error code (SDM volume 3, 4.7)."""

STALE: Final = 1 << 32
"""Ours, instead of an error code: the access needs a translation that should be gone."""

_FLAGS_ANDED: Final = RW | USER


@compiled
def is_allowed(pte: int, kind_bits: int) -> bool:
    """Return whether an entry with all levels' permissions combined lets this access pass."""
    if kind_bits & ERROR_WRITE and not pte & RW:
        return False
    if kind_bits & ERROR_USER and not pte & USER:
        return False
    if pte & PKEY_MASK and not kind_bits & ERROR_INSTRUCTION:
        return False
    return not (kind_bits & ERROR_INSTRUCTION and pte < 0)


@compiled
def walk(
    state: Words,
    memory: Words,
    generation: Generations,
    is_watched: int,
    row: int,
    address: int,
    kind_bits: int,
    now_ns: int,
) -> int:
    """Translate `address`: leave entry and page shift in the registers PTE and PAGE_BITS.

    Returns the cost in ps, but for what it touched in TOUCHED; or, if the access may not
    pass, -1 - its error code, and then no leaf entry was changed; or -1 - STALE.
    """
    cost = state[WALK_PS]
    level = state[LEVELS]
    table = state[row + CR3]
    allowed = _FLAGS_ANDED
    forbidden = 0
    pcid = state[row + PCID]
    for cached in range(2, level + 1):
        base = state[row + WALK_CACHES + cached - 2]
        if base == 0:
            continue
        index = find(state, base, tag_of(address, pcid, PMD_TABLE + cached - 2))
        if index >= 0:
            if is_watched and is_stale(state, generation, index, kind_bits & ERROR_WRITE):
                state[STALE_ENTRY] = index
                return -1 - STALE
            use(state, base, index, state[row + TICK])
            entry = state[index + TLB_PTE]
            table = (entry & PFN_MASK) >> 12
            allowed &= entry
            forbidden |= entry & NX
            level = cached - 1
            break
    while True:
        word = table * 512 + ((address >> (12 + 9 * (level - 1))) & 511)
        cost += _touch(state, row, word, 0)
        entry = memory[word]
        if not entry & PRESENT:
            return -1 - kind_bits
        combined = (entry & ~_FLAGS_ANDED) | (entry & allowed) | forbidden
        is_leaf = level == 1 or (level <= 3 and entry & PSE)
        if is_leaf:
            break
        if not entry & ACCESSED:
            memory[word] = entry | ACCESSED
            cost += _touch(state, row, word, 1)
        table = (entry & PFN_MASK) >> 12
        allowed = combined & _FLAGS_ANDED
        forbidden = combined & NX
        base = state[row + WALK_CACHES + level - 2]
        if base != 0:
            tag = tag_of(address, pcid, PMD_TABLE + level - 2)
            if find(state, base, tag) < 0:
                born = generation[table] if table < len(generation) else 0
                fill(state, base, tag, combined, born, now_ns, state[row + TICK])
        level -= 1
    if not is_allowed(combined, kind_bits):
        if combined & PKEY_MASK and not kind_bits & ERROR_INSTRUCTION:
            kind_bits |= ERROR_PKEY
        return -1 - (kind_bits | ERROR_PROTECTION)
    wanted = ACCESSED | (DIRTY if kind_bits & ERROR_WRITE else 0)
    if entry & wanted != wanted:
        memory[word] = entry | wanted
        combined |= wanted
        cost += _touch(state, row, word, 1)
    state[row + PTE] = combined
    state[row + PAGE_BITS] = 12 + 9 * (level - 1)
    return cost  # type: ignore[no-any-return]


@compiled
def _touch(state: Words, row: int, word: int, is_store: int) -> int:
    """Note that a word of a page table is read, or a bit set in it; return the cost in ps.

    When page tables are cached, `access` takes the note to the caches and learns the cost.
    """
    state[row + COUNTS + WALK * COUNTS_EACH + REFERENCES] += 1
    if not state[IS_KERNEL_CACHED]:
        return state[WALK_READ_PS]  # type: ignore[no-any-return]
    line = (word << 3) >> state[state[row + L1D] + LINE_SHIFT]
    state[row + TOUCHED + state[row + NR_TOUCHED]] = line << 1 | is_store
    state[row + NR_TOUCHED] += 1
    return 0
