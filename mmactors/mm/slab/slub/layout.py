"""Where an object's parts lie, and how many objects a slab has (mm/slub.c, v6.1).

Models calculate_sizes, calculate_order and set_cpu_partial with SLUB_DEBUG and SLUB_CPU_PARTIAL.
Left out: KASAN's metadata.
"""

from functools import lru_cache
from typing import Final

from attrs import frozen

from mmactors.mm.page_alloc.gfp import GFP_COMP, GFP_DMA, GFP_DMA32, GFP_RECLAIMABLE
from mmactors.mm.page_alloc.order import (
    MAX_ORDER,
    PAGE_ALLOC_COSTLY_ORDER,
)
from mmactors.mm.slab.flags import (
    CMPXCHG_DOUBLE,
    DEBUG_METADATA_FLAGS,
    OBJECT_POISON,
    SLAB_CACHE_DMA,
    SLAB_CACHE_DMA32,
    SLAB_DEBUG_FLAGS,
    SLAB_KMALLOC,
    SLAB_NO_CMPXCHG,
    SLAB_POISON,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TYPESAFE_BY_RCU,
)
from mmactors.mm.slab.slab_common import WORD, CacheRequest, align_up, calculate_alignment
from mmactors.mm.slab.slub.debug.debug_option import SlubDebug
from mmactors.rules import Rules
from mmactors.units import PAGE_SIZE

MIN_PARTIAL: Final = 5
MAX_PARTIAL: Final = 10
_UINT_MAX: Final = (1 << 32) - 1
MAX_OBJS_PER_PAGE: Final = 32767
"""struct slab counts objects with 15 bits."""
TRACK_SIZE: Final = 32
"""sizeof(struct track): who allocated or freed an object."""
ORIG_SIZE_SIZE: Final = 4
"""What kmalloc was asked for."""
_CPU_PARTIAL: Final = ((PAGE_SIZE, 6), (1024, 24), (256, 52), (0, 120))
"""From which size on a CPU keeps so many free objects in its partial slabs."""
_LAYOUTS_KEPT: Final = 512
"""Machines of one process begin with the same caches."""


@frozen(kw_only=True)
class SlubConfig:
    """What the kernel was built with and told at boot."""

    nr_cpus: int = 1
    """CPUs that are present."""
    nr_cpu_ids: int | None = None
    """CPUs that may come; None: those that are present."""
    min_order: int = 0
    """slub_min_order="""
    max_order: int = PAGE_ALLOC_COSTLY_ORDER
    """slub_max_order="""
    min_objects: int = 0
    """slub_min_objects=, 0: by the number of CPUs."""
    debug: SlubDebug = SlubDebug()
    """slub_debug="""
    merge: bool = True
    """Whether caches that fit share slabs (SLAB_MERGE_DEFAULT, slab_nomerge)."""
    hardened: bool = True
    """Whether free pointers are hidden (SLAB_FREELIST_HARDENED)."""
    random: bool = True
    """Whether a new slab's objects come in random order (SLAB_FREELIST_RANDOM)."""
    init_on_alloc: bool = True
    """Whether objects are cleared when they are handed out (INIT_ON_ALLOC_DEFAULT_ON)."""
    rules: Rules = Rules()
    """What the right kernel does; a wrong one does not."""

    @property
    def objects_wanted(self) -> int:
        """How many objects a slab should have at least."""
        if self.min_objects:
            return self.min_objects
        cpus = self.nr_cpus
        if cpus <= 1 and self.nr_cpu_ids is not None:
            cpus = self.nr_cpu_ids
        return 4 * (cpus.bit_length() + 1)


