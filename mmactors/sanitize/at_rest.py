"""O9 and O10: what must hold when nobody runs: nothing is lost, and every counter tells the truth.

The truth is taken from the structures themselves: blocks of the buddy lists, links of the per-CPU
lists, words of the page tables. The laws hold whenever no kernel path is under way, so also in the
middle of a program.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.actors.state.kernel import Kernel
from mmactors.arch.page import PG_DIRTY
from mmactors.arch.pte import PTRS_PER_TABLE
from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.mm_struct import MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MmStruct
from mmactors.mm.area.vm_flags import VM_ACCOUNT
from mmactors.mm.entries.tlb_state import LOADED_MM_SWITCHING
from mmactors.mm.lru.move_folios import LISTS, NR_LRU_BASE, NR_ZONE_LRU_BASE
from mmactors.mm.page_alloc.pcp import COUNT, NR_PCP_LISTS
from mmactors.mm.page_cache.page_cache import PAGE_MAPPING_STORE
from mmactors.mm.rmap.rmap import PAGE_MAPPING_ANON
from mmactors.mm.vmstat import (
    NODE_STAT_NAMES,
    NR_ANON_MAPPED,
    NR_FILE_DIRTY,
    NR_FILE_MAPPED,
    NR_FILE_PAGES,
    NR_FREE_PAGES,
    NR_MLOCK,
    NR_PAGETABLE,
)
from mmactors.sanitize.count import (
    ANON,
    FILE,
    NR_COUNTS,
    NR_LRU_COUNTS,
    SHMEM,
    TABLES,
    compare_mapcounts,
    count_lru,
    count_mapped,
    find_above,
    find_lost,
)
from mmactors.sanitize.free_lists import FreeLists
from mmactors.sanitize.law import Law
from mmactors.sanitize.page_history import PageHistory
from mmactors.sanitize.vmalloc.percpu import percpu_pages

Columns = NDArray[np.int32]
Problems = list[tuple[Law, str, list[str]]]

_NAMED_MAX: Final = 8
"""So many pages are named one by one."""
_PATH_WORDS: Final = 12
"""Two for each of five levels, which count from 1."""


_KERNEL_PGD_BOUNDARY: Final = PTRS_PER_TABLE // 2
"""In the top table, what lies behind is the kernel's."""


class Mapped:
    """What the page tables of all address spaces say."""

    def __init__(self, kernel: Kernel) -> None:
        pages = kernel.pages
        self.mms: Final = [space.mm for space in kernel.spaces.values()]
        self.mapcount: Final[Columns] = np.zeros(pages.nr_frames, np.int32)
        """By page: entries that map it."""
        self.is_reached: Final[NDArray[np.int8]] = np.zeros(pages.nr_frames, np.int8)
        """By page: 1 if it is a table."""
        self.counts: Final[dict[int, list[int]]] = {}
        """By ctx_id: what `count_mapped` counts."""
        for mm in self.mms:
            counts = self._walk(kernel, mm, self.mapcount, first=0, end=_KERNEL_PGD_BOUNDARY)
            self.counts[mm.ctx_id] = counts.tolist()
        space = kernel.vmalloc_space
        if space is not None:
            # The kernel's own pages are mapped, but not counted as mapped; an area has its own.
            of_kernel = np.zeros(pages.nr_frames, np.int32)
            boundary, end = _KERNEL_PGD_BOUNDARY, PTRS_PER_TABLE
            self._walk(kernel, kernel.init_mm, of_kernel, first=boundary, end=end)
            for vm in space.vm.values():
                self.is_reached[list(vm.pages)] = 1
        if kernel.percpu is not None:
            self.is_reached[percpu_pages(kernel, kernel.percpu)] = 1

    def _walk(
        self, kernel: Kernel, mm: MmStruct, mapcount: Columns, *, first: int, end: int
    ) -> NDArray[np.int64]:
        counts = np.zeros(NR_COUNTS, np.int64)
        count_mapped(
            kernel.memory.words,
            mm.page_table.pgd_pfn,
            mm.page_table.levels,
            kernel.pages.mapping,
            kernel.pages.flags,
            mapcount,
            self.is_reached,
            counts,
            np.zeros(_PATH_WORDS, np.int64),
            first,
            end,
        )
        return counts


def counter_problems(kernel: Kernel, mapped: Mapped) -> Problems:
    """Return every counter that differs from what the structures say, and every broken list."""
    lists = FreeLists(kernel.pages, list(kernel.allocator.zones))
    differences = [
        *_zone_differences(kernel, lists),
        *_lru_differences(kernel),
        *_mapping_differences(kernel, mapped),
        ("vm_committed_as", "of the machine", kernel.overcommit.committed, _promised(kernel)),
        *(difference for mm in mapped.mms for difference in _mm_differences(kernel, mapped, mm)),
    ]
    problems: Problems = [
        (Law.COUNTER, f"{name} {place} is {counted}, but there are {true}", [])
        for name, place, counted, true in differences
        if counted != true
    ]
    problems += [(Law.COUNTER, text, []) for text in _cpumask_problems(kernel)]
    problems += [(Law.TWO_LISTS, text, []) for text in lists.broken]
    found = np.zeros(_NAMED_MAX, np.int64)
    count = find_above(lists.listed, 1, kernel.pages.nr_frames, found)
    problems += [
        (Law.TWO_LISTS, f"page {pfn:#x} is on {lists.listed[pfn]} free lists", [])
        for pfn in found[: min(count, _NAMED_MAX)].tolist()
    ]
    return problems


