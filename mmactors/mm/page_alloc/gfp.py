"""GFP flags and what the page allocator derives from them.

Models include/linux/gfp_types.h, gfp.h, mmzone.h (enum migratetype) and the ALLOC_ flags of
mm/internal.h (v6.1). A bit that Linux calls __GFP_X is GFP_X here, because Python mangles two
leading underscores; the one clash, __GFP_ATOMIC beside GFP_ATOMIC, is GFP_ATOMIC_BIT.

Left out: CONFIG_CMA (Debian's kernel has it off), CONFIG_HIGHMEM, ZONE_DEVICE, KASAN's bits.
"""

from typing import Final

GFP_DMA: Final = 0x1
GFP_HIGHMEM: Final = 0x2
GFP_DMA32: Final = 0x4
GFP_MOVABLE: Final = 0x8
GFP_RECLAIMABLE: Final = 0x10
GFP_HIGH: Final = 0x20
GFP_IO: Final = 0x40
GFP_FS: Final = 0x80
GFP_ZERO: Final = 0x100
GFP_ATOMIC_BIT: Final = 0x200
GFP_DIRECT_RECLAIM: Final = 0x400
GFP_KSWAPD_RECLAIM: Final = 0x800
GFP_WRITE: Final = 0x1000
GFP_NOWARN: Final = 0x2000
GFP_RETRY_MAYFAIL: Final = 0x4000
GFP_NOFAIL: Final = 0x8000
GFP_NORETRY: Final = 0x10000
GFP_MEMALLOC: Final = 0x20000
GFP_COMP: Final = 0x40000
GFP_NOMEMALLOC: Final = 0x80000
GFP_HARDWALL: Final = 0x100000
GFP_THISNODE: Final = 0x200000
GFP_ACCOUNT: Final = 0x400000
GFP_BITS: Final = 0xFFFFFF
"""All bits that a request may have."""

GFP_RECLAIM: Final = GFP_DIRECT_RECLAIM | GFP_KSWAPD_RECLAIM
GFP_ATOMIC: Final = GFP_HIGH | GFP_ATOMIC_BIT | GFP_KSWAPD_RECLAIM
GFP_KERNEL: Final = GFP_RECLAIM | GFP_IO | GFP_FS
GFP_KERNEL_ACCOUNT: Final = GFP_KERNEL | GFP_ACCOUNT
GFP_NOWAIT: Final = GFP_KSWAPD_RECLAIM
GFP_NOIO: Final = GFP_RECLAIM
GFP_NOFS: Final = GFP_RECLAIM | GFP_IO
GFP_USER: Final = GFP_RECLAIM | GFP_IO | GFP_FS | GFP_HARDWALL
GFP_HIGHUSER: Final = GFP_USER | GFP_HIGHMEM
GFP_HIGHUSER_MOVABLE: Final = GFP_HIGHUSER | GFP_MOVABLE
GFP_READAHEAD: Final = GFP_HIGHUSER_MOVABLE | GFP_NORETRY | GFP_NOWARN
"""What a file's pages are got with that nobody waits for (readahead_gfp_mask)."""
GFP_PGTABLE_USER: Final = GFP_KERNEL | GFP_ZERO | GFP_ACCOUNT
GFP_RECLAIM_MASK: Final = (
    GFP_RECLAIM | GFP_HIGH | GFP_IO | GFP_FS | GFP_NOWARN | GFP_RETRY_MAYFAIL | GFP_NOFAIL
    | GFP_NORETRY | GFP_MEMALLOC | GFP_NOMEMALLOC | GFP_ATOMIC_BIT
)  # fmt: skip
"""How memory is got: what of it a request hands on to those made for it (mm/internal.h)."""
GFP_TRANSHUGE_LIGHT: Final = (
    GFP_HIGHUSER_MOVABLE | GFP_COMP | GFP_NOMEMALLOC | GFP_NOWARN
) & ~GFP_RECLAIM
GFP_TRANSHUGE: Final = GFP_TRANSHUGE_LIGHT | GFP_DIRECT_RECLAIM

