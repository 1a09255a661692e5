"""Per-CPU page lists (struct per_cpu_pages, mm/page_alloc.c, v6.1).

Each CPU has, for each zone, 14 lists: migratetypes 0 to 2 of orders 0 to 3, and two of order 9. An
allocation takes the head, a free puts at the head; when the pages are too many, the tails go back
to the buddy lists. Nobody but the CPU touches its lists, except by a drain.

Left out: the boot pageset (high 0, batch 1 exists only before the lists are sized).

Invariant: `count` is the number of pages, not blocks, on the 14 lists.
"""

from typing import Any, Final

from mmactors.arch.column import ColumnView, WordsView
from mmactors.arch.jit import compiled
from mmactors.arch.page import Links, PageColumns, list_add, list_del
from mmactors.mm.page_alloc.buddy import (
    NR_ISOLATE_PAGEBLOCK,
    PAGEBLOCK_TYPE_MASK,
    TRACE_PCPU_DRAIN,
    Bytes,
    ZoneNumbers,
    free_one_page,
    trace_fact,
)
from mmactors.mm.page_alloc.gfp import MIGRATE_ISOLATE, MIGRATE_MOVABLE, MIGRATE_PCPTYPES
from mmactors.mm.page_alloc.order import (
    PAGE_ALLOC_COSTLY_ORDER,
    PAGEBLOCK_ORDER,
)
from mmactors.mm.vmstat import Words

NR_LOWORDER_PCP_LISTS: Final = MIGRATE_PCPTYPES * (PAGE_ALLOC_COSTLY_ORDER + 1)
NR_PCP_LISTS: Final = NR_LOWORDER_PCP_LISTS + 2
PCP_BATCH_SCALE_MAX: Final = 5

# Words of struct per_cpu_pages.
COUNT: Final = 0
HIGH: Final = 1
BATCH: Final = 2
FREE_FACTOR: Final = 3
EXPIRE: Final = 4
NR_PCP_WORDS: Final = 5


def pcp_allowed_order(order: int) -> bool:
    """Return whether blocks of this order go through the per-CPU lists."""
    return order <= PAGE_ALLOC_COSTLY_ORDER or order == PAGEBLOCK_ORDER


def order_to_pindex(migratetype: int, order: int) -> int:
    """Return the index of the list for blocks of this order and type."""
    if order > PAGE_ALLOC_COSTLY_ORDER:
        return NR_LOWORDER_PCP_LISTS + (migratetype == MIGRATE_MOVABLE)
    return MIGRATE_PCPTYPES * order + migratetype


def pindex_to_order(pindex: int) -> int:
    """Return the order of the blocks on list `pindex`."""
    return PAGEBLOCK_ORDER if pindex >= NR_LOWORDER_PCP_LISTS else pindex // MIGRATE_PCPTYPES


_pindex_to_order = compiled(pindex_to_order)


class PerCpuPages:
    """The lists of one CPU for one zone."""

    __slots__ = ("_next", "_prev", "heads", "view", "words")

    def __init__(self, pages: PageColumns, words: Words) -> None:
        self._next: Final = pages.next_view
        self._prev: Final = pages.prev_view
        self.words: Final = words
        self.view: Any = words.data
        self.heads: Final = pages.claim_list_heads(NR_PCP_LISTS)
        """The head of list `pindex` is this plus pindex."""

    def pop(self, pindex: int, order: int) -> int | None:
        """Take the page at the head of a list; None if the list is empty."""
        links = self._next
        head = self.heads + pindex
        pfn = links[head]
        if pfn == head:
            return None
        after = links[pfn]
        links[head] = after
        self._prev[after] = head
        self.view[COUNT] -= 1 << order
        return pfn

    def push(self, pfn: int, pindex: int, order: int) -> None:
        """Put a page at the head of a list."""
        links, back, head = self._next, self._prev, self.heads + pindex
        after = links[head]
        back[after] = pfn
        links[pfn] = after
        back[pfn] = head
        links[head] = pfn
        self.view[COUNT] += 1 << order

    def refill_count(self, order: int) -> int:
        """Return how many blocks a refill asks for."""
        batch: int = self.view[BATCH]
        return max(batch >> order, 2) if batch > 1 else batch

    def high(self, *, reclaim_active: bool) -> int:
        """Return how many pages the lists may hold; few while the zone is reclaimed."""
        high: int = self.view[HIGH]
        batch: int = self.view[BATCH]
        return min(batch << 2, high) if reclaim_active else high

    def nr_to_drain(self, order: int, *, reclaim_active: bool) -> int:
        """Return how many pages must go back now that a block was put here; adapt free_factor.

        Models nr_pcp_high and nr_pcp_free. A CPU that frees blocks of order 1 to 3 and allocates
        nothing keeps none of them, since they would fragment memory.
        """
        view = self.view
        count: int = view[COUNT]
        batch: int = view[BATCH]
        factor: int = view[FREE_FACTOR]
        free_high = bool(factor and order and order <= PAGE_ALLOC_COSTLY_ORDER)
        high = 0 if free_high else self.high(reclaim_active=reclaim_active)
        if count < high:
            return 0
        if free_high:
            return count
        if high < batch:
            return 1
        nr_free = batch << factor
        if nr_free < high - batch and factor < PCP_BATCH_SCALE_MAX:
            view[FREE_FACTOR] = factor + 1
        # clamp(nr_free, batch, high - batch) as the kernel nests it: the upper bound wins.
        return min(max(nr_free, batch), high - batch)


