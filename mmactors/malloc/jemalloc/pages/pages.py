"""What gives arenas extents and takes them back (jemalloc 5.3.0, pa.c, pac.c, extent.c).

An extent that is freed is dirty; it may be used again at once. After a time it is muzzy, if there
are such: the kernel may have its pages, then retained: its pages are gone, its addresses stay. What
no set has comes from a new mapping, each larger than the last, of which the rest is retained.

Lock order: grow, a set's, edata_cache, base. No lock is held while the kernel is asked, but grow.
"""

from typing import Final

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from mmactors.label import WantsStep
from mmactors.malloc.jemalloc.options import JemallocOptions
from mmactors.malloc.jemalloc.pages.base import BaseMemory
from mmactors.malloc.jemalloc.pages.decay import (
    TIME_MS,
)
from mmactors.malloc.jemalloc.pages.edata import (
    SLAB,
    bytes_of,
    has_bit,
    set_class,
    set_field,
)
from mmactors.malloc.jemalloc.pages.emap import (
    NO_EXTENT,
    remap,
    write_interior,
)
from mmactors.malloc.jemalloc.pages.extent_sets import ExtentSets
from mmactors.malloc.jemalloc.pages.extents import (
    begin_dalloc,
    join,
)
from mmactors.malloc.jemalloc.pages.growth import Growth
from mmactors.malloc.jemalloc.pages.purge import Purge
from mmactors.malloc.jemalloc.pages.shard import (
    DECAY_DIRTY,
    DECAY_MUZZY,
    ECACHE_DIRTY,
    ECACHE_MUZZY,
    EDATA_CACHE,
    NACTIVE,
    PAC_MAPPED,
    init_shard,
)
from mmactors.malloc.jemalloc.pages.system import (
    pages_boot,
)
from mmactors.malloc.jemalloc.par import OVERSIZE_THRESHOLD
from mmactors.malloc.jemalloc.size_classes import NR_SIZES
from mmactors.malloc.request import Brk, ClockGettime, MallocSteps, ask
from mmactors.malloc.user_words import UserWords, add_to, load_word
from mmactors.rules import Rules
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_BACKGROUND_THREADS: Final = 4
_BACKGROUND_THREAD_BYTES: Final = 208
_CACHELINE: Final = 64


