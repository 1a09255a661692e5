"""Counters: events, zone and node items with per-CPU deltas (mm/vmstat.c, v6.1).

An event is a number a CPU, summed when read. A zone or node item is a global number that lags: each
CPU keeps a delta and folds it in when it exceeds the CPU's stat_threshold. Watermark checks read
the lagging number, so the deltas are part of the mechanism, not of its reporting.

A percpu_counter (lib/percpu_counter.c) is one such number of its own, with a batch for threshold. A
thread's rss changes wait in the thread and reach the mm with every 66th fault (mm/memory.c).

Left out: numa_interleave's policy, memory hot-plug, the s8 width of a delta (no threshold exceeds
125).

Invariant: the exact value of an item is the global number plus the deltas of all CPUs.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from mmactors.arch.arena import Arena
from mmactors.arch.column import WordsView

Words = NDArray[np.int64]

# The names of /proc/vmstat in its order, which is the order of the kernel's enums.
_ZONE_STAT_TEXT: Final = """
    nr_free_pages nr_zone_inactive_anon nr_zone_active_anon nr_zone_inactive_file
    nr_zone_active_file nr_zone_unevictable nr_zone_write_pending nr_mlock nr_bounce nr_zspages
    nr_free_cma
"""
_NUMA_EVENT_TEXT: Final = """
    numa_hit numa_miss numa_foreign numa_interleave numa_local numa_other
"""
_NODE_STAT_TEXT: Final = """
    nr_inactive_anon nr_active_anon nr_inactive_file nr_active_file nr_unevictable
    nr_slab_reclaimable nr_slab_unreclaimable nr_isolated_anon nr_isolated_file workingset_nodes
    workingset_refault_anon workingset_refault_file workingset_activate_anon
    workingset_activate_file workingset_restore_anon workingset_restore_file
    workingset_nodereclaim nr_anon_pages nr_mapped nr_file_pages nr_dirty nr_writeback
    nr_writeback_temp nr_shmem nr_shmem_hugepages nr_shmem_pmdmapped nr_file_hugepages
    nr_file_pmdmapped nr_anon_transparent_hugepages nr_vmscan_write nr_vmscan_immediate_reclaim
    nr_dirtied nr_written nr_throttled_written nr_kernel_misc_reclaimable nr_foll_pin_acquired
    nr_foll_pin_released nr_kernel_stack nr_page_table_pages nr_sec_page_table_pages
    nr_swapcached pgpromote_success pgpromote_candidate
"""
_VM_EVENT_TEXT: Final = """
    pgpgin pgpgout pswpin pswpout pgalloc_dma pgalloc_dma32 pgalloc_normal pgalloc_movable
    pgalloc_device allocstall_dma allocstall_dma32 allocstall_normal allocstall_movable
    allocstall_device pgskip_dma pgskip_dma32 pgskip_normal pgskip_movable pgskip_device pgfree
    pgactivate pgdeactivate pglazyfree pgfault pgmajfault pglazyfreed pgrefill pgreuse
    pgsteal_kswapd pgsteal_direct pgdemote_kswapd pgdemote_direct pgscan_kswapd pgscan_direct
    pgscan_direct_throttle pgscan_anon pgscan_file pgsteal_anon pgsteal_file zone_reclaim_failed
    pginodesteal slabs_scanned kswapd_inodesteal kswapd_low_wmark_hit_quickly
    kswapd_high_wmark_hit_quickly pageoutrun pgrotated drop_pagecache drop_slab oom_kill
    numa_pte_updates numa_huge_pte_updates numa_hint_faults numa_hint_faults_local
    numa_pages_migrated pgmigrate_success pgmigrate_fail thp_migration_success
    thp_migration_fail thp_migration_split compact_migrate_scanned compact_free_scanned
    compact_isolated compact_stall compact_fail compact_success compact_daemon_wake
    compact_daemon_migrate_scanned compact_daemon_free_scanned htlb_buddy_alloc_success
    htlb_buddy_alloc_fail unevictable_pgs_culled unevictable_pgs_scanned unevictable_pgs_rescued
    unevictable_pgs_mlocked unevictable_pgs_munlocked unevictable_pgs_cleared
    unevictable_pgs_stranded thp_fault_alloc thp_fault_fallback thp_fault_fallback_charge
    thp_collapse_alloc thp_collapse_alloc_failed thp_file_alloc thp_file_fallback
    thp_file_fallback_charge thp_file_mapped thp_split_page thp_split_page_failed
    thp_deferred_split_page thp_split_pmd thp_scan_exceed_none_pte thp_scan_exceed_swap_pte
    thp_scan_exceed_share_pte thp_split_pud thp_zero_page_alloc thp_zero_page_alloc_failed
    thp_swpout thp_swpout_fallback balloon_inflate balloon_deflate balloon_migrate swap_ra
    swap_ra_hit ksm_swpin_copy cow_ksm zswpin zswpout direct_map_level2_splits
    direct_map_level3_splits