@frozen(kw_only=True)
class SlabLayout:
    """The sizes of a cache, in bytes unless it is said otherwise."""

    object_size: int
    align: int
    size: int
    """From one object to the next."""
    inuse: int
    """End of the object and its right red zone."""
    offset: int
    """Where in a free object the pointer to the next one stands."""
    red_left_pad: int
    """Red zone before the object; addresses of objects begin after it."""
    flags: int
    order: int
    """Of a slab's pages."""
    min_order: int
    """Of a slab's pages if there are none of `order`."""
    allocflags: int
    """GFP bits that a slab's pages are asked for with."""
    cpu_partial: int
    """How many free objects a CPU's partial slabs should have."""
    has_ctor: bool

    @property
    def objects(self) -> int:
        """Of a slab."""
        return order_objects(self.order, self.size)

    @property
    def min_objects(self) -> int:
        """Of a slab of the least order."""
        return order_objects(self.min_order, self.size)

    @property
    def cpu_partial_slabs(self) -> int:
        """How many partial slabs a CPU keeps; each is taken to be half full."""
        return -(-self.cpu_partial * 2 // self.objects)

    @property
    def min_partial(self) -> int:
        """How many partial slabs a node keeps even if they are empty."""
        return max(MIN_PARTIAL, min(MAX_PARTIAL, (self.size.bit_length() - 1) // 2))

    @property
    def is_debug(self) -> bool:
        """Whether the cache works without per-CPU slabs (kmem_cache_debug)."""
        return bool(self.flags & SLAB_DEBUG_FLAGS)

    @property
    def is_freeptr_outside(self) -> bool:
        """Whether the free pointer lies behind the object, not within."""
        return self.offset >= self.inuse

    @property
    def info_end(self) -> int:
        """Where tracks begin: after the object, its red zone and the pointer behind it."""
        return self.inuse + WORD if self.is_freeptr_outside else self.inuse

    @property
    def keeps_orig_size(self) -> bool:
        """Whether objects remember how many bytes kmalloc was asked for."""
        return self.flags & (SLAB_STORE_USER | SLAB_KMALLOC) == SLAB_STORE_USER | SLAB_KMALLOC

    @property
    def metadata_end(self) -> int:
        """Where the padding behind tracks and size begins."""
        end = self.info_end
        if self.flags & SLAB_STORE_USER:
            end += 2 * TRACK_SIZE
        return end + ORIG_SIZE_SIZE if self.keeps_orig_size else end

    @property
    def size_from_object(self) -> int:
        """Bytes from an object's address to where the next one's left red zone begins."""
        return self.size - self.red_left_pad


def order_objects(order: int, size: int) -> int:
    """Return how many objects pages of an order hold."""
    return (PAGE_SIZE << order & _UINT_MAX) // size


def get_order(size: int) -> int:
    """Return the least order that holds so many bytes."""
    return ((size - 1) // PAGE_SIZE).bit_length()


def calculate_order(size: int, config: SlubConfig) -> int | None:
    """Return the order of slabs for objects of `size` bytes; None: no order holds one."""
    min_objects = min(config.objects_wanted, order_objects(config.max_order, size))
    while min_objects > 1:
        for fraction in (16, 8, 4):
            order = _calc_slab_order(size, min_objects, config.max_order, fraction, config)
            if order <= config.max_order:
                return order
        min_objects -= 1
    order = _calc_slab_order(size, 1, config.max_order, 1, config)
    if order > config.max_order:
        order = _calc_slab_order(size, 1, MAX_ORDER, 1, config)
    return order if order < MAX_ORDER else None


def _calc_slab_order(
    size: int, min_objects: int, max_order: int, fraction: int, config: SlubConfig
) -> int:
    """Return the first order that wastes at most a `fraction`-th; max_order + 1: none does."""
    if order_objects(config.min_order, size) > MAX_OBJS_PER_PAGE:
        return get_order(size * MAX_OBJS_PER_PAGE) - 1
    order = max(config.min_order, get_order(min_objects * size))
    while order <= max_order:
        slab_size = PAGE_SIZE << order
        if slab_size % size <= slab_size // fraction:
            break
        order += 1
    return order


@lru_cache(_LAYOUTS_KEPT)
def calculate_sizes(
    *, object_size: int, align: int, flags: int, has_ctor: bool, config: SlubConfig
) -> SlabLayout | None:
    """Return the layout of a cache's objects and slabs; None: no slab holds one."""
    poison = flags & SLAB_POISON and not flags & SLAB_TYPESAFE_BY_RCU and not has_ctor
    flags = flags | OBJECT_POISON if poison else flags & ~OBJECT_POISON
    size = align_up(object_size, WORD)
    if flags & SLAB_RED_ZONE and size == object_size:
        size += WORD
    inuse = size
    if (
        flags & (SLAB_TYPESAFE_BY_RCU | SLAB_POISON)
        or (flags & SLAB_RED_ZONE and object_size < WORD)
        or has_ctor
    ):
        offset = size
        size += WORD
    else:
        # In the middle, away from what neighbours overrun.
        offset = object_size // 2 & ~(WORD - 1)
        if not config.rules.freepointer_lies_within_object and size > WORD:
            offset = align_up(align_up(object_size, WORD) // 2, WORD)
    if flags & SLAB_STORE_USER:
        size += 2 * TRACK_SIZE
        if flags & SLAB_KMALLOC:
            size += ORIG_SIZE_SIZE
    red_left_pad = 0
    if flags & SLAB_RED_ZONE:
        size += WORD
        red_left_pad = align_up(WORD, align)
        size += red_left_pad
    size = align_up(size, align)
    order = calculate_order(size, config)
    if order is None:
        return None
    if not flags & SLAB_NO_CMPXCHG:
        flags |= CMPXCHG_DOUBLE
    return SlabLayout(
        object_size=object_size,
        align=align,
        size=size,
        inuse=inuse,
        offset=offset,
        red_left_pad=red_left_pad,
        flags=flags,
        order=order,
        min_order=get_order(size),
        allocflags=_allocflags(order, flags),
        cpu_partial=_cpu_partial(size, flags),
        has_ctor=has_ctor,
    )


def layout_of(request: CacheRequest, config: SlubConfig) -> SlabLayout | None:
    """Return the layout of a cache of its own; None: no slab holds an object."""
    layout = calculate_sizes(
        object_size=request.object_size,
        align=calculate_alignment(request.flags, request.align, request.object_size),
        flags=config.debug.kmem_cache_flags(request.flags, request.name),
        has_ctor=request.has_ctor,
        config=config,
    )
    if layout is not None and config.debug.no_higher_order:
        return _without_metadata(layout, config)
    return layout


def _without_metadata(layout: SlabLayout, config: SlubConfig) -> SlabLayout | None:
    """Return the layout for slub_debug=O: no metadata where it would raise the least order."""
    if get_order(layout.size) <= get_order(layout.object_size):
        return layout
    return calculate_sizes(
        object_size=layout.object_size,
        align=layout.align,
        flags=layout.flags & ~(DEBUG_METADATA_FLAGS | CMPXCHG_DOUBLE),
        has_ctor=layout.has_ctor,
        config=config,
    )


def _allocflags(order: int, flags: int) -> int:
    allocflags = GFP_COMP if order else 0
    for flag, gfp in (
        (SLAB_CACHE_DMA, GFP_DMA),
        (SLAB_CACHE_DMA32, GFP_DMA32),
        (SLAB_RECLAIM_ACCOUNT, GFP_RECLAIMABLE),
    ):
        if flags & flag:
            allocflags |= gfp
    return allocflags


def _cpu_partial(size: int, flags: int) -> int:
    if flags & SLAB_DEBUG_FLAGS:
        return 0
    return next(nr_objects for least, nr_objects in _CPU_PARTIAL if size >= least)