def leak_problems(
    kernel: Kernel, mapped: Mapped, state: NDArray[np.int8], history: PageHistory
) -> Problems:
    """Return the pages that were handed out and that nobody can reach any more."""
    pages = kernel.pages
    for cached in _page_caches(kernel, mapped.mms):
        mapped.is_reached[cached] = 1
    for batches in kernel.lru:
        mapped.is_reached[list(batches.held_pages())] = 1
    for block in kernel.module_pages:
        if block.is_held:
            mapped.is_reached[block.pfn : block.pfn + (1 << block.order)] = 1
    for pfn, order in kernel.slab_pages.items():
        mapped.is_reached[pfn : pfn + (1 << order)] = 1
    found = np.zeros(_NAMED_MAX, np.int64)
    count = find_lost(
        state, mapped.mapcount, mapped.is_reached, pages.flags, pages.nr_frames, found
    )
    problems: Problems = [
        (Law.LEAK, f"nobody can reach page {pfn:#x}, and it is not free", history.describe(pfn))
        for pfn in found[: min(count, _NAMED_MAX)].tolist()
    ]
    if count > _NAMED_MAX:
        problems.append((Law.LEAK, f"and {count - _NAMED_MAX} more pages", []))
    return problems + _forgotten(kernel)


def _forgotten(kernel: Kernel) -> Problems:
    """Return the pages on lists that no zone uses any more, or should ever have filled."""
    allocator = kernel.allocator
    return [
        (Law.LEAK, f"page {pfn:#x} waits on the boot_pageset of cpu{cpu}, which nobody drains", [])
        for cpu, pcp in enumerate(allocator.boot_pageset)
        if pcp.view[COUNT]
        for pindex in range(NR_PCP_LISTS)
        for pfn in kernel.pages.list_pfns(pcp.heads + pindex)[:_NAMED_MAX]
    ]


Difference = tuple[str, str, int, int]
"""A counter's name, of what, what it says, what is true."""


def _zone_differences(kernel: Kernel, lists: FreeLists) -> Iterable[Difference]:
    by_zone = kernel.vmstat.zone_page_states()
    for zone in kernel.allocator.zones:
        number = zone.number
        place = f"of zone {zone.node} {zone.name}"
        free = lists.nr_buddy[number]
        counted = by_zone[number][NR_FREE_PAGES]
        yield "nr_free_pages", place, counted, free - lists.nr_isolated[number]
        yield "free_area[].nr_free", place, zone.nr_free, free
        for cpu, pcp in enumerate(zone.pcps):
            yield f"pcp count of cpu{cpu}", place, pcp.view[COUNT], lists.nr_pcp[number, cpu]


def _lru_differences(kernel: Kernel) -> Iterable[Difference]:
    """Return what counters of LRU lists and locked pages say, and what pages' flags do."""
    zones = kernel.allocator.zones
    vmstat = kernel.vmstat
    counts = np.zeros((len(zones), NR_LRU_COUNTS), np.int64)
    count_lru(kernel.pages.flags, kernel.pages.zone, kernel.pages.nr_frames, counts)
    of_nodes = np.zeros((vmstat.nr_nodes, NR_LRU_COUNTS), np.int64)
    by_zone, by_node = vmstat.zone_page_states(), vmstat.node_page_states()
    for zone, words in zip(zones, counts, strict=True):
        of_nodes[zone.node] += words
        place = f"of zone {zone.node} {zone.name}"
        for nth, name in enumerate(LISTS):
            counted = by_zone[zone.number][NR_ZONE_LRU_BASE + nth]
            yield f"nr_zone_{name}", place, counted, int(words[nth])
        locked = by_zone[zone.number][NR_MLOCK]
        yield "nr_mlock", place, locked, int(words[len(LISTS)])
    for node, words in enumerate(of_nodes):
        for nth, name in enumerate(LISTS):
            counted = by_node[node][NR_LRU_BASE + nth]
            yield f"nr_{name}", f"of node {node}", counted, int(words[nth])


