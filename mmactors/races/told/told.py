"""What the objects of a machine hold, as text, part by part: the reading half of the teller.

Values are read from the kernel, as keys are (`objects.py`), but for people: flags by their names
(include/trace/events/mmflags.h, v6.1), pages by their PFN, what belongs to a program by its name. A
part is what can change by itself, such as the refcount of a page. What is too big to be shown, such
as all page tables, has no parts.
"""

from collections.abc import Callable
from typing import Final

from mmactors.actors.state.kernel import Kernel
from mmactors.arch import page as pg
from mmactors.arch import pte
from mmactors.arch.pte import TABLE_SHIFT
from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vma import Vma
from mmactors.mm.lru.folio_batch import LIST_FLAGS
from mmactors.mm.lru.move_folios import PVEC_SHIFT
from mmactors.mm.page_alloc.buddy import PAGEBLOCK_TYPE_MASK
from mmactors.mm.page_alloc.gfp import MIGRATE_PCPTYPES
from mmactors.mm.page_alloc.order import (
    MAX_ORDER,
    PAGEBLOCK_ORDER,
)
from mmactors.mm.page_alloc.pcp import (
    NR_LOWORDER_PCP_LISTS,
    NR_PCP_LISTS,
    pindex_to_order,
)
from mmactors.mm.page_alloc.zone import Zone
from mmactors.mm.page_table.swap_entry import is_migration_entry, migration_entry_pfn
from mmactors.mm.rmap.rmap import anon_vma_number, is_anon
from mmactors.mm.vmstat import NR_FREE_PAGES
from mmactors.races.places import Places

Parts = dict[str, str]

NONE: Final = "none"
MIGRATETYPES: Final = ("unmovable", "movable", "reclaimable", "highatomic", "isolated")
_RSS: Final = ("file", "anon", "swap", "shmem")
_FEW: Final = 4
"""So many pages of a list are named."""
_PAGE_FLAGS: Final = (
    (pg.PG_LOCKED, "locked"),
    (pg.PG_WAITERS, "waiters"),
    (pg.PG_REFERENCED, "referenced"),
    (pg.PG_UPTODATE, "uptodate"),
    (pg.PG_DIRTY, "dirty"),
    (pg.PG_LRU, "lru"),
    (pg.PG_ACTIVE, "active"),
    (pg.PG_WORKINGSET, "workingset"),
    (pg.PG_SLAB, "slab"),
    (pg.PG_RESERVED, "reserved"),
    (pg.PG_PRIVATE, "private"),
    (pg.PG_WRITEBACK, "writeback"),
    (pg.PG_HEAD, "head"),
    (pg.PG_RECLAIM, "reclaim"),
    (pg.PG_SWAPBACKED, "swapbacked"),
    (pg.PG_UNEVICTABLE, "unevictable"),
    (pg.PG_MLOCKED, "mlocked"),
    (pg.PG_YOUNG, "young"),
    (pg.PG_IDLE, "idle"),
    (pg.PG_TABLE, "table"),
    (pg.PG_MOVABLE_OPS, "movable_ops"),
)
_ENTRY_FLAGS: Final = (
    (pte.ACCESSED, "young"),
    (pte.DIRTY, "dirty"),
    (pte.SPECIAL, "special"),
)


def flags_text(flags: int) -> str:
    """Return page flags by their names: `uptodate|dirty`."""
    return "|".join(name for flag, name in _PAGE_FLAGS if flags & flag) or NONE


def entry_text(entry: int) -> str:
    """Return a page-table entry: the page, its rights, and what the hardware noted."""
    if not entry & (pte.PRESENT | pte.PROTNONE):
        if is_migration_entry(entry):
            return f"migration entry of page {migration_entry_pfn(entry):#x}"
        return NONE if not entry else f"swap entry {entry & (1 << 64) - 1:#x}"
    kind = "page" if entry & pte.PRESENT else "PROT_NONE page"
    words = [kind, f"{pte.pte_pfn(entry):#x}", "rw" if entry & pte.RW else "ro"]
    return " ".join([*words, *(name for flag, name in _ENTRY_FLAGS if entry & flag)])


