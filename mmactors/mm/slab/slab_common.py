"""What SLAB, SLUB and SLOB share: alignment, merging, kmalloc's classes, random orders.

Models mm/slab_common.c and lib/random32.c (v6.1) with Debian's options: MEMCG_KMEM, ZONE_DMA,
SLAB_FREELIST_RANDOM. Left out: kmalloc classes of architectures that need larger alignments.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, Protocol, TypeVar

from attrs import define, field, frozen

from mmactors.mm.page_alloc.gfp import GFP_ACCOUNT, GFP_DMA, GFP_RECLAIMABLE
from mmactors.mm.page_alloc.order import MAX_ORDER
from mmactors.mm.slab.flags import (
    SLAB_ACCOUNT,
    SLAB_CACHE_DMA,
    SLAB_HWCACHE_ALIGN,
    SLAB_KMALLOC,
    SLAB_MERGE_SAME,
    SLAB_NEVER_MERGE,
    SLAB_RECLAIM_ACCOUNT,
)
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

WORD: Final = 8
"""sizeof(void *)."""
PAGE_OFFSET: Final = 0xFFFF888000000000
"""Where the direct map begins (nokaslr)."""
CACHE_LINE_SIZE: Final = 64
ARCH_KMALLOC_MINALIGN: Final = 8
KMALLOC_SHIFT_LOW: Final = 3
KMALLOC_SHIFT_HIGH: Final = PAGE_SHIFT + 1
KMALLOC_MAX_CACHE_SIZE: Final = 1 << KMALLOC_SHIFT_HIGH
"""Above it, kmalloc asks the page allocator."""
KMALLOC_MAX_SIZE: Final = 1 << (MAX_ORDER + PAGE_SHIFT - 1)
_KMEM_CACHE_SIZE: Final = 216
"""offsetof(struct kmem_cache, node) of Debian's kernel."""
ZERO_SIZE_PTR: Final = 16
"""What kmalloc(0) returns: nothing that may be read, but nothing that failed either."""


@frozen(kw_only=True)
class CacheRequest:
    """What kmem_cache_create is asked for; bytes."""

    name: str
    object_size: int
    align: int = 0
    flags: int = 0
    has_ctor: bool = False
    useroffset: int = 0
    usersize: int = 0
    """Which part of an object may be copied to user space."""


class Mergeable(Protocol):
    """What merging looks at in a cache."""

    @property
    def size(self) -> int:
        """Bytes from one object to the next."""

    @property
    def flags(self) -> int:
        """SLAB_ flags."""

    @property
    def has_ctor(self) -> bool:
        """Whether objects are made by a constructor."""

    @property
    def usersize(self) -> int:
        """Bytes of an object that user space may get."""

    @property
    def refcount(self) -> int:
        """How many creations share it; negative: never merged."""


C = TypeVar("C", bound=Mergeable)


def align_up(value: int, align: int) -> int:
    """Round up to a multiple of `align`, a power of two."""
    return (value + align - 1) & ~(align - 1)


def calculate_alignment(flags: int, align: int, size: int) -> int:
    """Return the alignment of a cache's objects, in bytes."""
    if flags & SLAB_HWCACHE_ALIGN:
        ralign = CACHE_LINE_SIZE
        while size <= ralign // 2:
            ralign //= 2
        align = max(align, ralign)
    return align_up(max(align, ARCH_KMALLOC_MINALIGN), WORD)


def is_unmergeable(cache: Mergeable) -> bool:
    """Return whether a cache stays alone whoever comes (slab_unmergeable)."""
    return bool(
        cache.flags & SLAB_NEVER_MERGE or cache.has_ctor or cache.usersize or cache.refcount < 0
    )


def find_mergeable(
    request: CacheRequest, caches: Iterable[C], kmem_cache_flags: Callable[[int, str], int]
) -> C | None:
    """Return the cache that a new one becomes an alias of; `caches` is oldest first.

    `kmem_cache_flags` adds what the kernel was told to debug, by flags and name.
    """
    if request.has_ctor:
        return None
    size = align_up(request.object_size, WORD)
    align = calculate_alignment(request.flags, request.align, size)
    size = align_up(size, align)
    flags = kmem_cache_flags(request.flags, request.name)
    if flags & SLAB_NEVER_MERGE:
        return None
    for cache in caches:
        if (
            not is_unmergeable(cache)
            and 0 <= cache.size - size < WORD
            and (flags ^ cache.flags) & SLAB_MERGE_SAME == 0
            and cache.size & (align - 1) == 0
        ):
            return cache
    return None


KMALLOC_NORMAL: Final = 0
KMALLOC_CGROUP: Final = 1
KMALLOC_RECLAIM: Final = 2
KMALLOC_DMA: Final = 3
NR_KMALLOC_TYPES: Final = 4
_TYPE_NAMES: Final = ("kmalloc", "kmalloc-cg", "kmalloc-rcl", "dma-kmalloc")
_TYPE_FLAGS: Final = (0, SLAB_ACCOUNT, SLAB_RECLAIM_ACCOUNT, SLAB_CACHE_DMA)
_INDEX_96: Final = 1
_INDEX_192: Final = 2


def kmalloc_type(gfp: int) -> int:
    """Return which set of caches serves a request."""
    if not gfp & (GFP_DMA | GFP_RECLAIMABLE | GFP_ACCOUNT):
        return KMALLOC_NORMAL
    if gfp & GFP_DMA:
        return KMALLOC_DMA
    return KMALLOC_RECLAIM if gfp & GFP_RECLAIMABLE else KMALLOC_CGROUP