def _mapping_differences(kernel: Kernel, mapped: Mapped) -> Iterable[Difference]:
    pages = kernel.pages
    found = np.zeros(_NAMED_MAX, np.int64)
    used = np.zeros(2, np.int64)
    count = compare_mapcounts(
        pages.mapcount, mapped.mapcount, pages.mapping, pages.nr_frames, found, used
    )
    for pfn in found[: min(count, _NAMED_MAX)].tolist():
        yield "mapcount", f"of page {pfn:#x}", pages.mapcount[pfn], mapped.mapcount[pfn]
    nr_anon, nr_file = used.tolist()
    # Tables above PMDs are not counted: they have no constructor.
    nr_tables = sum(sum(counts[TABLES + 1 : TABLES + 3]) for counts in mapped.counts.values())
    everywhere = "of all nodes"
    yield "nr_anon_pages", everywhere, _node_sum(kernel, NR_ANON_MAPPED), nr_anon
    yield "nr_mapped", everywhere, _node_sum(kernel, NR_FILE_MAPPED), nr_file
    yield "nr_page_table_pages", everywhere, _node_sum(kernel, NR_PAGETABLE), nr_tables
    yield from _node_differences(kernel)


def _node_differences(kernel: Kernel) -> Iterable[Difference]:
    """Return what counters of nodes say, and what the pages that lie there do."""
    pages = kernel.pages
    mappings = kernel.file_system.mappings()
    cached = np.array([pfn for each in mappings for pfn in each.pages.values()], np.int64)
    stored = cached[pages.mapping[cached] == PAGE_MAPPING_STORE]
    found = {
        NR_FILE_PAGES: cached,
        NR_FILE_DIRTY: stored[(pages.flags[stored] & PG_DIRTY) != 0],
    }
    if kernel.vmstat.nr_nodes > 1:  # On one they are those of all nodes, which were compared.
        mapped = np.flatnonzero(pages.mapcount)
        is_anon = (pages.mapping[mapped] & PAGE_MAPPING_ANON) != 0
        found |= {NR_ANON_MAPPED: mapped[is_anon], NR_FILE_MAPPED: mapped[~is_anon]}
    zone_node = np.array(kernel.zone_node)
    for item, pfns in found.items():
        nodes = zone_node[pages.zone[pfns] - 1]
        for node, true in enumerate(np.bincount(nodes, minlength=kernel.vmstat.nr_nodes).tolist()):
            counted = kernel.vmstat.node_page_state_snapshot(node, item)
            yield NODE_STAT_NAMES[item], f"of node {node}", counted, true


def _node_sum(kernel: Kernel, item: int) -> int:
    return sum(
        kernel.vmstat.node_page_state_snapshot(node, item) for node in sorted(set(kernel.cpu_node))
    )


def _mm_differences(kernel: Kernel, mapped: Mapped, mm: MmStruct) -> Iterable[Difference]:
    counts = mapped.counts[mm.ctx_id]
    place = f"of address space {mm.ctx_id}"
    rss = _rss_with_threads(kernel, mm)
    yield "MM_ANONPAGES", place, rss[MM_ANONPAGES], counts[ANON]
    yield "MM_SHMEMPAGES", place, rss[MM_SHMEMPAGES], counts[SHMEM]
    yield "MM_FILEPAGES", place, rss[MM_FILEPAGES], counts[FILE]
    table = mm.page_table
    yield "PTE tables", place, table.nr_ptes, counts[TABLES + 1]
    yield "PMD tables", place, table.nr_pmds, counts[TABLES + 2]
    yield "PUD tables", place, table.nr_puds, counts[TABLES + 3]


def _rss_with_threads(kernel: Kernel, mm: MmStruct) -> list[int]:
    """Return the rss counters with what threads have counted and not told their mm yet."""
    tasks = {id(context.task): context.task for context in kernel.fault_contexts.values()}
    pending = [task.rss.count for task in tasks.values() if task.mm is mm]
    return [sum(counts) for counts in zip(mm.rss, *pending, strict=True)]


def _promised(kernel: Kernel) -> int:
    """Return what areas and shared memory have promised, and what 6.1 forgets to take back."""
    mms = [space.mm for space in kernel.spaces.values()]
    areas = [vma for mm in mms for vma in mm.tree]
    files = [vma.vm_file for vma in areas]
    mappings = dict.fromkeys(kernel.file_system.mappings())
    mappings |= dict.fromkeys(file.mapping for file in files if isinstance(file, MappedFile))
    of_areas = sum(vma.nr_pages for vma in areas if vma.vm_flags & VM_ACCOUNT)
    of_memory = sum(mapping.nr_accounted for mapping in mappings)
    return of_areas + of_memory + kernel.overcommit.nr_forgotten


def _cpumask_problems(kernel: Kernel) -> Iterable[str]:
    for cpu, state in enumerate(kernel.tlb_states):
        mm = state.loaded_mm
        if mm is LOADED_MM_SWITCHING or mm is kernel.init_mm:
            continue
        if not mm.mm_cpumask >> cpu & 1:
            yield f"cpu{cpu} has address space {mm.ctx_id} loaded and is not in its mm_cpumask"


def _page_caches(kernel: Kernel, mms: list[MmStruct]) -> Iterable[list[int]]:
    for mapping in kernel.file_system.mappings():
        yield list(mapping.pages.values())
    for mm in mms:
        for vma in mm.tree:
            if isinstance(vma.vm_file, MappedFile):
                yield list(vma.vm_file.mapping.pages.values())
