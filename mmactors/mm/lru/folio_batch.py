"""Batches in which pages wait for their LRU lists, of one CPU (mm/swap.c, mm/mlock.c, Linux 6.1).

A page that is added, activated, locked... waits with up to 14 others in a batch of its CPU, which
holds a reference of it; a full batch is worked off at once, all of them when somebody drains. What
is modelled are the flags, the references and the counters of the lists, not their order.

Left out: other CPUs' batches, lru_rotate and lru_deactivate_file, memcgs, the multi-gen LRU.

Invariant: a page with PG_LRU counts in exactly one list, which its other flags name.
"""

from collections.abc import Callable
from typing import Final

from attrs import define, field

from mmactors.arch.page import (
    PG_ACTIVE,
    PG_LRU,
    PG_MLOCKED,
    PG_REFERENCED,
    PG_SWAPBACKED,
    PG_UNEVICTABLE,
    PageColumns,
)
from mmactors.mm.area.vm_flags import VM_LOCKED, VM_SPECIAL
from mmactors.mm.rmap.rmap import is_anon, put_page
from mmactors.mm.vmstat import EVENT_ITEM, NODE_ITEM, NR_MLOCK, ZONE_ITEM

PAGEVEC_SIZE: Final = 15

_LISTS: Final = ("inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable")
_NODE_ITEMS: Final = tuple(NODE_ITEM[f"nr_{name}"] for name in _LISTS)
_ZONE_ITEMS: Final = tuple(ZONE_ITEM[f"nr_zone_{name}"] for name in _LISTS)
_UNEVICTABLE: Final = 4

PGACTIVATE: Final = EVENT_ITEM["pgactivate"]
PGDEACTIVATE: Final = EVENT_ITEM["pgdeactivate"]
PGLAZYFREE: Final = EVENT_ITEM["pglazyfree"]
UNEVICTABLE_PGCULLED: Final = EVENT_ITEM["unevictable_pgs_culled"]
UNEVICTABLE_PGRESCUED: Final = EVENT_ITEM["unevictable_pgs_rescued"]
UNEVICTABLE_PGMLOCKED: Final = EVENT_ITEM["unevictable_pgs_mlocked"]
UNEVICTABLE_PGMUNLOCKED: Final = EVENT_ITEM["unevictable_pgs_munlocked"]
UNEVICTABLE_PGCLEARED: Final = EVENT_ITEM["unevictable_pgs_cleared"]
UNEVICTABLE_PGSTRANDED: Final = EVENT_ITEM["unevictable_pgs_stranded"]


def is_lockable(vm_flags: int) -> bool:
    """Say whether pages of an area with these flags count as locked."""
    return vm_flags & (VM_LOCKED | VM_SPECIAL) == VM_LOCKED