"""

ZONE_STAT_NAMES: Final = tuple(_ZONE_STAT_TEXT.split())
NUMA_EVENT_NAMES: Final = tuple(_NUMA_EVENT_TEXT.split())
NODE_STAT_NAMES: Final = tuple(_NODE_STAT_TEXT.split())
VM_EVENT_NAMES: Final = tuple(_VM_EVENT_TEXT.split())

NR_VM_ZONE_STAT_ITEMS: Final = len(ZONE_STAT_NAMES)
NR_VM_NUMA_EVENT_ITEMS: Final = len(NUMA_EVENT_NAMES)
NR_VM_NODE_STAT_ITEMS: Final = len(NODE_STAT_NAMES)
NR_VM_EVENT_ITEMS: Final = len(VM_EVENT_NAMES)

ZONE_ITEM: Final = {name: item for item, name in enumerate(ZONE_STAT_NAMES)}
NODE_ITEM: Final = {name: item for item, name in enumerate(NODE_STAT_NAMES)}
EVENT_ITEM: Final = {name: item for item, name in enumerate(VM_EVENT_NAMES)}

PRINTED_IN_THP: Final = frozenset(
    NODE_ITEM[name]
    for name in (
        "nr_anon_transparent_hugepages",
        "nr_file_hugepages",
        "nr_shmem_hugepages",
        "nr_shmem_pmdmapped",
        "nr_file_pmdmapped",
    )
)
"""Counted in pages of 4 KiB, printed in huge pages."""
_HPAGE_PMD_NR: Final = 512

NR_FREE_PAGES: Final = ZONE_ITEM["nr_free_pages"]
NR_ZONE_WRITE_PENDING: Final = ZONE_ITEM["nr_zone_write_pending"]
NR_MLOCK: Final = ZONE_ITEM["nr_mlock"]
NR_ANON_MAPPED: Final = NODE_ITEM["nr_anon_pages"]
NR_FILE_MAPPED: Final = NODE_ITEM["nr_mapped"]
NR_FILE_PAGES: Final = NODE_ITEM["nr_file_pages"]
NR_FILE_DIRTY: Final = NODE_ITEM["nr_dirty"]
NR_DIRTIED: Final = NODE_ITEM["nr_dirtied"]
NR_WRITTEN: Final = NODE_ITEM["nr_written"]
NR_SHMEM: Final = NODE_ITEM["nr_shmem"]
NR_KERNEL_STACK_KB: Final = NODE_ITEM["nr_kernel_stack"]
NR_PAGETABLE: Final = NODE_ITEM["nr_page_table_pages"]
PGPGIN: Final = EVENT_ITEM["pgpgin"]
PGPGOUT: Final = EVENT_ITEM["pgpgout"]
"""What disks read and wrote: counted in sectors, printed in KiB."""
_SECTORS_PER_KIB: Final = 2
SECTORS_PER_PAGE: Final = 8
PGALLOC_DMA: Final = EVENT_ITEM["pgalloc_dma"]
"""The event of the zone with index 0; the other zones' follow in order of index."""
PGFREE: Final = EVENT_ITEM["pgfree"]
PGFAULT: Final = EVENT_ITEM["pgfault"]
PGMAJFAULT: Final = EVENT_ITEM["pgmajfault"]
PGREUSE: Final = EVENT_ITEM["pgreuse"]
PGLAZYFREED: Final = EVENT_ITEM["pglazyfreed"]

# Words of struct per_cpu_zonestat: the deltas of all items, the threshold, the NUMA events.
STAT_THRESHOLD: Final = NR_VM_ZONE_STAT_ITEMS
NUMA_EVENTS: Final = STAT_THRESHOLD + 1
NUMA_HIT: Final = NUMA_EVENTS
NUMA_MISS: Final = NUMA_EVENTS + 1
NUMA_FOREIGN: Final = NUMA_EVENTS + 2
NUMA_INTERLEAVE_HIT: Final = NUMA_EVENTS + 3
NUMA_LOCAL: Final = NUMA_EVENTS + 4
NUMA_OTHER: Final = NUMA_EVENTS + 5
NR_ZONESTAT_WORDS: Final = NUMA_EVENTS + NR_VM_NUMA_EVENT_ITEMS
# Words of struct per_cpu_nodestat.
NODE_STAT_THRESHOLD: Final = NR_VM_NODE_STAT_ITEMS
NR_NODESTAT_WORDS: Final = NODE_STAT_THRESHOLD + 1


