"""What a boot leaves for those who look at it."""

from attrs import frozen

from mmactors.mm.boot.bootmem import EarlyBoot
from mmactors.mm.boot.zone_init import ZoneSpan


@frozen(kw_only=True, eq=False, repr=False)
class BootedMemory:
    """What boot leaves: the calls it made, and the zones it hands over."""

    early: EarlyBoot
    spans: tuple[ZoneSpan, ...]
    movable_pfns: dict[int, int]
    """By node: where zone Movable begins."""
    nr_kernel_pages: int
    """Usable pages as the kernel counts them early (nr_kernel_pages)."""
