"""The shared objects of a machine by the names that steps give them: what each holds, as a value.

With a value for each object that a step touches, states that were seen before need not be explored
again. What they are called and hold, for people, says `teller.py`. Objects are found when they are
asked for: `page_tables[1536]`, `tlb[1]`, `pages[291]`, `mm_cpumask[1]`, `ptl[0x123]`.

An object that nobody can name (KeyError) is no error: states are then not told apart. Large arrays
are named by where they differ from the state at rest, with which every schedule begins.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Final

from mmactors.actors.program.process import Process
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.task_struct import SignalStruct
from mmactors.engine.actor import Keyed
from mmactors.label import (
    ANON_VMA,
    DATA,
    DCACHE,
    FILE_RA,
    FILES,
    I_COUNT,
    I_MMAP,
    I_PAGES,
    I_SIZE,
    KMEM_CACHE_CPU,
    KMEM_CACHE_NODE,
    LRU,
    MM_CPUMASK,
    MM_FLAGS,
    NE_FIT_PRELOAD,
    PAGE_CACHE,
    PAGE_LOCK,
    PAGE_LRU,
    PAGE_TABLES,
    PAGEBLOCK,
    PAGES,
    PCP,
    PCPU_CHUNKS,
    PERCPU_COUNT,
    PERCPU_REF,
    PERCPU_REF_COUNT,
    RCU,
    RCU_CALLBACKS,
    RSS,
    S_INODES,
    SLAB,
    SLOB,
    STORE,
    TASKLIST,
    TLB,
    TLB_FLUSH_BATCHED,
    TLB_FLUSH_PENDING,
    TLB_GEN,
    VALUE,
    VFREE_DEFERRED,
    VM_COMMITTED_AS,
    VMAP_BLOCK,
    VMAP_BLOCK_QUEUE,
    VMAS,
    VMSTAT,
    ZONELISTS,
    page_lock,
)
from mmactors.mm.area.mapped_file import MappedFile, Mapping
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.lru.folio_batch import LIST_FLAGS
from mmactors.mm.page_alloc.buddy import PAGEBLOCK_TYPE_MASK
from mmactors.mm.page_alloc.order import MAX_ORDER
from mmactors.mm.page_alloc.pcp import NR_PCP_LISTS
from mmactors.mm.page_alloc.zone import Zone
from mmactors.mm.slab.allocator import ObjectAllocator
from mmactors.mm.slab.slab.slab import Slab
from mmactors.mm.slab.slob.slob import Slob
from mmactors.mm.slab.slub.slub import Slub
from mmactors.mm.vmstat import NR_FREE_PAGES
from mmactors.races.area_views import VmallocValues, anon_vma_key, areas_key, place_of
from mmactors.races.changes import Changes
from mmactors.races.heaps import Heaps
from mmactors.races.slab_views import SlabValues, SlobValues, SlubValues
from mmactors.races.view import Latest, Unguarded, View

_LASTING: Final = frozenset(
    {
        *(PAGE_TABLES, PAGES, DATA, TLB, PAGEBLOCK, PCP, LRU, PAGE_LRU, VMSTAT, RCU, ZONELISTS),
        *(KMEM_CACHE_CPU, KMEM_CACHE_NODE, SLAB, SLOB, NE_FIT_PRELOAD, VFREE_DEFERRED),
        *(VMAP_BLOCK, VMAP_BLOCK_QUEUE),
    }
)
"""Columns whose elements are there in all schedules."""
_PAIRS: Final = frozenset((VALUE, PAGE_CACHE, STORE, KMEM_CACHE_CPU, KMEM_CACHE_NODE))
"""Columns of columns, whether or not the machine has them."""


def _values_of(allocator: Slab | Slub) -> SlabValues | SlubValues:
    return SlubValues(allocator) if isinstance(allocator, Slub) else SlabValues(allocator)


class MachineObjects(dict[str, Keyed]):
    """Finds objects by name. What is there in all schedules is found once a search."""

    def __init__(
        self, kernel: Kernel, processes: Sequence[Process], registered: dict[str, Keyed]
    ) -> None:
        """`registered`: locks and mailboxes by name, the latest of each. Nobody runs yet."""
        super().__init__()
        self._registered: Final = registered
        self._at_rest: Final = frozenset(registered)
        self._lasting: Final[dict[str, Keyed]] = {}
        """What was found and is there in all schedules."""
        self._kernel: Final = kernel
        self._processes: Final = processes
        """All that ever were; new ones are added there."""
        heaps = Heaps(lambda: processes)
        self._of_pairs: Final[dict[str, Callable[[int, int], Hashable]]] = {
            PERCPU_COUNT: kernel.percpu_refs.cpu_key,
            **heaps.pairs,
        }
        """What elements of two numbers hold; what caches have on a CPU or a node, if of SLUB's."""
        self._columns: Final[dict[str, Callable[[int], View]]] = {
            PAGE_TABLES: self._entry,
            PAGES: self._page,
            DATA: self._data,
            TLB: self._tlb,
            PAGEBLOCK: self._pageblock,
            PCP: self._pcp,
            LRU: self._lru,
            PAGE_LRU: self._page_lru,
            VMSTAT: self._vmstat,
            RSS: lambda ctx_id: self._of_mm(ctx_id, lambda mm: tuple(mm.rss)),
            VMAS: lambda ctx_id: self._of_mm(ctx_id, areas_key),
            I_MMAP: self._i_mmap,
            RCU: self._rcu,
            RCU_CALLBACKS: lambda cpu: View(lambda: kernel.rcu.nr_callbacks(cpu)),
            MM_CPUMASK: lambda ctx_id: self._of_mm(ctx_id, lambda mm: mm.mm_cpumask),
            ANON_VMA: self._anon_vma,
            TLB_FLUSH_PENDING: lambda ctx_id: self._of_mm(ctx_id, lambda mm: mm.tlb_flush_pending),
            TLB_FLUSH_BATCHED: lambda ctx_id: self._of_mm(ctx_id, lambda mm: mm.tlb_flush_batched),
            TLB_GEN: lambda ctx_id: self._of_mm(ctx_id, lambda mm: mm.tlb_gen),
            MM_FLAGS: lambda ctx_id: self._of_mm(ctx_id, lambda mm: mm.has_pinned),
            I_SIZE: self._i_size,
            I_COUNT: self._i_count,
            DCACHE: lambda number: View(partial(kernel.file_system.names_in, number)),
            FILES: self._files,
            I_PAGES: self._i_pages,
            PAGE_LOCK: self._page_lock,
            PERCPU_REF: lambda number: View(partial(kernel.percpu_refs.key, number)),
            PERCPU_REF_COUNT: lambda number: View(partial(kernel.percpu_refs.count_key, number)),
        }
        """Objects by column and number."""
        areas = VmallocValues(kernel)
        for column, read in (*areas.columns.items(), *heaps.columns.items()):
            self._columns[column] = partial(_view_of, read)
        self._zones: Final = {
            mailbox.name: zone
            for mailbox, zone in zip(kernel.zone_mailboxes, kernel.allocator.zones, strict=True)
        }
        pages = kernel.pages
        flags = Changes(pages.flags, mask=~LIST_FLAGS)
        counts = Changes(pages.refcount, pages.mapcount, pages.mapping, pages.index)
        links = Changes(pages.next, pages.buddy, kernel.allocator.pageblocks)
        self._zone_keys: Final = {
            name: partial(_zone_key, zone, Changes(zone.words), links)
            for name, zone in self._zones.items()
        }
        self._whole: Final[dict[str, Callable[[], Hashable]]] = {
            PAGE_TABLES: kernel.memory.changes_since(kernel.memory.snapshot()),
            PAGES: lambda: (flags.key(), counts.key()),
            VMSTAT: self._all_vmstat,
            PAGEBLOCK: kernel.allocator.pageblocks.tobytes,
            PCP: lambda: tuple([self._pcp(cpu).key() for cpu in range(len(kernel.cpus))]),
            ZONELISTS: kernel.allocator.zonelists_key,
            RSS: lambda: tuple([tuple(mm.rss) for mm in self._mms()]),
            ANON_VMA: self._all_anon_vmas,
            VMAS: lambda: tuple(map(areas_key, self._mms())),
            VM_COMMITTED_AS: kernel.overcommit.key,
            PCPU_CHUNKS: lambda: None if kernel.percpu is None else kernel.percpu.key(),
            PAGE_CACHE: lambda: tuple([_cached_pages(each) for each in self._mappings()]),
            I_SIZE: lambda: tuple([each.size_bytes for each in self._mappings()]),
            FILE_RA: self._all_file_ra,
            S_INODES: lambda: kernel.file_system.next_numbers,
            TASKLIST: self._tasklist,
            **areas.whole,
        }
        """What steps declare as a whole that touch many elements."""
        self._add_caches(kernel.slab)

    def __missing__(self, name: str) -> Keyed:
        found = self._find(name)
        guard = self._kernel.engine.guard
        if guard.on:
            found = Unguarded(found, guard)
        self[name] = found
        if name in self._at_rest or name.partition("[")[0] in _LASTING:
            self._lasting[name] = found
        return found

    def clear(self) -> None:
        """Forget what the next schedule may not have."""
        super().clear()
        self.update(self._lasting)

    def _add_caches(self, allocator: ObjectAllocator[Any]) -> None:
        """Let what an object allocator has be found."""
        if isinstance(allocator, Slob):
            pages = SlobValues(allocator)
            self._columns[SLAB] = lambda pfn: View(partial(pages.page, pfn))
            self._whole[SLOB] = pages.lists
        elif isinstance(allocator, Slab | Slub):
            values = _values_of(allocator)
            self._of_pairs.update({KMEM_CACHE_CPU: values.cpu, KMEM_CACHE_NODE: values.node})
            self._columns[SLAB] = lambda pfn: View(partial(values.slab, pfn))

    def _mms(self) -> list[MmStruct]:
        kernel = self._kernel
        return [kernel.init_mm, *[space.mm for space in kernel.spaces.values()]]

    def _find(self, name: str) -> Keyed:
        if name in self._registered:
            latest = Latest(name, self._registered)
            zone_key = self._zone_keys.get(name)
            return latest if zone_key is None else View(partial(zone_key, latest))
        column, bracket, index = name.partition("[")
        if bracket and (column in _PAIRS or column in self._of_pairs):
            first, _, second = index[:-1].partition("][")
            return self._of_pair(column, int(first), int(second, 0) if second else None)
        if not bracket and column in self._whole:
            return View(self._whole[column])
        if not bracket or column not in self._columns:
            raise KeyError(name)
        return self._columns[column](int(index.rstrip("]"), 0))

    def _entry(self, index: int) -> View:
        view = self._kernel.memory.view
        return View(lambda: view[index])

    def _page(self, pfn: int) -> View:
        pages = self._kernel.pages
        flags = pages.flags_view
        columns = (pages.refcount_view, pages.mapcount_view, pages.mapping_view, pages.index_view)

        def key() -> tuple[int, ...]:
            return (flags[pfn] & ~LIST_FLAGS, *[column[pfn] for column in columns])

        return View(key)

    def _pageblock(self, block: int) -> View:
        pageblocks = self._kernel.allocator.pageblocks
        return View(lambda: int(pageblocks[block]) & PAGEBLOCK_TYPE_MASK)

    def _pcp(self, cpu: int) -> View:
        kernel = self._kernel

        def key() -> tuple[Hashable, ...]:
            return tuple(
                [
                    (zone.number, pindex, tuple(pfns))
                    for zone in kernel.allocator.zones
                    for pindex in range(NR_PCP_LISTS)
                    if (pfns := kernel.pages.list_pfns(zone.pcps[cpu].heads + pindex))
                ]
            ) + tuple([zone.pcps[cpu].words.tobytes() for zone in kernel.allocator.zones])

        return View(key)

    def _lru(self, cpu: int) -> View:
        return View(self._kernel.lru[cpu].key)

    def _page_lru(self, pfn: int) -> View:
        flags, mlock_count = self._kernel.pages.flags_view, self._kernel.pages.mlock_count

        def key() -> tuple[int, int]:
            return flags[pfn] & LIST_FLAGS, int(mlock_count[pfn])

        return View(key)

    def _vmstat(self, zone: int) -> View:
        vmstat = self._kernel.vmstat

        def key() -> tuple[int, ...]:
            deltas = vmstat.cpu_zone_words[:, zone, NR_FREE_PAGES].tolist()
            return (vmstat.zones[zone][NR_FREE_PAGES], *deltas)

        return View(key)

    def _all_vmstat(self) -> Hashable:
        vmstat = self._kernel.vmstat
        deltas = vmstat.cpu_zone_words[:, :, NR_FREE_PAGES]
        return (deltas.tobytes(), vmstat.zone_words[:, NR_FREE_PAGES].tobytes())

    def _data(self, pfn: int) -> View:
        generation = self._kernel.pages.generation_view
        checks = self._kernel.checks

        stored, words = self._kernel.area_bytes, self._kernel.frame_words

        def key() -> tuple[Hashable, ...]:
            content = None if checks is None else checks.content_key(pfn)
            return generation[pfn], content, stored.get(pfn), words.key(pfn)

        return View(key)

    def _tlb(self, cpu: int) -> View:
        hardware = self._kernel.hardware
        state = self._kernel.tlb_states[cpu]

        def pcids() -> list[tuple[int, int]]:
            return [
                (asid, state.pcid_of(asid))
                for asid, context in enumerate(state.contexts)
                if context is not None
            ]

        def key() -> Hashable:
            own = [(asid, hardware.cached_words(cpu, pcid)) for asid, pcid in pcids()]
            # Global entries have PCID 0.
            has_areas = self._kernel.vmalloc_space is not None
            return tuple(own), hardware.cached_words(cpu, 0) if has_areas else ()

        return View(key)

    def _anon_vma(self, number: int) -> View:
        anon_vma = self._kernel.anon_vma_cache.objects[number]
        return View(lambda: anon_vma_key(anon_vma))

    def _all_anon_vmas(self) -> Hashable:
        cache = self._kernel.anon_vma_cache
        live = [anon_vma for anon_vma in cache.objects.values() if anon_vma.is_live]
        return tuple([(anon_vma.number, anon_vma_key(anon_vma)) for anon_vma in live])

    def _mappings(self) -> list[Mapping]:
        return self._kernel.file_system.mappings()

    def _i_size(self, number: int) -> View:
        mapping = self._kernel.file_system.inode_numbered(number).mapping
        return View(lambda: mapping.size_bytes)

    def _i_count(self, number: int) -> View:
        mapping = self._kernel.file_system.inode_numbered(number).mapping
        return View(lambda: mapping.nr_users)

    def _files(self, pid: int) -> View:
        process = next((each for each in self._processes if each.pid == pid), None)
        if process is None:
            raise KeyError(pid)
        number_of = self._kernel.file_system.inode_of

        def key() -> Hashable:
            files = process.files.descriptors()
            return tuple([(fd, number_of(file.mapping).number) for fd, file in files])

        return View(key)

    def _tasklist(self) -> Hashable:
        return self._processes[0].table.last_pid, _tree_key(self._kernel.init_signal)

    def _i_pages(self, number: int) -> View:
        i_pages = self._kernel.file_system.inode_numbered(number).mapping.i_pages
        return View(i_pages.key)

    def _of_pair(self, column: str, first: int, second: int | None) -> View:
        """Return what an address space, a file or a cache has at an index; None: all of it."""
        kernel = self._kernel
        if column in self._of_pairs and second is not None:
            return View(partial(self._of_pairs[column], first, second))
        checks = kernel.checks
        if column == VALUE and checks is not None:
            return View(partial(checks.value_key, first, second))
        inode = kernel.file_system.inode_numbered(first)
        mapping = inode.mapping
        if column == PAGE_CACHE:
            if second is None:
                return View(lambda: _cached_pages(mapping))
            return View(lambda: mapping.pages.get(second))
        if column != STORE or second is None:
            raise KeyError(column)

        def key() -> Hashable:
            content = None if checks is None else checks.stored_key(mapping, second)
            return second in inode.stored, content

        return View(key)

    def _page_lock(self, pfn: int) -> View:
        """Return the lock of a page that nobody has locked yet."""
        name = page_lock(pfn)
        registered = self._registered

        def key() -> Hashable:
            lock = registered.get(name)
            return (None, ()) if lock is None else lock.key()

        return View(key, "free")

    def _all_file_ra(self) -> Hashable:
        files: dict[MappedFile, None] = {}
        for process in self._processes:
            files.update(dict.fromkeys(file for _, file in process.files.descriptors()))
        for mm in self._mms():
            files.update(
                dict.fromkeys(vma.vm_file for vma in mm.tree if isinstance(vma.vm_file, MappedFile))
            )
        return tuple([(file.path, file.f_ra.key()) for file in files])

    def _i_mmap(self, number: int) -> View:
        inode = self._kernel.file_system.inode_numbered(number)
        return View(lambda: tuple([place_of(vma) for vma in inode.mapping.i_mmap]))

    def _rcu(self, cpu: int) -> View:
        kernel = self._kernel

        def key() -> Hashable:
            period = kernel.rcu.period
            return (kernel.cpus[cpu].rcu_nesting, period is not None and cpu in period.readers)

        return View(key)

    def _of_mm(self, ctx_id: int, key: Callable[[MmStruct], Hashable]) -> View:
        found = next((mm for mm in self._mms() if mm.ctx_id == ctx_id), None)
        if found is None:
            raise KeyError(f"[{ctx_id}]")
        return View(lambda: key(found))


def _view_of(read: Callable[[int], Hashable], number: int) -> View:
    return View(partial(read, number))


def _tree_key(signal: SignalStruct) -> Hashable:
    tasks = tuple([task.thing for task in signal.tasks])
    children = tuple([_tree_key(child) for child in signal.children])
    return tasks, signal.nr_live, signal.is_zombie, children


def _cached_pages(mapping: Mapping) -> Hashable:
    return tuple(sorted(mapping.pages.items()))


def _zone_key(zone: Zone, words: Changes, links: Changes, mailbox: Keyed) -> Hashable:
    """Return the value of what zone->lock guards, and of who queues for it."""
    blocks = tuple([zone.view[order] for order in range(MAX_ORDER)])
    return (blocks, words.key(), links.key(), mailbox.key())
