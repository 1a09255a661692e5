"""O9 and O10: what must hold when nobody runs: nothing is lost, and every counter tells the truth.

The truth is taken from the structures themselves: blocks of the buddy lists, links of the per-CPU
lists, words of the page tables. The laws hold whenever no kernel path is under way, so also in the
middle of a program.
"""

from collections.abc import Iterable

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from mmactors.actors.kernel import Kernel
from mmactors.arch.page import PG_RESERVED, PG_SLAB, PG_SWAPBACKED
from mmactors.arch.pte import PFN_MASK, PFN_SHIFT, SPECIAL
from mmactors.mm.mapped_file import MappedFile
from mmactors.mm.mm_struct import MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MmStruct
from mmactors.mm.pcp import COUNT
from mmactors.mm.rmap import PAGE_MAPPING_ANON
from mmactors.mm.tlb_state import LOADED_MM_SWITCHING
from mmactors.mm.vmstat import NR_ANON_MAPPED, NR_FILE_MAPPED, NR_FREE_PAGES, NR_PAGETABLE
from mmactors.sanitize.free_lists import FreeLists
from mmactors.sanitize.law import Law
from mmactors.sanitize.page_history import PageHistory
from mmactors.sanitize.page_state import ALLOCATED
from mmactors.sanitize.tables import leaf_entries, tables_below

Words = NDArray[np.int64]
Problems = list[tuple[Law, str, list[str]]]

_NAMED_MAX = 8
"""So many pages are named one by one."""


@define(eq=False)
class Mapped:
    """What the page tables of all address spaces say."""

    kernel: Kernel
    mms: list[MmStruct] = field(init=False)
    tables: dict[int, list[tuple[int, int]]] = field(factory=dict, init=False)
    """By ctx_id: (level, frame) of all tables."""
    pfns: dict[int, Words] = field(factory=dict, init=False)
    """By ctx_id: the page of each entry, special ones apart."""
    mapcount: Words = field(init=False)
    """By page: entries that map it."""

    def __attrs_post_init__(self) -> None:
        memory = self.kernel.memory
        self.mms = [space.mm for space in self.kernel.spaces.values()]
        for mm in self.mms:
            table = mm.page_table
            tables = list(tables_below(memory, table.pgd_pfn, table.levels))
            entries = leaf_entries(memory, tables)
            entries = entries[entries & SPECIAL == 0]
            self.tables[mm.ctx_id] = tables
            self.pfns[mm.ctx_id] = (entries & PFN_MASK) >> PFN_SHIFT
        parts = [np.empty(0, np.int64), *self.pfns.values()]
        nr_frames = self.kernel.pages.nr_frames
        self.mapcount = np.bincount(np.concatenate(parts), minlength=nr_frames)


def counter_problems(kernel: Kernel) -> Problems:
    """Return every counter that differs from what the structures say, and every broken list."""
    mapped = Mapped(kernel)
    lists = FreeLists(kernel.pages, list(kernel.allocator.zones))
    differences = [
        *_zone_differences(kernel, lists),
        *_mapping_differences(kernel, mapped),
        *(difference for mm in mapped.mms for difference in _mm_differences(kernel, mapped, mm)),
    ]
    problems: Problems = [
        (Law.COUNTER, f"{name} is {counted}, but there are {true}", [])
        for name, counted, true in differences
        if counted != true
    ]
    problems += [(Law.COUNTER, text, []) for text in _cpumask_problems(kernel)]
    problems += [(Law.TWO_LISTS, text, []) for text in lists.broken]
    twice = np.flatnonzero(lists.listed > 1).tolist()
    problems += [
        (Law.TWO_LISTS, f"page {pfn:#x} is on {lists.listed[pfn]} free lists", [])
        for pfn in twice[:_NAMED_MAX]
    ]
    return problems