def printed_pages(item: int, pages: int) -> int:
    """Return a node item as vmstat and zoneinfo print it (vmstat_item_print_in_thp)."""
    return pages // _HPAGE_PMD_NR if item in PRINTED_IN_THP else pages


def mod_page_state(stat: WordsView, cpu_stat: WordsView, item: int, delta: int) -> None:
    """Add to a zone item: `stat` are the global words, `cpu_stat` the CPU's.

    Models __mod_zone_page_state. Runs on memoryviews from Python, and compiled in the buddy lists.
    """
    value = cpu_stat[item] + delta
    if abs(value) > cpu_stat[STAT_THRESHOLD]:
        stat[item] += value
        value = 0
    cpu_stat[item] = value


def _step_page_state(
    stat: "memoryview[int]", cpu_stat: "memoryview[int]", item: int, step: int, threshold: int
) -> None:
    """Add 1 or -1. A fold goes half a threshold further, so that the next one is farther away."""
    value = cpu_stat[item] + step
    if step * value > threshold:
        overstep = step * (threshold >> 1)
        stat[item] += value + overstep
        value = -overstep
    cpu_stat[item] = value


class VmStat:
    """All counters of a machine.

    The memoryviews are for adding where speed counts: `vmstat.events[cpu][PGFAULT] += 1`.
    """

    def __init__(self, arena: Arena, *, nr_cpus: int, nr_zones: int, nr_nodes: int) -> None:
        self.nr_cpus: Final = nr_cpus
        self.nr_zones: Final = nr_zones
        self.nr_nodes: Final = nr_nodes
        self.event_words: Final[Words] = arena.array("vmstat.events", (nr_cpus, NR_VM_EVENT_ITEMS))
        self.zone_words: Final[Words] = arena.array(
            "vmstat.zone", (nr_zones, NR_VM_ZONE_STAT_ITEMS)
        )
        self.cpu_zone_words: Final[Words] = arena.array(
            "vmstat.cpu_zone", (nr_cpus, nr_zones, NR_ZONESTAT_WORDS)
        )
        self.node_words: Final[Words] = arena.array(
            "vmstat.node", (nr_nodes, NR_VM_NODE_STAT_ITEMS)
        )
        self.cpu_node_words: Final[Words] = arena.array(
            "vmstat.cpu_node", (nr_cpus, nr_nodes, NR_NODESTAT_WORDS)
        )
        self.events: Final = [row.data for row in self.event_words]
        """By CPU, then item."""
        self.zones: Final = [row.data for row in self.zone_words]
        """By zone number, then item: the lagging global numbers."""
        self.cpu_zones: Final = [[row.data for row in rows] for rows in self.cpu_zone_words]
        """By CPU, then zone number: struct per_cpu_zonestat."""
        self.nodes: Final = [row.data for row in self.node_words]
        self.cpu_nodes: Final = [[row.data for row in rows] for rows in self.cpu_node_words]

    def count_vm_events(self, cpu: int, item: int, delta: int = 1) -> None:
        """Count an event on a CPU."""
        self.events[cpu][item] += delta

    def event(self, item: int) -> int:
        """Return how often an event happened, on all CPUs together."""
        return int(self.event_words[:, item].sum())

    def mod_zone_page_state(self, cpu: int, zone: int, item: int, delta: int) -> None:
        """Add to an item of zone number `zone`."""
        mod_page_state(self.zones[zone], self.cpu_zones[cpu][zone], item, delta)

    def inc_zone_page_state(self, cpu: int, zone: int, item: int) -> None:
        """Add one to a zone item (__inc_zone_state)."""
        words = self.cpu_zones[cpu][zone]
        _step_page_state(self.zones[zone], words, item, 1, words[STAT_THRESHOLD])

    def dec_zone_page_state(self, cpu: int, zone: int, item: int) -> None:
        """Take one from a zone item (__dec_zone_state)."""
        words = self.cpu_zones[cpu][zone]
        _step_page_state(self.zones[zone], words, item, -1, words[STAT_THRESHOLD])

    def mod_node_page_state(self, cpu: int, node: int, item: int, delta: int) -> None:
        """Add to an item of a node (__mod_node_page_state)."""
        words = self.cpu_nodes[cpu][node]
        value = words[item] + delta
        if abs(value) > words[NODE_STAT_THRESHOLD]:
            self.nodes[node][item] += value
            value = 0
        words[item] = value

    def event_counter(self, cpu: int) -> Callable[[int], None]:
        """Return what counts events on a CPU, for who does nothing else all the time."""
        events = self.events[cpu]

        def count(item: int) -> None:
            events[item] += 1

        return count

    def mod_node_page_state_each(
        self, cpu: int, node: int, item: int, step: int, count: int
    ) -> None:
        """Add `step`, 1 or -1, to an item of a node `count` times, as for one page after another.

        What is folded on the way goes no further than the threshold each time.
        """
        words = self.cpu_nodes[cpu][node]
        length = words[NODE_STAT_THRESHOLD] + 1
        nr_folds, rest = divmod(step * words[item] + count, length)
        if nr_folds > 0:
            self.nodes[node][item] += step * nr_folds * length
            words[item] = step * rest
        else:
            words[item] += step * count

    def page_counter(
        self, cpu: int, zone_view: "memoryview[int]", zone_node: Sequence[int]
    ) -> Callable[[int, int, int], None]:
        """Return what adds to an item of a page's node on a CPU (__mod_lruvec_page_state).

        `zone_view` has by page 1 + the number of its zone, `zone_node` by zone its node.
        """
        nodes, cpu_nodes = self.nodes, self.cpu_nodes[cpu]
        words, stat = cpu_nodes[0], nodes[0]

        def count_of_one(_pfn: int, item: int, delta: int) -> None:
            value = words[item] + delta
            threshold = words[NODE_STAT_THRESHOLD]
            if not -threshold <= value <= threshold:
                stat[item] += value
                value = 0
            words[item] = value

        def count(pfn: int, item: int, delta: int) -> None:
            node = zone_node[zone_view[pfn] - 1]
            words = cpu_nodes[node]
            value = words[item] + delta
            threshold = words[NODE_STAT_THRESHOLD]
            if not -threshold <= value <= threshold:
                nodes[node][item] += value
                value = 0
            words[item] = value

        return count_of_one if self.nr_nodes == 1 else count

    def zone_page_counter(
        self, cpu: int, zone_view: "memoryview[int]"
    ) -> Callable[[int, int, int], None]:
        """Return what adds to an item of a page's zone on a CPU; `zone_view` as above."""

        def count(pfn: int, item: int, delta: int) -> None:
            self.mod_zone_page_state(cpu, zone_view[pfn] - 1, item, delta)

        return count

    def inc_node_page_state(self, cpu: int, node: int, item: int) -> None:
        """Add one to a node item (__inc_node_state)."""
        words = self.cpu_nodes[cpu][node]
        _step_page_state(self.nodes[node], words, item, 1, words[NODE_STAT_THRESHOLD])

    def dec_node_page_state(self, cpu: int, node: int, item: int) -> None:
        """Take one from a node item (__dec_node_state)."""
        words = self.cpu_nodes[cpu][node]
        _step_page_state(self.nodes[node], words, item, -1, words[NODE_STAT_THRESHOLD])

    def zone_page_state(self, zone: int, item: int) -> int:
        """Return the lagging number of a zone item, never negative, as Linux reads it."""
        return max(0, int(self.zones[zone][item]))

    def zone_page_state_snapshot(self, zone: int, item: int) -> int:
        """Return the exact number of a zone item."""
        exact = self.zone_words[zone, item] + self.cpu_zone_words[:, zone, item].sum()
        return max(0, int(exact))

    def zone_page_states(self) -> list[list[int]]:
        """Return the exact numbers of all items, by zone; one that is wrong may be negative."""
        nr_items = self.zone_words.shape[1]
        exact = self.zone_words + self.cpu_zone_words[:, :, :nr_items].sum(axis=0)
        return exact.tolist()  # type: ignore[no-any-return]

    def node_page_state(self, node: int, item: int) -> int:
        """Return the lagging number of a node item, never negative."""
        return max(0, int(self.nodes[node][item]))

    def node_page_state_snapshot(self, node: int, item: int) -> int:
        """Return the exact number of a node item; if it is wrong it may be negative."""
        return int(self.node_words[node, item] + self.cpu_node_words[:, node, item].sum())

    def node_page_states(self) -> list[list[int]]:
        """Return the exact numbers of all items, by node; one that is wrong may be negative."""
        nr_items = self.node_words.shape[1]
        exact = self.node_words + self.cpu_node_words[:, :, :nr_items].sum(axis=0)
        return exact.tolist()  # type: ignore[no-any-return]

    def global_zone_page_state(self, item: int) -> int:
        """Return the lagging number of a zone item in all zones together, never negative."""
        return max(0, int(self.zone_words[:, item].sum()))

    def global_node_page_state(self, item: int) -> int:
        """Return the lagging number of a node item on all nodes together, never negative."""
        return max(0, int(self.node_words[:, item].sum()))

    def numa_events(self, zone: int) -> tuple[int, ...]:
        """Return the NUMA events of a zone, in the order of NUMA_EVENT_NAMES."""
        return tuple(self.cpu_zone_words[:, zone, NUMA_EVENTS:].sum(axis=0).tolist())

    def clear_node_thresholds(self) -> None:
        """Let the largest of the zones' thresholds be looked for anew."""
        self.cpu_node_words[:, :, NODE_STAT_THRESHOLD] = 0

    def set_thresholds(self, zone: int, node: int, stat_threshold: int) -> None:
        """Set the zone's threshold on all CPUs; a node's is the largest of its zones'."""
        self.cpu_zone_words[:, zone, STAT_THRESHOLD] = stat_threshold
        column = self.cpu_node_words[:, node, NODE_STAT_THRESHOLD]
        np.maximum(column, stat_threshold, out=column)

    def fold(self, cpu: int) -> tuple[int, ...]:
        """Fold all deltas of a CPU into the global numbers; return the zones that changed.

        What vmstat_update does once a second, without draining remote per-CPU lists.
        """
        changed = []
        for zone in range(self.nr_zones):
            deltas = self.cpu_zone_words[cpu, zone, :NR_VM_ZONE_STAT_ITEMS]
            if deltas.any():
                changed.append(zone)
            self.zone_words[zone] += deltas
            deltas[:] = 0
        for node in range(self.nr_nodes):
            deltas = self.cpu_node_words[cpu, node, :NR_VM_NODE_STAT_ITEMS]
            self.node_words[node] += deltas
            deltas[:] = 0
        return tuple(changed)

    def vmstat(
        self, *, dirty_threshold: int = 0, dirty_background_threshold: int = 0
    ) -> Iterator[tuple[str, int]]:
        """Return name and number of every line of /proc/vmstat, in its order.

        The two thresholds (pages) are writeback's, not counters.
        """
        yield from zip(ZONE_STAT_NAMES, _not_negative(self.zone_words.sum(axis=0)), strict=True)
        numa = self.cpu_zone_words[:, :, NUMA_EVENTS:].sum(axis=(0, 1))
        yield from zip(NUMA_EVENT_NAMES, numa.tolist(), strict=True)
        for item, pages in enumerate(_not_negative(self.node_words.sum(axis=0))):
            yield NODE_STAT_NAMES[item], printed_pages(item, pages)
        yield "nr_dirty_threshold", dirty_threshold
        yield "nr_dirty_background_threshold", dirty_background_threshold
        yield from zip(VM_EVENT_NAMES, printed_events(self.event_words.sum(axis=0)), strict=True)
        # Kept by Linux for old readers; it is always 0.
        yield "nr_unstable", 0