def pages_text(pfns: list[int]) -> str:
    """Return the first pages of a list."""
    more = f" and {len(pfns) - _FEW} more" if len(pfns) > _FEW else ""
    return " ".join(f"{pfn:#x}" for pfn in pfns[:_FEW]) + more


def list_name(pindex: int) -> str:
    """Return which blocks a list of a CPU has: `movable order 0`."""
    order = pindex_to_order(pindex)
    if pindex >= NR_LOWORDER_PCP_LISTS:
        is_movable = pindex > NR_LOWORDER_PCP_LISTS
        return f"{'movable' if is_movable else 'other'} order {order}"
    return f"{MIGRATETYPES[pindex % MIGRATE_PCPTYPES]} order {order}"


def permissions_text(vm_flags: int) -> str:
    """Return the rights of an area as /proc/PID/maps does: `rw-p`."""
    letters = (letter if vm_flags & 1 << bit else "-" for bit, letter in enumerate("rwx"))
    return "".join(letters) + ("s" if vm_flags & 1 << 7 else "p")


class Told:
    """The parts of all objects of one machine, column by column."""

    def __init__(self, kernel: Kernel, places: Places) -> None:
        self._kernel: Final = kernel
        self._places: Final = places

    # -- memory ------------------------------------------------------------------------------------

    def page_tables(self, index: int) -> Parts:
        """Return an entry of a page table."""
        if self._places.table_at(index >> TABLE_SHIFT) is None:
            return {}  # No table yet: what stands there is of the frame's last use.
        entry = self._kernel.memory.view[index]
        if self._places.is_upper(index) and entry & pte.PRESENT and not entry & pte.PSE:
            return {self._places.entry(index): f"table {pte.pte_pfn(entry):#x}"}
        return {self._places.entry(index): entry_text(entry)}

    def pages(self, pfn: int) -> Parts:
        """Return a struct page."""
        pages = self._kernel.pages
        of = f"of page {pfn:#x}"
        mapping = pages.mapping_view[pfn]
        if not mapping:
            whose = NONE
        elif is_anon(pages, pfn):
            whose = f"anon_vma {anon_vma_number(mapping)}"
        else:
            whose = f"a file, page {pages.index_view[pfn]}"
        return {
            f"refcount {of}": str(pages.refcount_view[pfn]),
            f"mapcount {of}": str(pages.mapcount_view[pfn]),
            f"flags {of}": flags_text(pages.flags_view[pfn] & ~LIST_FLAGS),
            f"mapping {of}": whose,
        }

    def page_lru(self, pfn: int) -> Parts:
        """Return what a page's flags say of its LRU list."""
        flags = self._kernel.pages.flags_view[pfn] & LIST_FLAGS
        return {f"LRU flags of page {pfn:#x}": flags_text(flags)}

    def data(self, pfn: int) -> Parts:
        """Return what a page contains, and its generation: how often it has changed hands."""
        parts = {f"generation of page {pfn:#x}": str(self._kernel.pages.generation_view[pfn])}
        checks = self._kernel.checks
        content = None if checks is None else checks.content_key(pfn)
        if content is not None:
            parts[f"content of page {pfn:#x}"] = f"#{hash(content) & 0xFFFF:04x}"
        for offset, word in self._kernel.frame_words.words_of(pfn).items():
            parts[f"word {offset:#x} of page {pfn:#x}"] = str(word)
        return parts

    def pageblock(self, block: int) -> Parts:
        """Return the type of a pageblock."""
        kind = int(self._kernel.allocator.pageblocks[block]) & PAGEBLOCK_TYPE_MASK
        first = block << PAGEBLOCK_ORDER
        last = first + (1 << PAGEBLOCK_ORDER) - 1
        return {f"pageblock of pages {first:#x}-{last:#x}": MIGRATETYPES[kind]}

    def pcp(self, cpu: int) -> Parts:
        """Return the page lists of a CPU."""
        kernel = self._kernel
        parts = {}
        for zone in kernel.allocator.zones:
            heads = zone.pcps[cpu].heads
            for pindex in range(NR_PCP_LISTS):
                pfns = kernel.pages.list_pfns(heads + pindex)
                if pfns:
                    name = f"cpu{cpu}'s list of zone {zone.name} ({list_name(pindex)})"
                    parts[name] = pages_text(pfns)
        return parts or {f"cpu{cpu}'s page lists": "empty"}

    def lru(self, cpu: int) -> Parts:
        """Return the batches in which pages of a CPU wait for their LRU lists."""
        _, waiting, released = self._kernel.lru[cpu].key()
        pfns = [word for batch in waiting[:-1] for word in batch]
        pfns += [word >> PVEC_SHIFT for word in waiting[-1]]
        parts = {f"cpu{cpu}'s LRU batches": pages_text(pfns) or "empty"}
        if released:
            parts[f"pages that cpu{cpu} is to free"] = pages_text(list(released))
        return parts

    def vmstat(self, number: int) -> Parts:
        """Return the free pages of a zone, as counted, and what CPUs have not added yet."""
        vmstat = self._kernel.vmstat
        name = self._kernel.allocator.zones[number].name
        deltas = vmstat.cpu_zone_words[:, number, NR_FREE_PAGES].tolist()
        parts = {f"nr_free_pages of zone {name}": str(vmstat.zones[number][NR_FREE_PAGES])}
        for cpu, delta in enumerate(deltas):
            if delta:
                parts[f"cpu{cpu}'s vm_stat_diff of zone {name}"] = f"{delta:+}"
        return parts

    def zone(self, zone: Zone) -> Parts:
        """Return the free blocks of a zone."""
        return {
            f"free order-{order} blocks of zone {zone.name}": str(zone.view[order])
            for order in range(MAX_ORDER)
        }

    # -- address spaces ----------------------------------------------------------------------------

    def of_mm(self, word: str, ctx_id: int, text: Callable[[MmStruct], str]) -> Parts:
        """Return one value of an address space."""
        mm = self.mm(ctx_id)
        return {} if mm is None else {f"{word} of {self._places.owner(ctx_id)}": text(mm)}

    def mm(self, ctx_id: int) -> MmStruct | None:
        """Return an address space; None: it has gone."""
        kernel = self._kernel
        spaces = [kernel.init_mm, *[space.mm for space in kernel.spaces.values()]]
        return next((mm for mm in spaces if mm.ctx_id == ctx_id), None)

    def areas(self, ctx_id: int) -> Parts:
        """Return the areas of an address space, those first for which programs have names."""
        mm = self.mm(ctx_id)
        if mm is None:
            return {}
        places = self._places
        named, others = {}, {}
        of = f"vmas of {places.owner(ctx_id)}"
        for vma in mm.tree:
            names = places.names_in(ctx_id, vma.vm_start, vma.vm_end)
            where = f"{vma.vm_start:#x}-{vma.vm_end:#x}"
            if names:
                named[f"{of}, {' and '.join(names)} {where}"] = _area_text(vma)
            else:
                others[f"{of}, {where}"] = _area_text(vma)
        cached = {
            f"vmacache {at} of {places.owner(ctx_id)}": f"sequence number {cache.seqnum}"
            for at, cache in enumerate(mm.vmacaches)
        }
        if cached:
            cached[f"vmacache_seqnum of {places.owner(ctx_id)}"] = str(mm.vmacache_seqnum)
        return {**named, **others, **cached}

    def anon_vma(self, number: int) -> Parts:
        """Return an anon_vma."""
        anon_vma = self._kernel.anon_vma_cache.objects.get(number)
        if anon_vma is None:
            return {}
        of = f"of anon_vma {number}"
        parts = {f"state {of}": "in use" if anon_vma.is_live else "free"}
        if anon_vma.is_live:
            parts[f"refcount {of}"] = str(anon_vma.refcount)
            parts[f"root {of}"] = f"anon_vma {anon_vma.root.number}"
            parts[f"parent {of}"] = f"anon_vma {anon_vma.parent.number}"
            parts |= {
                f"areas {of}, {self._area_name(link.vma)}": "linked" for link in anon_vma.rb_root
            }
        if anon_vma.nr_walkers:
            parts[f"rmap walks {of}"] = str(anon_vma.nr_walkers)
        return parts

    def _area_name(self, vma: Vma) -> str:
        if vma.vm_mm is None:
            return f"{vma.vm_start:#x}"
        ctx_id = vma.vm_mm.ctx_id
        return self._places.address(ctx_id, vma.vm_start, is_brief=True)

    # -- CPUs --------------------------------------------------------------------------------------

    def tlb(self, cpu: int) -> Parts:
        """Return the translations that a CPU knows: the address, the page, the rights."""
        kernel = self._kernel
        state = kernel.tlb_states[cpu]
        parts = {}
        for asid, context in enumerate(state.contexts):
            if context is not None:
                pcid = state.pcid_of(asid)
                for entry in kernel.hardware.entries_within(cpu, pcid, 0, 1 << 57):
                    if entry.place == "TLB":
                        where = self._places.address(context.ctx_id, entry.start)
                        parts[f"tlb of cpu{cpu}, {where}"] = entry_text(entry.pte)
        return parts

    def cpu(self, number: int) -> Parts:
        """Return who runs on a CPU, who wants to, and its interrupts."""
        cpu = self._kernel.cpus[number]
        inside = " > ".join(cpu.contexts)
        irqs = "on" if cpu.irqs_enabled else "off"
        return {
            f"thread of cpu{number}": "idle" if cpu.current is cpu.idle else cpu.current.name,
            f"queue of cpu{number}": " ".join(each.name for each in cpu.queued()) or NONE,
            f"pending interrupts of cpu{number}": " ".join(cpu.pending_vectors()) or NONE,
            f"irqs of cpu{number}": f"in {inside}" if inside else irqs,
        }

    def rcu(self, cpu: int) -> Parts:
        """Return how deep a CPU is in read sections."""
        kernel = self._kernel
        period = kernel.rcu.period
        waited = period is not None and cpu in period.readers
        nesting = kernel.cpus[cpu].rcu_nesting
        return {f"RCU nesting of cpu{cpu}": f"{nesting}{', waited for' if waited else ''}"}

    # -- files -------------------------------------------------------------------------------------

    def file(self, number: int) -> str:
        """Return the path of an inode, or its number."""
        for path, inode in self._kernel.file_system.named():
            if inode.number == number:
                return path
        return f"inode {number}"

    def i_size(self, number: int) -> Parts:
        """Return the length of a file."""
        mapping = self._kernel.file_system.inode_numbered(number).mapping
        return {f"i_size of {self.file(number)}": f"{mapping.size_bytes} bytes"}

    def cached_page(self, number: int, index: int) -> Parts:
        """Return one slot of a page cache."""
        pages = self._kernel.file_system.inode_numbered(number).mapping.pages
        pfn = pages.get(index)
        name = f"page {index} of {self.file(number)} in the page cache"
        return {name: NONE if pfn is None else f"page {pfn:#x}"}

    def i_mmap(self, number: int) -> Parts:
        """Return the areas that map a file."""
        inode = self._kernel.file_system.inode_numbered(number)
        return {
            f"areas that map {self.file(number)}, {self._area_name(vma)}": (
                f"{vma.vm_start:#x}-{vma.vm_end:#x} from page {vma.vm_pgoff}"
            )
            for vma in inode.mapping.i_mmap
        }


def rss_text(mm: MmStruct) -> str:
    """Return the counters of an address space that are not zero: `anon 3, file 1`."""
    counted = [f"{_RSS[at]} {mm.rss[at]}" for at in (1, 0, 3, 2) if mm.rss[at]]
    return ", ".join(counted) or "0"


def cpus_text(mm: MmStruct) -> str:
    """Return the CPUs of mm_cpumask."""
    mask = mm.mm_cpumask
    return " ".join(f"cpu{cpu}" for cpu in range(mask.bit_length()) if mask >> cpu & 1) or NONE


def _area_text(vma: Vma) -> str:
    words = [permissions_text(vma.vm_flags)]
    if vma.anon_vma is not None:
        words.append(f"anon_vma {vma.anon_vma.number}")
    if isinstance(vma.vm_file, MappedFile):
        words.append(f"{vma.vm_file.path} from page {vma.vm_pgoff}")
    return " ".join(words)
