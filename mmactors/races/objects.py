"""The shared objects of a machine by the names that steps give them: what each holds, as a value.

With a value for each object that a step touches, states that were seen before need not be explored
again, and a schedule can be printed with what every step saw and changed. Objects are found when
they are asked for: `page_tables[1536]`, `tlb[1]`, `pages[291]`, `mm_cpumask[1]`, `ptl[0x123]`.

An object that nobody can name (KeyError) is no error: states are then not told apart.
"""

import hashlib
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Final

from attrs import frozen

from mmactors.actors.state.kernel import Kernel
from mmactors.engine.baton import Keyed
from mmactors.engine.guard import Guard
from mmactors.hw.watch import CachedEntry
from mmactors.label import (
    ANON_VMA,
    DATA,
    I_MMAP,
    LRU,
    MM_CPUMASK,
    PAGE_LRU,
    PAGE_TABLES,
    PAGEBLOCK,
    PAGES,
    PCP,
    RCU,
    RSS,
    TLB,
    TLB_FLUSH_BATCHED,
    TLB_FLUSH_PENDING,
    TLB_GEN,
    VALUE,
    VM_COMMITTED_AS,
    VMAS,
    VMSTAT,
    ZONELISTS,
)
from mmactors.mm.area.anon_vma import AnonVma
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vma import Vma
from mmactors.mm.lru.folio_batch import LIST_FLAGS
from mmactors.mm.page_alloc.buddy import MAX_ORDER, PAGEBLOCK_TYPE_MASK
from mmactors.mm.page_alloc.pcp import NR_PCP_LISTS
from mmactors.mm.page_alloc.zone import Zone
from mmactors.mm.vmstat import NR_FREE_PAGES
from mmactors.races.object_texts import (
    MIGRATETYPES,
    anon_vma_text,
    areas_text,
    data_text,
    entry_text,
    lru_text,
    not_shown,
    pcp_text,
    tlb_text,
    zone_text,
)


@frozen(eq=False)
class View:
    """One object: its value, and the value as text."""

    key: Callable[[], Hashable]
    text: Callable[[Any], str] = str

    def show(self) -> str:
        """Return the value as text."""
        return self.text(self.key())


@frozen(eq=False)
class _Unguarded:
    """An object in guard mode: to look what it holds is no step of anybody's."""

    thing: Keyed
    guard: Guard

    def key(self) -> Hashable:
        """Return the object's value."""
        with self.guard.suspended():
            return self.thing.key()

    def show(self) -> str:
        """Return the value as text."""
        with self.guard.suspended():
            return self.thing.show()


