"""One level of a hierarchy: the compiled loop that turns rows of a trace into rows.

What the options mean stands at `hierarchy.CacheOptions`. A level has the cache of fetches and that
of data, or one for both; what is known of a cache is at `which * NR_OPTIONS` of `options` and
`which * NR_COUNTERS` of `counters`, where `which` is 1 for the data cache of a split level.
"""

# ruff: noqa: FBT001 -- compiled functions take their arguments by place.

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.jit import compiled
from mmactors.arch.trace import (
    FETCH,
    KIND_MASK,
    LOAD,
    MODIFY,
    SIZE_MASK,
    SIZE_SHIFT,
    STORE,
)
from mmactors.hw.cache import (
    EXCLUSIVE,
    MODIFIED,
    STATE_BITS,
    STATE_MASK,
    fill,
    find,
    lookup,
    set_state,
)

Words = NDArray[np.int64]

WRITE_ALLOCATE: Final = {"never": 0, "covered": 1, "no_fetch": 2, "fetch": 3, "fetch_always": 4}
"""In this order: from no_fetch on a store that misses always brings the line in."""
_COVERED: Final = 1
_FETCH_UNLESS_COVERED: Final = 3
_FETCH_ALWAYS: Final = 4


BASE: Final = 0
SHIFT: Final = 1
MODULUS: Final = 2
"""Number of sets if that is no power of two, else 0."""
SET_BITS: Final = 3
ALLOCATE: Final = 4
WRITE_BACK: Final = 5
STORE_MOVES: Final = 6
UNCUT: Final = 7
SHADOW: Final = 8
"""Where the fully associative cache of `classify` starts, or 0."""
NR_OPTIONS: Final = 9

REQUESTS: Final = 0
REQUEST_BYTES: Final = 3
PIECES: Final = 6
MISSES: Final = 9
COMPULSORY: Final = 12
CAPACITY: Final = 15
CONFLICT: Final = 18
"""Up to here three counters each: fetches, loads, stores."""
HIT_BYTES: Final = 21
MISS_BYTES: Final = 22
FETCHES: Final = 23
STORE_FETCHES: Final = 24
WRITE_BACKS: Final = 25
WRITE_THROUGHS: Final = 26
WRITE_THROUGH_BYTES: Final = 27
NR_COUNTERS: Final = 28


@compiled
def run_level(
    words: Words,
    options: Words,
    counters: Words,
    seen: Words,
    address: Words,
    meta: Words,
    out_address: Words,
    out_meta: Words,
    cursor: Words,
    is_split: bool,
) -> int:
    """Take rows until a buffer may not hold what the next gives; return the rows given."""
    nr_out = 0
    row = cursor[0]
    while row < len(address):
        kind = meta[row] & KIND_MASK
        size = (meta[row] >> SIZE_SHIFT) & SIZE_MASK
        which = 1 if is_split and kind != FETCH else 0
        # At most three rows a piece, and twice as many pieces for a modify.
        nr_pieces_max = 2 * ((size >> options[which * NR_OPTIONS + SHIFT]) + 2)
        if nr_out + 3 * nr_pieces_max > len(out_address):
            break
        if 2 * (cursor[1] + nr_pieces_max) > len(seen):
            break
        for as_kind in range(LOAD, STORE + 1) if kind == MODIFY else range(kind, kind + 1):
            nr_out = _request(
                words,
                options,
                counters,
                seen,
                cursor,
                out_address,
                out_meta,
                nr_out,
                which,
                as_kind,
                address[row],
                size,
            )
        row += 1
    cursor[0] = row
    return nr_out


