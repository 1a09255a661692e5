"""Extents that change hands: taken from a set, cut, joined, put back (jemalloc 5.3.0, extent.c).

What is here needs no memory and no system call; who calls holds the locks that jemalloc holds.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.pages.edata import (
    ACTIVE,
    ADDRESS,
    ARENA_MASK,
    BITS,
    COMMITTED,
    SERIAL,
    STATE_MASK,
    STATE_SHIFT,
    ZEROED,
    base_of,
    bytes_of,
    has_bit,
    init_edata,
    set_bytes,
    set_field,
    set_state,
)
from mmactors.malloc.jemalloc.pages.emap import (
    acquire_neighbor,
    merge_elements,
    update_state,
    write_boundary,
)
from mmactors.malloc.jemalloc.pages.eset import (
    ANY_FIT,
    fit_extent,
    insert_extent,
    npages_of,
    oldest_extent,
    remove_extent,
)
from mmactors.malloc.jemalloc.par import LG_MAX_ACTIVE_FIT
from mmactors.malloc.jemalloc.size_classes import NR_SIZES
from mmactors.malloc.user_words import load_bits, load_word, store_word, to_word

ECACHE_BYTES: Final = 19440
ESET: Final = 112
GUARDED_ESET: Final = 9768
"""For guard pages, which are not on by default: it stays empty."""
STATE: Final = 19424
INDEX: Final = 19428
DELAY_COALESCE: Final = 19432


@compiled
def state_of_cache(words: Words, log: Words, ecache: int) -> int:
    """Return the state of all extents of an ecache."""
    return load_bits(words, log, ecache + STATE, 4)


@compiled
def delays(words: Words, log: Words, ecache: int) -> bool:
    """Return whether its extents are joined late (delay_coalesce)."""
    return load_bits(words, log, ecache + DELAY_COALESCE, 1) != 0


@compiled
def npages_in(words: Words, log: Words, ecache: int) -> int:
    """Return how many pages an ecache has (ecache_npages_get)."""
    return npages_of(words, log, ecache + ESET) + npages_of(words, log, ecache + GUARDED_ESET)


@compiled
def deactivate(words: Words, log: Words, par: Words, tsd: int, ecache: int, edata: int) -> None:
    """Let an ecache have an extent (extent_deactivate_locked)."""
    update_state(words, log, par, tsd, edata, state_of_cache(words, log, ecache))
    insert_extent(words, log, par, ecache + ESET, edata)


@compiled
def _activate(words: Words, log: Words, par: Words, tsd: int, ecache: int, edata: int) -> None:
    remove_extent(words, log, par, ecache + ESET, edata)
    update_state(words, log, par, tsd, edata, ACTIVE)


@compiled
def find_fit(words: Words, log: Words, par: Words, ecache: int, size: int, alignment: int) -> int:
    """Return the extent of an ecache that a request gets; 0: there is none."""
    lg_max_fit = int(par[LG_MAX_ACTIVE_FIT]) if delays(words, log, ecache) else ANY_FIT
    return fit_extent(words, log, par, ecache + ESET, size, alignment, lg_max_fit)


@compiled
def extract(
    words: Words, log: Words, par: Words, tsd: int, ecache: int, size: int, alignment: int
) -> int:
    """Return an extent that is large enough, taken from an ecache; 0: it has none.

    extent_recycle_extract.
    """
    edata = find_fit(words, log, par, ecache, size, alignment)
    if edata:
        _activate(words, log, par, tsd, ecache, edata)
    return edata


@compiled
def extract_behind(
    words: Words, log: Words, par: Words, tsd: int, ecache: int, edata: int, size: int
) -> int:
    """Return the extent behind one if it is in an ecache and large enough; 0: it is not."""
    state = state_of_cache(words, log, ecache)
    trail = acquire_neighbor(words, log, par, tsd, edata, state, 1)
    if trail == 0:
        return 0
    if bytes_of(words, log, trail) < size:
        update_state(words, log, par, tsd, trail, state)
        return 0
    _activate(words, log, par, tsd, ecache, trail)
    return trail


@compiled
def lead_bytes(words: Words, log: Words, edata: int, alignment: int) -> int:
    """Return how far into an extent its first aligned page is."""
    return to_word(-base_of(words, log, edata) & alignment - 1)


@compiled
def cut(
    words: Words, log: Words, par: Words, tsd: int, edata: int, nr_bytes: int, trail: int
) -> None:
    """Let an extent have its first bytes only, and the edata `trail` be of the rest.

    extent_split_impl. The leaves of both are there.
    """
    bits = load_word(words, log, edata + BITS)
    address = base_of(words, log, edata) + nr_bytes
    rest = bytes_of(words, log, edata) - nr_bytes
    state = bits >> STATE_SHIFT & STATE_MASK
    serial = load_word(words, log, edata + SERIAL)
    flags = bits & (COMMITTED | ZEROED)
    init_edata(words, log, trail, bits & ARENA_MASK, address, rest, serial, flags, state)
    set_bytes(words, log, edata, nr_bytes)
    write_boundary(words, log, par, tsd, edata, NR_SIZES, 0)
    write_boundary(words, log, par, tsd, trail, NR_SIZES, 0)


@compiled
def join(words: Words, log: Words, par: Words, tsd: int, lead: int, trail: int) -> None:
    """Let an extent have the pages of the next one, too, whose edata is free then.

    extent_merge_impl.
    """
    trail_base = base_of(words, log, trail)
    set_state(words, log, lead, ACTIVE)
    set_bytes(words, log, lead, bytes_of(words, log, lead) + bytes_of(words, log, trail))
    serial = load_word(words, log, trail + SERIAL)
    if serial < load_word(words, log, lead + SERIAL):
        store_word(words, log, lead + SERIAL, serial)
    if not has_bit(words, log, trail, ZEROED):
        set_field(words, log, lead, ZEROED, 0)
    merge_elements(words, log, par, tsd, lead, trail_base)


@compiled
def coalesce_once(
    words: Words, log: Words, par: Words, tsd: int, ecache: int, edata: int, is_forward: int
) -> tuple[int, int]:
    """Join an extent with the one beside it, if that is in the ecache.

    Return the extent, and the edata that is free now; 0: nothing was joined.
    """
    state = state_of_cache(words, log, ecache)
    other = acquire_neighbor(words, log, par, tsd, edata, state, is_forward)
    if other == 0:
        return edata, 0
    remove_extent(words, log, par, ecache + ESET, other)
    lead, trail = (edata, other) if is_forward else (other, edata)
    join(words, log, par, tsd, lead, trail)
    return lead, trail


@compiled
def begin_dalloc(words: Words, log: Words, edata: int) -> None:
    """Let an extent be one that is not zero, from its first byte on (ecache_dalloc)."""
    store_word(words, log, edata + ADDRESS, base_of(words, log, edata))
    set_field(words, log, edata, ZEROED, 0)


@compiled
def oldest_over(words: Words, log: Words, par: Words, ecache: int, npages_min: int) -> int:
    """Take the extent that has waited for longest; 0: none, or no more pages than `npages_min`.

    The first part of ecache_evict.
    """
    edata = oldest_extent(words, log, ecache + ESET)
    if edata == 0 or npages_in(words, log, ecache) <= npages_min:
        return 0
    remove_extent(words, log, par, ecache + ESET, edata)
    return edata
