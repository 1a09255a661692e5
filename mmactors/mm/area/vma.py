"""Virtual memory areas and their tree (mm/mmap.c and include/linux/mm.h, Linux 6.1).

The kernel keeps the areas of an address space in a maple tree; here they are two parallel sorted
lists, which answer the same questions. Left out: memory policies, userfaultfd, names given with
PR_SET_VMA, soft-dirty tracking (merging ignores VM_SOFTDIRTY, and nothing else reads it).

Invariants: areas are page-aligned, not empty, sorted, and do not overlap; `ends[i]` is
`areas[i].vm_end`.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from attrs import define, field

from mmactors.mm.area.anon_vma import AnonVma, AnonVmaChain
from mmactors.mm.area.maple_node import CallRcu, MapleNode, free_at_once
from mmactors.mm.area.mapped_file import MappedFile, SpecialMapping
from mmactors.mm.area.vm_flags import VM_ACCESS_FLAGS, VM_GROWSDOWN
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from mmactors.mm.area.mm_struct import MmStruct


@define(eq=False, kw_only=True)
class Vma:
    """One area of an address space (struct vm_area_struct)."""

    vm_start: int = field(repr=hex)
    """First byte."""
    vm_end: int = field(repr=hex)
    """First byte after it."""
    vm_flags: int = field(repr=hex)
    vm_pgoff: int
    """Pages: offset in the file; of a private anonymous area, its address when it was mapped."""
    vm_mm: "MmStruct | None" = field(default=None, repr=False)
    """Whose area it is, or was last."""
    anon_vma: AnonVma | None = None
    """None until the first write fault."""
    anon_vma_chain: list[AnonVmaChain] = field(factory=list, repr=False)
    """To which anon_vmas the area is linked, the oldest first: after a fork the ancestors', too."""
    vm_file: object | None = None
    """The mapped file, compared by identity. None: anonymous memory."""
    name: str | None = None
    """What /proc/pid/maps shows beside a special mapping or a file."""
    special: SpecialMapping | None = None
    """Pages of the kernel that the area maps; it cannot be split."""
    thing: int = 0
    """Address of the object; 0: it is none of the machine's."""
    is_freed: bool = False
    """Its memory was given back (vm_area_free)."""

    @property
    def is_anonymous(self) -> bool:
        """Nothing but anonymous memory backs it (vma_is_anonymous)."""
        return self.vm_file is None and self.special is None

    @property
    def is_accessible(self) -> bool:
        """It is not PROT_NONE (vma_is_accessible)."""
        return self.vm_flags & VM_ACCESS_FLAGS != 0

    @property
    def nr_pages(self) -> int:
        """The size in 4 KiB pages (vma_pages)."""
        return (self.vm_end - self.vm_start) >> PAGE_SHIFT

    def dup(self, thing: int) -> "Vma":
        """Return a copy at `thing` that is in no tree, one more user of the file (get_file).

        It has the same anon_vma, but is not linked to it: anon_vma_clone does that.
        """
        if isinstance(self.vm_file, MappedFile):
            self.vm_file.get()
        return Vma(
            vm_start=self.vm_start,
            vm_end=self.vm_end,
            vm_flags=self.vm_flags,
            vm_pgoff=self.vm_pgoff,
            anon_vma=self.anon_vma,
            vm_mm=self.vm_mm,
            vm_file=self.vm_file,
            name=self.name,
            special=self.special,
            thing=thing,
        )


VmaState = tuple[int, int, int, int, AnonVma | None, tuple[AnonVmaChain, ...]]
TreeSnapshot = list[tuple[Vma, VmaState]]