@compiled
def _request(
    words: Words,
    options: Words,
    counters: Words,
    seen: Words,
    cursor: Words,
    out_address: Words,
    out_meta: Words,
    nr_out: int,
    which: int,
    kind: int,
    address: int,
    size: int,
) -> int:
    """Let one fetch, load or store happen; return `nr_out` after what it gives the next level."""
    option = which * NR_OPTIONS
    counter = which * NR_COUNTERS
    shift = options[option + SHIFT]
    base = options[option + BASE]
    line_bytes = 1 << shift
    end = address + size
    counters[counter + REQUESTS + kind] += 1
    counters[counter + REQUEST_BYTES + kind] += size
    for block in range(address >> shift, ((end - 1) >> shift) + 1):
        start = max(address, block << shift)
        covers = min(end, (block + 1) << shift) - start == line_bytes
        line = block
        modulus = options[option + MODULUS]
        if modulus:
            # The same sets as modulo: those from `modulus` on stay empty.
            line = (block // modulus) << options[option + SET_BITS] | block % modulus
        counters[counter + PIECES + kind] += 1
        if kind != STORE or options[option + STORE_MOVES]:
            index = lookup(words, base, line)
        else:
            index = find(words, base, line)
        is_miss = index < 0
        mode = options[option + ALLOCATE]
        is_wanted = kind != STORE or mode > _COVERED or (mode == _COVERED and covers)
        is_dirtied = kind == STORE and options[option + WRITE_BACK] and (is_wanted or not is_miss)
        victim = 0
        if not is_miss:
            if is_dirtied:
                set_state(words, index, MODIFIED)
        elif is_wanted:
            victim = fill(words, base, line, MODIFIED if is_dirtied else EXCLUSIVE)
        if kind != STORE:
            nr_bytes = min(size, line_bytes)
            counters[counter + (MISS_BYTES if is_miss else HIT_BYTES)] += nr_bytes
        if is_miss:
            counters[counter + MISSES + kind] += 1
            if (
                kind != STORE
                or mode == _FETCH_ALWAYS
                or (mode == _FETCH_UNLESS_COVERED and not covers)
            ):
                counters[counter + FETCHES] += 1
                if kind == STORE:
                    counters[counter + STORE_FETCHES] += 1
                out_address[nr_out] = block << shift
                out_meta[nr_out] = min(kind, LOAD) | line_bytes << SIZE_SHIFT
                nr_out += 1
        if kind == STORE and not is_dirtied:
            part = min(end, (block + 1) << shift) - start
            if options[option + UNCUT]:
                part = line_bytes if start + line_bytes < end else end - start
            counters[counter + WRITE_THROUGHS] += 1
            counters[counter + WRITE_THROUGH_BYTES] += part
            out_address[nr_out] = start
            out_meta[nr_out] = STORE | part << SIZE_SHIFT
            nr_out += 1
        if victim & STATE_MASK == MODIFIED:
            counters[counter + WRITE_BACKS] += 1
            gone = victim >> STATE_BITS
            if modulus:
                bits = options[option + SET_BITS]
                gone = (gone >> bits) * modulus + (gone & ((1 << bits) - 1))
            out_address[nr_out] = gone << shift
            out_meta[nr_out] = STORE | line_bytes << SIZE_SHIFT
            nr_out += 1
        if options[option + SHADOW]:
            _classify(
                words, options, counters, seen, cursor, which, kind, block, is_miss, is_wanted
            )
    return nr_out


@compiled
def _classify(
    words: Words,
    options: Words,
    counters: Words,
    seen: Words,
    cursor: Words,
    which: int,
    kind: int,
    block: int,
    is_miss: bool,
    is_wanted: bool,
) -> None:
    """Use `block` in the fully associative cache, and say of which class a miss is."""
    shadow = options[which * NR_OPTIONS + SHADOW]
    is_shadow_miss = lookup(words, shadow, block) < 0
    if is_shadow_miss and is_wanted:
        fill(words, shadow, block, EXCLUSIVE)
    if not is_miss:
        return
    counter = which * NR_COUNTERS + kind
    if not is_shadow_miss:
        counters[counter + CONFLICT] += 1
    elif is_new(seen, 2 * block + which + 1):
        cursor[1] += 1
        counters[counter + COMPULSORY] += 1
    else:
        counters[counter + CAPACITY] += 1


@compiled
def is_new(seen: Words, key: int) -> bool:
    """Enter `key`, not 0, into the hash table; return whether it was not there before."""
    mask = len(seen) - 1
    slot = (key ^ key >> 16) & mask
    while seen[slot] != 0:
        if seen[slot] == key:
            return False
        slot = (slot + 1) & mask
    seen[slot] = key
    return True
