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
from mmactors.arch.trace import COUNT_SHIFT, KIND_MASK, SIZE_MASK, SIZE_SHIFT, STORE
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
    DIRTY_WALKS,
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
    NS,
    PAGE_BITS,
    PAGE_SIZES,
    PCID,
    PTE,
    READ,
    REASON,
    REFERENCES,
    RETRY_ADDRESS,
    RETRY_PAGES,
    SECOND_PAGES,
    STLB_HIT_PS,
    TICK,
    TLB_COUNTS,
    TLB_COUNTS_EACH,
    TLB_MISSES,
    TLBS,
    TOTAL_MEMORY_READS,
    TOTAL_MEMORY_WRITES,
    WALKS,
    WRITE,
)
from mmactors.hw.private import reference_code, reference_data, reference_one_miss
from mmactors.hw.tlb import (
    CODE_MASK,
    FILL_NS,
    GENERATION,
    NR_SIZES,
    PCID_MASK,
    PCID_SHIFT,
    TAG_SHIFT,
    fill,
    find,
    shift_of,
    tag_of,
    use,
)
from mmactors.hw.tlb import PTE as TLB_PTE
from mmactors.hw.tlb import USED as TLB_USED
from mmactors.hw.walk import (
    ERROR_INSTRUCTION,
    ERROR_USER,
    ERROR_WRITE,
    is_allowed,
    walk,
)

Words = NDArray[np.int64]

END: Final = 0
FAULT: Final = 1
BUDGET: Final = 2
"""Why a batch stopped."""

_ITLB: Final = 0
_DTLB: Final = 1
_STLB: Final = 2

ADDRESS_MASK: Final = (1 << 57) - 1
_NOWHERE: Final = 1 << 62
"""A line or page number that no address has."""


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
def _fill_tlb(  # noqa: PLR0917 - compiled: arguments go by position
    state: Words, generation: Words, row: int, tlb: int, address: int, now_ns: int
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
def _renew(state: Words, row: int, tlb: int, address: int) -> None:
    """Give an entry, if there is one, the PTE of the register, where it stands."""
    base = state[row + TLBS + tlb * NR_SIZES + (state[row + PAGE_BITS] - 12) // 9]
    code = (state[row + PAGE_BITS] - 12) // 9 + 1
    index = find(state, base, tag_of(address, state[row + PCID], code))
    if index >= 0:
        state[index + TLB_PTE] = state[row + PTE]


@compiled
def translate(  # noqa: PLR0917 - compiled: arguments go by position
    state: Words,
    memory: Words,
    generation: Words,
    row: int,
    address: int,
    who: int,
    kind_bits: int,
    now_ns: int,
    is_counted: int,
) -> int:
    """Translate `address`: leave entry and page shift in the registers PTE and PAGE_BITS.

    Returns the cost in ps; or, if the access may not pass, -1 - its error code: then nothing
    is counted, and the TLBs hold no translation of the page any more (SDM volume 3, 4.10.4.1).
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
    walked = walk(state, memory, generation, row, address, kind_bits, now_ns)
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
            _renew(state, row, first, address)
            _renew(state, row, _STLB, address)
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
def _key(state: Words, row: int, address: int) -> int:
    """Return the address that caches see, from the translation in PTE and PAGE_BITS."""
    if state[IS_VIRTUAL]:
        return address
    offset = (1 << state[row + PAGE_BITS]) - 1
    return (state[row + PTE] & PFN_MASK & ~offset) | (address & offset)  # type: ignore[no-any-return]


@compiled
def access(  # noqa: PLR0917 - compiled: arguments go by position
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
        if step < 0:
            state[FAULT_ADDRESS] = page
            state[ERROR_CODE] = -1 - step
            state[row + RETRY_ADDRESS] = address
            state[row + RETRY_PAGES] = max(nr_pages, nr_counted)
            state[row + FAULTS] += 1
            return -1
        cost += step
        if nr_pages == 0:
            key = _key(state, row, address)
        elif nr_pages >= nr_counted:
            state[row + TLB_COUNTS + who * TLB_COUNTS_EACH + SECOND_PAGES] += 1
        last_key = _key(state, row, last)
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
            here = _key(state, row, begin)
        if who == FETCH:
            cost += reference_code(state, row, here >> line_shift)
        else:
            is_store = kind != FETCH_KIND + 1
            cost += reference_data(state, row, here >> line_shift, who, is_store=is_store)
    return cost


@compiled
def run(  # noqa: PLR0917 - compiled: arguments go by position
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
    nr_fetches = nr_reads = nr_writes = nr_modifies = 0
    elapsed = state[row + CARRY_PS]
    budget = budget_ns * 1000
    reason = BUDGET
    state[MEMORY_READS] = 0
    state[MEMORY_WRITES] = 0
    pcid_bits = state[row + PCID] << 1
    is_virtual = state[IS_VIRTUAL] != 0
    is_one_miss = state[IS_ONE_MISS] != 0
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
            if line != fetch_line or line != last >> code_shift:
                is_hit = False
                is_single = line == last >> code_shift
                if is_single and is_treeless:
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
                        word = state[code_first + (physical & code_mask) * code_stride]
                        is_hit = word >> STATE_BITS == physical and word != 0
                        if not is_hit:
                            is_hit = lookup(state, l1i, physical) >= 0
                            if not is_hit and not is_one_miss:
                                elapsed += reference_code(state, row, physical)
                                data_line = store_line = _NOWHERE
                                is_hit = True
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
                        fetch_delta = _key(state, row, address) - address
                        slot = row + CODE_HINTS + ((address >> 12) & (NR_HINTS - 1))
                        state[slot] = state[row + ENTRY]
                fetch_line = line if is_single else _NOWHERE
            nr_fetches += count
            elapsed += count * fetch_ps
            at += 1
            continue
        line = address >> data_shift
        is_store = kind >= STORE
        if line == (store_line if is_store else data_line) and line == last >> data_shift:
            elapsed += hit_ps
        else:
            is_hit = False
            is_single = line == last >> data_shift
            if is_single and is_treeless:
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
                        elif line != data_line:
                            store_line = _NOWHERE
                    elif not is_one_miss:
                        is_hit = True
                        who = WRITE if kind == STORE else READ
                        elapsed += reference_data(state, row, physical, who, is_store)
                        fetch_line = store_line = _NOWHERE
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
                    data_delta = _key(state, row, address) - address
                    is_store_page = state[row + PTE] & (RW | DIRTY) == RW | DIRTY and is_plain_store
                    slot = row + DATA_HINTS + ((address >> 12) & (NR_HINTS - 1))
                    state[slot] = state[row + ENTRY]
                if is_store and not is_plain_store:
                    is_single = False
            data_line = line if is_single else _NOWHERE
            if is_store:
                store_line = data_line
        if kind == STORE:
            nr_writes += 1
        else:
            nr_reads += 1
            nr_modifies += is_store
        at += 1
    state[row + COUNTS + FETCH * COUNTS_EACH + REFERENCES] += nr_fetches
    state[row + COUNTS + READ * COUNTS_EACH + REFERENCES] += nr_reads
    state[row + COUNTS + WRITE * COUNTS_EACH + REFERENCES] += nr_writes
    state[row + MODIFIES] += nr_modifies
    state[row + TOTAL_MEMORY_READS] += state[MEMORY_READS]
    state[row + TOTAL_MEMORY_WRITES] += state[MEMORY_WRITES]
    state[row + CARRY_PS] = elapsed % 1000
    state[row + NS] += elapsed // 1000
    state[ELAPSED_NS] = elapsed // 1000
    state[REASON] = reason
    return at
