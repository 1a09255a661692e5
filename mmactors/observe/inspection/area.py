"""Areas of the kernel's own addresses (/proc/vmallocinfo): in use, and freed but not purged."""

from typing import TYPE_CHECKING

from attrs import frozen

from mmactors.observe.inspection.table import Table
from mmactors.units import PAGE_SHIFT, ULONG_MAX

if TYPE_CHECKING:
    from mmactors.mm.vmalloc.space import VmallocSpace


@frozen(kw_only=True)
class VmapArea:
    """One area."""

    start: int
    """Unsigned, as it is printed."""
    size: int
    """Bytes, with the guard page."""
    caller: str | None
    """Who asked for it; None: it is vm_map_ram's, or was freed."""
    flags: int
    """VM_ flags (include/linux/vmalloc.h)."""
    pfns: tuple[int, ...]
    """Pages that go with it."""
    is_lazy: bool
    """It was freed, and CPUs may still know it."""


def inspect_areas(space: "VmallocSpace | None") -> Table[VmapArea]:
    """Return all areas, those in use first; none if nobody has asked for any."""
    if space is None:
        return Table(())
    # What machines without such areas would compile in vain.
    from mmactors.mm.vmalloc.space import BUSY, LAZY  # noqa: PLC0415

    return Table(
        _area(space, area, is_lazy=head == LAZY)
        for head in (BUSY, LAZY)
        for area in space.areas_of(head)
    )


def _area(space: "VmallocSpace", area: int, *, is_lazy: bool) -> VmapArea:
    vm = space.vm.get(area)
    return VmapArea(
        start=space.start_of(area) & ULONG_MAX,
        size=space.size_of(area) << PAGE_SHIFT,
        caller=None if vm is None else vm.caller,
        flags=0 if vm is None else vm.flags,
        pfns=() if vm is None else tuple(vm.pages),
        is_lazy=is_lazy,
    )
