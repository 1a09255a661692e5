"""Page-table entries as the walker reads them (arch/x86/include/asm/pgtable_types.h, 6.1)."""

from typing import Final

from attrs import field, frozen

from mmactors.arch.pte import (
    ACCESSED,
    DIRTY,
    GLOBAL,
    NX,
    PCD,
    PRESENT,
    PSE,
    PWT,
    RW,
    SPECIAL,
    USER,
    pte_pfn,
)
from mmactors.mm.page_table.page_table import PageTable
from mmactors.mm.page_table.swap_entry import is_migration_entry, is_swap_pte, migration_entry_pfn

_LEVELS: Final = {1: "PTE", 2: "PMD", 3: "PUD", 4: "P4D", 5: "PGD"}
_BITS: Final = {
    PRESENT: "present",
    RW: "rw",
    USER: "user",
    PWT: "pwt",
    PCD: "pcd",
    ACCESSED: "accessed",
    DIRTY: "dirty",
    PSE: "pse",
    GLOBAL: "global",
    SPECIAL: "special",
    NX: "nx",
}


@frozen(kw_only=True)
class Entry:
    """One entry on the way to an address."""

    address: int = field(repr=hex)
    """That was asked for."""
    level: str
    """`PTE`, `PMD`, `PUD`, `P4D`, `PGD`: of the table it stands in; the top one of four is PGD."""
    table_pfn: int = field(repr=hex)
    """The frame of that table."""
    index: int
    """In that table, 0 to 511."""
    word: int = field(repr=hex)
    """Unsigned, as the hardware has it."""
    pfn: int | None
    """The frame it points to; None: to none."""
    flags: tuple[str, ...]
    """Names of the bits that are set; `protnone` or `migration` if the word is not present."""

    @property
    def is_present(self) -> bool:
        """Whether the hardware follows it."""
        return self.word & PRESENT != 0


def entries_to(table: PageTable, address: int) -> tuple[Entry, ...]:
    """Return the entries that a walk to `address` reads, the top one first."""
    words = table.memory.words
    path = table.path(address)
    levels = [_LEVELS[table.levels - depth] for depth in range(len(path))]
    levels[0] = "PGD"  # With four levels the P4D is folded into it.
    return tuple(
        entry_of(int(words[place]), address=address, level=level, place=place)
        for level, place in zip(levels, path, strict=True)
    )


def entry_of(word: int, *, address: int, level: str, place: int) -> Entry:
    """Return the entry that `word` is, at word index `place` of physical memory."""
    pfn, flags = _meaning(word)
    return Entry(
        address=address,
        level=level,
        table_pfn=place >> 9,
        index=place & 511,
        word=word & (1 << 64) - 1,
        pfn=pfn,
        flags=flags,
    )


def _meaning(word: int) -> tuple[int | None, tuple[str, ...]]:
    if not word:
        return None, ()
    if is_swap_pte(word):
        is_migration = is_migration_entry(word)
        return (migration_entry_pfn(word), ("migration",)) if is_migration else (None, ("swap",))
    flags = flag_names(word)
    if not word & PRESENT:
        flags = ("protnone", *(name for name in flags if name != "global"))
    return pte_pfn(word), flags


def flag_names(word: int) -> tuple[str, ...]:
    """Return the names of the bits of an entry, the lowest first."""
    return tuple(name for bit, name in _BITS.items() if word & bit)