def printed_events(counts: Words) -> list[int]:
    """Return what /proc/vmstat shows of counted events: pgpgin and pgpgout in KiB, not sectors."""
    printed = counts.copy()
    printed[[PGPGIN, PGPGOUT]] //= _SECTORS_PER_KIB
    shown: list[int] = printed.tolist()
    return shown


NR_MM_COUNTERS: Final = 4
TASK_RSS_EVENTS_THRESH: Final = 64


class MmCounters(Protocol):
    """The rss of an mm, which its threads' changes are folded into."""

    def add_mm_counter(self, member: int, value: int) -> None:
        """Add pages to one of its counters."""


@define(eq=False)
class TaskRssStat:
    """What one thread has changed of its mm's rss and not yet told it (struct task_rss_stat)."""

    events: int = 0
    count: list[int] = field(factory=lambda: [0] * NR_MM_COUNTERS)

    def check_sync_rss_stat(self, mm: MmCounters) -> None:
        """Count a page fault; every 66th brings what has gathered to the mm."""
        events = self.events
        self.events = events + 1
        if events > TASK_RSS_EVENTS_THRESH:
            self.fold(mm)

    def fold(self, mm: MmCounters) -> None:
        """Bring everything to the mm (sync_mm_rss); a thread does it when it leaves the mm."""
        for member, value in enumerate(self.count):
            if value:
                mm.add_mm_counter(member, value)
                self.count[member] = 0
        self.events = 0

    def snapshot(self) -> tuple[int, ...]:
        """Return a copy of the state."""
        return (self.events, *self.count)

    def restore(self, snapshot: tuple[int, ...]) -> None:
        """Put back what `snapshot` returned."""
        self.events, *self.count = snapshot


def _not_negative(sums: Words) -> list[int]:
    values: list[int] = np.maximum(sums, 0).tolist()
    return values