MIGRATE_UNMOVABLE: Final = 0
MIGRATE_MOVABLE: Final = 1
MIGRATE_RECLAIMABLE: Final = 2
MIGRATE_HIGHATOMIC: Final = 3
MIGRATE_ISOLATE: Final = 4
MIGRATE_TYPES: Final = 5
MIGRATE_PCPTYPES: Final = 3
"""How many migratetypes have lists of their own on each CPU: the first three."""

ZONE_DMA: Final = 0
ZONE_DMA32: Final = 1
ZONE_NORMAL: Final = 2
ZONE_MOVABLE: Final = 3

ALLOC_WMARK_MIN: Final = 0
ALLOC_WMARK_LOW: Final = 1
ALLOC_WMARK_HIGH: Final = 2
ALLOC_NO_WATERMARKS: Final = 0x4
ALLOC_WMARK_MASK: Final = ALLOC_NO_WATERMARKS - 1
ALLOC_OOM: Final = 0x8
ALLOC_NON_BLOCK: Final = 0x10
ALLOC_MIN_RESERVE: Final = 0x20
ALLOC_NOFRAGMENT: Final = 0x100
ALLOC_HIGHATOMIC: Final = 0x200
ALLOC_KSWAPD: Final = 0x800
ALLOC_RESERVES: Final = ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_HIGHATOMIC | ALLOC_OOM
"""Any of these: the request may go below the min watermark."""

_MIGRATETYPE_SHIFT: Final = 3
_ZONE_BITS: Final = GFP_DMA | GFP_HIGHMEM | GFP_DMA32 | GFP_MOVABLE
_ZONE_OF_BITS: Final = {
    0: ZONE_NORMAL,
    GFP_DMA: ZONE_DMA,
    GFP_HIGHMEM: ZONE_NORMAL,
    GFP_DMA32: ZONE_DMA32,
    GFP_MOVABLE: ZONE_NORMAL,
    GFP_MOVABLE | GFP_DMA: ZONE_DMA,
    GFP_MOVABLE | GFP_HIGHMEM: ZONE_MOVABLE,
    GFP_MOVABLE | GFP_DMA32: ZONE_DMA32,
}
"""GFP_ZONE_TABLE; a combination that is not here is GFP_ZONE_BAD."""


def gfp_migratetype(gfp: int) -> int:
    """Return the migratetype of a request."""
    assert gfp & (GFP_MOVABLE | GFP_RECLAIMABLE) != GFP_MOVABLE | GFP_RECLAIMABLE, (
        f"gfp {gfp:#x} asks for movable and reclaimable memory at once"
    )
    return (gfp & (GFP_MOVABLE | GFP_RECLAIMABLE)) >> _MIGRATETYPE_SHIFT


def is_gfp_zone_bad(gfp: int) -> bool:
    """Return whether a mask asks for two zones at once (GFP_ZONE_BAD)."""
    return gfp & _ZONE_BITS not in _ZONE_OF_BITS


def gfp_zone(gfp: int) -> int:
    """Return the highest zone index that may serve a request."""
    assert not is_gfp_zone_bad(gfp), f"gfp {gfp:#x} asks for two zones"
    return _ZONE_OF_BITS[gfp & _ZONE_BITS]


def gfp_to_alloc_flags(gfp: int, order: int) -> int:
    """Return how the second and later passes may search (v6.1, mm/page_alloc.c).

    Left out: real-time tasks, which get ALLOC_MIN_RESERVE.
    """
    alloc_flags = ALLOC_WMARK_MIN | (gfp & (GFP_HIGH | GFP_KSWAPD_RECLAIM))
    if not gfp & (GFP_DIRECT_RECLAIM | GFP_NOMEMALLOC):
        alloc_flags |= ALLOC_NON_BLOCK
        if order > 0 and alloc_flags & ALLOC_MIN_RESERVE:
            alloc_flags |= ALLOC_HIGHATOMIC
    return alloc_flags


def gfp_reserve_flags(gfp: int) -> int:
    """Return ALLOC_NO_WATERMARKS for a request that may use every page, else 0.

    Models __gfp_pfmemalloc_flags; left out: PF_MEMALLOC tasks and OOM victims.
    """
    if gfp & GFP_MEMALLOC and not gfp & GFP_NOMEMALLOC:
        return ALLOC_NO_WATERMARKS
    return 0
