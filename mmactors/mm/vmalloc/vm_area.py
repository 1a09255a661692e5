"""Areas with a struct vm_struct: taking and giving back their addresses (mm/vmalloc.c, v6.1)."""

from typing import Final

from mmactors import label
from mmactors.label import Label, Mode
from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_RECLAIM_MASK, GFP_ZERO
from mmactors.mm.slab.oops import bug
from mmactors.mm.slab.request import KernelOopsError
from mmactors.mm.vmalloc.alloc_area import alloc_vmap_area
from mmactors.mm.vmalloc.find_area import find_vm_area
from mmactors.mm.vmalloc.lazy import free_unmap_vmap_area
from mmactors.mm.vmalloc.request import Kfree, Kmalloc, VmallocSteps
from mmactors.mm.vmalloc.space import (
    VMAP_BUSY_LOCK,
    VMAP_BUSY_UNLOCK,
    ThisCpu,
    VmallocSpace,
)
from mmactors.mm.vmalloc.vm_struct import VM_IOREMAP, VM_NO_GUARD, VM_STRUCT_SIZE, VmStruct
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

IOREMAP_MAX_ORDER: Final = 30
"""PUD_SHIFT, of x86-64."""
_SITE: Final = "__get_vm_area_node"
_SETUP: Final = Label("setup_vmalloc_vm", ((label.VMAP_AREAS, Mode.WRITE),))
_REMOVE: Final = Label("take the vm_struct away", ((label.VMAP_AREAS, Mode.WRITE),))


def get_vm_area_node(
    space: VmallocSpace,
    this_cpu: ThisCpu,
    size: int,
    flags: int,
    *,
    align: int = 1,
    gfp: int = GFP_KERNEL,
    node: int | None = None,
    caller: str | None,
) -> VmallocSteps[VmStruct | None]:
    """Take addresses for so many bytes and a guard page; None: no addresses, or no memory.

    `align`: bytes. VM_IOREMAP aligns to the size, up to 1 GiB, so that large pages could be used.
    """
    nr_pages = (size + PAGE_SIZE - 1) >> PAGE_SHIFT
    if not nr_pages:
        return None
    if flags & VM_IOREMAP:
        order = ((nr_pages << PAGE_SHIFT) - 1).bit_length()
        align = 1 << min(max(order, PAGE_SHIFT), IOREMAP_MAX_ORDER)
    gfp_zero = gfp & GFP_RECLAIM_MASK | GFP_ZERO
    thing = yield Kmalloc(size=VM_STRUCT_SIZE, gfp=gfp_zero, node=node, site=_SITE)
    if not thing:
        return None
    if not flags & VM_NO_GUARD:
        nr_pages += 1
    align_pages = max(1, align >> PAGE_SHIFT)
    area = yield from alloc_vmap_area(space, this_cpu, nr_pages, align_pages, gfp, node)
    if not area:
        yield Kfree(thing=thing, site=_SITE)
        return None
    vm = VmStruct(
        address=space.start_of(area),
        size=nr_pages << PAGE_SHIFT,
        flags=flags,
        caller=caller,
        thing=thing,
    )
    yield VMAP_BUSY_LOCK
    if space.wants_step():
        yield _SETUP
    space.vm[area] = vm
    yield VMAP_BUSY_UNLOCK
    return vm


def remove_vm_area(space: VmallocSpace, address: int) -> VmallocSteps[VmStruct | None]:
    """Unmap an area and free its addresses lazily; return what was known of it, None: none."""
    yield VMAP_BUSY_LOCK
    if space.wants_step():
        yield _REMOVE
    area = space.find_busy(address)
    vm = space.vm.pop(area, None)
    yield VMAP_BUSY_UNLOCK
    if vm is not None:
        yield from free_unmap_vmap_area(space, area)
    return vm


def get_vm_area(
    space: VmallocSpace, this_cpu: ThisCpu, size: int, flags: int, *, caller: str
) -> VmallocSteps[int]:
    """Take addresses for so many bytes; return the first, 0: no addresses, or no memory."""
    vm = yield from get_vm_area_node(space, this_cpu, size, flags, caller=caller)
    return 0 if vm is None else vm.address


def free_vm_area(space: VmallocSpace, address: int) -> VmallocSteps[None]:
    """Give back what get_vm_area has given; raise KernelOopsError if there is no such area."""
    vm = yield from find_vm_area(space, address)
    if vm is None:
        raise KernelOopsError("BUG: kernel NULL pointer dereference, address: 0000000000000008")
    yield from free_vm_struct(space, vm)


def free_vm_struct(space: VmallocSpace, vm: VmStruct) -> VmallocSteps[None]:
    """Give back an area and its struct (free_vm_area)."""
    removed = yield from remove_vm_area(space, vm.address)
    if removed is not vm:
        raise KernelOopsError(*bug("mm/vmalloc.c", 3765))
    yield Kfree(thing=vm.thing, site="free_vm_area")
