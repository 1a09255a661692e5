"""The access path: one compiled loop from virtual addresses to DRAM, for a batch of one CPU.

For each row of a trace: TLBs, page walk, L1, L2, LLC with coherence. `run` handles what repeats
(the same line again, the same page and the newest line of a set) on values it keeps in
registers, and gives the rest to `access`. A shortcut is taken only where the full path would
change nothing but the counts, so that the counts do not depend on where a batch ends.

A batch ends at the end of the trace, at a fault, or when its budget is spent. An access that
faults has counted nothing and, but for recency in the TLBs, changed nothing; its row is run again
when the kernel is done. If it was the second page that faulted, the first has been
counted, which `RETRY_PAGES` remembers.

The cost of the loop's turns is measured by benchmarks/access_path.py.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.jit import compiled
from mmactors.arch.pte import DIRTY, PFN_MASK, RW, USER
from mmactors.arch.trace import COUNT_SHIFT, KIND_MASK, MODIFY, SIZE_MASK, SIZE_SHIFT, STORE
from mmactors.arch.trace import FETCH as FETCH_KIND
from mmactors.hw.cache import (
    HEADER_WORDS,
    LINE_SHIFT,
    MASK,
    MODIFIED,
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
    NR_TOUCHED,
    NS,
    PAGE_BITS,
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
from mmactors.hw.private import reference_code, reference_data, reference_one_miss
from mmactors.hw.tlb import (
    CODE_MASK,
    PCID_MASK,
    PCID_SHIFT,
    TAG_SHIFT,
    shift_of,
)
from mmactors.hw.tlb import PTE as TLB_PTE
from mmactors.hw.tlb import USED as TLB_USED
from mmactors.hw.translate import key_of, translate
from mmactors.hw.walk import (
    ERROR_INSTRUCTION,
    ERROR_USER,
    ERROR_WRITE,
)

Words = NDArray[np.int64]

END: Final = 0
FAULT: Final = 1
BUDGET: Final = 2
"""Why a batch stopped."""

ADDRESS_MASK: Final = (1 << 57) - 1
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
def access(
    state: Words,
    memory: Words,
    generation: Words,
    row: int,
    address: int,
    size: int,
    kind: int,
    now_ns: int,
    is_user: int,
) -> int:
    """Do one access in full; return its cost in ps, or -1 when it faults.

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
    last_key = address
    second = last + 1
    while page <= last:
        step = translate(
            state,
            memory,
            generation,
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
            state[row + FAULTS] += 1
            return -1
        cost += step
        if nr_pages == 0:
            key = key_of(state, row, address)
        elif nr_pages >= nr_counted:
            state[row + TLB_COUNTS + who * TLB_COUNTS_EACH + SECOND_PAGES] += 1
        last_key = key_of(state, row, last)
        nr_pages += 1
        bits = state[row + PAGE_BITS]
        page = ((page >> bits) + 1) << bits
        second = min(second, page)
    state[row + RETRY_PAGES] = 0
    l1 = state[row + (L1I if who == FETCH else L1D)]
    if state[IS_ONE_MISS]:
        if who != FETCH and size > state[CUT_BYTES]:
            cut = address + state[CUT_BYTES] - 1
            last_key = key + (cut - address) if cut < second else last_key - (last - cut)
        return cost + reference_one_miss(state, row, l1, key, last_key, who)
    line_shift = state[l1 + LINE_SHIFT]
    for line in range(address >> line_shift, (last >> line_shift) + 1):
        begin = max(line << line_shift, address)
        if nr_pages == 1 or begin >> 12 == address >> 12:
            here = key + (begin - address)
        elif begin >> 12 == last >> 12:
            here = last_key - (last - begin)
        else:
            translate(
                state, memory, generation, row, begin, who, kind_bits, now_ns, is_counted=False
            )
            cost += _charge_walk(state, row)
            here = key_of(state, row, begin)
        if who == FETCH:
            cost += reference_code(state, row, here >> line_shift)
        else:
            is_store = kind != FETCH_KIND + 1
            cost += reference_data(state, row, here >> line_shift, who, is_store=is_store)
    return cost


@compiled
def run(
    state: Words,
    memory: Words,
    generation: Words,
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
    is_plain_store = state[IS_PLAIN_STORE] != 0
    fetch_line = data_line = store_line = _NOWHERE
    fetch_page = data_page = _NOWHERE
    fetch_bits = data_bits = 12
    fetch_delta = data_delta = 0
    is_store_page = False
    nr_fetches = nr_data = nr_writes = nr_modifies = 0
    elapsed = state[row + CARRY_PS]
    budget = budget_ns * 1000
    reason = BUDGET
    state[MEMORY_READS] = 0
    state[MEMORY_WRITES] = 0
    pcid_bits = state[row + PCID] << 1
    is_virtual = state[IS_VIRTUAL] != 0
    is_one_miss = state[IS_ONE_MISS] != 0
    # An access of two lines is a shortcut too, but where it is cut or counts one miss.
    reach = 0 if is_one_miss else 1
    data_needs = USER if is_user else 0
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
            count = (meta >> COUNT_SHIFT) + 1
            line = address >> code_shift
            last_line = last >> code_shift
            if (line ^ fetch_line) | (line ^ last_line):
                is_hit = False
                is_near = 0 <= last_line - line <= reach and (address ^ last) >> 12 == 0
                if is_near and is_treeless:
                    if address >> fetch_bits != fetch_page:
                        entry = max(state[row + CODE_HINTS + ((address >> 12) & (NR_HINTS - 1))], 0)
                        tag = state[entry]
                        bits = shift_of(tag & CODE_MASK)
                        pte = state[entry + TLB_PTE]
                        if (
                            tag >> TAG_SHIFT == (address & ADDRESS_MASK) >> bits
                            and (tag >> PCID_SHIFT - 1) & (PCID_MASK << 1 | 1) == pcid_bits
                            and tag & CODE_MASK != 0
                            and pte & data_needs == data_needs
                            and pte >= 0
                        ):
                            state[row + TICK] += 1
                            state[entry + TLB_USED] = state[row + TICK]
                            fetch_bits = bits
                            fetch_page = address >> bits
                            fetch_delta = (
                                0
                                if is_virtual
                                else ((pte & PFN_MASK) >> bits << bits) - (fetch_page << bits)
                            )
                    if address >> fetch_bits == fetch_page:
                        physical = (address + fetch_delta) >> code_shift
                        beyond = physical + 1 + last_line - line
                        while physical < beyond:
                            word = state[code_first + (physical & code_mask) * code_stride]
                            is_hit = word >> STATE_BITS == physical and word != 0
                            if not is_hit:
                                is_hit = lookup(state, l1i, physical) >= 0
                                if not is_hit and not is_one_miss:
                                    elapsed += reference_code(state, row, physical)
                                    data_line = store_line = _NOWHERE
                                    is_hit = True
                            physical += 1
                if not is_hit:
                    state[row + DISTURBED] = 0
                    cost = access(
                        state,
                        memory,
                        generation,
                        row,
                        address,
                        last - address + 1,
                        kind,
                        now_ns + elapsed // 1000,
                        is_user,
                    )
                    if state[row + DISTURBED]:
                        data_line = store_line = _NOWHERE
                    fetch_page = _NOWHERE
                    if cost < 0:
                        reason = FAULT
                        break
                    elapsed += cost
                    if address >> 12 == last >> 12:
                        fetch_bits = state[row + PAGE_BITS]
                        fetch_page = address >> fetch_bits
                        fetch_delta = key_of(state, row, address) - address
                        slot = row + CODE_HINTS + ((address >> 12) & (NR_HINTS - 1))
                        state[slot] = state[row + ENTRY]
                fetch_line = last_line if is_near else _NOWHERE
            nr_fetches += count
            elapsed += count * fetch_ps
            at += 1
            continue
        line = address >> data_shift
        is_store = kind >= STORE
        last_line = last >> data_shift
        known = store_line if is_store else data_line
        if (line ^ known) | (line ^ last_line) == 0:
            elapsed += hit_ps
        else:
            is_hit = False
            is_near = 0 <= last_line - line <= reach and (address ^ last) >> 12 == 0
            if is_near and is_treeless:
                if address >> data_bits != data_page or (is_store and not is_store_page):
                    entry = max(state[row + DATA_HINTS + ((address >> 12) & (NR_HINTS - 1))], 0)
                    tag = state[entry]
                    bits = shift_of(tag & CODE_MASK)
                    pte = state[entry + TLB_PTE]
                    needs = data_needs | (RW | DIRTY if is_store else 0)
                    if (
                        tag >> TAG_SHIFT == (address & ADDRESS_MASK) >> bits
                        and (tag >> PCID_SHIFT - 1) & (PCID_MASK << 1 | 1) == pcid_bits
                        and tag & CODE_MASK != 0
                        and pte & needs == needs
                    ):
                        state[row + TICK] += 1
                        state[entry + TLB_USED] = state[row + TICK]
                        data_bits = bits
                        data_page = address >> bits
                        data_delta = (
                            0
                            if is_virtual
                            else ((pte & PFN_MASK) >> bits << bits) - (data_page << bits)
                        )
                        is_store_page = pte & (RW | DIRTY) == RW | DIRTY and is_plain_store
                if address >> data_bits == data_page and (is_store_page or not is_store):
                    physical = (address + data_delta) >> data_shift
                    beyond = physical + 1 + last_line - line
                    while physical < beyond:
                        index = data_first + (physical & data_mask) * data_stride
                        word = state[index]
                        if word >> STATE_BITS != physical or word == 0:
                            index = lookup(state, l1d, physical)
                            word = 0 if index < 0 else state[index]
                        if word & STATE_MASK > is_store:
                            is_hit = True
                            elapsed += hit_ps
                            if is_store:
                                state[index] = word | MODIFIED
                            elif last_line != data_line:
                                store_line = _NOWHERE
                        elif not is_one_miss:
                            is_hit = True
                            who = WRITE if kind == STORE else READ
                            elapsed += reference_data(state, row, physical, who, is_store)
                            fetch_line = store_line = _NOWHERE
                        physical += 1
            if not is_hit:
                state[row + DISTURBED] = 0
                cost = access(
                    state,
                    memory,
                    generation,
                    row,
                    address,
                    last - address + 1,
                    kind,
                    now_ns + elapsed // 1000,
                    is_user,
                )
                if state[row + DISTURBED]:
                    fetch_line = _NOWHERE
                store_line = data_page = _NOWHERE
                if cost < 0:
                    data_line = _NOWHERE
                    reason = FAULT
                    break
                elapsed += cost
                if address >> 12 == last >> 12:
                    data_bits = state[row + PAGE_BITS]
                    data_page = address >> data_bits
                    data_delta = key_of(state, row, address) - address
                    is_store_page = state[row + PTE] & (RW | DIRTY) == RW | DIRTY and is_plain_store
                    slot = row + DATA_HINTS + ((address >> 12) & (NR_HINTS - 1))
                    state[slot] = state[row + ENTRY]
                if is_store and not is_plain_store:
                    is_near = False
            data_line = last_line if is_near else _NOWHERE
            if is_store:
                store_line = data_line
        nr_data += 1
        nr_writes += kind == STORE
        nr_modifies += kind == MODIFY
        at += 1
    state[row + COUNTS + FETCH * COUNTS_EACH + REFERENCES] += nr_fetches
    state[row + COUNTS + READ * COUNTS_EACH + REFERENCES] += nr_data - nr_writes
    state[row + COUNTS + WRITE * COUNTS_EACH + REFERENCES] += nr_writes
    state[row + MODIFIES] += nr_modifies
    state[row + TOTAL_MEMORY_READS] += state[MEMORY_READS]
    state[row + TOTAL_MEMORY_WRITES] += state[MEMORY_WRITES]
    state[row + CARRY_PS] = elapsed % 1000
    state[row + NS] += elapsed // 1000
    state[ELAPSED_NS] = elapsed // 1000
    state[REASON] = reason
    return at