class MachineObjects(dict[str, Keyed]):
    """Finds objects by name; what was found stays until the next schedule."""

    def __init__(self, kernel: Kernel, registered: dict[str, Keyed]) -> None:
        """`registered`: locks and mailboxes by name, the latest of each."""
        super().__init__()
        self._registered: Final = registered
        self._kernel: Final = kernel
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
            VMAS: lambda ctx_id: self._of_mm(ctx_id, _areas, areas_text),
            I_MMAP: self._i_mmap,
            RCU: self._rcu,
            MM_CPUMASK: lambda ctx_id: self._of_mm(ctx_id, lambda mm: mm.mm_cpumask, bin),
            ANON_VMA: self._anon_vma,
            TLB_FLUSH_PENDING: lambda ctx_id: self._of_mm(ctx_id, lambda mm: mm.tlb_flush_pending),
            TLB_FLUSH_BATCHED: lambda ctx_id: self._of_mm(ctx_id, lambda mm: mm.tlb_flush_batched),
            TLB_GEN: lambda ctx_id: self._of_mm(ctx_id, lambda mm: mm.tlb_gen),
        }

        self._zones: Final = {
            mailbox.name: zone
            for mailbox, zone in zip(kernel.zone_mailboxes, kernel.allocator.zones, strict=True)
        }
        self._whole: Final[dict[str, Callable[[], Hashable]]] = {
            PAGE_TABLES: kernel.memory.key,
            PAGES: self._all_pages,
            VMSTAT: self._all_vmstat,
            PAGEBLOCK: kernel.allocator.pageblocks.tobytes,
            PCP: lambda: tuple([self._pcp(cpu).key() for cpu in range(len(kernel.cpus))]),
            ZONELISTS: kernel.allocator.zonelists_key,
            RSS: lambda: tuple([tuple(mm.rss) for mm in self._mms()]),
            ANON_VMA: self._all_anon_vmas,
            VMAS: lambda: tuple(map(_areas, self._mms())),
            VM_COMMITTED_AS: kernel.overcommit.key,
        }
        """What steps declare as a whole that touch many elements."""

    def __missing__(self, name: str) -> Keyed:
        found = self._find(name)
        guard = self._kernel.engine.guard
        if guard.on:
            found = _Unguarded(found, guard)
        self[name] = found
        return found

    def _mms(self) -> list[MmStruct]:
        kernel = self._kernel
        return [kernel.init_mm, *[space.mm for space in kernel.spaces.values()]]

    def _find(self, name: str) -> Keyed:
        thing = self._registered.get(name)
        if thing is not None:
            zone = self._zones.get(name)
            return thing if zone is None else View(partial(_zone_key, zone, thing), zone_text)
        column, bracket, index = name.partition("[")
        checks = self._kernel.checks
        if column == VALUE and checks is not None:
            ctx_id, _, page = index[:-1].partition("][")
            key = partial(checks.value_key, int(ctx_id), int(page, 0) if page else None)
            return View(key, not_shown)
        if not bracket and column in self._whole:
            return View(self._whole[column], lambda _key: "...")
        if not bracket or column not in self._columns:
            raise KeyError(name)
        return self._columns[column](int(index.rstrip("]"), 0))

    def _entry(self, index: int) -> View:
        view = self._kernel.memory.view
        return View(lambda: view[index], entry_text)

    def _page(self, pfn: int) -> View:
        pages = self._kernel.pages
        flags = pages.flags_view
        columns = (pages.refcount_view, pages.mapcount_view, pages.mapping_view, pages.index_view)

        def key() -> tuple[int, ...]:
            return (flags[pfn] & ~LIST_FLAGS, *[column[pfn] for column in columns])

        return View(key, lambda key: f"refcount {key[1]}, mapcount {key[2]}, flags {key[0]:#x}")

    def _all_pages(self) -> bytes:
        pages = self._kernel.pages
        digest = hashlib.blake2b(digest_size=16)
        digest.update((pages.flags & ~LIST_FLAGS).data)
        for column in (pages.refcount, pages.mapcount, pages.mapping, pages.index):
            digest.update(column.data)
        return digest.digest()

    def _pageblock(self, block: int) -> View:
        pageblocks = self._kernel.allocator.pageblocks
        return View(lambda: int(pageblocks[block]) & PAGEBLOCK_TYPE_MASK, MIGRATETYPES.__getitem__)

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

        return View(key, pcp_text)

    def _lru(self, cpu: int) -> View:
        return View(self._kernel.lru[cpu].key, lru_text)

    def _page_lru(self, pfn: int) -> View:
        flags, mlock_count = self._kernel.pages.flags_view, self._kernel.pages.mlock_count

        def key() -> tuple[int, int]:
            return flags[pfn] & LIST_FLAGS, int(mlock_count[pfn])

        return View(key, lambda key: f"flags {key[0]:#x}, mlock_count {key[1]}")

    def _vmstat(self, zone: int) -> View:
        vmstat = self._kernel.vmstat

        def key() -> tuple[int, ...]:
            deltas = vmstat.cpu_zone_words[:, zone, NR_FREE_PAGES].tolist()
            return (vmstat.zones[zone][NR_FREE_PAGES], *deltas)

        return View(key, lambda key: f"free {key[0]}, not yet counted {list(key[1:])}")

    def _all_vmstat(self) -> Hashable:
        vmstat = self._kernel.vmstat
        deltas = vmstat.cpu_zone_words[:, :, NR_FREE_PAGES]
        return (deltas.tobytes(), vmstat.zone_words[:, NR_FREE_PAGES].tobytes())

    def _data(self, pfn: int) -> View:
        generation = self._kernel.pages.generation_view
        checks = self._kernel.checks

        def key() -> tuple[int, Hashable]:
            return generation[pfn], None if checks is None else checks.content_key(pfn)

        return View(key, data_text)

    def _tlb(self, cpu: int) -> View:
        hardware = self._kernel.hardware
        state = self._kernel.tlb_states[cpu]

        def key() -> tuple[Hashable, ...]:
            found = []
            for asid, context in enumerate(state.contexts):
                if context is not None:
                    entries = hardware.entries_within(cpu, state.pcid_of(asid), 0, 1 << 57)
                    found += [(asid, *_entry_key(entry)) for entry in entries]
            return tuple(found)

        return View(key, tlb_text)

    def _anon_vma(self, number: int) -> View:
        anon_vma = self._kernel.anon_vma_cache.objects[number]
        return View(lambda: _anon_vma_key(anon_vma), anon_vma_text)

    def _all_anon_vmas(self) -> Hashable:
        cache = self._kernel.anon_vma_cache
        live = [anon_vma for anon_vma in cache.objects.values() if anon_vma.is_live]
        numbers = tuple([(anon_vma.number, _anon_vma_key(anon_vma)) for anon_vma in live])
        return (cache.free_numbers(), numbers)

    def _i_mmap(self, number: int) -> View:
        inode = self._kernel.file_system.inode_numbered(number)
        return View(lambda: tuple([_place(vma) for vma in inode.mapping.i_mmap]))

    def _rcu(self, cpu: int) -> View:
        kernel = self._kernel

        def key() -> Hashable:
            period = kernel.rcu.period
            return (kernel.cpus[cpu].rcu_nesting, period is not None and cpu in period.readers)

        return View(key, lambda key: f"nesting {key[0]}{', waited for' if key[1] else ''}")

    def _of_mm(
        self, ctx_id: int, key: Callable[[MmStruct], Hashable], text: Callable[[Any], str] = str
    ) -> View:
        found = next((mm for mm in self._mms() if mm.ctx_id == ctx_id), None)
        if found is None:
            raise KeyError(f"[{ctx_id}]")
        return View(lambda: key(found), text)


