"""The access path: one compiled loop from virtual addresses to DRAM, for a batch of one CPU.

For each row of a trace: TLBs, page walk, L1, L2, LLC with coherence. `run` handles what is frequent
(a fetch from the line of the last one; one or two lines of a page whose TLB entry stands where a
hint says) and gives the rest to `access`. A shortcut changes what the full path would change, so
that the counts do not depend on where a batch ends.

A batch ends at the end of the trace, at a fault, or when its budget is spent. An access that
faults has counted nothing and, but for recency in the TLBs, changed nothing; its row is run again
when the kernel is done. If it was a later page that faulted, those before it have been
counted, which `RETRY_PAGES` remembers. An access has up to 17 pages: each is translated once,
and what it was translated to stays in the row until the next such access.

With `is_watched` a batch also stops (STALE) before an access through a translation that outlived
its page; the counts are the same.

The cost of the loop's turns is measured by benchmarks/access_path.py.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.jit import compiled
from mmactors.arch.page import Generations
from mmactors.arch.pte import DIRTY, NX, PFN_MASK, PKEY_MASK, RW, USER
from mmactors.arch.trace import COUNT_SHIFT, KIND_MASK, MODIFY, SIZE_MASK, SIZE_SHIFT, STORE
from mmactors.arch.trace import FETCH as FETCH_KIND
from mmactors.hw.cache import (
    EXCLUSIVE,
    HEADER_WORDS,
    LINE_SHIFT,
    MASK,
    MODIFIED,
    SHARED,
    STATE_BITS,
    STATE_MASK,
    STRIDE,
    lookup,
)
from mmactors.hw.layout import (
    CARRY_PS,
    CODE_HINTS,
    COUNTS,
    COUNTS_EACH,
    CUT_BYTES,
    DATA_HINTS,
    DISTURBED,
    ELAPSED_NS,
    ENTRY,
    ERROR_CODE,
    FAULT_ADDRESS,
    FAULTS,
    FETCH,
    FETCH_PS,
    IS_ONE_MISS,
    IS_PLAIN_STORE,
    IS_TREELESS,
    IS_VIRTUAL,
    L1_HIT_PS,
    L1D,
    L1I,
    MEMORY_READS,
    MEMORY_WRITES,
    MODIFIES,
    NR_HINTS,
    NR_PAGES,
    NR_TOUCHED,
    NS,
    PAGE_BITS,
    PAGE_ENTRY,
    PAGE_KEY,
    PAGE_START,
    PAGE_WORDS,
    PAGES,
    PCID,
    PTE,
    READ,
    REASON,
    REFERENCES,
    RETRY_ADDRESS,
    RETRY_PAGES,
    SECOND_PAGES,
    TICK,
    TLB_COUNTS,
    TLB_COUNTS_EACH,
    TOTAL_MEMORY_READS,
    TOTAL_MEMORY_WRITES,
    TOUCHED,
    WALK,
    WRITE,
)
from mmactors.hw.private import (
    miss_data,
    reference_code,
    reference_data,
    reference_one_miss,
)
from mmactors.hw.tlb import (
    CODE_MASK,
    PCID_BITS,
    PCID_SHIFT,
    is_stale,
)
from mmactors.hw.tlb import PTE as TLB_PTE
from mmactors.hw.tlb import USED as TLB_USED
from mmactors.hw.translate import key_of, translate
from mmactors.hw.walk import (
    ERROR_INSTRUCTION,
    ERROR_USER,
    ERROR_WRITE,
)
from mmactors.hw.walk import STALE as STALE_ACCESS

Words = NDArray[np.int64]

END: Final = 0
FAULT: Final = 1
BUDGET: Final = 2
STALE: Final = 3
"""Why a batch stopped."""

_NOWHERE: Final = 1 << 62
"""A line or page number that no address has."""


@compiled
def _charge_walk(state: Words, row: int) -> int:
    """Take what a page walk touched to the caches, in order; return the cost in ps."""
    cost = 0
    for index in range(row + TOUCHED, row + TOUCHED + state[row + NR_TOUCHED]):
        touched = state[index]
        cost += reference_data(state, row, touched >> 1, WALK, touched & 1 != 0)
    state[row + NR_TOUCHED] = 0
    return cost


@compiled
def _key_at(state: Words, row: int, address: int) -> int:
    """Return what caches see of an address of the access whose pages have just been translated."""
    entry = row + PAGES + (state[row + NR_PAGES] - 1) * PAGE_WORDS
    while state[entry + PAGE_START] > address:
        entry -= PAGE_WORDS
    return state[entry + PAGE_KEY] + (address - state[entry + PAGE_START])  # type: ignore[no-any-return]


@compiled
def access(
    state: Words,
    memory: Words,
    generation: Generations,
    is_watched: int,
    row: int,
    address: int,
    size: int,
    kind: int,
    now_ns: int,
    is_user: int,
) -> int:
    """Do one access in full; return its cost in ps, or -1 when it stops: see ERROR_CODE.

    The access itself is counted by the caller, all that follows from it here.
    """
    who = WRITE if kind == STORE else (FETCH if kind == FETCH_KIND else READ)
    kind_bits = ERROR_USER if is_user else 0
    if kind == FETCH_KIND:
        kind_bits |= ERROR_INSTRUCTION
    elif kind != FETCH_KIND + 1:
        kind_bits |= ERROR_WRITE
    last = address + max(size, 1) - 1
    nr_counted = state[row + RETRY_PAGES] if state[row + RETRY_ADDRESS] == address else 0
    cost = 0
    nr_pages = 0
    page = address
    key = address
    while page <= last:
        step = translate(
            state,
            memory,
            generation,
            is_watched,
            row,
            page,
            who,
            kind_bits,
            now_ns,
            is_counted=nr_pages >= nr_counted,
        )
        if state[row + NR_TOUCHED]:
            cost += _charge_walk(state, row)
        if step < 0:
            state[FAULT_ADDRESS] = page
            state[ERROR_CODE] = -1 - step
            state[row + RETRY_ADDRESS] = address
            state[row + RETRY_PAGES] = max(nr_pages, nr_counted)
            if step != -1 - STALE_ACCESS:
                state[row + FAULTS] += 1
            return -1
        cost += step
        key = key_of(state, row, page)
        if nr_pages > 0 and nr_pages >= nr_counted:
            state[row + TLB_COUNTS + who * TLB_COUNTS_EACH + SECOND_PAGES] += 1
        entry = row + PAGES + nr_pages * PAGE_WORDS
        state[entry + PAGE_START] = page
        state[entry + PAGE_KEY] = key
        state[entry + PAGE_ENTRY] = state[row + PTE]
        nr_pages += 1
        bits = state[row + PAGE_BITS]
        page = ((page >> bits) + 1) << bits
    state[row + NR_PAGES] = nr_pages
    state[row + RETRY_PAGES] = 0
    l1 = state[row + (L1I if who == FETCH else L1D)]
    if state[IS_ONE_MISS]:
        if who != FETCH:
            last = min(last, address + state[CUT_BYTES] - 1)
        first_key, last_key = _key_at(state, row, address), _key_at(state, row, last)
        return cost + reference_one_miss(state, row, l1, first_key, last_key, who)
    line_shift = state[l1 + LINE_SHIFT]
    for line in range(address >> line_shift, (last >> line_shift) + 1):
        begin = max(line << line_shift, address)
        here = key + (begin - address) if nr_pages == 1 else _key_at(state, row, begin)
        if who == FETCH:
            cost += reference_code(state, row, here >> line_shift)
        else:
            is_store = kind != FETCH_KIND + 1
            cost += reference_data(state, row, here >> line_shift, who, is_store=is_store)
    return cost


@compiled
def _recall(
    state: Words, entry: int, address: int, pcid_bits: int, mask: int, needs: int, unmapped: int
) -> int:
    """Return what the TLB entry at `entry` translates `address` to, or -1 if it does not.

    Global entries, which have no PCID, are left to the full path. `unmapped` has the bits set
    that caches take from the virtual address even above the page.
    """
    entry = max(entry, 0)
    tag = state[entry]
    pte = state[entry + TLB_PTE]
    code = tag & CODE_MASK
    bits = 9 * code + 3
    page = (address >> bits << PCID_BITS + 1) | pcid_bits
    if ((tag >> PCID_SHIFT - 1) ^ page) | ((pte & mask) ^ needs) | (code == 0):
        return -1
    offset = ((1 << bits) - 1) | unmapped
    return (pte & PFN_MASK & ~offset) | (address & offset)  # type: ignore[no-any-return]


@compiled
def run(
    state: Words,
    memory: Words,
    generation: Generations,
    is_watched: int,
    addresses: Words,
    metas: Words,
    row: int,
    begin: int,
    budget_ns: int,
    now_ns: int,
    is_user: int,
) -> int:
    """Run the rows of a trace from `begin` on one CPU; return the row to run next.

    What it stopped for, and what it cost, stands in the header of `state`.
    """
    # Indexes known not to be negative spare the wrap-around that Python's negative ones need.
    row = max(row, 0)
    l1i, l1d = max(state[row + L1I], 0), max(state[row + L1D], 0)
    code_first, code_mask = l1i + HEADER_WORDS, max(state[l1i + MASK], 0)
    code_stride, code_shift = max(state[l1i + STRIDE], 0), state[l1i + LINE_SHIFT]
    data_first, data_mask = l1d + HEADER_WORDS, max(state[l1d + MASK], 0)
    data_stride, data_shift = max(state[l1d + STRIDE], 0), state[l1d + LINE_SHIFT]
    fetch_ps, hit_ps = state[FETCH_PS], state[L1_HIT_PS]
    is_treeless = state[IS_TREELESS] != 0
    is_one_miss = state[IS_ONE_MISS] != 0
    # An access of two lines is a shortcut too, but where it is cut or counts one miss.
    reach = 0 if is_one_miss else 1
    pcid_bits = state[row + PCID] << 1
    unmapped = -1 if state[IS_VIRTUAL] else 0
    load_bits = USER if is_user else 0
    store_bits = load_bits | RW | DIRTY
    # The least state of a line that a shortcut may take; none is above MODIFIED.
    load_state = SHARED if is_treeless else MODIFIED + 1
    store_state = EXCLUSIVE if is_treeless and state[IS_PLAIN_STORE] else MODIFIED + 1
    fetch_line = _NOWHERE
    nr_fetches = nr_data = nr_writes = nr_modifies = 0
    elapsed = state[row + CARRY_PS]
    budget = budget_ns * 1000
    reason = BUDGET
    state[MEMORY_READS] = 0
    state[MEMORY_WRITES] = 0
    tick = state[row + TICK]
    at = max(begin, 0)
    while elapsed < budget:
        if at >= len(addresses):
            reason = END
            break
        address = addresses[at]
        meta = metas[at]
        kind = meta & KIND_MASK
        last = address + ((meta >> SIZE_SHIFT) & SIZE_MASK) - 1
        if kind == FETCH_KIND:
            line, last_line = address >> code_shift, last >> code_shift
            if (line ^ fetch_line) | (line ^ last_line):
                slot = row + CODE_HINTS + ((address >> 12) & (NR_HINTS - 1))
                entry = max(state[slot], 0)
                key = _recall(state, entry, address, pcid_bits, NX | load_bits, load_bits, unmapped)
                if is_watched and key >= 0 and is_stale(state, generation, entry, 0):
                    key = -1
                is_near = 0 <= last_line - line <= reach and (address ^ last) >> 12 == 0
                is_hit = False
                if is_near and key >= 0 and is_treeless:
                    tick += 1
                    state[entry + TLB_USED] = tick
                    physical = key >> code_shift
                    beyond = physical + 1 + last_line - line
                    while physical < beyond:
                        index = code_first + (physical & code_mask) * code_stride
                        word = state[index]
                        is_hit = word >> STATE_BITS == physical and word != 0
                        if not is_hit:
                            is_hit = lookup(state, l1i, physical) >= 0
                            if not is_hit and not is_one_miss:
                                elapsed += reference_code(state, row, physical)
                                is_hit = True
                        physical += 1
                if not is_hit:
                    state[row + TICK] = tick
                    cost = access(
                        state,
                        memory,
                        generation,
                        is_watched,
                        row,
                        address,
                        last - address + 1,
                        kind,
                        now_ns + elapsed // 1000,
                        is_user,
                    )
                    tick = state[row + TICK]
                    if cost < 0:
                        reason = FAULT
                        break
                    elapsed += cost
                    if (address ^ last) >> 12 == 0:
                        state[slot] = state[row + ENTRY]
                fetch_line = last_line if is_near else _NOWHERE
            count = (meta >> COUNT_SHIFT) + 1
            nr_fetches += count
            elapsed += count * fetch_ps
            at += 1
            continue
        is_store = kind >= STORE
        line, last_line = address >> data_shift, last >> data_shift
        slot = row + DATA_HINTS + ((address >> 12) & (NR_HINTS - 1))
        entry = max(state[slot], 0)
        needs = store_bits if is_store else load_bits
        least = store_state if is_store else load_state
        key = _recall(state, entry, address, pcid_bits, needs | PKEY_MASK, needs, unmapped)
        if is_watched and key >= 0 and is_stale(state, generation, entry, is_store):
            key = -1
        physical = key >> data_shift
        index = data_first + (physical & data_mask) * data_stride
        word = state[index]
        # One branch that is hard to foresee instead of many.
        if (line ^ last_line) | ((word >> STATE_BITS) ^ physical) | (
            word & STATE_MASK < least
        ) == 0:
            tick += 1
            state[entry + TLB_USED] = tick
            state[index] = word | (MODIFIED if is_store else 0)
            elapsed += hit_ps
        else:
            is_near = 0 <= last_line - line <= reach and (address ^ last) >> 12 == 0
            is_hit = False
            if is_near and key >= 0 and least <= MODIFIED:
                tick += 1
                state[entry + TLB_USED] = tick
                beyond = physical + 1 + last_line - line
                while physical < beyond:
                    index = data_first + (physical & data_mask) * data_stride
                    word = state[index]
                    if word >> STATE_BITS != physical or word == 0:
                        index = lookup(state, l1d, physical)
                        word = 0 if index < 0 else state[index]
                    if word & STATE_MASK >= least:
                        is_hit = True
                        elapsed += hit_ps
                        if is_store:
                            state[index] = word | MODIFIED
                    elif not is_one_miss:
                        is_hit = True
                        who = WRITE if kind == STORE else READ
                        if index < 0:
                            elapsed += hit_ps + miss_data(state, row, physical, who, is_store)
                        else:
                            elapsed += reference_data(state, row, physical, who, is_store)
                        fetch_line = _NOWHERE
                    physical += 1
            if not is_hit:
                state[row + DISTURBED] = 0
                state[row + TICK] = tick
                cost = access(
                    state,
                    memory,
                    generation,
                    is_watched,
                    row,
                    address,
                    last - address + 1,
                    kind,
                    now_ns + elapsed // 1000,
                    is_user,
                )
                tick = state[row + TICK]
                if state[row + DISTURBED]:
                    fetch_line = _NOWHERE
                if cost < 0:
                    reason = FAULT
                    break
                elapsed += cost
                if (address ^ last) >> 12 == 0:
                    state[slot] = state[row + ENTRY]
        nr_data += 1
        nr_writes += kind == STORE
        nr_modifies += kind == MODIFY
        at += 1
    state[row + TICK] = tick
    state[row + COUNTS + FETCH * COUNTS_EACH + REFERENCES] += nr_fetches
    state[row + COUNTS + READ * COUNTS_EACH + REFERENCES] += nr_data - nr_writes
    state[row + COUNTS + WRITE * COUNTS_EACH + REFERENCES] += nr_writes
    state[row + MODIFIES] += nr_modifies
    state[row + TOTAL_MEMORY_READS] += state[MEMORY_READS]
    state[row + TOTAL_MEMORY_WRITES] += state[MEMORY_WRITES]
    state[row + CARRY_PS] = elapsed % 1000
    state[row + NS] += elapsed // 1000
    state[ELAPSED_NS] = elapsed // 1000
    if reason == FAULT and state[ERROR_CODE] == STALE_ACCESS:
        reason = STALE
    state[REASON] = reason
    return at
