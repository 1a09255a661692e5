"""How large an object is, how many a slab has, and where its indexes lie (mm/slab.c, 6.1).

Models __kmem_cache_create, calculate_slab_order and the numbers of enable_cpucache. Left out: the
debug options of SLAB, init_on_free, KASAN's metadata.
"""

from collections.abc import Iterator
from typing import Final

from attrs import frozen

from mmactors.mm.page_alloc.gfp import GFP_COMP, GFP_DMA, GFP_DMA32, GFP_RECLAIMABLE
from mmactors.mm.page_alloc.order import MAX_ORDER
from mmactors.mm.slab.flags import (
    SLAB_CACHE_DMA,
    SLAB_CACHE_DMA32,
    SLAB_HWCACHE_ALIGN,
    SLAB_NOLEAKTRACE,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_TYPESAFE_BY_RCU,
)
from mmactors.mm.slab.slab.struct_slab import (
    ALIEN_LIMIT,
    OBJECT_FREELIST,
    OFF_SLAB,
    SLAB_OBJ_MAX_NUM,
)
from mmactors.mm.slab.slab_common import (
    CACHE_LINE_SIZE,
    WORD,
    CacheRequest,
    align_up,
    calculate_alignment,
    kmalloc_class_size,
    kmalloc_index,
)
from mmactors.rules import Rules
from mmactors.units import PAGE_SIZE

SLAB_OBJ_MIN_SIZE: Final = 16
SLAB_MAX_ORDER_HI: Final = 1
SLAB_MAX_ORDER_LO: Final = 0
SMALL_MEMORY: Final = 32 << 20
"""With no more bytes, slabs are of one page unless an object needs more."""
KMALLOC_SHIFT_LOW: Final = 5
"""kmalloc's smallest class has 32 bytes."""
_LIMITS: Final = ((131072, 1), (PAGE_SIZE, 8), (1024, 24), (256, 54), (0, 120))
"""Of objects larger than that, a CPU's array holds so many."""
LIMIT_MAX: Final = _LIMITS[-1][1]
SHARED_FACTOR: Final = 8


@frozen(kw_only=True)
class SlabConfig:
    """What the kernel was built with and told at boot."""

    nr_cpus: int = 1
    """CPUs that are present."""
    nr_possible_cpus: int | None = None
    """CPUs that may come; None: those that are present."""
    max_order: int = SLAB_MAX_ORDER_HI
    """slab_max_order="""
    merge: bool = True
    """Whether caches that fit share slabs (SLAB_MERGE_DEFAULT, slab_nomerge)."""
    alien_caches: bool = True
    """Whether nodes keep each other's objects for a while (noaliencache)."""
    hardened: bool = True
    """SLAB_FREELIST_HARDENED"""
    random: bool = True
    """Whether a new slab's objects come in random order (SLAB_FREELIST_RANDOM)."""
    init_on_alloc: bool = True
    """Whether objects are cleared when they are handed out (INIT_ON_ALLOC_DEFAULT_ON)."""
    rules: Rules = Rules()
    """What the right kernel does; a wrong one does not."""

    @property
    def has_shared(self) -> bool:
        """Whether nodes have arrays that their CPUs share."""
        nr_cpus = self.nr_cpus if self.nr_possible_cpus is None else self.nr_possible_cpus
        return nr_cpus > 1


@frozen(kw_only=True)
class SlabLayout:
    """The sizes of a cache, in bytes unless it is said otherwise."""

    object_size: int
    align: int
    size: int
    """From one object to the next."""
    flags: int
    """With OBJECT_FREELIST or OFF_SLAB."""
    num: int
    """Objects of a slab."""
    order: int
    """Of a slab's pages."""
    colour: int
    """How many places the first object of a slab may have."""
    colour_off: int
    """From one of them to the next."""
    limit: int
    """Entries of a CPU's array."""
    shared: int
    """How many batches the array of a node holds."""
    has_ctor: bool

    @property
    def freelist_size(self) -> int:
        """Of the array of indexes."""
        return self.num

    @property
    def batchcount(self) -> int:
        """How many objects go to a CPU's array or back at once."""
        return (self.limit + 1) // 2

    @property
    def shared_limit(self) -> int:
        """Entries of the array that the CPUs of a node share."""
        return self.shared * self.batchcount

    @property
    def alien_limit(self) -> int:
        """Entries of the array for objects of another node."""
        return ALIEN_LIMIT if self.limit > 1 else self.limit

    @property
    def is_off_slab(self) -> bool:
        """Whether the array of indexes is a kmalloc object."""
        return bool(self.flags & OFF_SLAB)

    @property
    def allocflags(self) -> int:
        """GFP bits that a slab's pages are asked for with."""
        allocflags = GFP_COMP
        for flag, gfp in (
            (SLAB_CACHE_DMA, GFP_DMA),
            (SLAB_CACHE_DMA32, GFP_DMA32),
            (SLAB_RECLAIM_ACCOUNT, GFP_RECLAIMABLE),
        ):
            if self.flags & flag:
                allocflags |= gfp
        return allocflags