def _entry_key(entry: CachedEntry) -> tuple[str, int, int, int, bool, bool]:
    marks = entry.is_revoked_all, entry.is_revoked_write
    return entry.place, entry.start, entry.pte, entry.generation, *marks


def _areas(mm: MmStruct) -> Hashable:
    caches = [(cache.seqnum, *map(_cached, cache.vmas)) for cache in mm.vmacaches]
    return (tuple([_area(vma) for vma in mm.tree]), mm.vmacache_seqnum, tuple(caches))


def _cached(vma: Vma | None) -> Hashable:
    return None if vma is None else (vma.vm_start, vma.vm_end, vma.is_freed)


def _area(vma: Vma) -> Hashable:
    chain = tuple([link.anon_vma.number for link in vma.anon_vma_chain])
    own = None if vma.anon_vma is None else vma.anon_vma.number
    return (vma.vm_start, vma.vm_end, vma.vm_flags, vma.vm_pgoff, own, chain)


def _place(vma: Vma) -> tuple[int, int]:
    return (0 if vma.vm_mm is None else vma.vm_mm.ctx_id, vma.vm_start)


def _anon_vma_key(anon_vma: AnonVma) -> tuple[Any, ...]:
    links = tuple([_place(link.vma) for link in anon_vma.rb_root])
    counts = (anon_vma.refcount, anon_vma.num_children, anon_vma.num_active_vmas)
    root, parent = anon_vma.root.number, anon_vma.parent.number
    return (anon_vma.is_live, root, parent, counts, links, anon_vma.nr_walkers)


def _zone_key(zone: Zone, mailbox: Keyed) -> Hashable:
    """Return the value of what zone->lock guards, and of who queues for it."""
    digest = hashlib.blake2b(digest_size=16)
    for array in (zone.words, zone.pages.next, zone.pages.buddy, zone.pageblocks):
        digest.update(array.data)
    blocks = tuple([zone.view[order] for order in range(MAX_ORDER)])
    return (blocks, digest.digest(), mailbox.key())
