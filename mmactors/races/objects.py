"""The shared objects of a machine by the names that steps give them: what each holds, as a value.

With a value for each object that a step touches, states that were seen before need not be explored
again, and a schedule can be printed with what every step saw and changed. Objects are found when
they are asked for: `page_tables[1536]`, `tlb[1]`, `pages[291]`, `mm_cpumask[1]`, `ptl[0x123]`.

An object that nobody can name (KeyError) is no error: states are then not told apart.
"""

import hashlib
from collections.abc import Callable, Hashable
from typing import Any, Final

from attrs import frozen

from mmactors.actors.address_space import PAGE_TABLES, PAGES, RSS
from mmactors.actors.kernel import Kernel
from mmactors.actors.user_access import DATA, TLB
from mmactors.arch import pte
from mmactors.engine.baton import Keyed
from mmactors.mm.mm_struct import MmStruct

_PTE_FLAGS: Final = (
    ("RW", pte.RW),
    ("USER", pte.USER),
    ("A", pte.ACCESSED),
    ("D", pte.DIRTY),
    ("SPECIAL", pte.SPECIAL),
)


@frozen(eq=False)
class View:
    """One object: its value, and the value as text."""

    key: Callable[[], Hashable]
    text: Callable[[Any], str] = str

    def show(self) -> str:
        """Return the value as text."""
        return self.text(self.key())


class MachineObjects(dict[str, Keyed]):
    """Finds objects by name; what was found stays until the next schedule."""

    def __init__(
        self,
        kernel: Kernel,
        mms: Callable[[], list[MmStruct]],
        registered: dict[str, Keyed],
    ) -> None:
        """`registered`: locks and mailboxes by name, the latest of each."""
        super().__init__()
        self._registered: Final = registered
        self._kernel: Final = kernel
        self._mms: Final = mms
        self._columns: Final[dict[str, Callable[[int], View]]] = {
            PAGE_TABLES: self._entry,
            PAGES: self._page,
            DATA: self._data,
            TLB: self._tlb,
            RSS: lambda ctx_id: self._of_mm(ctx_id, lambda mm: tuple(mm.rss)),
            "vmas": lambda ctx_id: self._of_mm(ctx_id, _areas),
            "mm_cpumask": lambda ctx_id: self._of_mm(ctx_id, lambda mm: mm.mm_cpumask, bin),
            "tlb_gen": lambda ctx_id: self._of_mm(ctx_id, lambda mm: mm.tlb_gen),
        }

        self._whole: Final[dict[str, Callable[[], Hashable]]] = {
            PAGE_TABLES: kernel.memory.key,
            PAGES: self._all_pages,
            RSS: lambda: tuple([tuple(mm.rss) for mm in mms()]),
            "vmas": lambda: tuple(map(_areas, mms())),
        }
        """What steps declare as a whole that touch many elements."""

    def __missing__(self, name: str) -> Keyed:
        found = self._find(name)
        self[name] = found
        return found

    def _find(self, name: str) -> Keyed:
        thing = self._registered.get(name)
        if thing is not None:
            return thing
        column, bracket, index = name.partition("[")
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
        columns = (pages.flags_view, pages.refcount_view, pages.mapcount_view)
        more = (pages.mapping_view, pages.index_view)

        def key() -> tuple[int, ...]:
            return tuple([column[pfn] for column in (*columns, *more)])

        return View(key, lambda key: f"refcount {key[1]}, mapcount {key[2]}, flags {key[0]:#x}")

    def _all_pages(self) -> bytes:
        pages = self._kernel.pages
        digest = hashlib.blake2b(digest_size=16)
        for column in (pages.flags, pages.refcount, pages.mapcount, pages.mapping, pages.index):
            digest.update(column.data)
        return digest.digest()

    def _data(self, pfn: int) -> View:
        generation = self._kernel.pages.generation_view
        return View(lambda: generation[pfn], lambda number: f"generation {number}")

    def _tlb(self, cpu: int) -> View:
        hardware = self._kernel.hardware
        state = self._kernel.tlb_states[cpu]

        def key() -> tuple[Hashable, ...]:
            found = []
            for asid, context in enumerate(state.contexts):
                if context is not None:
                    entries = hardware.entries_within(cpu, state.pcid_of(asid), 0, 1 << 57)
                    found += [(asid, entry.place, entry.start, entry.pte) for entry in entries]
            return tuple(found)

        return View(key, _tlb_text)

    def _of_mm(
        self, ctx_id: int, key: Callable[[MmStruct], Hashable], text: Callable[[Any], str] = str
    ) -> View:
        found = next((mm for mm in self._mms() if mm.ctx_id == ctx_id), None)
        if found is None:
            raise KeyError(f"[{ctx_id}]")
        return View(lambda: key(found), text)


def entry_text(entry: int) -> str:
    """Return a page-table entry for people: `page 0x123 RW A D`."""
    if not entry & (pte.PRESENT | pte.PROTNONE):
        return "none" if not entry else f"not present {entry & (1 << 64) - 1:#x}"
    flags = " ".join(name for name, flag in _PTE_FLAGS[:1] + _PTE_FLAGS[2:] if entry & flag)
    kind = "page" if entry & pte.PRESENT else "PROT_NONE page"
    return f"{kind} {pte.pte_pfn(entry):#x} {flags}".rstrip()


def _tlb_text(entries: tuple[Any, ...]) -> str:
    texts = [
        f"{start:#x}: {entry_text(entry)}" for _, place, start, entry in entries if place == "TLB"
    ]
    return ", ".join(dict.fromkeys(texts)) or "empty"


def _areas(mm: MmStruct) -> Hashable:
    return tuple((vma.vm_start, vma.vm_end, vma.vm_flags, vma.vm_pgoff) for vma in mm.tree)
