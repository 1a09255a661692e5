"""Translation lookaside buffers and walk caches: sets of page-table entries with what they are for.

The file to change for another TLB replacement (`_victim`, `use`) or another page size (`SHIFTS`).
A TLB is a piece of `state` (see `layout`) of a header and sets. A set has ENTRY_WORDS words a way
and a last word with the tree of tree-PLRU.

    tag = page number << 16 | PCID << 4 | global << 3 | code, 0: empty

The page number counts pages of the entry's own size. Code 1 to 3 is a translation of a 4 KiB,
2 MiB or 1 GiB page; 4 to 7 is an entry of a PMD, PUD, P4D or PGD table in a walk cache, which
saves the walker the levels above (Intel SDM volume 3, 4.10.3, paging-structure caches). A global
entry has PCID 0 in its tag and matches all (SDM 4.10.2.4).

The PTE is what the walker read, with the permissions of all levels combined, and A and D as they
were; generation is that of the page the entry points to when it was filled, so that a checker sees
an entry that outlived its page (`is_stale`). A checker may add the bits REVOKED to it; nothing
else reads it. LRU and FIFO go by ticks, so that entries do not move.

Left out: TLB prefetch, entries that map several adjacent pages, the split STLB of AMD.
"""

from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from mmactors.arch.jit import compiled
from mmactors.arch.page import Generations
from mmactors.arch.pte import GLOBAL, PFN_MASK
from mmactors.hw.layout import NR_TLBS, NR_WALK_CACHES, TLBS

Words = NDArray[np.int64]

LRU: Final = 0
FIFO: Final = 1
RANDOM: Final = 2
PLRU: Final = 3
REPLACEMENT: Final = {"lru": LRU, "fifo": FIFO, "random": RANDOM, "plru": PLRU}

MASK: Final = 0
WAYS: Final = 1
STRIDE: Final = 2
POLICY: Final = 3
LFSR: Final = 4
HEADER_WORDS: Final = 8

FILLED: Final = 1
USED: Final = 2
"""When it was filled and used last, on the clock TICK of its CPU."""
PTE: Final = 3
GENERATION: Final = 4
FILL_NS: Final = 5
ENTRY_WORDS: Final = 6
"""The word of an entry's tag is the entry's index; the others are index + these."""

SIZE_4K: Final = 0
SIZE_2M: Final = 1
SIZE_1G: Final = 2
NR_SIZES: Final = 3
PMD_TABLE: Final = 4
"""Code of a walk-cache entry read from a PMD table; one more for each level above."""

PAGE_NUMBER_MASK: Final = (1 << 45) - 1
TAG_SHIFT: Final = 16
PCID_SHIFT: Final = 4
PCID_BITS: Final = 12
PCID_MASK: Final = (1 << PCID_BITS) - 1
TAG_GLOBAL: Final = 1 << 3
CODE_MASK: Final = 7

REVOKED_SHIFT: Final = 32
REVOKED_WRITE: Final = 1 << REVOKED_SHIFT
REVOKED_ALL: Final = 2 << REVOKED_SHIFT
"""In GENERATION: a checker knows that this entry should be gone, for stores or for everybody."""
GENERATION_MASK: Final = (1 << REVOKED_SHIFT) - 1

ALL_PCIDS: Final = -1
EVERYTHING: Final = -2

_LFSR_SEED: Final = 0xACE1
_LFSR_TAPS: Final = 0xB400


@frozen(kw_only=True)
class TlbGeometry:
    """What a TLB is, apart from its contents."""

    entries: int
    ways: int
    policy: int = LRU

    @property
    def nr_words(self) -> int:
        """How many words `format_tlb` needs."""
        return HEADER_WORDS + self.entries // self.ways * self.stride

    @property
    def stride(self) -> int:
        """Words of a set."""
        return ENTRY_WORDS * self.ways + 1


def format_tlb(state: Words, base: int, geometry: TlbGeometry) -> None:
    """Make `state[base : base + geometry.nr_words]` an empty TLB."""
    nr_sets = geometry.entries // geometry.ways
    assert nr_sets & (nr_sets - 1) == 0, f"{nr_sets} sets"
    state[base : base + geometry.nr_words] = 0
    state[base + MASK] = nr_sets - 1
    state[base + WAYS] = geometry.ways
    state[base + STRIDE] = geometry.stride
    state[base + POLICY] = geometry.policy
    state[base + LFSR] = _LFSR_SEED


@compiled
def shift_of(code: int) -> int:
    """Return log2 of the bytes that an entry of `code` covers."""
    if code < PMD_TABLE:
        return 12 + 9 * (code - 1)
    return 21 + 9 * (code - PMD_TABLE)


@compiled
def tag_of(address: int, pcid: int, code: int) -> int:
    """Return the tag of an entry, not global, that translates `address`."""
    page = (address >> shift_of(code)) & (PAGE_NUMBER_MASK >> (shift_of(code) - 12))
    return (page << TAG_SHIFT) | (pcid << PCID_SHIFT) | code


@compiled
def find(state: Words, base: int, tag: int) -> int:
    """Return the index of the entry for `tag` or its global twin, or -1; change nothing."""
    index = base + HEADER_WORDS + ((tag >> TAG_SHIFT) & state[base + MASK]) * state[base + STRIDE]
    twin = (tag & ~(PCID_MASK << PCID_SHIFT)) | TAG_GLOBAL
    for _ in range(state[base + WAYS]):
        if state[index] == tag or state[index] == twin:
            return index  # type: ignore[no-any-return]
        index += ENTRY_WORDS
    return -1