@define(eq=False, kw_only=True)
class Pages:
    """The page allocator of a process's arenas, which are known by their addresses."""

    words: UserWords
    par: NDArray[np.int64]
    options: JemallocOptions
    rules: Rules
    number: int
    """Of the process."""
    wants_step: WantsStep
    base: BaseMemory = field(init=False)
    sets: ExtentSets = field(init=False)
    growth: Growth = field(init=False)
    purge: Purge = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.base = BaseMemory(self.words, self.par)
        self.sets = ExtentSets(
            words=self.words,
            par=self.par,
            base=self.base,
            rules=self.rules,
            number=self.number,
            wants_step=self.wants_step,
            has_huge_pages=self.options.thp == "always",
        )
        self.growth = Growth(self.sets)
        self.purge = Purge(self.sets, self.options)

    def boot(self, tsd: int) -> MallocSteps[None]:  # noqa: ARG002 - nobody locks yet
        """Set up what there is before the first arena (pages_boot, base_boot, extent_dss_boot)."""
        yield from pages_boot(self.words)
        yield from self.base.boot()
        yield from ask(Brk(0))

    def boot_background_threads(self, tsd: int) -> MallocSteps[None]:
        """Make room for threads that would purge, of which none is started."""
        size = _BACKGROUND_THREADS * _BACKGROUND_THREAD_BYTES
        yield from self.base_alloc(tsd, 0, size, _CACHELINE)

    def new_base(self, tsd: int, index: int) -> MallocSteps[int]:  # noqa: ARG002 - it is new
        """Return the base of a new arena; 0: there is no memory."""
        return (yield from self.base.new()) if index else self.base.b0

    def base_alloc(self, tsd: int, base: int, size: int, alignment: int) -> MallocSteps[int]:
        """Return memory of a base, of the first one if it is 0; 0: there is none."""
        return (yield from self.base.alloc(tsd, base or self.base.b0, size, alignment))

    def init_shard(self, tsd: int, arena: int, index: int, base: int) -> MallocSteps[None]:  # noqa: ARG002 - it is new
        """Set up a new arena's part."""
        now_ns = yield from ask(ClockGettime())
        words, log, par = self.sets.arrays()
        dirty_ms, muzzy_ms = self.options.dirty_decay_ms, self.options.muzzy_decay_ms
        oversize = int(par[OVERSIZE_THRESHOLD])
        init_shard(words, log, arena, index, base, now_ns, oversize, dirty_ms, muzzy_ms)

    def alloc(
        self,
        tsd: int,
        arena: int,
        size: int,
        alignment: int,
        *,
        is_slab: bool,
        index: int,
        zero: bool,
    ) -> MallocSteps[int]:
        """Return an extent for blocks of a class; 0: there is no memory (pa_alloc)."""
        alignment = max(alignment + PAGE_SIZE - 1 & -PAGE_SIZE, PAGE_SIZE)
        edata = yield from self.sets.recycle(tsd, arena, ECACHE_DIRTY, size, alignment, zero=zero)
        words, log, par = self.sets.arrays()
        if not edata and load_word(words, log, arena + DECAY_MUZZY + TIME_MS):
            edata = yield from self.sets.recycle(
                tsd, arena, ECACHE_MUZZY, size, alignment, zero=zero
            )
        if not edata:
            edata = yield from self.growth.alloc(tsd, arena, size, alignment, zero=zero)
            if not edata:
                return 0
            words, log, par = self.sets.arrays()
            add_to(words, log, arena + PAC_MAPPED, size)
        yield from self.sets.map_step("name the class of an extent")
        words, log, par = self.sets.arrays()
        add_to(words, log, arena + NACTIVE, size >> PAGE_SHIFT)
        remap(words, log, par, tsd, edata, index, is_slab)
        set_class(words, log, edata, index, is_slab)
        return edata

    def dalloc(self, tsd: int, arena: int, edata: int) -> MallocSteps[None]:
        """Take an extent back (pa_dalloc), and purge it if nothing may stay dirty."""
        words, log, par = self.sets.arrays()
        if has_bit(words, log, edata, SLAB):
            write_interior(words, log, par, tsd, edata, NO_EXTENT)
        set_field(words, log, edata, 0xFF << 20, NR_SIZES << 20)
        add_to(words, log, arena + NACTIVE, -(bytes_of(words, log, edata) >> PAGE_SHIFT))
        begin_dalloc(words, log, edata)
        yield from self.sets.record(tsd, arena, ECACHE_DIRTY, edata)
        yield from self._deferred_work(tsd, arena)

    def resize(
        self, tsd: int, arena: int, edata: int, new_size: int, *, index: int, zero: bool
    ) -> MallocSteps[bool]:
        """Let an extent have another size where it is; say whether (pa_expand, pa_shrink)."""
        words, log, par = self.sets.arrays()
        old_size = bytes_of(words, log, edata)
        if new_size > old_size:
            done = yield from self._expand(tsd, arena, edata, new_size - old_size, zero=zero)
        else:
            done = yield from self._shrink(tsd, arena, edata, new_size)
        if not done:
            return False
        yield from self.sets.map_step("name the class of an extent")
        words, log, par = self.sets.arrays()
        add_to(words, log, arena + NACTIVE, (new_size - old_size) >> PAGE_SHIFT)
        set_field(words, log, edata, 0xFF << 20, index << 20)
        remap(words, log, par, tsd, edata, index, 0)
        if new_size < old_size:
            yield from self._deferred_work(tsd, arena)
        return True

    def _expand(
        self, tsd: int, arena: int, edata: int, more: int, *, zero: bool
    ) -> MallocSteps[bool]:
        """Let an extent have what lies behind it, if that is free (pac_expand_impl)."""
        trail = 0
        for ecache in (ECACHE_DIRTY, ECACHE_MUZZY):
            trail = trail or (
                yield from self.sets.recycle(
                    tsd, arena, ecache, more, PAGE_SIZE, zero=zero, behind=edata
                )
            )
        if not trail:
            trail = yield from self.growth.alloc(
                tsd, arena, more, PAGE_SIZE, zero=zero, behind=edata
            )
            if not trail:
                return False
            words, log, par = self.sets.arrays()
            add_to(words, log, arena + PAC_MAPPED, more)
        words, log, par = self.sets.arrays()
        join(words, log, par, tsd, edata, trail)
        yield from self.base.put_edata(tsd, arena + EDATA_CACHE, trail)
        return True

    def _shrink(self, tsd: int, arena: int, edata: int, new_size: int) -> MallocSteps[bool]:
        """Take back what an extent has too much (pac_shrink_impl)."""
        trail = yield from self.sets.cut_off(tsd, arena, edata, new_size)
        if not trail:
            return False
        words, log, _ = self.sets.arrays()
        begin_dalloc(words, log, trail)
        yield from self.sets.record(tsd, arena, ECACHE_DIRTY, trail)
        return True

    def _deferred_work(self, tsd: int, arena: int) -> MallocSteps[None]:
        """Purge at once, if so it is set (arena_handle_deferred_work)."""
        words, log, _ = self.sets.arrays()
        if load_word(words, log, arena + DECAY_DIRTY + TIME_MS) == 0:
            yield from self.purge.decay_all(tsd, arena, DECAY_DIRTY, ECACHE_DIRTY)
