"""The library's own memory, with locks and kernel (jemalloc 5.3.0, base.c, edata_cache.c)."""

from typing import Final

import numpy as np
from attrs import define
from numpy.typing import NDArray

from mmactors.malloc.jemalloc.mutex import lock_mutex, unlock_mutex
from mmactors.malloc.jemalloc.pages.base_block import (
    ALLOCATED,
    BASE_BYTES,
    BASE_LOCK,
    BLOCK_EDATA,
    BLOCK_HEADER_BYTES,
    BLOCK_NEXT,
    BLOCKS,
    CACHE_BASE,
    CACHE_LOCK,
    EXTENT_SN_NEXT,
    MAPPED,
    PIND_LAST,
    QUANTUM,
    RESIDENT,
    bump,
    init_base,
    init_block,
    keep_rest,
    number_edata,
    put_cached,
    take_cached,
    take_from,
    take_memory,
)
from mmactors.malloc.jemalloc.pages.edata import EDATA_BYTES, SERIAL
from mmactors.malloc.jemalloc.pages.emap import LEAF_BYTES, root_element
from mmactors.malloc.jemalloc.pages.page_classes import (
    NR_PAGE_CLASSES,
    bytes_of_class,
    page_class_of,
)
from mmactors.malloc.jemalloc.pages.system import pages_map
from mmactors.malloc.jemalloc.par import DATA_AT
from mmactors.malloc.jemalloc.statics import B0, EMAP_LOCK
from mmactors.malloc.request import MallocSteps
from mmactors.malloc.user_words import (
    UserWords,
    add_to,
    load_bits,
    load_word,
    store_bits,
    store_word,
)
from mmactors.units import PAGE_SIZE

HUGEPAGE: Final = 1 << 21
_CACHELINE: Final = 64
_BASE: Final = "base"
_CACHE: Final = "edata_cache"


def _ceiling(number: int, multiple: int) -> int:
    return number + multiple - 1 & -multiple