@compiled
def is_stale(state: Words, generation: Generations, index: int, is_store: int) -> bool:
    """Return whether the entry at `index` outlived its page, or was revoked for this access."""
    born = state[index + GENERATION]
    if born > GENERATION_MASK and (is_store != 0 or born & REVOKED_ALL):
        return True
    pfn = (state[index + PTE] & PFN_MASK) >> 12
    return pfn < len(generation) and (born & GENERATION_MASK) != generation[pfn]  # type: ignore[no-any-return]


@compiled
def use(state: Words, base: int, index: int, tick: int) -> None:
    """Tell the replacement that the entry at `index` was hit at time `tick`."""
    state[index + USED] = tick
    if state[base + POLICY] == PLRU:
        _plru_use(state, base, index)


@compiled
def fill(
    state: Words, base: int, tag: int, pte: int, generation: int, now_ns: int, tick: int
) -> int:
    """Enter a translation that is absent; return its index. What it replaces is forgotten.

    `tag` as `tag_of` gives it; it becomes global here if `pte` is.
    """
    first = base + HEADER_WORDS + ((tag >> TAG_SHIFT) & state[base + MASK]) * state[base + STRIDE]
    index = first + _victim(state, base, first) * ENTRY_WORDS
    if pte & GLOBAL and (tag & CODE_MASK) < PMD_TABLE:
        tag = (tag & ~(PCID_MASK << PCID_SHIFT)) | TAG_GLOBAL
    state[index] = tag
    state[index + FILLED] = tick
    state[index + PTE] = pte
    state[index + GENERATION] = generation
    state[index + FILL_NS] = now_ns
    use(state, base, index, tick)
    return index  # type: ignore[no-any-return]


@compiled
def _victim(state: Words, base: int, first: int) -> int:
    """Return the way to fill: an empty one, else the one that the replacement gives up."""
    ways = state[base + WAYS]
    policy = state[base + POLICY]
    tick = first + (FILLED if policy == FIFO else USED)
    oldest = 0
    for way in range(ways):
        if state[first + way * ENTRY_WORDS] == 0:
            return way
        if state[tick + way * ENTRY_WORDS] < state[tick + oldest * ENTRY_WORDS]:
            oldest = way
    if policy <= FIFO:
        return oldest
    if policy == RANDOM:
        bits = state[base + LFSR]
        bits = (bits >> 1) ^ (-(bits & 1) & _LFSR_TAPS)
        state[base + LFSR] = bits
        return bits % ways  # type: ignore[no-any-return]
    tree = state[first + ENTRY_WORDS * ways]
    node = 1
    while node < ways:
        node = 2 * node + ((tree >> node) & 1)
    return node - ways  # type: ignore[no-any-return]


@compiled
def _plru_use(state: Words, base: int, index: int) -> None:
    """Let every node of the set's tree above this way point away from it, as in `cache`."""
    ways = state[base + WAYS]
    offset = (index - base - HEADER_WORDS) % state[base + STRIDE]
    tree_index = index - offset + ENTRY_WORDS * ways
    tree = state[tree_index]
    node = ways + offset // ENTRY_WORDS
    while node > 1:
        parent = node >> 1
        if node & 1:
            tree &= ~(1 << parent)
        else:
            tree |= 1 << parent
        node = parent
    state[tree_index] = tree


@compiled
def flush(state: Words, row: int, pcid: int) -> int:
    """Drop all entries of `pcid` but global ones; return how many went.

    `pcid` ALL_PCIDS: of every PCID; EVERYTHING: global ones too.
    """
    nr_dropped = 0
    for tlb in range(NR_TLBS):
        base = state[row + TLBS + tlb]
        if base == 0:
            continue
        for set_index in range(state[base + MASK] + 1):
            first = base + HEADER_WORDS + set_index * state[base + STRIDE]
            for index in range(first, first + state[base + WAYS] * ENTRY_WORDS, ENTRY_WORDS):
                tag = state[index]
                is_kept = pcid != EVERYTHING and (
                    tag & TAG_GLOBAL != 0
                    or (pcid != ALL_PCIDS and (tag >> PCID_SHIFT) & PCID_MASK != pcid)
                )
                if tag != 0 and not is_kept:
                    state[index] = 0
                    nr_dropped += 1
    return nr_dropped


@compiled
def flush_page(state: Words, row: int, pcid: int, address: int) -> int:
    """Drop what INVLPG and INVPCID type 0 drop (SDM 4.10.4.1); return how many entries went.

    That is translations of `address` under `pcid`, global ones of it too, and all walk-cache
    entries of `pcid`, whatever their address.
    """
    nr_dropped = 0
    for tlb in range(NR_TLBS):
        base = state[row + TLBS + tlb]
        if base == 0:
            continue
        if tlb < NR_TLBS - NR_WALK_CACHES:
            index = find(state, base, tag_of(address, pcid, tlb % NR_SIZES + 1))
            if index >= 0:
                state[index] = 0
                nr_dropped += 1
            continue
        for set_index in range(state[base + MASK] + 1):
            first = base + HEADER_WORDS + set_index * state[base + STRIDE]
            for index in range(first, first + state[base + WAYS] * ENTRY_WORDS, ENTRY_WORDS):
                if state[index] != 0 and (state[index] >> PCID_SHIFT) & PCID_MASK == pcid:
                    state[index] = 0
                    nr_dropped += 1
    return nr_dropped
