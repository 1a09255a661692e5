"""Tells people what happens in a machine: objects by what they are, not by index.

Schedules, replay texts and fingerprints keep the names of the engine (`mmactors/label.py`); what a
report shows goes through here: `page_tables[2623998]` is the pte of a program's `A+0`, `rss[1]` the
rss of the program, `ptl[0x1404]` the lock of the table that maps A.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from mmactors import label as names
from mmactors.actors.program.process import Process
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.actor import Keyed
from mmactors.explore.engine.step import Touches
from mmactors.explore.engine.view import is_cpu
from mmactors.races.places import Places
from mmactors.races.told.malloc import ToldMalloc
from mmactors.races.told.percpu_ref import ToldPercpuRefs
from mmactors.races.told.slab import told_caches
from mmactors.races.told.told import Parts, Told, cpus_text, rss_text
from mmactors.races.told.vmalloc import ToldVmalloc

_INDEXED: Final = re.compile(r"^(.*?)\[([^\]]*)\](?:\[([^\]]*)\])?$")
_OBJECT: Final = re.compile(r"\b[a-z_]+\[[0-9a-fx]+\](?:\[[0-9a-fx]+\])?")
_IDLE: Final = re.compile(
    r"  .+ at t=\S+: waits for (a message to .+|an interrupt or a thread for cpu\d+|a callback)$"
)
_MACHINERY: Final = re.compile(r"^an operation for | to be done$")
"""How a program hands operations to its threads."""
_RECEIVE: Final = "receive "
_ADDRESS: Final = re.compile(r"\b0x[0-9a-f]{8,16}\b")


class MachineTeller:
    """Knows the objects of one machine."""

    def __init__(self, kernel: Kernel, processes: Callable[[], Sequence[Process]]) -> None:
        self._kernel: Final = kernel
        self._places: Final = Places(kernel, processes)
        told = self._told = Told(kernel, self._places)
        slabs = self._slabs = told_caches(kernel)
        percpu_refs, vmalloc = ToldPercpuRefs(kernel), ToldVmalloc(kernel)
        malloc = self._malloc = ToldMalloc(processes, self._places)
        self._pairs: Final[dict[str, Callable[[int, int], Parts]]] = {
            names.PAGE_CACHE: told.cached_page,
            names.KMEM_CACHE_CPU: slabs.of_cpu,
            names.KMEM_CACHE_NODE: slabs.of_node,
            names.PERCPU_COUNT: percpu_refs.of_cpu,
            names.MALLOC_STATE: malloc.state,
            names.FASTBINS: malloc.fastbins,
        }
        self._columns: Final[dict[str, Callable[[int], Parts]]] = {
            names.PAGE_TABLES: told.page_tables,
            names.PAGES: told.pages,
            names.PAGE_LRU: told.page_lru,
            names.DATA: told.data,
            names.PAGEBLOCK: told.pageblock,
            names.PCP: told.pcp,
            names.LRU: told.lru,
            names.VMSTAT: told.vmstat,
            names.VMAS: told.areas,
            names.ANON_VMA: told.anon_vma,
            names.TLB: told.tlb,
            names.RCU: told.rcu,
            names.SLAB: slabs.slab,
            names.VMAP_BLOCK: vmalloc.block,
            names.VMAP_BLOCK_QUEUE: vmalloc.queue,
            names.PERCPU_REF: percpu_refs.mode,
            names.PERCPU_REF_COUNT: percpu_refs.count,
            names.ARENA_LIST: malloc.arena_list,
            names.ARENA_FREE_LIST: malloc.free_list,
            names.I_SIZE: told.i_size,
            names.I_MMAP: told.i_mmap,
            names.RSS: lambda ctx_id: told.of_mm("rss", ctx_id, rss_text),
            names.MM_CPUMASK: lambda ctx_id: told.of_mm("mm_cpumask", ctx_id, cpus_text),
            **{
                word: self._number(word)
                for word in (names.TLB_GEN, names.TLB_FLUSH_PENDING, names.TLB_FLUSH_BATCHED)
            },
        }
        self._zones: Final = {
            mailbox.name: zone
            for mailbox, zone in zip(kernel.zone_mailboxes, kernel.allocator.zones, strict=True)
        }

    def _number(self, word: str) -> Callable[[int], Parts]:
        return lambda ctx_id: self._told.of_mm(word, ctx_id, lambda mm: str(getattr(mm, word)))

    def glance(self) -> None:
        """Look where everything is now."""
        self._places.glance()

    def called(self, name: str) -> str:
        """Return what the object is called: `pte of A+0 (0x7ffff7ffd000)`."""
        return self._called(name, is_brief=False)

    def parts(self, name: str, thing: Keyed | None) -> Parts:
        """Return the parts of an object; none of what only makes the simulation go."""
        if _MACHINERY.search(name) or name == self._kernel.dram.name:
            return {}
        if is_cpu(name):
            return self._told.cpu(int(name.removeprefix("cpu")))
        zone = self._zones.get(name)
        if zone is not None:
            return self._told.zone(zone)
        if name == names.SLOB:
            return self._slabs.lists()
        column, numbers = _split(name)
        if not numbers:
            is_column = column in self._columns or thing is None
            return {} if is_column else _shown(self.called(name), thing)
        try:
            if column in self._pairs and len(numbers) == 2:
                return self._pairs[column](*numbers)
            if column in self._columns and len(numbers) == 1:
                return self._columns[column](numbers[0])
        except (KeyError, IndexError):
            return {}  # There is none by now.
        return {} if thing is None else _shown(self.called(name), thing)

    def is_news(self, thing: str, text: str) -> bool:
        """Return whether it is: that a walk went on to the next table, as ever, is none."""
        return not text.startswith("table ") and not (thing.startswith("rss of ") and text == "0")

    def label(self, text: str, touches: Touches) -> str:
        """Return what a step does: with what it does that to, and names instead of numbers."""
        if text.removeprefix(_RECEIVE) in self._zones:
            return "zone->lock: serve a request"
        shown = text
        words: dict[str, set[str]] = {}
        for name, _ in touches:
            called = self._called(name, is_brief=True)
            if name in shown:
                shown = _replaced(rf"{re.escape(name)}(?![\w\]])", called, shown)
            elif " of " in called:
                words.setdefault(called.partition(" of ")[0], set()).add(called)
        for word, found in words.items():
            if len(found) == 1:
                shown = _replaced(rf"\b{re.escape(word)}\b(?! of )", found.pop(), shown)
        if shown == text and not _ADDRESS.search(text):
            return text + self._where(touches)
        return _ADDRESS.sub(self._named_address, shown)

    def _where(self, touches: Touches) -> str:
        """Return the pages whose ptes a step touches: ` (A+0)`."""
        indices = [_split(name) for name, _ in touches]
        pages = [
            self._places.page_of(numbers[0])
            for column, numbers in indices
            if column == names.PAGE_TABLES and numbers
        ]
        found = sorted({page for page in pages if page is not None})
        if not found:
            return ""
        named = [self._places.address(*page, is_brief=True) for page in (found[0], found[-1])]
        return f" ({' to '.join(dict.fromkeys(named))})"

    def prose(self, text: str) -> str:
        """Return what a check said, with names for addresses and without idle services."""
        text = "\n".join(line for line in text.split("\n") if not _IDLE.match(line)) or text
        named = [_ADDRESS.sub(self._with_name, line, count=1) for line in text.split("\n")]
        return _OBJECT.sub(lambda match: self._called(match[0], is_brief=True), "\n".join(named))

    def _with_name(self, match: "re.Match[str]") -> str:
        called = self._places.anywhere(int(match[0], 16))
        return match[0] if called is None else f"{match[0]} ({called})"

    def _named_address(self, match: "re.Match[str]") -> str:
        return self._places.anywhere(int(match[0], 16)) or match[0]

    def _called(self, name: str, *, is_brief: bool) -> str:
        zone = self._zones.get(name)
        if zone is not None:
            return f"zone {zone.name}"
        column, numbers = _split(name)
        if not numbers:
            return name
        number = numbers[0]
        places = self._places
        if column == names.PAGE_TABLES:
            return places.entry(number, is_brief=is_brief)
        if column == "ptl":
            table = places.table_at(number)
            if table is None:
                return f"ptl of table {number:#x}"
            span = 1 << 21
            inside = places.names_in(table.ctx_id, table.address, table.address + span)
            above = " and ".join(inside) or f"{table.address:#x}"
            return f"ptl of {above}{places.whose(table.ctx_id, *inside)}"
        if column in _OF_PAGES:
            return f"{_OF_PAGES[column]} {number:#x}"
        if column in _OF_FILES:
            index = f"page {numbers[1]} of " if len(numbers) > 1 else ""
            where = f" in {column}" if index else ""
            return f"{index or f'{column} of '}{self._told.file(number)}{where}"
        if column in _OF_CPUS:
            return f"{_OF_CPUS[column]} of cpu{number}"
        if column in _OF_SPACES:
            return f"{column} of {places.owner(number)}"
        if column == names.KMEM_CACHE_CPU and len(numbers) > 1:
            return f"{self._slabs.cache(number)} of cpu{numbers[1]}"
        if column == names.KMEM_CACHE_NODE and len(numbers) > 1:
            return f"{self._slabs.cache(number)} of node {numbers[1]}"
        if column in _OF_ARENAS and len(numbers) > 1:
            return f"{column} of {self._malloc.arena(number, numbers[1])}"
        if column == names.CENTRAL_LIST:
            which = f" of class {numbers[1]}" if len(numbers) > 1 else "s"
            return f"central list{which} of {places.owner(number)}"
        if column in _OF_HEAPS and len(numbers) > 1:
            return f"{column}{places.whose(number)}"
        if column == names.VMSTAT and number < len(self._kernel.allocator.zones):
            return f"counters of zone {self._kernel.allocator.zones[number].name}"
        if column == names.ANON_VMA:
            return f"anon_vma {number}"
        if column == names.VMAP_BLOCK:
            return f"block {number}"
        return name


_OF_PAGES: Final = {
    names.PAGES: "page",
    names.PAGE_LRU: "LRU flags of page",
    names.PAGE_LOCK: "lock of page",
    names.DATA: "content of page",
    names.SLAB: "slab",
}
_OF_FILES: Final = (
    names.PAGE_CACHE, names.I_SIZE, names.I_MMAP, names.STORE, "i_rwsem", "i_mmap_rwsem",
)  # fmt: skip
_OF_CPUS: Final = {
    names.TLB: "tlb",
    names.VMAP_BLOCK_QUEUE: "list of blocks",
    names.PCP: "page lists",
    names.LRU: "LRU batches",
    names.RCU: "RCU readers",
}
_OF_ARENAS: Final = (names.MALLOC_STATE, names.FASTBINS, "arena.mutex")
_OF_HEAPS: Final = (
    "main_arena.mutex", "list_lock", "free_list_lock", "pageheap_lock", "central_cache.lock",
    "extents_dirty", "extents_muzzy", "extents_retained", "edata_cache", "extent_grow",
)  # fmt: skip
_OF_SPACES: Final = (
    names.RSS, names.VMAS, names.MM_FLAGS, names.MM_CPUMASK, names.TLB_GEN,
    names.TLB_FLUSH_PENDING, names.TLB_FLUSH_BATCHED, names.VALUE, names.ARENA_LIST,
    names.ARENA_FREE_LIST, names.MALLOC_PAR, names.PAGE_HEAP, names.EXTENT_MAP, "mmap_lock",
    "page_table_lock", "write_protect_seq",
)  # fmt: skip


def _split(name: str) -> tuple[str, tuple[int, ...]]:
    """Return column and indices of an object; no indices: it is none of a column."""
    found = _INDEXED.match(name)
    if found is None:
        return name, ()
    try:
        return found[1], tuple(int(each, 0) for each in found.groups()[1:] if each is not None)
    except ValueError:
        return name, ()


def _replaced(pattern: str, by: str, text: str) -> str:
    return re.sub(pattern, lambda _match: by, text, count=1)


def _shown(called: str, thing: Keyed | None) -> Parts:
    text = "" if thing is None else thing.show()
    return {called: text} if text else {}