class VmaTree:
    """The areas of one address space, sorted by address."""

    def __init__(self, mm: "MmStruct | None" = None) -> None:
        self._mm: Final = mm
        self._ends: Final[list[int]] = []
        self._areas: Final[list[Vma]] = []
        self._nothing: Final = Vma(vm_start=0, vm_end=0, vm_flags=0, vm_pgoff=0)
        self._last_hit = self._nothing
        # No byte of [low, high) is free: the search for a place need not look there again.
        self._full_low = 0
        self._full_high = 0
        self.node = MapleNode()
        self.call_rcu: CallRcu = free_at_once
        """Frees a node that was replaced when nobody can be reading it under RCU."""

    def __len__(self) -> int:
        return len(self._areas)

    def __iter__(self) -> Iterator[Vma]:
        return iter(self._areas)

    def find_vma(self, address: int) -> Vma | None:
        """Return the first area that ends after `address`; it may begin after it, too."""
        vma = self._last_hit
        if vma.vm_start <= address < vma.vm_end:
            return vma
        index = bisect_right(self._ends, address)
        if index == len(self._areas):
            return None
        vma = self._areas[index]
        self._last_hit = vma
        return vma

    def find_prev(self, address: int) -> Vma | None:
        """Return the last area that ends at or before `address`."""
        index = bisect_right(self._ends, address)
        return self._areas[index - 1] if index else None

    def in_range(self, start: int, end: int) -> list[Vma]:
        """Return the areas that intersect `[start, end)`, lowest first."""
        found = []
        for index in range(bisect_right(self._ends, start), len(self._areas)):
            vma = self._areas[index]
            if vma.vm_start >= end:
                break
            found.append(vma)
        return found

    def neighbours(self, vma: Vma) -> tuple[Vma | None, Vma | None]:
        """Return the areas before and after `vma`, whatever gap lies between."""
        index = self._index(vma)
        before = self._areas[index - 1] if index else None
        after = self._areas[index + 1] if index + 1 < len(self._areas) else None
        return before, after

    def insert(self, vma: Vma) -> None:
        """Add an area where no other is."""
        assert vma.vm_start < vma.vm_end, f"empty area at {vma.vm_start:#x}"
        assert not (vma.vm_start | vma.vm_end) % PAGE_SIZE, f"{vma} is not page-aligned"
        index = bisect_right(self._ends, vma.vm_start)
        assert index == len(self._areas) or vma.vm_end <= self._areas[index].vm_start, (
            f"{vma} overlaps {self._areas[index]}"
        )
        vma.vm_mm = self._mm
        if self.node.nr_readers and not self._is_between(index, index, vma.vm_start, vma.vm_end):
            self._replace_node()
        self._ends.insert(index, vma.vm_end)
        self._areas.insert(index, vma)

    def remove(self, vma: Vma) -> None:
        """Take an area out; the object keeps its values."""
        index = self._index(vma)
        if self.node.nr_readers and not self._is_between(
            index, index + 1, vma.vm_start, vma.vm_end
        ):
            self._replace_node()
        del self._ends[index]
        del self._areas[index]
        self._last_hit = self._nothing
        self._uncover(vma.vm_start, vma.vm_end)

    def resize(self, vma: Vma, *, start: int, end: int) -> None:
        """Move the limits of an area; what lies at the new place must be free."""
        index = self._index(vma)
        assert start < end, f"empty area at {start:#x}"
        assert index == 0 or self._ends[index - 1] <= start, f"{start:#x} is not free"
        assert index + 1 == len(self._areas) or end <= self._areas[index + 1].vm_start, (
            f"{end - 1:#x} is not free"
        )
        if self.node.nr_readers and self._changes_ranges(index, start, end):
            self._replace_node()
        self._uncover(vma.vm_start, start)
        self._uncover(end, vma.vm_end)
        self._ends[index] = end
        vma.vm_start = start
        vma.vm_end = end

    def highest_gap(self, *, low: int, high: int, length: int) -> tuple[int, Vma | None] | None:
        """Return the end of the highest gap of `length` bytes in `[low, high)`, and what follows.

        None: there is no such gap (mas_empty_area_rev).
        """
        areas = self._areas
        ends = self._ends
        gap_end = self._full_low if high == self._full_high else high
        index = bisect_right(ends, gap_end - 1)
        if index < len(areas):
            gap_end = min(gap_end, areas[index].vm_start)
        while index and ends[index - 1] == gap_end:
            index -= 1
            gap_end = areas[index].vm_start
        self._full_low, self._full_high = gap_end, high
        while index and gap_end - low >= length:
            if gap_end - ends[index - 1] >= length:
                break
            index -= 1
            gap_end = areas[index].vm_start
        if gap_end - low < length:
            return None
        return gap_end, areas[index] if index < len(areas) else None

    def lowest_gap(self, *, low: int, high: int, length: int) -> tuple[int, Vma | None] | None:
        """Return the start of the lowest gap of `length` bytes in `[low, high)`, and what follows.

        None: there is no such gap (mas_empty_area).
        """
        gap_start = low
        for index in range(bisect_right(self._ends, low), len(self._areas)):
            vma = self._areas[index]
            if gap_start + length > high:
                return None
            if gap_start + length <= vma.vm_start:
                return gap_start, vma
            gap_start = vma.vm_end
        return (gap_start, None) if gap_start + length <= high else None

    def snapshot(self) -> TreeSnapshot:
        """Return all areas with their values."""
        return [
            (
                vma,
                (
                    vma.vm_start,
                    vma.vm_end,
                    vma.vm_flags,
                    vma.vm_pgoff,
                    vma.anon_vma,
                    tuple(vma.anon_vma_chain),
                ),
            )
            for vma in self._areas
        ]

    def restore(self, snapshot: TreeSnapshot) -> None:
        """Put back what `snapshot` returned; the objects are the same ones."""
        self._last_hit = self._nothing
        self._full_low = self._full_high = 0
        self._ends.clear()
        self._areas.clear()
        for vma, state in snapshot:
            vma.vm_start, vma.vm_end, vma.vm_flags, vma.vm_pgoff = state[:4]
            vma.anon_vma = state[4]
            vma.anon_vma_chain[:] = state[5]
            self._ends.append(vma.vm_end)
            self._areas.append(vma)

    def _is_between(self, index: int, following: int, start: int, end: int) -> bool:
        """Say whether areas end at `start` and begin at `end`: no gap comes or goes there."""
        return (
            index > 0
            and self._ends[index - 1] == start
            and following < len(self._areas)
            and self._areas[following].vm_start == end
        )

    def _changes_ranges(self, index: int, start: int, end: int) -> bool:
        """Say whether gaps come or go when an area moves its limits."""
        vma = self._areas[index]
        before = self._ends[index - 1] if index else 0
        after = self._areas[index + 1].vm_start if index + 1 < len(self._areas) else None
        return (before == vma.vm_start) != (before == start) or (after == vma.vm_end) != (
            after == end
        )

    def _replace_node(self) -> None:
        old, self.node = self.node, MapleNode()
        self.call_rcu(old.free)

    def _uncover(self, start: int, end: int) -> None:
        """Note that `[start, end)` is free now; nothing to note if it is empty."""
        if start < end and start < self._full_high and end > self._full_low:
            self._full_low = min(end, self._full_high)

    def _index(self, vma: Vma) -> int:
        index = bisect_right(self._ends, vma.vm_start)
        assert index < len(self._areas), f"{vma} is not in the tree"
        assert self._areas[index] is vma, f"{vma} is not in the tree"
        return index