@define(eq=False)
class BaseMemory:
    """The bases of a process's arenas."""

    words: UserWords
    par: NDArray[np.int64]

    def _arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        self.words.make_room()
        return self.words.words, self.words.log

    @property
    def b0(self) -> int:
        """The first base, which has the map's leaves, too."""
        words, log = self._arrays()
        return load_word(words, log, int(self.par[DATA_AT]) + B0)

    def _new_block(
        self, pind_last: int, serial: int, size: int, alignment: int
    ) -> MallocSteps[tuple[int, int]]:
        """Map a block and write its header; return it and its class of size (base_block_alloc)."""
        gap = _ceiling(BLOCK_HEADER_BYTES, alignment) - BLOCK_HEADER_BYTES
        usable = _ceiling(size, alignment)
        least = bytes_of_class(page_class_of(BLOCK_HEADER_BYTES + gap + usable))
        following = min(pind_last + 1, NR_PAGE_CLASSES - 1)
        wanted = max(_ceiling(least, HUGEPAGE), _ceiling(bytes_of_class(following), HUGEPAGE))
        block = yield from pages_map(wanted, HUGEPAGE)
        if block:
            init_block(*self._arrays(), block, wanted, serial)
        return block, page_class_of(wanted)

    def new(self) -> MallocSteps[int]:
        """Return a new base, in a block of its own; 0: there is no memory (base_new)."""
        block, pind_last = yield from self._new_block(0, 0, BASE_BYTES, QUANTUM)
        if not block:
            return 0
        size = _ceiling(BASE_BYTES, _CACHELINE)
        words, log = self._arrays()
        base, gap = bump(words, log, block + BLOCK_EDATA, size, _CACHELINE)
        init_base(words, log, base, block, pind_last)
        keep_rest(words, log, base, block + BLOCK_EDATA, base, gap, size)
        return base

    def boot(self) -> MallocSteps[None]:
        """Make the first base (base_boot)."""
        base = yield from self.new()
        words, log = self._arrays()
        store_word(words, log, int(self.par[DATA_AT]) + B0, base)

    def alloc(self, tsd: int, base: int, size: int, alignment: int) -> MallocSteps[int]:
        """Return memory of a base; 0: there is none (base_alloc)."""
        address, _ = yield from self._take(tsd, base, size, alignment)
        return address

    def _take(self, tsd: int, base: int, size: int, alignment: int) -> MallocSteps[tuple[int, int]]:
        alignment = _ceiling(alignment, QUANTUM)
        size = _ceiling(size, alignment)
        yield from lock_mutex(self, base + BASE_LOCK, tsd, _BASE)
        found = take_memory(*self._arrays(), base, size, alignment)
        if not found[0]:
            edata = yield from self._grow(tsd, base, size, alignment)
            if edata:
                words, log = self._arrays()
                address = take_from(words, log, base, edata, size, alignment)
                found = address, load_word(words, log, edata + SERIAL)
        yield from unlock_mutex(self, base + BASE_LOCK, _BASE)
        return found

    def _grow(self, tsd: int, base: int, size: int, alignment: int) -> MallocSteps[int]:
        """Let a base have another block, whose rest is returned (base_extent_alloc)."""
        yield from unlock_mutex(self, base + BASE_LOCK, _BASE)
        words, log = self._arrays()
        pind_last = load_bits(words, log, base + PIND_LAST, 4)
        serial = load_word(words, log, base + EXTENT_SN_NEXT)
        block, pind = yield from self._new_block(pind_last, serial, size, alignment)
        yield from lock_mutex(self, base + BASE_LOCK, tsd, _BASE)
        if not block:
            return 0
        words, log = self._arrays()
        store_bits(words, log, base + PIND_LAST, 4, pind)
        store_word(words, log, base + EXTENT_SN_NEXT, serial + 1)
        store_word(words, log, block + BLOCK_NEXT, load_word(words, log, base + BLOCKS))
        store_word(words, log, base + BLOCKS, block)
        add_to(words, log, base + ALLOCATED, BLOCK_HEADER_BYTES)
        add_to(words, log, base + RESIDENT, PAGE_SIZE)
        add_to(words, log, base + MAPPED, load_word(words, log, block))
        return block + BLOCK_EDATA

    def new_edata(self, tsd: int, cache: int) -> MallocSteps[int]:
        """Return an edata that nobody uses; 0: there is no memory (edata_cache_get)."""
        yield from lock_mutex(self, cache + CACHE_LOCK, tsd, _CACHE)
        edata = take_cached(*self._arrays(), cache)
        yield from unlock_mutex(self, cache + CACHE_LOCK, _CACHE)
        if edata:
            return edata
        words, log = self._arrays()
        base = load_word(words, log, cache + CACHE_BASE)
        edata, serial = yield from self._take(tsd, base, EDATA_BYTES, EDATA_BYTES)
        if edata:
            number_edata(*self._arrays(), edata, serial)
        return edata

    def put_edata(self, tsd: int, cache: int, edata: int) -> MallocSteps[None]:
        """Take an edata that nobody uses any more (edata_cache_put)."""
        yield from lock_mutex(self, cache + CACHE_LOCK, tsd, _CACHE)
        put_cached(*self._arrays(), cache, edata)
        yield from unlock_mutex(self, cache + CACHE_LOCK, _CACHE)

    def need_leaf(self, tsd: int, address: int) -> MallocSteps[bool]:
        """Let the map have a leaf for an address; False: there is no memory (rtree_leaf_init)."""
        element = root_element(self.par, address)
        words, log = self._arrays()
        if load_word(words, log, element):
            return True
        lock = int(self.par[DATA_AT]) + EMAP_LOCK
        yield from lock_mutex(self, lock, tsd, "rtree")
        words, log = self._arrays()
        leaf = load_word(words, log, element)
        if not leaf:
            leaf = yield from self.alloc(tsd, self.b0, LEAF_BYTES, _CACHELINE)
            words, log = self._arrays()
            store_word(words, log, element, leaf)
        yield from unlock_mutex(self, lock, "rtree")
        return bool(leaf)
