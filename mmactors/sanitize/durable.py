"""What fsync and msync promise: what was stored before they began is on disk when they return.

At its beginning a call notes what each page of the file may hold then; what is stored later only
adds to what may be found on disk. A page that truncation or a hole takes meanwhile is promised no
more, nor one that is no longer mapped where msync was asked for it. What a device, or the kernel
past all entries, writes is promised when the page has been made dirty for it: not before.

Left out: the order in which pages come to the disk, the file's length, parts of pages.
"""

from collections.abc import Iterable

from attrs import define, field

from mmactors.mm.area.mapped_file import MappedFile, Mapping
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_flags import VM_SHARED
from mmactors.mm.area.vma import Vma, linear_page_index
from mmactors.units import PAGE_SHIFT

Place = tuple[object, int]
"""A page of a file (its mapping, its index), or of private memory, of which nothing is promised."""
Legal = frozenset[int]


@define(eq=False)
class Promised:
    """A page of a file that is to be on disk when a call returns."""

    mapping: Mapping
    index: int
    good: Legal
    """What may be found there."""
    address: int | None
    """Where msync was asked for it; None: fsync wants the whole file."""


@define(eq=False)
class Durable:
    """Knows the promises that are open."""

    _promises: dict[str, dict[Place, Promised]] = field(factory=dict)
    """By actor, which does one call at a time."""
    _not_dirtied: set[int] = field(factory=set)
    """Pages that were written past all entries and not made dirty since."""

    def fsync_began(
        self, actor: str, mapping: Mapping, legal: dict[Place, Legal]
    ) -> list[Promised]:
        """Note what of a file has to come to disk; return the pages."""
        pages = [
            Promised(mapping, index, good, None)
            for (whose, index), good in legal.items()
            if whose is mapping
        ]
        return self._promise(actor, pages)

    def msync_began(
        self, actor: str, mm: MmStruct, start: int, end: int, legal: dict[Place, Legal]
    ) -> list[Promised]:
        """Note what has to come to disk of what shared files show in a range; return the pages."""
        pages = []
        for vma in mm.tree:
            mapping = _synced_mapping(vma)
            if mapping is None or vma.vm_end <= start or vma.vm_start >= end:
                continue
            for (whose, index), good in legal.items():
                address = vma.vm_start + ((index - vma.vm_pgoff) << PAGE_SHIFT)
                if whose is mapping and _first(vma, start) <= address < min(end, vma.vm_end):
                    pages.append(Promised(mapping, index, good, address))
        return self._promise(actor, pages)

    def ended(
        self, actor: str, disk: dict[Place, int], mm: MmStruct | None, *, empty: int
    ) -> list[Promised]:
        """Return what a call that succeeded has not brought to disk; `empty`: what is not there."""
        return [
            page
            for place, page in self.give_up(actor).items()
            if disk.get(place, empty) not in page.good and _still_holds(page, mm)
        ]

    def give_up(self, actor: str) -> dict[Place, Promised]:
        """Forget and return what a call promised: it ended."""
        return self._promises.pop(actor, {})

    def may_hold(self, place: Place, contents: Legal) -> None:
        """A place may hold something else from now on."""
        for pages in self._promises.values():
            if place in pages:
                pages[place].good |= contents

    def dropped(self, place: Place) -> None:
        """A page of a file was given up."""
        for pages in self._promises.values():
            pages.pop(place, None)

    def device_stored(self, pfn: int) -> None:
        """A page was written past all entries."""
        self._not_dirtied.add(pfn)

    def page_dirtied(self, pfn: int) -> None:
        """It was made dirty for that, or is another page now."""
        self._not_dirtied.discard(pfn)

    def _promise(self, actor: str, pages: Iterable[Promised]) -> list[Promised]:
        promised = [
            page
            for page in pages
            if not page.mapping.is_shmem
            and page.mapping.pages.get(page.index) not in self._not_dirtied
        ]
        self._promises[actor] = {(page.mapping, page.index): page for page in promised}
        return promised


def _still_holds(page: Promised, mm: MmStruct | None) -> bool:
    """Say whether the call still had to do with a page when it ended."""
    if page.index >= page.mapping.nr_pages:
        return False
    if page.address is None or mm is None:
        return True
    vma = mm.find_vma(page.address)
    return (
        vma is not None
        and page.address >= vma.vm_start
        and _synced_mapping(vma) is page.mapping
        and linear_page_index(vma, page.address) == page.index
    )


def _first(vma: Vma, start: int) -> int:
    return max(start, vma.vm_start)


def _synced_mapping(vma: Vma) -> Mapping | None:
    """Return the pages of the file that msync of an area writes; None: it writes nothing."""
    file = vma.vm_file
    if not isinstance(file, MappedFile) or not vma.vm_flags & VM_SHARED:
        return None
    return file.mapping
