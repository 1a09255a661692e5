"""What the shared objects of a machine hold, as text: the other half of objects.py."""

from collections.abc import Hashable
from typing import Any, Final

from mmactors.arch import pte
from mmactors.mm.lru.move_folios import PVEC_SHIFT
from mmactors.mm.page_table.swap_entry import is_migration_entry, migration_entry_pfn

_PTE_FLAGS: Final = (
    ("RW", pte.RW),
    ("USER", pte.USER),
    ("A", pte.ACCESSED),
    ("D", pte.DIRTY),
    ("SPECIAL", pte.SPECIAL),
)

MIGRATETYPES: Final = ("unmovable", "movable", "reclaimable", "highatomic", "isolated")

_FEW: Final = 3
"""So many pages of a list are named."""


def entry_text(entry: int) -> str:
    """Return a page-table entry for people: `page 0x123 RW A D`."""
    if not entry & (pte.PRESENT | pte.PROTNONE):
        if is_migration_entry(entry):
            return f"migration entry of page {migration_entry_pfn(entry):#x}"
        return "none" if not entry else f"swap entry {entry & (1 << 64) - 1:#x}"
    flags = " ".join(name for name, flag in _PTE_FLAGS[:1] + _PTE_FLAGS[2:] if entry & flag)
    kind = "page" if entry & pte.PRESENT else "PROT_NONE page"
    return f"{kind} {pte.pte_pfn(entry):#x} {flags}".rstrip()


def data_text(key: tuple[int, int | None]) -> str:
    generation, content = key
    written = "" if content is None else f", content {content & 0xFFFF:04x}"
    return f"generation {generation}{written}"


def tlb_text(entries: tuple[Any, ...]) -> str:
    texts = [
        f"{start:#x}: {entry_text(entry)}"
        for _, place, start, entry, *_ in entries
        if place == "TLB"
    ]
    return ", ".join(dict.fromkeys(texts)) or "empty"


def areas_text(key: tuple[Any, ...]) -> str:
    areas, seqnum, caches = key
    text = ", ".join(f"{area[0]:#x}-{area[1]:#x}" for area in areas) or "none"
    return f"{text}; vmacache at {seqnum}" if caches else text


def anon_vma_text(key: tuple[Any, ...]) -> str:
    is_live, root, parent, counts, links, nr_walkers = key
    if not is_live:
        return f"free, {nr_walkers} walk it" if nr_walkers else "free"
    areas = ", ".join(f"{start:#x} of {ctx_id}" for ctx_id, start in links)
    walked = f", {nr_walkers} walk it" if nr_walkers else ""
    return f"root {root}, parent {parent}, refcount {counts[0]}, areas {areas or 'none'}{walked}"


def not_shown(_key: Hashable) -> str:
    return ""


def zone_text(key: tuple[Any, ...]) -> str:
    return "free blocks by order " + " ".join(map(str, key[0]))


def lru_text(key: tuple[Any, ...]) -> str:
    _, waiting, released = key
    pfns = [f"{word:#x}" for batch in waiting[:-1] for word in batch]
    pfns += [f"{word >> PVEC_SHIFT:#x}" for word in waiting[-1]]
    pfns += [f"{pfn:#x} to be freed" for pfn in released]
    return f"waiting {' '.join(pfns) or 'none'}"


def pcp_text(key: tuple[Any, ...]) -> str:
    lists = [part for part in key if isinstance(part, tuple)]
    texts = [
        f"list {pindex}: {' '.join(f'{pfn:#x}' for pfn in pfns[:_FEW])}"
        f"{f' and {len(pfns) - _FEW} more' if len(pfns) > _FEW else ''}"
        for _, pindex, pfns in lists
    ]
    return ", ".join(texts) or "empty"
