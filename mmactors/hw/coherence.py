"""The shared last-level cache and the directory: MESI between the private caches of CPUs.

The directory is a snoop filter: a set-associative cache of the lines that some CPU may hold
privately, each with who holds it. EXCLUSIVE: one CPU, the number in the sharers' word, may hold it
in any state, and may write it without asking. SHARED: a mask of the CPUs that may hold it; a bit
stands for a cluster of CPUs when there are more than 64. CPUs drop clean lines silently, so it
knows a superset. A line that the filter has no room for is taken from the CPUs that hold it
(back invalidation), as Intel's server parts do since Skylake. There is never a word per line of
physical memory, and with one CPU there is no filter.

Dirty data that one CPU takes from another passes through the LLC, which then owes it to memory.
Left out: the F and O states, latency that grows with the number of snooped CPUs, slices, a line
of instructions that its own CPU writes (self-modifying code) leaving its own L1I.

Invariants: a line in private caches of several CPUs is SHARED in all of them; a line in a private
cache is in the snoop filter; with an inclusive LLC it is in the LLC.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.jit import compiled
from mmactors.hw.cache import (
    EXCLUSIVE,
    MODIFIED,
    SHARED,
    STATE_BITS,
    STATE_MASK,
    fill,
    find,
    invalidate,
    lookup,
    set_state,
)
from mmactors.hw.layout import (
    BACK_INVALIDATIONS,
    CLUSTER_SHIFT,
    COUNTS,
    COUNTS_EACH,
    FIRST_ROW,
    FORWARD_PS,
    FORWARDS,
    IS_INCLUSIVE,
    L1D,
    L1I,
    L2,
    LLC,
    LLC_HIT_PS,
    LLC_MISSES,
    MEMORY_PS,
    MEMORY_READS,
    MEMORY_WRITES,
    NR_CPUS,
    ROW_WORDS,
    SHARERS,
    SNOOP,
    SNOOP_PS,
    SNOOPS,
    UPGRADES,
)

Words = NDArray[np.int64]

MASK_BITS: Final = 64
"""Bits of a sharer mask."""


@compiled
def request(state: Words, row: int, line: int, who: int, exclusive: int) -> int:
    """Get a line that misses in the private caches of the CPU; return its cost << 2 | its state.

    `exclusive`: to write it. `who` is charged with a miss of the LLC.
    """
    cost = state[LLC_HIT_PS]
    granted = EXCLUSIVE
    if state[SNOOP] != 0:
        answer = _ask_directory(state, row, line, exclusive=exclusive)
        cost += answer >> STATE_BITS
        granted = answer & STATE_MASK
    if lookup(state, state[LLC], line) < 0:
        state[row + COUNTS + who * COUNTS_EACH + LLC_MISSES] += 1
        state[MEMORY_READS] += 1
        cost += state[MEMORY_PS]
        _fill_llc(state, row, line, EXCLUSIVE)
    return cost << STATE_BITS | granted  # type: ignore[no-any-return]


@compiled
def upgrade(state: Words, row: int, line: int) -> int:
    """Take a line that the CPU holds as SHARED away from all others; return the cost."""
    state[row + UPGRADES] += 1
    return state[LLC_HIT_PS] + (_ask_directory(state, row, line, exclusive=True) >> STATE_BITS)  # type: ignore[no-any-return]


@compiled
def write_back(state: Words, row: int, line: int) -> None:
    """Take a dirty line from a private cache into the LLC."""
    index = lookup(state, state[LLC], line)
    if index >= 0:
        set_state(state, index, MODIFIED)
    else:
        _fill_llc(state, row, line, MODIFIED)


@compiled
def _fill_llc(state: Words, row: int, line: int, mesi: int) -> None:
    """Enter an absent line into the LLC and see what has to go."""
    victim = fill(state, state[LLC], line, mesi)
    if victim == 0:
        return
    victim_line = victim >> STATE_BITS
    strongest = victim & STATE_MASK
    if state[IS_INCLUSIVE]:
        state[row + BACK_INVALIDATIONS] += 1
        if state[SNOOP] == 0:
            strongest = max(strongest, _drop_private(state, row, victim_line))
        else:
            entry = find(state, state[SNOOP], victim_line)
            if entry >= 0:
                held = _drop_holders(state, entry, victim_line, keeper=-1)
                strongest = max(strongest, held)
                invalidate(state, state[SNOOP], victim_line)
    if strongest == MODIFIED:
        state[MEMORY_WRITES] += 1


@compiled
def _ask_directory(state: Words, row: int, line: int, exclusive: int) -> int:
    """Make the CPU a holder of `line`; return what it costs << 2 | the state it may have."""
    cpu = (row - state[FIRST_ROW]) // state[ROW_WORDS]
    bit = 1 << (cpu >> state[CLUSTER_SHIFT])
    entry = lookup(state, state[SNOOP], line)
    if entry < 0:
        _enter(state, row, line, cpu)
        return EXCLUSIVE
    holders = entry + state[SHARERS]
    if state[entry] & STATE_MASK == EXCLUSIVE:
        owner = state[holders]
        if owner == cpu:
            return EXCLUSIVE
        cost = state[SNOOP_PS]
        state[row + SNOOPS] += 1
        owner_row = state[FIRST_ROW] + owner * state[ROW_WORDS]
        if exclusive:
            strongest = _drop_private(state, owner_row, line)
            state[holders] = cpu
            granted = EXCLUSIVE
        else:
            strongest = _share_private(state, owner_row, line)
            set_state(state, entry, SHARED)
            state[holders] = bit | (1 << (owner >> state[CLUSTER_SHIFT]))
            granted = SHARED
        if strongest == MODIFIED:
            state[row + FORWARDS] += 1
            cost += state[FORWARD_PS]
            write_back(state, row, line)
        return cost << STATE_BITS | granted  # type: ignore[no-any-return]
    if not exclusive:
        state[holders] |= bit
        return SHARED
    state[row + SNOOPS] += 1
    _drop_holders(state, entry, line, keeper=cpu)
    set_state(state, entry, EXCLUSIVE)
    state[holders] = cpu
    return state[SNOOP_PS] << STATE_BITS | EXCLUSIVE  # type: ignore[no-any-return]


@compiled
def _enter(state: Words, row: int, line: int, cpu: int) -> None:
    """Give `line` an entry in the snoop filter with `cpu` as its owner."""
    base = state[SNOOP]
    victim = fill(state, base, line, EXCLUSIVE)
    entry = find(state, base, line)
    holders = entry + state[SHARERS]
    if victim != 0:
        victim_line = victim >> STATE_BITS
        state[row + BACK_INVALIDATIONS] += 1
        # The entry has the new line's tag already, but still the holders of the old one.
        set_state(state, entry, victim & STATE_MASK)
        strongest = _drop_holders(state, entry, victim_line, keeper=-1)
        set_state(state, entry, EXCLUSIVE)
        state[holders] = cpu
        if strongest == MODIFIED:
            write_back(state, row, victim_line)
    state[holders] = cpu


@compiled
def _drop_holders(state: Words, entry: int, line: int, keeper: int) -> int:
    """Take `line` from all CPUs that `entry` names but `keeper`; return the strongest state."""
    holders = state[entry + state[SHARERS]]
    first_row = state[FIRST_ROW]
    if state[entry] & STATE_MASK == EXCLUSIVE:
        return _drop_private(state, first_row + holders * state[ROW_WORDS], line)
    strongest = 0
    shift = state[CLUSTER_SHIFT]
    for cpu in range(state[NR_CPUS]):
        if (holders >> (cpu >> shift)) & 1 and cpu != keeper:
            held = _drop_private(state, first_row + cpu * state[ROW_WORDS], line)
            strongest = max(strongest, held)
    return strongest


@compiled
def _drop_private(state: Words, row: int, line: int) -> int:
    """Take `line` from the private caches of a CPU; return the strongest state it had there."""
    invalidate(state, state[row + L1I], line)
    strongest = invalidate(state, state[row + L1D], line) & STATE_MASK
    if state[row + L2] != 0:
        strongest = max(strongest, invalidate(state, state[row + L2], line) & STATE_MASK)
    return strongest


@compiled
def _share_private(state: Words, row: int, line: int) -> int:
    """Make `line` SHARED in the data caches of a CPU; return the strongest state it had."""
    strongest = 0
    index = find(state, state[row + L1D], line)
    if index >= 0:
        strongest = state[index] & STATE_MASK
        set_state(state, index, SHARED)
    if state[row + L2] != 0:
        index = find(state, state[row + L2], line)
        if index >= 0:
            strongest = max(strongest, state[index] & STATE_MASK)
            set_state(state, index, SHARED)
    return strongest
