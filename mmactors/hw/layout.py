"""Where what stands in the one int64 array that holds all state of the hardware.

    state[0 ... HEADER_END)          what the last batch stopped for, and the machine's options
    LLC, snoop filter, its sharers   shared by all CPUs
    one row a CPU                    registers and counters, TLBs, walk caches, L1I, L1D, L2

One array, because a compiled function pays for every array it is given at every call, and every
minor fault is a return and a call. A name here is an index: `state[NR_CPUS]`, and in a row
`state[row + CR3]`, where row = state[FIRST_ROW] + cpu * state[ROW_WORDS]. The parts of a row are
found through registers that hold the index where a part starts, 0 for a part that is not there.
"""

from typing import Final

# What the last batch stopped for. Word 0 stays 0: a hint that points to it finds an empty entry.
REASON: Final = 1
ELAPSED_NS: Final = 2
FAULT_ADDRESS: Final = 3
ERROR_CODE: Final = 4
MEMORY_READS: Final = 5
MEMORY_WRITES: Final = 6

# The machine.
NR_CPUS: Final = 8
FIRST_ROW: Final = 9
ROW_WORDS: Final = 10
LLC: Final = 11
SNOOP: Final = 12
"""The snoop filter, a cache of tree-PLRU replacement, in which a line never changes its way."""
SHARERS: Final = 13
"""Distance from a word of the snoop filter to its word of sharers."""
CLUSTER_SHIFT: Final = 14
"""A bit of a sharer mask stands for 1 << this many CPUs."""
IS_INCLUSIVE: Final = 15
IS_ONE_MISS: Final = 16
IS_VIRTUAL: Final = 17
IS_KERNEL_CACHED: Final = 18
IS_WRITE_THROUGH: Final = 19
IS_NO_ALLOCATE: Final = 20
LEVELS: Final = 21
IS_TREELESS: Final = 22
"""No first-level TLB or cache has tree-PLRU replacement, whose trees the loop does not keep."""
CUT_BYTES: Final = 23
"""One-miss rule: a data access is cut to this length."""
FETCH_PS: Final = 24
L1_HIT_PS: Final = 25
L2_HIT_PS: Final = 26
LLC_HIT_PS: Final = 27
SNOOP_PS: Final = 28
FORWARD_PS: Final = 29
MEMORY_PS: Final = 30
STLB_HIT_PS: Final = 31
WALK_PS: Final = 32
WALK_READ_PS: Final = 33
IS_PLAIN_STORE: Final = 34
"""A store that hits a line of state EXCLUSIVE or MODIFIED only makes it MODIFIED."""
STALE_ENTRY: Final = 35
"""The entry of a TLB or walk cache that a checked access was stopped at."""
HEADER_END: Final = 64

# Registers of a CPU.
CR3: Final = 0
PCID: Final = 1
TICK: Final = 2
"""Counts TLB lookups; the stamps of LRU and FIFO replacement."""
CARRY_PS: Final = 3
"""Part of a nanosecond that no batch has reported yet."""
PTE: Final = 4
PAGE_BITS: Final = 5
"""Entry and page shift of the translation that was looked up last."""
RETRY_ADDRESS: Final = 6
RETRY_PAGES: Final = 7
"""The access that faulted last, and how many of its pages have been counted already."""
L1I: Final = 8
L1D: Final = 9
L2: Final = 10
TLBS: Final = 11
"""Nine registers: ITLB, DTLB and STLB, each for 4 KiB, 2 MiB and 1 GiB pages."""
WALK_CACHES: Final = 20
"""Four registers: entries of PMD, PUD, P4D (or PGD) and PGD tables."""
PAGE_SIZES: Final = 24
"""Three registers: which page sizes ITLB, DTLB and STLB have ever held, as bits."""
NR_TLBS: Final = 13
NR_WALK_CACHES: Final = 4
DISTURBED: Final = 27
"""Set when something may have left an L1 or may have come into one."""

# Counters of a CPU: four who each count references, L1, L2 and LLC misses.
COUNTS: Final = 28
REFERENCES: Final = 0
L1_MISSES: Final = 1
L2_MISSES: Final = 2
LLC_MISSES: Final = 3
COUNTS_EACH: Final = 4
FETCH: Final = 0
READ: Final = 1
WRITE: Final = 2
WALK: Final = 3
KERNEL: Final = 4
NR_WHO: Final = 5

TLB_COUNTS: Final = COUNTS + NR_WHO * COUNTS_EACH
"""Three who (fetch, read, write), each: accesses' second pages, first-level misses, walks."""
SECOND_PAGES: Final = 0
TLB_MISSES: Final = 1
WALKS: Final = 2
TLB_COUNTS_EACH: Final = 3

OTHER_COUNTS: Final = TLB_COUNTS + 3 * TLB_COUNTS_EACH
MODIFIES: Final = OTHER_COUNTS
FAULTS: Final = OTHER_COUNTS + 1
DIRTY_WALKS: Final = OTHER_COUNTS + 2
SNOOPS: Final = OTHER_COUNTS + 3
FORWARDS: Final = OTHER_COUNTS + 4
UPGRADES: Final = OTHER_COUNTS + 5
BACK_INVALIDATIONS: Final = OTHER_COUNTS + 6
TOTAL_MEMORY_READS: Final = OTHER_COUNTS + 7
TOTAL_MEMORY_WRITES: Final = OTHER_COUNTS + 8
TLB_FLUSHES: Final = OTHER_COUNTS + 9
NS: Final = OTHER_COUNTS + 10
ENTRY: Final = 71
"""The entry of the first-level TLB that the last translation came from or went to."""
CODE_HINTS: Final = 72
DATA_HINTS: Final = 72 + 64
NR_HINTS: Final = 64
"""By page number: where in the first-level TLB a translation was seen last."""
NR_TOUCHED: Final = 200
TOUCHED: Final = 201
"""What the last page walk read and wrote and the caches do not know yet: line << 1 | is a write."""
NR_PAGES: Final = 215
"""How many pages the last access had that took the full path."""
PAGES: Final = 216
"""Of each: the first address there, what caches see of it, and the entry that leads there."""
PAGE_START: Final = 0
PAGE_KEY: Final = 1
PAGE_ENTRY: Final = 2
PAGE_WORDS: Final = 3
NR_PAGES_MAX: Final = 17
"""65535 bytes reach over as many pages at most."""
REGISTERS: Final = 272

assert PAGES + NR_PAGES_MAX * PAGE_WORDS <= REGISTERS, "the pages of an access overflow their row"

assert NS < ENTRY, "the registers overflow into the hints"
