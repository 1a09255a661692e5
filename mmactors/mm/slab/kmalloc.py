"""kmalloc by classes, and what is larger, for SLAB and SLUB (mm/slab_common.c, v6.1).

Left out: kmalloc of DMA32 and highmem, which the kernel mends with a warning.
"""

from typing import Final

from mmactors.mm.page_alloc.gfp import GFP_COMP, GFP_ZERO
from mmactors.mm.page_alloc.order import MAX_ORDER
from mmactors.mm.slab.allocator import C, ObjectAllocator
from mmactors.mm.slab.caller import NOBODY, SlabCaller
from mmactors.mm.slab.common_calls import SlabCommon
from mmactors.mm.slab.oops import oops, pointer, wild_pointer
from mmactors.mm.slab.request import AllocSlabPages, FreeSlabPages, Printk, SlabSteps
from mmactors.mm.slab.slab_common import (
    KMALLOC_MAX_CACHE_SIZE,
    KMALLOC_NORMAL,
    KMALLOC_SHIFT_HIGH,
    ZERO_SIZE_PTR,
    kmalloc_index,
    kmalloc_requests,
    kmalloc_type,
    large_order,
)
from mmactors.mm.slab.slab_memory import ThisCpu
from mmactors.mm.slab.warning import warning_once
from mmactors.units import PAGE_SHIFT, PAGE_SIZE


class Kmalloc(SlabCommon[C]):
    """The caches of kmalloc's classes, and what is larger."""

    def __init__(self, allocator: ObjectAllocator[C]) -> None:
        super().__init__(allocator)
        self._caches: Final[dict[tuple[int, int], C]] = {}
        self._found: Final[dict[int, C]] = {}
        """By flags and size, what was looked up before."""

    def create_caches(self) -> None:
        """Make the first caches of a kernel: those of caches, then all classes."""
        super().create_caches()
        own = self.allocator
        classes = kmalloc_requests(own.kmalloc_shift_low, own.kmalloc_flags, own.kmalloc_first)
        for kind, index, request in classes:
            # Nobody's cache may become an alias of one of kmalloc's, if memory is accounted.
            refcount = -1 if kind == KMALLOC_NORMAL else 1
            self._caches[kind, index] = self._create_boot_cache(request, refcount=refcount)

    def cache_for(self, size: int, gfp: int) -> C | None:
        """Return the cache that serves 1 byte or more; None: it is more than the largest class."""
        return self.kmalloc_slab(size, gfp) if size <= KMALLOC_MAX_CACHE_SIZE else None

    def kmalloc_slab(self, size: int, gfp: int) -> C:
        """Return the cache that serves 1 to KMALLOC_MAX_CACHE_SIZE bytes."""
        s = self._found.get(gfp << KMALLOC_SHIFT_HIGH + 1 | size)
        if s is None:
            index = kmalloc_index(size, self.allocator.kmalloc_shift_low)
            s = self._caches[kmalloc_type(gfp), index]
            self._found[gfp << KMALLOC_SHIFT_HIGH + 1 | size] = s
        return s

    def bytes_alloc(self, size: int, gfp: int) -> int:
        """Return how many bytes a request of so many takes."""
        s = self.cache_for(size, gfp)
        return PAGE_SIZE << large_order(size) if s is None else s.size

    def kmalloc(
        self,
        this_cpu: ThisCpu,
        size: int,
        gfp: int,
        node: int | None = None,
        *,
        caller: SlabCaller = NOBODY,
    ) -> SlabSteps[int]:
        """Return the address of `size` bytes, 0: no memory; of nothing, ZERO_SIZE_PTR.

        They are of `node` if it has any (kmalloc_node); None: the CPU's.
        """
        if size == 0:
            return ZERO_SIZE_PTR
        s = self.cache_for(size, gfp)
        if s is None:
            return (yield from self._kmalloc_large(this_cpu, size, gfp, node))
        return (
            yield from self.allocator.alloc(s, this_cpu, gfp, node, caller=caller, orig_size=size)
        )

    def _kmalloc_large(
        self, this_cpu: ThisCpu, size: int, gfp: int, node: int | None
    ) -> SlabSteps[int]:
        order = large_order(size)
        if order >= MAX_ORDER:
            return 0
        memory = self.allocator.memory
        pfn = yield AllocSlabPages(order=order, gfp=gfp | GFP_COMP, node=node)
        if pfn is None:
            return 0
        memory.claim(this_cpu(), pfn, order)
        if memory.init_on_alloc or gfp & GFP_ZERO:
            memory.zero(pfn << PAGE_SHIFT, PAGE_SIZE << order)
        if memory.checks is not None:
            memory.checks.object_allocated(None, pfn << PAGE_SHIFT)
        return pfn << PAGE_SHIFT

    def kfree(
        self, this_cpu: ThisCpu, thing: int, *, caller: SlabCaller = NOBODY
    ) -> SlabSteps[None]:
        """Free what kmalloc, or a cache, has returned; 0 and ZERO_SIZE_PTR are nothing."""
        if 0 <= thing <= ZERO_SIZE_PTR:
            return
        memory = self.allocator.memory
        if not 0 < thing < memory.nr_bytes:
            oops(memory, *wild_pointer(thing))
        head = memory.head_of(thing)
        if head is not None and memory.is_slab(head):
            s = self.allocator.cache_of(head)
            yield from self.allocator.free(s, this_cpu, head, thing, caller=caller)
            return
        if memory.checks is not None:
            memory.checks.object_freed(None, thing)
        order = 0 if head is None else memory.pages.order_view[head]
        if head is None or not order:
            # Not kmalloc's: the kernel warns, and lets go of the page all the same.
            place = "mm/slab_common.c:904 free_large_kmalloc"
            lines = warning_once(memory, this_cpu(), caller, place)
            if lines:
                yield Printk(lines=(*lines, f"object pointer: 0x{pointer(thing)}"))
            head = thing >> PAGE_SHIFT
            if not memory.pages.refcount_view[head]:
                return
        memory.release(this_cpu(), head, order)
        yield FreeSlabPages(pfn=head, order=order)

    def ksize(self, thing: int) -> int:
        """Return how many bytes an address has to itself, 0: none."""
        memory = self.allocator.memory
        head = None if thing <= ZERO_SIZE_PTR else memory.head_of(thing)
        if head is None:
            return 0
        if memory.is_slab(head):
            return self.allocator.ksize(self.allocator.cache_of(head))
        return PAGE_SIZE << memory.pages.order_view[head]
