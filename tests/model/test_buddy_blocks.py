"""The page allocator under arbitrary operations: no page is lost, none is in two places."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mmactors.arch.arena import Arena
from mmactors.arch.page import PageColumns
from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.page_alloc.buddy import (
    NR_RESERVED_HIGHATOMIC,
    PAGEBLOCK_PAGES,
)
from mmactors.mm.page_alloc.gfp import (
    GFP_ATOMIC,
    GFP_DMA32,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    GFP_MEMALLOC,
    GFP_NOWAIT,
    GFP_RECLAIMABLE,
    MIGRATE_HIGHATOMIC,
    MIGRATE_PCPTYPES,
    MIGRATE_TYPES,
)
from mmactors.mm.page_alloc.layout import MemoryLayout, ZoneLayout
from mmactors.mm.page_alloc.order import MAX_ORDER
from mmactors.mm.page_alloc.pcp import COUNT, NR_PCP_LISTS, pcp_allowed_order, pindex_to_order
from mmactors.mm.vmstat import NR_FREE_PAGES

NR_CPUS = 2
NR_FRAMES = 6 * 1024
FREE_RANGES = (((3, 1500), (1536, 3000)), ((3072, 6100),))
MASKS = (
    GFP_KERNEL,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL | GFP_RECLAIMABLE,
    GFP_ATOMIC,
    GFP_DMA32,
    GFP_NOWAIT | GFP_MEMALLOC,
)


def layout():
    zones = tuple(
        ZoneLayout(
            node=0,
            index=index,
            name=name,
            start_pfn=start,
            spanned_pages=3072,
            present_pages=3072,
            managed_pages=3072,
            watermark_min_pages=16,
            watermark_low_pages=40,
            watermark_high_pages=64,
            watermark_promo_pages=80,
            lowmem_reserve_pages=(0, 0, reserve, reserve),
            stat_threshold=5,
            percpu_drift_mark_pages=0,
            pcp_high=40,
            pcp_batch=6,
            free_ranges=ranges,
        )
        for index, name, start, reserve, ranges in (
            (1, "DMA32", 0, 30, FREE_RANGES[0]),
            (2, "Normal", 3072, 0, FREE_RANGES[1]),
        )
    )
    return MemoryLayout(
        nr_frames=NR_FRAMES,
        zones=zones,
        zonelists=(((0, 2), (0, 1)),),
        cpu_node=(0,) * NR_CPUS,
    )


class AllocatorMachine(RuleBasedStateMachine):
    """Held blocks against the free area and the CPUs' lists."""

    @initialize()
    def boot(self):
        self.arena = Arena()
        pages = PageColumns(self.arena, NR_FRAMES, nr_list_heads=512)
        self.allocator = PageAllocator.of_layout(layout(), NR_CPUS, self.arena, pages)
        self.held = {}
        self.nr_pages = sum(end - start for ranges in FREE_RANGES for start, end in ranges)
        self.saved = None

    @rule(
        cpu=st.integers(0, NR_CPUS - 1),
        order=st.integers(0, MAX_ORDER - 1),
        gfp=st.sampled_from(MASKS),
        count=st.integers(1, 20),
    )
    def allocate(self, cpu, order, gfp, count):
        for _ in range(count):
            pfn = None
            if pcp_allowed_order(order):
                pfn = self.allocator.alloc_pcp(cpu, order, gfp)
            if pfn is None:
                pfn = self.allocator.perform(self.allocator.alloc_pages(cpu, order, gfp))
            if pfn is not None:
                assert pfn not in self.held, f"{pfn} was handed out twice"
                self.held[pfn] = order

    @precondition(lambda self: self.held)
    @rule(cpu=st.integers(0, NR_CPUS - 1), data=st.data(), count=st.integers(1, 20))
    def free(self, cpu, data, count):
        for _ in range(min(count, len(self.held))):
            pfn = data.draw(st.sampled_from(sorted(self.held)))
            order = self.held.pop(pfn)
            if not self.allocator.free_pcp(cpu, pfn, order):
                self.allocator.perform(self.allocator.free_pages(cpu, pfn, order))

    @rule(cpu=st.integers(0, NR_CPUS - 1))
    def free_all_single_pages(self, cpu):
        pfns = [pfn for pfn, order in self.held.items() if order == 0]
        self.allocator.perform(self.allocator.free_page_list(cpu, pfns))
        for pfn in pfns:
            del self.held[pfn]

    @rule(cpu=st.integers(0, NR_CPUS - 1))
    def drain(self, cpu):
        self.allocator.perform(self.allocator.drain_pages(cpu))
        self.allocator.perform(self.allocator.refresh_cpu_vm_stats(cpu))

    @rule()
    def save(self):
        self.saved = (self.arena.snapshot(), dict(self.held))

    @precondition(lambda self: self.saved)
    @rule()
    def go_back(self):
        snapshot, held = self.saved
        self.arena.restore(snapshot)
        self.held = dict(held)

    @rule()
    def load_what_was_dumped(self):
        dumped = self.allocator.dump()

        assert dumped == PageAllocator.load(dumped, cpu_node=(0,) * NR_CPUS).dump()

    @invariant()
    def no_page_is_lost_or_in_two_places(self):
        owner = bytearray(NR_FRAMES)
        nr_pages = 0
        blocks = [*self.held.items(), *self.free_blocks(), *self.listed_blocks()]
        for pfn, order in blocks:
            assert pfn % (1 << order) == 0, f"{pfn} is no block of order {order}"
            assert not any(owner[pfn : pfn + (1 << order)]), f"{pfn} is in two places"
            owner[pfn : pfn + (1 << order)] = b"\1" * (1 << order)
            nr_pages += 1 << order

        assert self.nr_pages == nr_pages

    @invariant()
    def counters_tell_the_truth(self):
        for zone in self.allocator.zones:
            vmstat = self.allocator.vmstat

            assert zone.nr_free == vmstat.zone_page_state_snapshot(zone.number, NR_FREE_PAGES)
            for pcp in zone.pcps:
                listed = [
                    1 << pindex_to_order(pindex)
                    for pindex in range(NR_PCP_LISTS)
                    for _ in zone.pages.list_pfns(pcp.heads + pindex)
                ]
                assert sum(listed) == pcp.view[COUNT]

    @invariant()
    def free_buddies_are_merged(self):
        """Two free buddies of one order are of pageblocks that must not mix."""
        for zone in self.allocator.zones:
            buddy = zone.pages.buddy_view
            for pfn, order in self.blocks_of(zone):
                other = pfn ^ (1 << order)
                if order == MAX_ORDER - 1 or buddy[other] != order + 1:
                    continue
                if zone.pages.zone_view[pfn] != zone.pages.zone_view[other]:
                    continue
                types = {zone.pageblock_migratetype(page) for page in (pfn, other)}

                assert order >= 9
                assert max(types) >= MIGRATE_PCPTYPES

    @invariant()
    def the_reserve_is_what_the_pageblocks_say(self):
        for zone in self.allocator.zones:
            start, end = zone.words[12] >> 9, zone.words[13] >> 9
            types = zone.pageblocks[start:end] & 7

            reserved = int((types == MIGRATE_HIGHATOMIC).sum()) * PAGEBLOCK_PAGES
            assert reserved == zone.view[NR_RESERVED_HIGHATOMIC]

    def blocks_of(self, zone):
        for order in range(MAX_ORDER):
            nr_blocks = 0
            for migratetype in range(MIGRATE_TYPES):
                for pfn in zone.pages.list_pfns(zone.free_list_head(order, migratetype)):
                    nr_blocks += 1
                    assert zone.pages.buddy_view[pfn] == order + 1
                    yield pfn, order
            assert nr_blocks == zone.view[order]

    def free_blocks(self):
        for zone in self.allocator.zones:
            yield from self.blocks_of(zone)

    def listed_blocks(self):
        for zone in self.allocator.zones:
            for pcp in zone.pcps:
                for pindex in range(NR_PCP_LISTS):
                    for pfn in zone.pages.list_pfns(pcp.heads + pindex):
                        yield pfn, pindex_to_order(pindex)


AllocatorMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestAllocator = AllocatorMachine.TestCase
