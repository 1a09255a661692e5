"""Memory at addresses that follow one another, of pages that need not (mm/vmalloc.c, v6.1).

What fails gives back all that it had. Left out: huge pages, memory cgroups, other protections than
PAGE_KERNEL, modules' addresses.
"""

from collections.abc import Sequence
from typing import Final

from mmactors.mm.page_alloc.gfp import (
    GFP_DMA,
    GFP_DMA32,
    GFP_FS,
    GFP_HIGHMEM,
    GFP_IO,
    GFP_KERNEL,
    GFP_NOFAIL,
    GFP_NOWARN,
    GFP_RECLAIM_MASK,
    GFP_ZERO,
)
from mmactors.mm.vmalloc.request import (
    AllocPage,
    AllocPagesBulk,
    FatalSignalPending,
    Kmalloc,
    ScheduleTimeout,
    VmallocSteps,
    VmapPagesRange,
    Warn,
    WarnAlloc,
)
from mmactors.mm.vmalloc.space import ThisCpu, VmallocSpace
from mmactors.mm.vmalloc.vfree import COND_RESCHED, COUNT_PAGES, vfree, vunmap
from mmactors.mm.vmalloc.vm_area import free_vm_struct, get_vm_area_node
from mmactors.mm.vmalloc.vm_struct import (
    VM_ALLOC,
    VM_MAP,
    VM_NO_GUARD,
    VM_UNINITIALIZED,
    VmStruct,
)
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_BULK_PAGES: Final = 100
"""Pages asked for at once, so that nobody waits for long."""
_POINTER: Final = 8
_IS_DYING: Final = FatalSignalPending()
_TICK: Final = ScheduleTimeout()


def vmalloc(
    space: VmallocSpace,
    this_cpu: ThisCpu,
    size: int,
    *,
    caller: str,
    gfp: int = GFP_KERNEL,
    align: int = 1,
    node: int | None = None,
    vm_flags: int = 0,
) -> VmallocSteps[int]:
    """Return the address of so many bytes, each page of them another, 0: there is no memory.

    `align`: bytes, a power of two (__vmalloc_node_range).
    """
    if not size:
        yield Warn(place="mm/vmalloc.c:3227 __vmalloc_node_range", is_once=True)
        return 0
    if size >> PAGE_SHIFT > space.totalram_pages():
        yield WarnAlloc(gfp=gfp, text=f"vmalloc error: size {size}, exceeds total pages")
        return 0
    flags = VM_ALLOC | VM_UNINITIALIZED | vm_flags
    while True:
        vm = yield from get_vm_area_node(
            space, this_cpu, size, flags, align=align, gfp=gfp, node=node, caller=caller
        )
        if vm is not None:
            break
        again = ". Retrying." if gfp & GFP_NOFAIL else ""
        text = f"vmalloc error: size {size}, vm_struct allocation failed{again}"
        yield WarnAlloc(gfp=gfp, text=text)
        if not again:
            return 0
        yield _TICK
    is_made = yield from _vmalloc_area_node(space, this_cpu, vm, gfp, node)
    if not is_made:
        return 0
    vm.flags &= ~VM_UNINITIALIZED
    return vm.address


def vmap(
    space: VmallocSpace,
    this_cpu: ThisCpu,
    pfns: Sequence[int],
    *,
    flags: int = VM_MAP,
    caller: str,
) -> VmallocSteps[int]:
    """Map pages one after the other; return the address, 0: no addresses, or no memory."""
    if flags & VM_NO_GUARD:
        yield Warn(place="mm/vmalloc.c:2913 vmap", is_once=True)
        flags &= ~VM_NO_GUARD
    if len(pfns) > space.totalram_pages():
        return 0
    size = len(pfns) << PAGE_SHIFT
    vm = yield from get_vm_area_node(space, this_cpu, size, flags, caller=caller)
    if vm is None:
        return 0
    error = yield VmapPagesRange(
        start=vm.address, end=vm.address + size, pfns=tuple(pfns), gfp=GFP_KERNEL
    )
    if error:
        yield from vunmap(space, this_cpu, vm.address)
        return 0
    return vm.address


def _vmalloc_area_node(
    space: VmallocSpace, this_cpu: ThisCpu, vm: VmStruct, gfp: int, node: int | None
) -> VmallocSteps[bool]:
    """Give an area its pages and map them; if not all can be had, the area goes, too."""
    size = vm.area_size
    nr_pages = size >> PAGE_SHIFT
    array_size = nr_pages * _POINTER
    nested_gfp = gfp & GFP_RECLAIM_MASK | GFP_ZERO
    gfp |= GFP_NOWARN
    if not gfp & (GFP_DMA | GFP_DMA32):
        gfp |= GFP_HIGHMEM
    if array_size > PAGE_SIZE:
        vm.pages_address = yield from vmalloc(
            space, this_cpu, array_size, caller=vm.caller or "", gfp=nested_gfp, node=node
        )
    else:
        vm.pages_address = yield Kmalloc(
            size=array_size, gfp=nested_gfp, node=node, site="__vmalloc_node_range"
        )
    if not vm.pages_address:
        what = f"failed to allocated page array size {array_size}"
        yield WarnAlloc(gfp=gfp, text=f"vmalloc error: size {size}, {what}")
        yield from free_vm_struct(space, vm)
        return False
    vm.pages = yield from _alloc_pages(gfp, node, nr_pages)
    vm.nr_pages = len(vm.pages)
    if space.wants_step():
        yield COUNT_PAGES
    space.nr_vmalloc_pages += vm.nr_pages
    had = vm.nr_pages << PAGE_SHIFT
    if vm.nr_pages != nr_pages:
        if not (yield _IS_DYING):
            text = f"vmalloc error: size {had}, page order 0, failed to allocate pages"
            yield WarnAlloc(gfp=gfp, text=text)
        yield from vfree(space, this_cpu, vm.address)
        return False
    request = VmapPagesRange(
        start=vm.address, end=vm.address + size, pfns=vm.pages, gfp=_table_gfp(gfp)
    )
    while error := (yield request):
        if not gfp & GFP_NOFAIL:
            break
        yield _TICK
    if error:
        yield WarnAlloc(gfp=gfp, text=f"vmalloc error: size {had}, failed to map pages")
        yield from vfree(space, this_cpu, vm.address)
        return False
    return True


def _table_gfp(gfp: int) -> int:
    """Return what page tables are allocated with in the scope of a request."""
    if gfp & (GFP_FS | GFP_IO) == GFP_IO:
        return GFP_KERNEL & ~GFP_FS
    if not gfp & (GFP_FS | GFP_IO):
        return GFP_KERNEL & ~(GFP_FS | GFP_IO)
    return GFP_KERNEL


def _alloc_pages(gfp: int, node: int | None, nr_pages: int) -> VmallocSteps[list[int]]:
    """Return single pages, maybe fewer than were asked for (vm_area_alloc_pages)."""
    pfns: list[int] = []
    while len(pfns) < nr_pages:
        nr = min(_BULK_PAGES, nr_pages - len(pfns))
        found = yield AllocPagesBulk(gfp=gfp & ~GFP_NOFAIL, node=node, nr=nr)
        pfns += found
        yield COND_RESCHED
        if len(found) != nr:
            break
    # One by one, which waits for memory.
    while len(pfns) < nr_pages:
        if not gfp & GFP_NOFAIL and (yield _IS_DYING):
            break
        pfn = yield AllocPage(gfp=gfp, node=node)
        if pfn is None:
            break
        pfns.append(pfn)
        yield COND_RESCHED
    return pfns
