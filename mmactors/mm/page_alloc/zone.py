"""One zone: what a request may take from it, and what is done under its lock.

Models struct zone, the watermark checks and the sections of mm/page_alloc.c (v6.1) that hold
zone->lock. Such a section is one request value, named after the kernel's function;
`serve_zone` executes it completely. In a running machine the zone actor's mailbox is the lock.

Left out: CMA, deferred struct pages, node reclaim, compaction's own work (its scanner positions
are kept as they were loaded).

Invariants: only `serve_zone` changes the buddy lists and the pageblocks; the global NR_FREE_PAGES
plus all CPUs' deltas equals the pages on the buddy lists, isolated pageblocks apart.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np

from mmactors.arch.page import PG_RESERVED, PageColumns, list_del
from mmactors.mm.page_alloc import buddy
from mmactors.mm.page_alloc.buddy import (
    FREE_LISTS,
    LOWMEM_RESERVE,
    MANAGED_PAGES,
    MAX_NR_ZONES,
    NR_FREE_LISTS,
    NR_ISOLATE_PAGEBLOCK,
    PAGEBLOCK_PAGES,
    PAGEBLOCK_TYPE_MASK,
    WMARK_MIN,
    ZONE_END,
    ZONE_ID,
    ZONE_START,
    Bytes,
)
from mmactors.mm.page_alloc.gfp import (
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_TYPES,
)
from mmactors.mm.page_alloc.layout import ZoneLayout
from mmactors.mm.page_alloc.order import (
    MAX_ORDER,
    PAGEBLOCK_ORDER,
)
from mmactors.mm.page_alloc.pcp import PerCpuPages
from mmactors.mm.page_alloc.zone_watermark import ZoneWatermarks
from mmactors.mm.vmstat import NR_FREE_PAGES, VmStat, Words, mod_page_state
from mmactors.rules import Rules


class Zone(ZoneWatermarks):
    """One populated zone on arrays that all zones share."""

    def __init__(
        self,
        *,
        number: int,
        node: int,
        index: int,
        name: str,
        words: Words,
        pages: PageColumns,
        pageblocks: Bytes,
        vmstat: VmStat,
        pcps: list[PerCpuPages],
        rules: Rules,
    ) -> None:
        super().__init__(
            view=words.data,
            pages=pages,
            number=number,
            vmstat=vmstat,
            rules=rules,
        )
        self.number: Final = number
        """Position among all zones of the machine; requests name the zone by it."""
        self.node: Final = node
        self.index: Final = index
        """Linux's zone index: 0 DMA, 1 DMA32, 2 Normal, 3 Movable."""
        self.name: Final = name
        self.words: Final = words
        self.pageblocks: Final = pageblocks
        self.own_pcps: Final = tuple(pcps)
        self.pcps: Final = pcps
        """By CPU: its own lists, or those that all zones share which have none yet."""
        self.stat: Final = vmstat.zone_words[number]
        """The zone's counters, for compiled functions."""
        self.cpu_stats: Final = [rows[number] for rows in vmstat.cpu_zone_words]
        """By CPU: what it has not yet added to them."""
        self._cpu_stat_views: Final = [rows[number] for rows in vmstat.cpu_zones]
        self.trace = buddy.no_trace()
        """What compiled functions write down of what they do under the lock."""
        self.present_pages = 0
        self.pageset_high = 0
        """How long the CPUs' lists are, and how much they take at once, while they are not off."""
        self.pageset_batch = 1
        words[ZONE_ID] = number + 1
        words[FREE_LISTS] = pages.claim_list_heads(NR_FREE_LISTS)

    def online(self, *, cpu: int) -> int:
        """Let the zone's memory come into being, isolated; return how many pages it is.

        Models move_pfn_range_to_zone and online_pages_range (mm/memory_hotplug.c).
        """
        start, end = int(self.words[ZONE_START]), int(self.words[ZONE_END])
        self.pages.flags[start:end] = 0
        self.pages.refcount[start:end] = 0
        self.pageblocks[start >> PAGEBLOCK_ORDER : end >> PAGEBLOCK_ORDER] = MIGRATE_ISOLATE
        self.view[NR_ISOLATE_PAGEBLOCK] += (end - start) >> PAGEBLOCK_ORDER
        for pfn in range(start, end, 1 << (MAX_ORDER - 1)):
            self.free_one_page(pfn, MAX_ORDER - 1, MIGRATE_ISOLATE, cpu=cpu, to_tail=1)
        self.adjust_managed_pages(end - start)
        return end - start

    @property
    def trace_events(self) -> bool:
        """Whether answers carry the events of what happened under the lock."""
        return len(self.trace) > 1

    @trace_events.setter
    def trace_events(self, wanted: bool) -> None:
        if not wanted:
            self.trace = buddy.no_trace()
            return
        # The longest section drains one CPU's lists, which hold little more than `high` pages.
        most = max(int(pcp.words[1]) for pcp in self.pcps) + 4 * PAGEBLOCK_PAGES
        self.trace = np.zeros(1 + most * buddy.TRACE_WORDS, np.int64)

    @property
    def nr_free(self) -> int:
        """The exact number of free pages."""
        return sum(int(self.view[order]) << order for order in range(MAX_ORDER))

    def free_list_head(self, order: int, migratetype: int) -> int:
        """Return the number of the head of a free list, for `PageColumns.list_pfns`."""
        return int(self.view[FREE_LISTS]) + order * MIGRATE_TYPES + migratetype

    def set_span(self, *, start_pfn: int, spanned_pages: int) -> None:
        """Say which page frames are the zone's; their struct pages begin to exist."""
        self.words[ZONE_START] = start_pfn
        self.words[ZONE_END] = start_pfn + spanned_pages
        self.pages.zone[start_pfn : start_pfn + spanned_pages] = self.number + 1

    def set_limits(
        self,
        *,
        present_pages: int,
        managed_pages: int,
        watermarks: tuple[int, int, int, int],
        lowmem_reserve_pages: tuple[int, ...],
        percpu_drift_mark_pages: int,
    ) -> None:
        """Set sizes and limits; `watermarks` are min, low, high and promo, in pages."""
        reserve = lowmem_reserve_pages + (0,) * (MAX_NR_ZONES - len(lowmem_reserve_pages))
        self.words[MANAGED_PAGES] = managed_pages
        self.words[WMARK_MIN : WMARK_MIN + 4] = watermarks
        self.words[LOWMEM_RESERVE : LOWMEM_RESERVE + MAX_NR_ZONES] = reserve
        self.present_pages = present_pages
        self.percpu_drift_mark = percpu_drift_mark_pages

    def boot(self, layout: ZoneLayout) -> None:
        """Fill the empty zone as boot does.

        Models memmap_init (all pageblocks movable) and __free_pages_memory: each range is cut into
        the largest aligned blocks, ascending, each put at the tail. There are no thresholds yet,
        so no delta is left behind.
        """
        start_pfn, spanned_pages = layout.start_pfn, layout.spanned_pages
        self.set_span(start_pfn=start_pfn, spanned_pages=spanned_pages)
        self.set_limits(
            present_pages=layout.present_pages,
            managed_pages=layout.managed_pages,
            watermarks=(
                layout.watermark_min_pages,
                layout.watermark_low_pages,
                layout.watermark_high_pages,
                layout.watermark_promo_pages,
            ),
            lowmem_reserve_pages=layout.lowmem_reserve_pages,
            percpu_drift_mark_pages=layout.percpu_drift_mark_pages,
        )
        first_block = start_pfn >> PAGEBLOCK_ORDER
        end_block = -(-(start_pfn + spanned_pages) // PAGEBLOCK_PAGES)
        self.pageblocks[first_block:end_block] = MIGRATE_MOVABLE
        self._reserve_all_but(layout.free_ranges)
        for start, end in layout.free_ranges:
            pfn = start
            while pfn < end:
                order = min(MAX_ORDER - 1, (pfn & -pfn).bit_length() - 1 if pfn else MAX_ORDER - 1)
                while pfn + (1 << order) > end:
                    order -= 1
                self.free_one_page(pfn, order, MIGRATE_MOVABLE, cpu=0, to_tail=1)
                pfn += 1 << order

    def _reserve_all_but(self, free_ranges: Iterable[tuple[int, int]]) -> None:
        """Mark what boot keeps (reserve_bootmem_region): in use for ever, and unmovable."""
        pages = self.pages
        kept_from = int(self.words[ZONE_START])
        for start, end in (*sorted(free_ranges), (int(self.words[ZONE_END]),) * 2):
            pages.flags[kept_from:start] |= PG_RESERVED
            pages.refcount[kept_from:start] = 1
            kept_from = end

    def pageblock_migratetype(self, pfn: int) -> int:
        """Return the type of the pageblock of `pfn`."""
        return int(self.pageblocks[pfn >> PAGEBLOCK_ORDER]) & PAGEBLOCK_TYPE_MASK

    def adjust_managed_pages(self, nr_pages: int) -> None:
        """Count pages that the zone got, or lost if negative (adjust_managed_page_count)."""
        self.view[MANAGED_PAGES] += nr_pages
        self.present_pages += nr_pages

    def highatomic_limit(self) -> int:
        """Return the reserve (pages) from which on no pageblock is added: 1 % and a pageblock."""
        return int(self.view[MANAGED_PAGES]) // 100 + PAGEBLOCK_PAGES

    def free_one_page(
        self, pfn: int, order: int, migratetype: int, *, cpu: int, to_tail: int = 0
    ) -> None:
        """Put a block on the buddy lists and merge it (__free_one_page)."""
        pages = self.pages
        assert pfn % (1 << order) == 0, f"pfn {pfn:#x} is not aligned to order {order}"
        assert pages.buddy_view[pfn] == 0, f"pfn {pfn:#x} is free already"
        buddy.free_one_page(
            pages.next,
            pages.prev,
            pages.buddy,
            pages.zone,
            self.pageblocks,
            self.words,
            self.stat,
            self.cpu_stats[cpu],
            pfn,
            order,
            migratetype,
            to_tail,
        )

    def move_freepages_block(self, pfn: int, migratetype: int) -> int:
        """Move the free blocks of a pageblock to another type's lists; return how many pages."""
        pages = self.pages
        return buddy.move_freepages_block(
            pages.next, pages.prev, pages.buddy, pages.flags, self.words, pfn, migratetype
        )[0]

    def del_page_from_free_list(self, pfn: int, order: int) -> None:
        """Take a free block off its list."""
        pages = self.pages
        list_del(pages.next, pages.prev, pfn)
        pages.buddy_view[pfn] = 0
        self.view[order] -= 1

    def mod_freepage_state(self, cpu: int, nr_pages: int) -> None:
        """Count free pages on behalf of a CPU (__mod_zone_freepage_state)."""
        mod_page_state(self.stat_view, self._cpu_stat_views[cpu], NR_FREE_PAGES, nr_pages)
