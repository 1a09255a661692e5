"""struct page as columns indexed by PFN, and the lists that are threaded through them.

Models include/linux/mm_types.h and page-flags.h (v6.1) as far as the mechanisms need them. A list
is circular and doubly linked as in include/linux/list.h; a link is a PFN, or the number of a list
head. List heads stand behind the last frame in the same two columns, so that the code of a list
operation knows no special case, and the order of a list is the kernel's.

Left out: the rest of the union (page pool, ZONE_DEVICE, kernel stacks); compound_head, because
what looks at tail pages gets there from the head. `mapcount` counts from 0 (the kernel's from -1).

Invariants: a page is on at most one list; `buddy` is set exactly for the first page of each block
on the buddy lists; `generation` grows by one whenever a page is handed out or given back.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.arena import Arena
from mmactors.arch.column import ColumnView
from mmactors.arch.jit import compiled
from mmactors.arch.memory import Words

Links = NDArray[np.int32]
Generations = NDArray[np.int32]

PG_LOCKED: Final = 1 << 0
PG_REFERENCED: Final = 1 << 1
PG_UPTODATE: Final = 1 << 2
PG_DIRTY: Final = 1 << 3
PG_LRU: Final = 1 << 4
PG_ACTIVE: Final = 1 << 5
PG_WORKINGSET: Final = 1 << 6
PG_WAITERS: Final = 1 << 7
PG_SLAB: Final = 1 << 9
PG_RESERVED: Final = 1 << 12
PG_PRIVATE: Final = 1 << 13
PG_WRITEBACK: Final = 1 << 15
PG_HEAD: Final = 1 << 16
PG_RECLAIM: Final = 1 << 18
PG_READAHEAD: Final = PG_RECLAIM
"""The page is clean and its use lets the next window be read: one bit serves both."""
PG_SWAPBACKED: Final = 1 << 19
PG_UNEVICTABLE: Final = 1 << 20
PG_MLOCKED: Final = 1 << 21
PG_YOUNG: Final = 1 << 24
PG_IDLE: Final = 1 << 25
PG_TABLE: Final = 1 << 29
"""PageTable(): the page is a page table (a page_type in Linux)."""
PG_MOVABLE_OPS: Final = 1 << 30
"""__PageMovable(): its driver can migrate it (a mapping bit in Linux)."""

_BLOCK_PAGES: Final = 1 << 10
"""The columns reach to a whole block of the highest order, so that a buddy always has a place."""
DEFAULT_LIST_HEADS: Final = 1 << 15


class PageColumns:
    """All struct pages of a machine: numpy arrays, and memoryviews of them for use from Python.

    A memoryview is three times as fast as the array when one element is read. 56 bytes a page;
    the host gives memory only to the parts that were written.
    """

    def __init__(
        self, arena: Arena, nr_frames: int, *, nr_list_heads: int = DEFAULT_LIST_HEADS
    ) -> None:
        assert nr_frames > 0, f"a machine needs frames, not {nr_frames}"
        self.nr_frames: Final = nr_frames
        rows = -(-nr_frames // _BLOCK_PAGES) * _BLOCK_PAGES
        self._first_head: Final = rows
        self._nr_list_heads: Final = nr_list_heads
        self._claimed_heads = 0
        links = rows + nr_list_heads
        self.next: Final[Links] = arena.array("page.next", links, np.int32)
        self.prev: Final[Links] = arena.array("page.prev", links, np.int32)
        self.flags: Final[NDArray[np.int32]] = arena.array("page.flags", rows, np.int32)
        self.refcount: Final[NDArray[np.int32]] = arena.array("page.refcount", rows, np.int32)
        self.mapcount: Final[NDArray[np.int32]] = arena.array("page.mapcount", rows, np.int32)
        self.mlock_count: Final[NDArray[np.int32]] = arena.array("page.mlock_count", rows, np.int32)
        """How many areas have locked a page of the unevictable list, at least."""
        self.generation: Final[NDArray[np.int32]] = arena.array("page.generation", rows, np.int32)
        self.private: Final[NDArray[np.int64]] = arena.array("page.private", rows)
        self.mapping: Final[NDArray[np.int64]] = arena.array("page.mapping", rows)
        self.index: Final[NDArray[np.int64]] = arena.array("page.index", rows)
        """Offset in the mapping; while on a per-CPU list, the migratetype it goes back with."""
        self.order: Final[NDArray[np.int8]] = arena.array("page.order", rows, np.int8)
        """Order of the compound page that starts here."""
        self.buddy: Final[NDArray[np.int8]] = arena.array("page.buddy", rows, np.int8)
        """1 + order of the free block that starts here (PageBuddy); 0: none does."""
        self.zone: Final[NDArray[np.int16]] = arena.array("page.zone", rows, np.int16)
        """1 + number of the zone (page_zone); 0: no struct page."""
        self.next_view: Final = self.next.data
        self.prev_view: Final = self.prev.data
        self.flags_view: Final = self.flags.data
        self.refcount_view: Final = self.refcount.data
        self.mapcount_view: Words = self.mapcount.data
        """Guard mode replaces it."""
        self.generation_view: Final = self.generation.data
        self.private_view: Final = self.private.data
        self.mapping_view: Final = self.mapping.data
        self.index_view: Final = self.index.data
        self.order_view: Final = self.order.data
        self.buddy_view: Final = self.buddy.data
        self.zone_view: Final = self.zone.data

    def claim_list_heads(self, count: int) -> int:
        """Make `count` empty lists; return the number of the first head, the others follow."""
        left = self._nr_list_heads - self._claimed_heads
        assert count <= left, f"{count} list heads wanted, {left} left of {self._nr_list_heads}"
        first = self._first_head + self._claimed_heads
        self._claimed_heads += count
        heads = np.arange(first, first + count, dtype=np.int32)
        self.next[first : first + count] = heads
        self.prev[first : first + count] = heads
        return first

    def list_add_tail(self, pfn: int, head: int) -> None:
        """Put page `pfn` at the end of list `head`."""
        add_between(self.next_view, self.prev_view, pfn, self.prev_view[head], head)

    def list_pfns(self, head: int) -> list[int]:
        """Return the pages of list `head`, head first."""
        links = self.next_view
        pfn = links[head]
        if pfn == head:
            return []
        pfns = []
        while pfn != head:
            pfns.append(pfn)
            assert len(pfns) <= self._first_head, f"list {head} does not come back to its head"
            pfn = links[pfn]
        return pfns


def add_between(links: ColumnView, back: ColumnView, entry: int, before: int, after: int) -> None:
    """Put `entry` between two neighbours of a list (__list_add)."""
    back[after] = entry
    links[entry] = after
    back[entry] = before
    links[before] = entry


_add_between = compiled(add_between)


@compiled
def list_add(links: Links, back: Links, entry: int, head: int) -> None:
    """Put `entry` at the start of list `head`; `links` and `back` are the columns next and prev."""
    _add_between(links, back, entry, head, links[head])


@compiled
def list_add_tail(links: Links, back: Links, entry: int, head: int) -> None:
    """Put `entry` at the end of list `head`."""
    _add_between(links, back, entry, back[head], head)


@compiled
def list_del(links: Links, back: Links, entry: int) -> None:
    """Take `entry` off its list."""
    after = links[entry]
    before = back[entry]
    back[after] = before
    links[before] = after
