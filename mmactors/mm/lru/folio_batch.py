"""Batches in which pages wait for their LRU lists, of one CPU (mm/swap.c, mm/mlock.c, Linux 6.1).

A page that is added, activated, locked... waits with up to 14 others in a batch of its CPU, which
holds a reference of it; a full batch is worked off at once (mm/lru/move_folios.py), all of them
when somebody drains. Pages whose last reference a batch held are in `released` then, off their
lists, in the order in which release_pages frees them: who works off batches frees them before he
does anything else (actors/alloc/lru_add_drain.py).

What is modelled are the flags, the references and the counters of the lists, not their order. Left
out: lru_rotate, memcgs, the multi-gen LRU.

Steps: what is touched here is told to `touch`, beside what the running step declares. Flags that
say which list a page is on, and whether it was used, are an object of their own; they are read and
changed here only.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from mmactors.arch.page import (
    PG_ACTIVE,
    PG_IDLE,
    PG_LRU,
    PG_MLOCKED,
    PG_REFERENCED,
    PG_SWAPBACKED,
    PG_UNEVICTABLE,
    PG_YOUNG,
    PageColumns,
)
from mmactors.label import Mode, lru, page, page_lru
from mmactors.mm.area.vm_flags import VM_LOCKED, VM_SPECIAL
from mmactors.mm.lru.move_folios import (
    ACTIVATE,
    DEACTIVATE,
    DEACTIVATE_FILE,
    LAZYFREE,
    LRU_ADD,
    MLOCK,
    NEW_PAGE,
    NR_BATCHES,
    OLD_PAGE,
    PGACTIVATE,
    PVEC_SHIFT,
    UNEVICTABLE_PGMLOCKED,
    UNLOCKED_PAGE,
    count_page,
    forget_pages,
    move_folios,
)
from mmactors.mm.rmap.rmap import is_anon
from mmactors.mm.vmstat import NR_MLOCK, VmStat

Words = NDArray[np.int64]

PAGEVEC_SIZE: Final = 15
_LOCK_MASK: Final = VM_LOCKED | VM_SPECIAL
_ON_LIST: Final = PG_LRU | PG_ACTIVE | PG_UNEVICTABLE
LIST_FLAGS: Final = _ON_LIST | PG_REFERENCED | PG_MLOCKED
"""What `page_lru` names of a page's flags; other flags are the page's."""


def is_lockable(vm_flags: int) -> bool:
    """Say whether pages of an area with these flags count as locked."""
    return vm_flags & _LOCK_MASK == VM_LOCKED


@define(eq=False, kw_only=True)
class FolioBatches:
    """struct cpu_fbatches and mlock_pvec of one CPU."""

    pages: PageColumns
    vmstat: VmStat
    zone_node: Words
    """By zone number: its node."""
    cpu: int = 0
    touch: Callable[[str, Mode], None] | None = None
    """Who is told what batches touch; None: nobody asks."""
    released: list[int] = field(factory=list, init=False)
    """Pages to be freed; the same list always."""
    size: int = field(default=PAGEVEC_SIZE, init=False)
    """With so many pages a batch is full; 1 while batches are switched off (lru_cache_disable)."""
    words: Words = field(init=False)
    """By batch: how many pages wait in it, and which."""
    _batches: list[Any] = field(init=False)
    _lru_add: Any = field(init=False)
    _refcount: Any = field(init=False)
    _flags: Any = field(init=False)
    _columns: tuple[Any, Any, Any, Any, Any, Any, Any, Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        pages, vmstat = self.pages, self.vmstat
        self.words = np.zeros((NR_BATCHES, 1 + PAGEVEC_SIZE), np.int64)
        self._batches = [row.data for row in self.words]
        self._lru_add = self._batches[LRU_ADD]
        self._refcount = pages.refcount_view
        self._flags = pages.flags_view
        self._columns = (
            pages.flags,
            pages.zone,
            self.zone_node,
            vmstat.zone_words,
            vmstat.cpu_zone_words[self.cpu],
            vmstat.node_words,
            vmstat.cpu_node_words[self.cpu],
            vmstat.event_words[self.cpu],
        )

    # -- what is asked for ---------------------------------------------------------------------

    def add_page(self, pfn: int, vm_flags: int = 0) -> None:
        """Add a new page of an area (lru_cache_add_inactive_or_unevictable, folio_add_lru)."""
        if vm_flags & _LOCK_MASK == VM_LOCKED:
            if self.touch is not None:
                self._tell_flags(pfn)
            self._flags[pfn] |= PG_MLOCKED
            self._count_locked(pfn)
            self._push(MLOCK, pfn, pfn << PVEC_SHIFT | NEW_PAGE)
            return
        # As `_push` does it: nearly all faults come here.
        if self.touch is not None:
            self._tell_push(pfn)
        self._refcount[pfn] += 1
        batch = self._lru_add
        nr = batch[0] + 1
        batch[0] = nr
        batch[nr] = pfn
        if nr >= self.size:
            self._work_off(LRU_ADD)

    def mlock_page(self, pfn: int) -> None:
        """Lock a page that may be on a list (mlock_folio)."""
        if self.touch is not None:
            self._tell_flags(pfn)
        if not self._flags[pfn] & PG_MLOCKED:
            self._flags[pfn] |= PG_MLOCKED
            self._count_locked(pfn)
        self._push(MLOCK, pfn, pfn << PVEC_SHIFT | OLD_PAGE)

    def munlock_page(self, pfn: int) -> None:
        """Unlock a page, once (munlock_page)."""
        self._push(MLOCK, pfn, pfn << PVEC_SHIFT | UNLOCKED_PAGE)

    def mark_lazyfree(self, pfn: int) -> None:
        """Let a page be freed lazily (mark_page_lazyfree)."""
        if self.touch is not None:
            self._tell_flags(pfn)
        wanted = PG_LRU | PG_SWAPBACKED
        if self._flags[pfn] & (wanted | PG_UNEVICTABLE) == wanted and is_anon(self.pages, pfn):
            self._push(LAZYFREE, pfn, pfn)

    def deactivate_page(self, pfn: int) -> None:
        """Make an active page the next to be reclaimed (deactivate_page)."""
        if self.touch is not None:
            self._tell_flags(pfn)
        if self._flags[pfn] & _ON_LIST == PG_LRU | PG_ACTIVE:
            self._push(DEACTIVATE, pfn, pfn)

    def deactivate_file_page(self, pfn: int) -> None:
        """Make a page of a file that could not be dropped the next one (deactivate_file_folio)."""
        if self.touch is not None:
            self._tell_flags(pfn)
        if not self._flags[pfn] & PG_UNEVICTABLE:
            self._push(DEACTIVATE_FILE, pfn, pfn)

    def mark_accessed(self, pfn: int) -> None:
        """Note that a page was used; the second time it becomes active (folio_mark_accessed)."""
        if self.touch is not None:
            self._tell_flags(pfn)
        flags = self._flags[pfn]
        if not flags & PG_REFERENCED:
            self._flags[pfn] |= PG_REFERENCED
        elif not flags & (PG_UNEVICTABLE | PG_ACTIVE):
            if flags & PG_LRU:
                self._push(ACTIVATE, pfn, pfn)
            elif self._is_new(pfn):
                self._flags[pfn] |= PG_ACTIVE
            self._flags[pfn] &= ~PG_REFERENCED
        if flags & PG_IDLE:
            if self.touch is not None:
                self.touch(page(pfn), Mode.WRITE)
            self._flags[pfn] &= ~PG_IDLE

    def clear_referenced(self, pfn: int) -> None:
        """Forget that a page was used (ClearPageReferenced, test_and_clear_page_young)."""
        if self.touch is not None:
            self._tell_flags(pfn)
            self.touch(page(pfn), Mode.WRITE)
        self._flags[pfn] &= ~(PG_REFERENCED | PG_YOUNG)

    def is_listed(self, pfn: int) -> bool:
        """Say whether a page is on a list (PageLRU)."""
        if self.touch is not None:
            self.touch(page_lru(pfn), Mode.READ)
        return bool(self._flags[pfn] & PG_LRU)

    def isolate_page(self, pfn: int, *, takes_reference: bool = True) -> bool:
        """Take a page off its list, with a reference; False: it is on none (isolate_lru_page)."""
        if self.touch is not None:
            self._tell_flags(pfn)
        if not self._flags[pfn] & PG_LRU:
            return False
        if takes_reference:
            if self.touch is not None:
                self.touch(page(pfn), Mode.WRITE)
            self._refcount[pfn] += 1
        count_page(*self._columns, pfn, -1)
        self._flags[pfn] &= ~PG_LRU
        return True

    def begin_reclaim(self, pfn: int) -> bool:
        """Let an isolated page not be active; say whether it can be evicted (reclaim_pages)."""
        if self.touch is not None:
            self._tell_flags(pfn)
        self._flags[pfn] &= ~PG_ACTIVE
        return not self._flags[pfn] & (PG_MLOCKED | PG_UNEVICTABLE)

    def activate_isolated(self, pfn: int) -> None:
        """Let a page that cannot be reclaimed become active (shrink_folio_list, activate)."""
        if self.touch is not None:
            self._tell_flags(pfn)
        if not self._flags[pfn] & PG_MLOCKED:
            self._flags[pfn] |= PG_ACTIVE
            self.vmstat.count_vm_events(self.cpu, PGACTIVATE)

    def drain(self) -> None:
        """Work off all batches (lru_add_drain, and with it mlock_page_drain_local)."""
        for number, batch in enumerate(self._batches):
            if batch[0]:
                self._work_off(number)

    def drain_mlock(self) -> None:
        """Work off the batch of pages that are locked or unlocked (mlock_page_drain_local)."""
        if self._batches[MLOCK][0]:
            self._work_off(MLOCK)

    def forget_page(self, pfn: int) -> None:
        """Take a page off its list that is being freed (__page_cache_release)."""
        if self._flags[pfn] & (PG_LRU | PG_MLOCKED):
            self.forget_pages(np.array([pfn], np.int64))

    def forget_pages(self, pfns: Words) -> None:
        """Take pages off their lists that are being freed (release_pages, free_pages_prepare)."""
        if self.touch is not None:
            for pfn in pfns.tolist():
                self._tell_flags(pfn)
        forget_pages(*self._columns, pfns)

    # -- what waits ----------------------------------------------------------------------------

    def is_idle(self) -> bool:
        """Say whether no page waits (cpu_needs_drain)."""
        return not any(batch[0] for batch in self._batches)

    def held_pages(self) -> Iterator[int]:
        """Yield each page once for each reference that a batch holds, and those to be freed."""
        for number, batch in enumerate(self._batches):
            shift = PVEC_SHIFT if number == MLOCK else 0
            for nth in range(batch[0]):
                yield batch[1 + nth] >> shift
        yield from self.released

    def key(self) -> tuple[Any, ...]:
        """Return what waits, as a value."""
        waiting = tuple([tuple(batch[1 : 1 + batch[0]]) for batch in self._batches])
        return (self.size, waiting, tuple(self.released))

    # -- batches -------------------------------------------------------------------------------

    def _push(self, number: int, pfn: int, word: int) -> None:
        if self.touch is not None:
            self._tell_push(pfn)
        self._refcount[pfn] += 1
        batch = self._batches[number]
        nr = batch[0] + 1
        batch[nr] = word
        batch[0] = nr
        if nr >= self.size:
            self._work_off(number)

    def _tell_flags(self, pfn: int) -> None:
        assert self.touch is not None, "somebody asks"
        self.touch(page_lru(pfn), Mode.WRITE)

    def _tell_push(self, pfn: int) -> None:
        assert self.touch is not None, "somebody asks"
        self.touch(lru(self.cpu), Mode.WRITE)
        self.touch(page(pfn), Mode.WRITE)

    def _work_off(self, number: int) -> None:
        pages = self.pages
        batch = self.words[number]
        if self.touch is not None:
            self._tell_touches(number)
        nr_released = move_folios(
            *self._columns,
            number,
            batch,
            pages.refcount,
            pages.mapping,
            pages.mapcount,
            pages.mlock_count,
        )
        if nr_released:
            self.released += batch[nr_released:0:-1].tolist()

    def _tell_touches(self, number: int) -> None:
        assert self.touch is not None, "somebody asks"
        shift = PVEC_SHIFT if number == MLOCK else 0
        batch = self._batches[number]
        self.touch(lru(self.cpu), Mode.WRITE)
        for nth in range(batch[0]):
            pfn = batch[1 + nth] >> shift
            self.touch(page(pfn), Mode.WRITE)
            self._tell_flags(pfn)

    def _is_new(self, pfn: int) -> bool:
        """Say whether a page waits to be added, on this CPU (__lru_cache_activate_folio)."""
        batch = self._batches[LRU_ADD]
        return pfn in batch[1 : 1 + batch[0]].tolist()

    def _count_locked(self, pfn: int) -> None:
        self.vmstat.mod_zone_page_state(self.cpu, self.pages.zone_view[pfn] - 1, NR_MLOCK, 1)
        self.vmstat.count_vm_events(self.cpu, UNEVICTABLE_PGMLOCKED)
