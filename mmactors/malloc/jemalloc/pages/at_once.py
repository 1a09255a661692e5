"""Extents given and taken at once, where no memory and no system call is needed.

The same steps as in `ExtentSets`, in one compiled path for who runs alone: nobody waits for a lock,
which is counted only. It does all or nothing.
"""

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.mutex import note_locked, note_unlocked
from mmactors.malloc.jemalloc.pages.base_block import (
    BASE_LOCK,
    CACHE_BASE,
    CACHE_COUNT,
    CACHE_LOCK,
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
    GROW_LOCK,
    NACTIVE,
    PAC_MAPPED,
    PAC_OVERSIZE,
)
from mmactors.malloc.jemalloc.size_classes import LARGE_MINCLASS, NR_SIZES
from mmactors.malloc.user_words import add_to, load_word, longest_walk
from mmactors.units import PAGE_SHIFT, PAGE_SIZE


@compiled
def _has_leaves(words: Words, log: Words, par: Words, tsd: int, edata: int, size: int) -> bool:
    """Return whether the map has leaves for where an extent would be cut."""
    border = base_of(words, log, edata) + size
    before = element_of(words, log, par, tsd, border - PAGE_SIZE)
    return before != 0 and element_of(words, log, par, tsd, border) != 0


@compiled
def _pass_lock(words: Words, log: Words, mutex: int, tsd: int) -> None:
    """Count that a lock is had for a moment."""
    note_locked(words, log, mutex, tsd)
    note_unlocked(words, log, mutex)


@compiled
def _pass_sets(words: Words, log: Words, arena: int, tsd: int, is_new: int) -> None:
    """Count the locks of the sets that are looked at for an extent; the last one is held."""
    if is_new == 0:
        note_locked(words, log, arena + ECACHE_DIRTY, tsd)
        return
    _pass_lock(words, log, arena + ECACHE_DIRTY, tsd)
    if load_word(words, log, arena + DECAY_MUZZY + TIME_MS):
        _pass_lock(words, log, arena + ECACHE_MUZZY, tsd)
    note_locked(words, log, arena + GROW_LOCK, tsd)
    note_locked(words, log, arena + ECACHE_RETAINED, tsd)


@compiled
def _new_edata(words: Words, log: Words, cache: int, tsd: int) -> int:
    """Return an edata that nobody uses, of which there is one."""
    note_locked(words, log, cache + CACHE_LOCK, tsd)
    edata = take_cached(words, log, cache)
    note_unlocked(words, log, cache + CACHE_LOCK)
    if edata == 0:
        base = load_word(words, log, cache + CACHE_BASE)
        note_locked(words, log, base + BASE_LOCK, tsd)
        edata = take_edata(words, log, base)
        note_unlocked(words, log, base + BASE_LOCK)
    return edata


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
    _pass_sets(words, log, arena, tsd, is_new)
    edata = extract(words, log, par, tsd, ecache, size, PAGE_SIZE)
    if is_cut:
        trail = _new_edata(words, log, cache, tsd)
        cut(words, log, par, tsd, edata, size, trail)
        deactivate(words, log, par, tsd, ecache, trail)
    note_unlocked(words, log, ecache)
    if is_new:
        note_unlocked(words, log, arena + GROW_LOCK)
        add_to(words, log, arena + PAC_MAPPED, size)
    add_to(words, log, arena + NACTIVE, size >> PAGE_SHIFT)
    remap(words, log, par, tsd, edata, index, is_slab)
    set_class(words, log, edata, index, is_slab)
    return edata


@compiled
def takes_at_once(words: Words, log: Words, arena: int, nr_bytes: int) -> bool:
    """Return whether an arena can take extents of so many bytes back without a purge.

    A large one may become oversize with its neighbors, and its pages go at once then.
    """
    dirty_ms = load_word(words, log, arena + DECAY_DIRTY + TIME_MS)
    if dirty_ms == -1 or load_word(words, log, arena + DECAY_MUZZY + TIME_MS) == -1:
        return dirty_ms != 0
    most = (npages_in(words, log, arena + ECACHE_DIRTY) << PAGE_SHIFT) + nr_bytes
    is_small = nr_bytes < LARGE_MINCLASS
    return dirty_ms != 0 and (is_small or most < load_word(words, log, arena + PAC_OVERSIZE))


@compiled
def extent_dalloc(words: Words, log: Words, par: Words, tsd: int, arena: int, edata: int) -> bool:
    """Take an extent back, as `Pages.dalloc`; False: nothing was done, a purge may be due."""
    nr_bytes = bytes_of(words, log, edata)
    if not takes_at_once(words, log, arena, nr_bytes):
        return False
    if has_bit(words, log, edata, SLAB):
        write_interior(words, log, par, tsd, edata, NO_EXTENT)
    set_field(words, log, edata, SZIND_MASK << SZIND_SHIFT, NR_SIZES << SZIND_SHIFT)
    add_to(words, log, arena + NACTIVE, -(nr_bytes >> PAGE_SHIFT))
    begin_dalloc(words, log, edata)
    ecache = arena + ECACHE_DIRTY
    note_locked(words, log, ecache, tsd)
    is_joined = nr_bytes >= LARGE_MINCLASS
    nr_steps = 0
    while is_joined and nr_steps <= longest_walk(words):
        nr_steps += 1
        edata, unused = coalesce_once(words, log, par, tsd, ecache, edata, 1)
        if unused == 0:
            edata, unused = coalesce_once(words, log, par, tsd, ecache, edata, 0)
        is_joined = unused != 0
        if is_joined:
            note_locked(words, log, arena + EDATA_CACHE + CACHE_LOCK, tsd)
            put_cached(words, log, arena + EDATA_CACHE, unused)
            note_unlocked(words, log, arena + EDATA_CACHE + CACHE_LOCK)
    deactivate(words, log, par, tsd, ecache, edata)
    note_unlocked(words, log, ecache)
    return True