@define(eq=False, kw_only=True)
class FolioBatches:
    """struct cpu_fbatches and mlock_pvec, and what becomes of their pages."""

    pages: PageColumns
    count_event: Callable[[int], None]
    count_node: Callable[[int, int], None]
    count_zone: Callable[[int, int], None]
    free_page: Callable[[int], None]
    """Called with a page whose last reference a batch held."""
    lru_add: list[int] = field(factory=list, init=False)
    lru_deactivate: list[int] = field(factory=list, init=False)
    lru_lazyfree: list[int] = field(factory=list, init=False)
    activate: list[int] = field(factory=list, init=False)
    mlock_pvec: list[tuple[int, Callable[[int], None]]] = field(factory=list, init=False)
    _mlock_count: dict[int, int] = field(factory=dict, init=False)
    """By page on the unevictable list: how many areas have locked it (page->mlock_count)."""

    # -- what is asked for ---------------------------------------------------------------------

    def add_page(self, pfn: int, vm_flags: int) -> None:
        """Add a new page of an area (lru_cache_add_inactive_or_unevictable)."""
        if is_lockable(vm_flags):
            self._set(pfn, PG_MLOCKED)
            self._count_locked(1, UNEVICTABLE_PGMLOCKED)
            self._push_mlock(pfn, self._mlock_new_page)
        else:
            self.pages.refcount_view[pfn] += 1
            self.lru_add.append(pfn)
            if len(self.lru_add) == PAGEVEC_SIZE:
                self._work_off(self.lru_add, self._lru_add)

    def mlock_page(self, pfn: int) -> None:
        """Lock a page that may be on a list (mlock_folio)."""
        if not self.pages.flags_view[pfn] & PG_MLOCKED:
            self._set(pfn, PG_MLOCKED)
            self._count_locked(1, UNEVICTABLE_PGMLOCKED)
        self._push_mlock(pfn, self._mlock_page)

    def munlock_page(self, pfn: int) -> None:
        """Unlock a page, once (munlock_page)."""
        self._push_mlock(pfn, self._munlock_page)

    def mark_lazyfree(self, pfn: int) -> None:
        """Let a page be freed lazily (mark_page_lazyfree)."""
        flags = self.pages.flags_view[pfn]
        if (
            flags & PG_LRU
            and is_anon(self.pages, pfn)
            and flags & PG_SWAPBACKED
            and not flags & PG_UNEVICTABLE
        ):
            self._push(self.lru_lazyfree, pfn, self._lazyfree)

    def deactivate_page(self, pfn: int) -> None:
        """Make an active page the next to be reclaimed (deactivate_page)."""
        flags = self.pages.flags_view[pfn]
        if flags & (PG_LRU | PG_ACTIVE | PG_UNEVICTABLE) == PG_LRU | PG_ACTIVE:
            self._push(self.lru_deactivate, pfn, self._deactivate)

    def activate_unswappable(self, pfn: int) -> None:
        """Put a page back that was to be swapped out, without swap (shrink_folio_list).

        It becomes active, and waits in the batch of new pages.
        """
        if self.pages.flags_view[pfn] & (PG_LRU | PG_UNEVICTABLE) == PG_LRU:
            self._count(pfn, -1)
            self._clear(pfn, PG_LRU)
            self._set(pfn, PG_ACTIVE)
            self.count_event(PGACTIVATE)
            self.add_page(pfn, 0)

    def mark_accessed(self, pfn: int) -> None:
        """Note that a page was used; the second time it becomes active (folio_mark_accessed)."""
        flags = self.pages.flags_view[pfn]
        if not flags & PG_REFERENCED:
            self._set(pfn, PG_REFERENCED)
        elif not flags & (PG_UNEVICTABLE | PG_ACTIVE):
            if flags & PG_LRU:
                self._push(self.activate, pfn, self._activate)
            elif pfn in self.lru_add:
                self._set(pfn, PG_ACTIVE)
            self._clear(pfn, PG_REFERENCED)

    def drain(self) -> None:
        """Work off all batches (lru_add_drain)."""
        self._work_off(self.lru_add, self._lru_add)
        self._work_off(self.lru_deactivate, self._moved(self._deactivate))
        self._work_off(self.lru_lazyfree, self._moved(self._lazyfree))
        self._work_off(self.activate, self._moved(self._activate))
        self._drain_mlock()

    def forget_page(self, pfn: int) -> None:
        """Take a page off its list that is being freed (__page_cache_release)."""
        flags = self.pages.flags_view[pfn]
        if flags & PG_LRU:
            self._count(pfn, -1)
            self._clear(pfn, PG_LRU | PG_ACTIVE | PG_UNEVICTABLE)
        if flags & PG_MLOCKED:
            self._clear(pfn, PG_MLOCKED)
            self._count_locked(-1, UNEVICTABLE_PGCLEARED)

    # -- batches -------------------------------------------------------------------------------

    def _push(self, batch: list[int], pfn: int, move: Callable[[int], None]) -> None:
        self.pages.refcount_view[pfn] += 1
        batch.append(pfn)
        if len(batch) == PAGEVEC_SIZE:
            self._work_off(batch, self._moved(move))

    def _moved(self, move: Callable[[int], None]) -> Callable[[int], None]:
        """Return `move` for pages that are still on a list."""

        def move_if_listed(pfn: int) -> None:
            if self.pages.flags_view[pfn] & PG_LRU:
                move(pfn)

        return move_if_listed

    def _work_off(self, batch: list[int], move: Callable[[int], None]) -> None:
        pfns = batch.copy()
        batch.clear()
        for pfn in pfns:
            move(pfn)
        for pfn in pfns:
            self._put(pfn)

    def _push_mlock(self, pfn: int, move: Callable[[int], None]) -> None:
        self.pages.refcount_view[pfn] += 1
        self.mlock_pvec.append((pfn, move))
        if len(self.mlock_pvec) == PAGEVEC_SIZE:
            self._drain_mlock()

    def _drain_mlock(self) -> None:
        waiting = self.mlock_pvec.copy()
        self.mlock_pvec.clear()
        for pfn, move in waiting:
            move(pfn)
        for pfn, _ in waiting:
            self._put(pfn)

    def _put(self, pfn: int) -> None:
        if put_page(self.pages, pfn):
            self.free_page(pfn)

    # -- what happens to a page when its batch is worked off -----------------------------------

    def _lru_add(self, pfn: int) -> None:
        was_unevictable = self.pages.flags_view[pfn] & PG_UNEVICTABLE
        self._clear(pfn, PG_UNEVICTABLE)
        if not self.pages.flags_view[pfn] & PG_MLOCKED:
            if was_unevictable:
                self.count_event(UNEVICTABLE_PGRESCUED)
        else:
            self._clear(pfn, PG_ACTIVE)
            self._set(pfn, PG_UNEVICTABLE)
            self._mlock_count[pfn] = 0
            if not was_unevictable:
                self.count_event(UNEVICTABLE_PGCULLED)
        self._add(pfn)

    def _lazyfree(self, pfn: int) -> None:
        flags = self.pages.flags_view[pfn]
        if is_anon(self.pages, pfn) and flags & PG_SWAPBACKED and not flags & PG_UNEVICTABLE:
            self._count(pfn, -1)
            self._clear(pfn, PG_ACTIVE | PG_REFERENCED | PG_SWAPBACKED)
            self._count(pfn, 1)
            self.count_event(PGLAZYFREE)

    def _deactivate(self, pfn: int) -> None:
        if self.pages.flags_view[pfn] & (PG_ACTIVE | PG_UNEVICTABLE) == PG_ACTIVE:
            self._count(pfn, -1)
            self._clear(pfn, PG_ACTIVE | PG_REFERENCED)
            self._count(pfn, 1)
            self.count_event(PGDEACTIVATE)

    def _activate(self, pfn: int) -> None:
        if not self.pages.flags_view[pfn] & (PG_ACTIVE | PG_UNEVICTABLE):
            self._count(pfn, -1)
            self._set(pfn, PG_ACTIVE)
            self._count(pfn, 1)
            self.count_event(PGACTIVATE)

    def _mlock_page(self, pfn: int) -> None:
        flags = self.pages.flags_view[pfn]
        if not flags & PG_LRU:
            return
        if not flags & PG_MLOCKED:
            if flags & PG_UNEVICTABLE:
                self._rescue(pfn)
        elif flags & PG_UNEVICTABLE:
            self._mlock_count[pfn] += 1
        else:
            self._count(pfn, -1)
            self._clear(pfn, PG_ACTIVE)
            self._set(pfn, PG_UNEVICTABLE)
            self._mlock_count[pfn] = 1
            self._count(pfn, 1)
            self.count_event(UNEVICTABLE_PGCULLED)

    def _mlock_new_page(self, pfn: int) -> None:
        if self.pages.flags_view[pfn] & PG_MLOCKED:
            self._set(pfn, PG_UNEVICTABLE)
            self._mlock_count[pfn] = 1
            self.count_event(UNEVICTABLE_PGCULLED)
        self._add(pfn)

    def _munlock_page(self, pfn: int) -> None:
        flags = self.pages.flags_view[pfn]
        is_isolated = flags & PG_LRU != 0
        if is_isolated and flags & PG_UNEVICTABLE:
            left = max(self._mlock_count[pfn] - 1, 0)
            self._mlock_count[pfn] = left
            if left:
                return
        if flags & PG_MLOCKED:
            self._clear(pfn, PG_MLOCKED)
            is_known = is_isolated or not flags & PG_UNEVICTABLE
            self._count_locked(-1, UNEVICTABLE_PGMUNLOCKED if is_known else UNEVICTABLE_PGSTRANDED)
        if is_isolated and flags & PG_UNEVICTABLE:
            self._rescue(pfn)

    def _rescue(self, pfn: int) -> None:
        self._count(pfn, -1)
        self._clear(pfn, PG_UNEVICTABLE)
        self._count(pfn, 1)
        self.count_event(UNEVICTABLE_PGRESCUED)

    # -- flags and counters --------------------------------------------------------------------

    def _add(self, pfn: int) -> None:
        self._set(pfn, PG_LRU)
        self._count(pfn, 1)

    def _count(self, pfn: int, change: int) -> None:
        """Count a page of the list that its flags name (folio_lru_list)."""
        flags = self.pages.flags_view[pfn]
        number = (0 if flags & PG_SWAPBACKED else 2) + (1 if flags & PG_ACTIVE else 0)
        if flags & PG_UNEVICTABLE:
            number = _UNEVICTABLE
        self.count_node(_NODE_ITEMS[number], change)
        self.count_zone(_ZONE_ITEMS[number], change)

    def _count_locked(self, change: int, event: int) -> None:
        self.count_zone(NR_MLOCK, change)
        self.count_event(event)

    def _set(self, pfn: int, flags: int) -> None:
        self.pages.flags_view[pfn] |= flags

    def _clear(self, pfn: int, flags: int) -> None:
        self.pages.flags_view[pfn] &= ~flags