@compiled
def free_pcppages_bulk(
    links: Links,
    back: Links,
    buddy: Bytes,
    page_zone: ZoneNumbers,
    index: Words,
    pageblock: Bytes,
    zone: Words,
    stat: Words,
    cpu_stat: Words,
    trace: Words,
    pcp: Words,
    heads: int,
    count: int,
    pindex: int,
    rereads_type: bool,  # noqa: FBT001  compiled functions take no keywords
) -> int:
    """Give up to `count` pages of a CPU back to the buddy lists; return how many blocks they were.

    Empties list `pindex` from its tail, then the next higher one, and so on around; the range of
    lists shrinks at ends that are found empty. A page goes back with the type that its pageblock
    had when it was freed; with `rereads_type`, with the present one if any pageblock is isolated.
    """
    count = min(pcp[COUNT], count)
    nr_blocks = 0
    first = 0
    last = NR_PCP_LISTS - 1
    pindex -= 1
    while count > 0:
        while True:
            pindex += 1
            if pindex > last:
                pindex = first
            head = heads + pindex
            if links[head] != head:
                break
            if pindex == last:
                last -= 1
            if pindex == first:
                first += 1
        order = _pindex_to_order(pindex)
        while True:
            pfn = int(back[head])
            migratetype = index[pfn]
            list_del(links, back, pfn)
            nr_blocks += 1
            count -= 1 << order
            pcp[COUNT] -= 1 << order
            if rereads_type and zone[NR_ISOLATE_PAGEBLOCK]:
                migratetype = pageblock[pfn >> PAGEBLOCK_ORDER] & PAGEBLOCK_TYPE_MASK
            free_one_page(
                links,
                back,
                buddy,
                page_zone,
                pageblock,
                zone,
                stat,
                cpu_stat,
                pfn,
                order,
                migratetype,
                0,
            )
            trace_fact(trace, TRACE_PCPU_DRAIN, pfn, order, migratetype, 0, 0, 0)
            if count <= 0 or links[head] == head:
                break
    return nr_blocks


def wipe_page(
    refcount: ColumnView,
    flags: ColumnView,
    mapping: WordsView,
    private: WordsView,
    generation: ColumnView,
    pfn: int,
) -> None:
    """Take from a struct page what its last user left there (free_pages_prepare)."""
    refcount[pfn] = 0
    flags[pfn] = 0
    mapping[pfn] = 0
    private[pfn] = 0
    generation[pfn] += 1


_wipe_page = compiled(wipe_page)


@compiled
def free_unref_page_prepare(
    refcount: Links,
    flags: Links,
    mapping: Words,
    private: Words,
    generation: Links,
    index: Words,
    pageblock: Bytes,
    pfns: Words,
) -> int:
    """Wipe single pages and note their pageblocks' types; return how many are isolated."""
    nr_isolated = 0
    for pfn in pfns:
        _wipe_page(refcount, flags, mapping, private, generation, pfn)
        migratetype = pageblock[pfn >> PAGEBLOCK_ORDER] & PAGEBLOCK_TYPE_MASK
        index[pfn] = migratetype
        nr_isolated += migratetype == MIGRATE_ISOLATE
    return nr_isolated


@compiled
def push_until_drain(
    links: Links,
    back: Links,
    index: Words,
    page_zone: ZoneNumbers,
    pcp: Words,
    heads: int,
    high: int,
    pfns: Words,
    nth: int,
) -> int:
    """Put prepared single pages on a CPU's lists, from `pfns[nth]` on; return where it stopped.

    It stops before a page of another zone, and after the page with which `high` was reached.
    """
    zone = page_zone[pfns[nth]]
    while nth < len(pfns):
        pfn = pfns[nth]
        if page_zone[pfn] != zone:
            break
        migratetype = index[pfn]
        if migratetype >= MIGRATE_PCPTYPES:
            migratetype = MIGRATE_MOVABLE
        list_add(links, back, pfn, heads + migratetype)
        pcp[COUNT] += 1
        nth += 1
        if pcp[COUNT] >= high:
            break
    return nth
