"""A block of addresses that vm_map_ram serves small requests from (struct vmap_block, v6.1).

A block belongs to the CPU that made it, on whose list it is until all of it was handed out. Its
pages are handed out in order, once; it goes when all that was handed out is unmapped: at once if
that is all of it, else with the next purge.
"""

from typing import Final

BITS_PER_LONG: Final = 64
VMAP_MAX_ALLOC: Final = BITS_PER_LONG
"""Pages of the largest request that blocks serve."""
NR_CPUS: Final = 8192
"""That Debian's kernel is made for."""
_VMALLOC_PAGES: Final = 128 << 30 >> 12
VMAP_BBMAP_BITS: Final = min(1024, max(VMAP_MAX_ALLOC * 2, _VMALLOC_PAGES // NR_CPUS // 16))
"""Pages of a block."""
VMAP_BLOCK_SIZE: Final = 96
"""Bytes of its object."""


class BlockLink:
    """A place in a list of blocks, such as its head."""

    __slots__ = ("next", "prev")

    def __init__(self) -> None:
        self.next: BlockLink = self
        self.prev: BlockLink = self


class VmapBlock(BlockLink):
    """One block."""

    __slots__ = (
        "area",
        "cpu",
        "dirty",
        "dirty_max",
        "dirty_min",
        "first",
        "free",
        "index",
        "thing",
    )

    def __init__(self, *, area: int, first: int, index: int, thing: int, nr_used: int) -> None:
        super().__init__()
        self.area = area
        self.first = first
        """Its first page."""
        self.index = index
        self.cpu = 0
        """On whose list it is, or was."""
        self.thing = thing
        self.free = VMAP_BBMAP_BITS - nr_used
        """Pages that were never handed out; the last ones."""
        self.dirty = 0
        """Pages that were unmapped."""
        self.dirty_min = VMAP_BBMAP_BITS
        self.dirty_max = 0

    @property
    def is_fragmented(self) -> bool:
        """Whether all that was handed out is unmapped, and some was not handed out."""
        return self.free + self.dirty == VMAP_BBMAP_BITS and self.dirty != VMAP_BBMAP_BITS
