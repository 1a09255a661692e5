"""Extents given and taken at once, without a lock, where no memory and no system call is needed.

The same steps as in `ExtentSets`, in one compiled path for who runs alone. It does all or nothing.
"""

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.pages.base_block import (
    CACHE_BASE,
    CACHE_COUNT,
    add,
    has_room_for_edata,
    put_cached,
    take_cached,
    take_edata,
)
from mmactors.malloc.jemalloc.pages.decay import TIME_MS
from mmactors.malloc.jemalloc.pages.edata import (
    SLAB,
    SZIND_MASK,
    SZIND_SHIFT,
    base_of,
    bytes_of,
    has_bit,
    set_class,
    set_field,
)
from mmactors.malloc.jemalloc.pages.emap import NO_EXTENT, element_of, remap, write_interior
from mmactors.malloc.jemalloc.pages.extents import (
    begin_dalloc,
    coalesce_once,
    cut,
    deactivate,
    extract,
    find_fit,
    npages_in,
)
from mmactors.malloc.jemalloc.pages.shard import (
    DECAY_DIRTY,
    DECAY_MUZZY,
    ECACHE_DIRTY,
    ECACHE_MUZZY,
    ECACHE_RETAINED,
    EDATA_CACHE,
    NACTIVE,
    PAC_MAPPED,
    PAC_OVERSIZE,
)
from mmactors.malloc.jemalloc.size_classes import LARGE_MINCLASS, NR_SIZES
from mmactors.malloc.user_words import load_word
from mmactors.units import PAGE_SHIFT, PAGE_SIZE


@compiled
def _has_leaves(words: Words, log: Words, par: Words, tsd: int, edata: int, size: int) -> bool:
    """Return whether the map has leaves for where an extent would be cut."""
    border = base_of(words, log, edata) + size
    before = element_of(words, log, par, tsd, border - PAGE_SIZE)
    return before != 0 and element_of(words, log, par, tsd, border) != 0


@compiled
def extent_alloc(
    words: Words,
    log: Words,
    par: Words,
    tsd: int,
    arena: int,
    size: int,
    is_slab: int,
    index: int,
) -> int:
    """Return an extent for blocks of a class, which may be dirty; 0: nothing was done.

    As `Pages.alloc`, with no alignment but a page's.
    """
    if npages_in(words, log, arena + ECACHE_MUZZY):
        return 0
    ecache = arena + ECACHE_DIRTY
    edata = find_fit(words, log, par, ecache, size, PAGE_SIZE)
    is_new = 0
    if edata == 0:
        ecache = arena + ECACHE_RETAINED
        is_new = 1
        edata = find_fit(words, log, par, ecache, size, PAGE_SIZE)
        if edata == 0:
            return 0
    cache = arena + EDATA_CACHE
    is_cut = bytes_of(words, log, edata) > size
    if is_cut:
        if load_word(words, log, cache + CACHE_COUNT) == 0 and not has_room_for_edata(
            words, log, load_word(words, log, cache + CACHE_BASE)
        ):
            return 0
        if not _has_leaves(words, log, par, tsd, edata, size):
            return 0
    edata = extract(words, log, par, tsd, ecache, size, PAGE_SIZE)
    if is_cut:
        trail = take_cached(words, log, cache)
        if trail == 0:
            trail = take_edata(words, log, load_word(words, log, cache + CACHE_BASE))
        cut(words, log, par, tsd, edata, size, trail)
        deactivate(words, log, par, tsd, ecache, trail)
    if is_new:
        add(words, log, arena + PAC_MAPPED, size)
    add(words, log, arena + NACTIVE, size >> PAGE_SHIFT)
    remap(words, log, par, tsd, edata, index, is_slab)
    set_class(words, log, edata, index, is_slab)
    return edata


@compiled
def extent_dalloc(words: Words, log: Words, par: Words, tsd: int, arena: int, edata: int) -> bool:
    """Take an extent back, as `Pages.dalloc`; False: nothing was done, a purge may be due."""
    nr_bytes = bytes_of(words, log, edata)
    dirty_ms = load_word(words, log, arena + DECAY_DIRTY + TIME_MS)
    # A large one may become oversize with its neighbors, and its pages go at once then.
    most = (npages_in(words, log, arena + ECACHE_DIRTY) << PAGE_SHIFT) + nr_bytes
    is_quiet = dirty_ms == -1 or load_word(words, log, arena + DECAY_MUZZY + TIME_MS) == -1
    may_be_oversize = most >= load_word(words, log, arena + PAC_OVERSIZE) and not is_quiet
    if dirty_ms == 0 or (nr_bytes >= LARGE_MINCLASS and may_be_oversize):
        return False
    if has_bit(words, log, edata, SLAB):
        write_interior(words, log, par, tsd, edata, NO_EXTENT)
    set_field(words, log, edata, SZIND_MASK << SZIND_SHIFT, NR_SIZES << SZIND_SHIFT)
    add(words, log, arena + NACTIVE, -(nr_bytes >> PAGE_SHIFT))
    begin_dalloc(words, log, edata)
    ecache = arena + ECACHE_DIRTY
    is_joined = nr_bytes >= LARGE_MINCLASS
    while is_joined:
        edata, unused = coalesce_once(words, log, par, tsd, ecache, edata, 1)
        if unused == 0:
            edata, unused = coalesce_once(words, log, par, tsd, ecache, edata, 0)
        is_joined = unused != 0
        if is_joined:
            put_cached(words, log, arena + EDATA_CACHE, unused)
    deactivate(words, log, par, tsd, ecache, edata)
    return True