def linear_page_index(vma: Vma, address: int) -> int:
    """Return the page of the file, or of anonymous memory, that lies at `address`."""
    return vma.vm_pgoff + ((address - vma.vm_start) >> PAGE_SHIFT)


def vm_start_gap(vma: Vma, *, stack_guard_gap_bytes: int) -> int:
    """Return where new mappings below `vma` must end: a stack wants room to grow."""
    if vma.vm_flags & VM_GROWSDOWN:
        return max(0, vma.vm_start - stack_guard_gap_bytes)
    return vma.vm_start


def can_vma_merge_before(
    vma: Vma, *, vm_flags: int, anon_vma: AnonVma | None, vm_file: object | None, vm_pgoff: int
) -> bool:
    """Say whether memory of these properties that ends where `vma` begins can become part of it.

    `vm_pgoff` is that of the first page after the memory.
    """
    return (
        _is_mergeable_vma(vma, vm_flags=vm_flags, vm_file=vm_file)
        and is_mergeable_anon_vma(anon_vma, vma.anon_vma, vma)
        and vma.vm_pgoff == vm_pgoff
    )


def can_vma_merge_after(
    vma: Vma, *, vm_flags: int, anon_vma: AnonVma | None, vm_file: object | None, vm_pgoff: int
) -> bool:
    """Say whether memory of these properties that begins where `vma` ends can become part of it."""
    return (
        _is_mergeable_vma(vma, vm_flags=vm_flags, vm_file=vm_file)
        and is_mergeable_anon_vma(anon_vma, vma.anon_vma, vma)
        and vma.vm_pgoff + vma.nr_pages == vm_pgoff
    )


def is_mergeable_anon_vma(anon_vma: AnonVma | None, other: AnonVma | None, vma: Vma | None) -> bool:
    """Say whether pages of the two may belong to one area, which then is `vma`.

    An area that was never written is linked to no anon_vma, so that 6.1 does not merge it with
    one that was, while the opposite order merges.
    """
    if (anon_vma is None or other is None) and (vma is None or len(vma.anon_vma_chain) == 1):
        return True
    return anon_vma is other


def _is_mergeable_vma(vma: Vma, *, vm_flags: int, vm_file: object | None) -> bool:
    return vma.vm_flags == vm_flags and vma.vm_file is vm_file
