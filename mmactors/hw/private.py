"""The private caches of a CPU: L1I, L1D and L2, and what a reference does in them.

Levels are neither inclusive nor exclusive of each other: a miss fills all of them, what a level
evicts clean is forgotten, and what it evicts dirty goes to the next level. The L2 keeps the state
that the directory granted; dirt stays where it is until it is evicted or snooped.

`one_miss` is the other rule for references, valgrind's (cg_sim.c, 3.19): see `reference_one_miss`.
"""

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.jit import compiled
from mmactors.hw.cache import (
    EXCLUSIVE,
    LINE_SHIFT,
    MODIFIED,
    SHARED,
    STATE_BITS,
    STATE_MASK,
    fill,
    find,
    lookup,
    set_state,
)
from mmactors.hw.coherence import request, upgrade, write_back
from mmactors.hw.layout import (
    COUNTS,
    COUNTS_EACH,
    DISTURBED,
    FETCH,
    IS_NO_ALLOCATE,
    IS_WRITE_THROUGH,
    L1_HIT_PS,
    L1_MISSES,
    L1D,
    L1I,
    L2,
    L2_HIT_PS,
    L2_MISSES,
    LLC,
    LLC_HIT_PS,
    LLC_MISSES,
    MEMORY_PS,
    MEMORY_READS,
)

Words = NDArray[np.int64]


@compiled
def reference_data(state: Words, row: int, line: int, who: int, is_store: int) -> int:
    """Load from or store to one line; count misses for `who`, return the cost in ps."""
    l1d = state[row + L1D]
    index = lookup(state, l1d, line)
    cost = state[L1_HIT_PS]
    if index >= 0:
        if not is_store:
            return cost  # type: ignore[no-any-return]
        if state[index] & STATE_MASK == SHARED:
            state[row + DISTURBED] = 1
            cost += upgrade(state, row, line)
            # Room for the directory's entry may have been made in this very set.
            index = lookup(state, l1d, line)
        if state[IS_WRITE_THROUGH]:
            set_state(state, index, EXCLUSIVE)
            _write_next(state, row, line)
        else:
            set_state(state, index, MODIFIED)
        return cost  # type: ignore[no-any-return]
    return cost + miss_data(state, row, line, who, is_store)  # type: ignore[no-any-return]


@compiled
def miss_data(state: Words, row: int, line: int, who: int, is_store: int) -> int:
    """Bring in a line that the L1D misses, as `reference_data` does; return what that costs."""
    l1d = state[row + L1D]
    state[row + DISTURBED] = 1
    state[row + COUNTS + who * COUNTS_EACH + L1_MISSES] += 1
    answer = _reference_l2(state, row, line, who, exclusive=is_store)
    cost = answer >> STATE_BITS
    mesi = answer & STATE_MASK
    if is_store:
        if state[IS_NO_ALLOCATE]:
            _write_next(state, row, line)
            return cost
        if state[IS_WRITE_THROUGH]:
            _write_next(state, row, line)
        else:
            mesi = MODIFIED
    victim = fill(state, l1d, line, mesi)
    if victim & STATE_MASK == MODIFIED:
        _write_next(state, row, victim >> STATE_BITS)
    return cost


@compiled
def reference_code(state: Words, row: int, line: int) -> int:
    """Fetch from one line; return what a miss costs in ps, 0 for a hit."""
    l1i = state[row + L1I]
    if lookup(state, l1i, line) >= 0:
        return 0
    state[row + DISTURBED] = 1
    state[row + COUNTS + FETCH * COUNTS_EACH + L1_MISSES] += 1
    answer = _reference_l2(state, row, line, FETCH, exclusive=False)
    fill(state, l1i, line, SHARED)
    return answer >> STATE_BITS


@compiled
def _reference_l2(state: Words, row: int, line: int, who: int, exclusive: int) -> int:
    """Get a line that an L1 misses; return its cost << 2 | its state, at most EXCLUSIVE."""
    l2 = state[row + L2]
    if l2 == 0:
        return request(state, row, line, who, exclusive=exclusive)
    index = lookup(state, l2, line)
    cost = state[L2_HIT_PS]
    if index >= 0:
        mesi = state[index] & STATE_MASK
        if exclusive and mesi == SHARED:
            cost += upgrade(state, row, line)
            index = lookup(state, l2, line)
            set_state(state, index, EXCLUSIVE)
        return cost << STATE_BITS | (EXCLUSIVE if exclusive else min(mesi, EXCLUSIVE))  # type: ignore[no-any-return]
    state[row + COUNTS + who * COUNTS_EACH + L2_MISSES] += 1
    answer = request(state, row, line, who, exclusive=exclusive)
    victim = fill(state, l2, line, answer & STATE_MASK)
    if victim & STATE_MASK == MODIFIED:
        write_back(state, row, victim >> STATE_BITS)
    return answer + (cost << STATE_BITS)  # type: ignore[no-any-return]


@compiled
def _write_next(state: Words, row: int, line: int) -> None:
    """Write a line of the L1D to the next level, which makes room for it if it must."""
    l2 = state[row + L2]
    if l2 == 0:
        write_back(state, row, line)
        return
    index = find(state, l2, line)
    if index >= 0:
        set_state(state, index, MODIFIED)
        return
    victim = fill(state, l2, line, MODIFIED)
    if victim & STATE_MASK == MODIFIED:
        write_back(state, row, victim >> STATE_BITS)


@compiled
def reference_one_miss(state: Words, row: int, l1: int, first: int, last: int, who: int) -> int:
    """Refer to the bytes `first` to `last` as cachegrind does; return the cost in ps.

    The lines of both are looked up, lower first, and count one miss if either missed; only then
    the LLC is asked, for the same bytes, by the same rule and its own length of line.
    """
    cost = 0 if who == FETCH else state[L1_HIT_PS]
    if not _misses(state, l1, first, last):
        return cost
    state[row + DISTURBED] = 1
    state[row + COUNTS + who * COUNTS_EACH + L1_MISSES] += 1
    state[row + COUNTS + who * COUNTS_EACH + L2_MISSES] += 1
    cost += state[LLC_HIT_PS]
    if _misses(state, state[LLC], first, last):
        state[row + COUNTS + who * COUNTS_EACH + LLC_MISSES] += 1
        state[MEMORY_READS] += 1
        cost += state[MEMORY_PS]
    return cost  # type: ignore[no-any-return]


@compiled
def _misses(state: Words, base: int, first: int, last: int) -> bool:
    """Look up the lines of two bytes, fill what is absent; return whether anything was."""
    shift = state[base + LINE_SHIFT]
    first_line = first >> shift
    last_line = last >> shift
    is_miss = lookup(state, base, first_line) < 0
    if is_miss:
        fill(state, base, first_line, EXCLUSIVE)
    if last_line != first_line and lookup(state, base, last_line) < 0:
        fill(state, base, last_line, EXCLUSIVE)
        is_miss = True
    return is_miss