def kmalloc_index(size: int, shift_low: int = KMALLOC_SHIFT_LOW) -> int:
    """Return the class of a size of 1 to KMALLOC_MAX_CACHE_SIZE bytes: its power of two, or 1, 2.

    Classes 1 and 2 are of 96 and 192 bytes; `shift_low` is the smallest one.
    """
    assert 0 < size <= KMALLOC_MAX_CACHE_SIZE, f"no class has {size} bytes"
    if 64 < size <= 96:
        return _INDEX_96
    if 128 < size <= 192:
        return _INDEX_192
    return max(shift_low, (size - 1).bit_length())


def kmalloc_class_size(index: int) -> int:
    """Return the size of a class, in bytes."""
    return {_INDEX_96: 96, _INDEX_192: 192}.get(index, 1 << index)


def kmalloc_name(kind: int, size: int) -> str:
    """Return the name of a class, such as `kmalloc-rcl-1k`."""
    return f"{_TYPE_NAMES[kind]}-{size >> 10}k" if size >= 1024 else f"{_TYPE_NAMES[kind]}-{size}"


_CLASSES_KEPT: Final = 8
"""Of the three allocators, each with its own least class and flags."""


@lru_cache(_CLASSES_KEPT)
def kmalloc_requests(
    shift_low: int = KMALLOC_SHIFT_LOW, flags: int = 0, first: int | None = None
) -> tuple[tuple[int, int, CacheRequest], ...]:
    """Return type, class and request of all kmalloc caches in the order of their creation.

    The smallest class is `shift_low`; all have `flags`; the normal one of class `first` comes
    before all others.
    """
    classes: list[int] = []
    for shift in range(shift_low, KMALLOC_SHIFT_HIGH + 1):
        classes.append(shift)
        classes += {6: [_INDEX_96], 7: [_INDEX_192]}.get(shift, [])
    found = []
    for kind in range(NR_KMALLOC_TYPES):
        in_order = classes
        if kind == KMALLOC_NORMAL and first is not None:
            in_order = [first, *(index for index in classes if index != first)]
        for index in in_order:
            size = kmalloc_class_size(index)
            request = CacheRequest(
                name=kmalloc_name(kind, size),
                object_size=size,
                align=size if size & (size - 1) == 0 else ARCH_KMALLOC_MINALIGN,
                flags=SLAB_KMALLOC | _TYPE_FLAGS[kind] | flags,
                usersize=size,
            )
            found.append((kind, index, request))
    return tuple(found)


def kmem_cache_request(nr_nodes: int) -> CacheRequest:
    """Return the cache that caches come from."""
    return CacheRequest(
        name="kmem_cache",
        object_size=_KMEM_CACHE_SIZE + WORD * nr_nodes,
        align=ARCH_KMALLOC_MINALIGN,
        flags=SLAB_HWCACHE_ALIGN,
    )


def boot_requests(nr_nodes: int) -> list[CacheRequest]:
    """Return the caches that caches of SLUB are made of, the first ones of a kernel."""
    return [
        CacheRequest(name="kmem_cache_node", object_size=64, align=64, flags=SLAB_HWCACHE_ALIGN),
        kmem_cache_request(nr_nodes),
    ]


def large_order(size: int) -> int:
    """Return the order of the pages that kmalloc takes for more than its largest class."""
    return ((size - 1) // PAGE_SIZE).bit_length()


_U32: Final = (1 << 32) - 1
_SEQUENCES_KEPT: Final = 1024
"""Machines of one seed begin with the same ones."""


@define(eq=False)
class Prandom:
    """Numbers that look random and follow from a seed (struct rnd_state)."""

    seed: int
    _state: tuple[int, int, int, int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        mixed = ((self.seed >> 32) ^ (self.seed << 10) ^ self.seed) & _U32
        a, b, c, d = (mixed + low if mixed < low else mixed for low in (2, 8, 16, 128))
        self._state = a, b, c, d

    def u32(self) -> int:
        """Return the next 32 bits (prandom_u32_state)."""
        a, b, c, d = self._state
        # Four Tausworthe generators of 32 bits.
        a = ((a & 0xFFFFFFFE) << 18 & _U32) ^ (((a << 6 & _U32) ^ a) >> 13)
        b = ((b & 0xFFFFFFF8) << 2 & _U32) ^ (((b << 2 & _U32) ^ b) >> 27)
        c = ((c & 0xFFFFFFF0) << 7 & _U32) ^ (((c << 13 & _U32) ^ c) >> 21)
        d = ((d & 0xFFFFFF80) << 13 & _U32) ^ (((d << 3 & _U32) ^ d) >> 12)
        self._state = a, b, c, d
        return a ^ b ^ c ^ d

    def below(self, ceiling: int) -> int:
        """Return a number below `ceiling` (prandom_u32_max)."""
        return self.u32() * ceiling >> 32

    def u64(self) -> int:
        """Return 64 bits."""
        return self.u32() | self.u32() << 32


@lru_cache(_SEQUENCES_KEPT)
def random_sequence(seed: int, count: int) -> tuple[int, ...]:
    """Return the numbers below `count` in random order (cache_random_seq_create)."""
    state = Prandom(seed)
    found = list(range(count))
    for nth in range(count - 1, 0, -1):
        other = state.u32() % (nth + 1)
        found[nth], found[other] = found[other], found[nth]
    return tuple(found)