def leak_problems(kernel: Kernel, state: NDArray[np.int8], history: PageHistory) -> Problems:
    """Return the pages that were handed out and that nobody can reach any more."""
    mapped = Mapped(kernel)
    reached = mapped.mapcount > 0
    for tables in mapped.tables.values():
        reached[[pfn for _, pfn in tables]] = True
    for pages in _page_caches(kernel, mapped.mms):
        reached[pages] = True
    reached |= kernel.pages.flags[: len(reached)] & (PG_SLAB | PG_RESERVED) != 0
    lost = np.flatnonzero((state == ALLOCATED) & ~reached).tolist()
    problems: Problems = [
        (Law.LEAK, f"nobody can reach page {pfn:#x}, and it is not free", history.describe(pfn))
        for pfn in lost[:_NAMED_MAX]
    ]
    if len(lost) > _NAMED_MAX:
        problems.append((Law.LEAK, f"and {len(lost) - _NAMED_MAX} more pages", []))
    return problems


Difference = tuple[str, int, int]
"""A counter's name, what it says, what is true."""


def _zone_differences(kernel: Kernel, lists: FreeLists) -> Iterable[Difference]:
    for zone in kernel.allocator.zones:
        number = zone.number
        place = f"of zone {zone.node} {zone.name}"
        free = lists.nr_buddy[number]
        counted = kernel.vmstat.zone_page_state_snapshot(number, NR_FREE_PAGES)
        yield f"nr_free_pages {place}", counted, free - lists.nr_isolated[number]
        yield f"free_area[].nr_free {place}", zone.nr_free, free
        for cpu, pcp in enumerate(zone.pcps):
            yield f"pcp count of cpu{cpu} {place}", pcp.view[COUNT], lists.nr_pcp[number, cpu]


def _mapping_differences(kernel: Kernel, mapped: Mapped) -> Iterable[Difference]:
    pages = kernel.pages
    mapcount = pages.mapcount[: pages.nr_frames]
    for pfn in np.flatnonzero(mapcount != mapped.mapcount)[:_NAMED_MAX].tolist():
        yield f"mapcount of page {pfn:#x}", int(mapcount[pfn]), int(mapped.mapcount[pfn])
    used = np.flatnonzero(mapped.mapcount)
    is_anon = pages.mapping[used] & PAGE_MAPPING_ANON != 0
    nr_anon = int(is_anon.sum())
    nr_tables = sum(map(len, mapped.tables.values()))
    yield "nr_anon_pages", _node_sum(kernel, NR_ANON_MAPPED), nr_anon
    yield "nr_mapped", _node_sum(kernel, NR_FILE_MAPPED), len(used) - nr_anon
    yield "nr_page_table_pages", _node_sum(kernel, NR_PAGETABLE), nr_tables


def _node_sum(kernel: Kernel, item: int) -> int:
    return sum(
        kernel.vmstat.node_page_state_snapshot(node, item) for node in sorted(set(kernel.cpu_node))
    )


def _mm_differences(kernel: Kernel, mapped: Mapped, mm: MmStruct) -> Iterable[Difference]:
    pages = kernel.pages
    pfns = mapped.pfns[mm.ctx_id]
    is_anon = pages.mapping[pfns] & PAGE_MAPPING_ANON != 0
    is_shmem = ~is_anon & (pages.flags[pfns] & PG_SWAPBACKED != 0)
    place = f"of address space {mm.ctx_id}"
    nr_anon, nr_shmem = int(is_anon.sum()), int(is_shmem.sum())
    rss = _rss_with_threads(kernel, mm)
    yield f"MM_ANONPAGES {place}", rss[MM_ANONPAGES], nr_anon
    yield f"MM_SHMEMPAGES {place}", rss[MM_SHMEMPAGES], nr_shmem
    yield f"MM_FILEPAGES {place}", rss[MM_FILEPAGES], len(pfns) - nr_anon - nr_shmem
    table = mm.page_table
    levels = [level for level, _ in mapped.tables[mm.ctx_id]]
    yield f"PTE tables {place}", table.nr_ptes, levels.count(1)
    yield f"PMD tables {place}", table.nr_pmds, levels.count(2)
    yield f"PUD tables {place}", table.nr_puds, levels.count(3)


def _rss_with_threads(kernel: Kernel, mm: MmStruct) -> list[int]:
    """Return the rss counters with what threads have counted and not told their mm yet."""
    tasks = {id(context.task): context.task for context in kernel.fault_contexts.values()}
    pending = [task.rss.count for task in tasks.values() if task.mm is mm]
    return [sum(counts) for counts in zip(mm.rss, *pending, strict=True)]


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