@frozen
class _Order:
    """An order that slabs may have."""

    order: int
    num: int
    left_over: int


def slab_max_order(nr_bytes: int) -> int:
    """Return which order slabs have at most, if it is not said at boot; by bytes of memory."""
    return SLAB_MAX_ORDER_HI if nr_bytes > SMALL_MEMORY else SLAB_MAX_ORDER_LO


def limit_of(size: int) -> int:
    """Return how many entries a CPU's array has for objects of `size` bytes."""
    return next((limit for least, limit in _LIMITS if size > least), LIMIT_MAX)


def layout_of(request: CacheRequest, config: SlabConfig) -> SlabLayout | None:
    """Return the layout of a cache of its own; None: no slab holds an object (-E2BIG)."""
    flags, object_size = request.flags, request.object_size
    align = max(WORD, calculate_alignment(flags, request.align, object_size))
    size = align_up(align_up(object_size, WORD), align)
    if size < SLAB_OBJ_MIN_SIZE:
        size = align_up(SLAB_OBJ_MIN_SIZE, align)
    found = _object_freelist(request, size, config)
    place = OBJECT_FREELIST
    if found is None:
        found, place = _off_slab(request, size, config), OFF_SLAB
    if found is None:
        found, place = _order_of(_on_slab_orders(size), flags, config), 0
    if found is None:
        return None
    colour_off = max(CACHE_LINE_SIZE, align)
    return SlabLayout(
        object_size=object_size,
        align=align,
        size=size,
        flags=flags | place,
        num=found.num,
        order=found.order,
        colour=found.left_over // colour_off,
        colour_off=colour_off,
        limit=limit_of(size),
        shared=SHARED_FACTOR if size <= PAGE_SIZE and config.has_shared else 0,
        has_ctor=request.has_ctor,
    )


def _object_freelist(request: CacheRequest, size: int, config: SlabConfig) -> _Order | None:
    """Return the order of slabs whose indexes lie in a free object; None: they may not."""
    if request.has_ctor or request.flags & SLAB_TYPESAFE_BY_RCU:
        return None
    found = _order_of(_whole_orders(size), request.flags, config)
    return None if found is None or found.num > request.object_size else found


def _off_slab(request: CacheRequest, size: int, config: SlabConfig) -> _Order | None:
    """Return the order of slabs whose indexes are a kmalloc object; None: that is of no use."""
    if request.flags & SLAB_NOLEAKTRACE:
        return None
    orders = (
        each for each in _whole_orders(size) if kmalloc_size(each.num) <= request.object_size // 2
    )
    found = _order_of(orders, request.flags, config)
    return None if found is None or found.left_over >= found.num else found


def _whole_orders(size: int) -> Iterator[_Order]:
    """Yield the orders of slabs that have nothing but objects."""
    return _orders(size, 0)


def _on_slab_orders(size: int) -> Iterator[_Order]:
    """Yield the orders of slabs at whose end the indexes lie."""
    return _orders(size, 1)


def _orders(size: int, index_size: int) -> Iterator[_Order]:
    for order in range(MAX_ORDER):
        num, left_over = divmod(PAGE_SIZE << order, size + index_size)
        if num > SLAB_OBJ_MAX_NUM:
            return
        if num:
            yield _Order(order, num, left_over)


def _order_of(orders: Iterator[_Order], flags: int, config: SlabConfig) -> _Order | None:
    """Return the order that slabs get (calculate_slab_order); None: none will do."""
    found = None
    for found in orders:
        if (
            flags & SLAB_RECLAIM_ACCOUNT
            or found.order >= config.max_order
            or found.left_over * 8 <= PAGE_SIZE << found.order
        ):
            break
    return found


def kmalloc_size(size: int) -> int:
    """Return the size of the objects of kmalloc's class for so many bytes."""
    class_size = kmalloc_class_size(kmalloc_index(size, KMALLOC_SHIFT_LOW))
    return align_up(class_size, calculate_alignment(SLAB_HWCACHE_ALIGN, 0, class_size))
