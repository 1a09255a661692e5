"""Giving back what vmalloc and vmap have given (__vunmap; mm/vmalloc.c, v6.1).

Interrupts only put an address on their CPU's list; a worker frees it. Left out: resetting the
direct map's permissions (VM_FLUSH_RESET_PERMS), which simulated pages do not have; then the
aliases are flushed all the same.
"""

from typing import Final

from mmactors import label
from mmactors.label import Label, Mode, vfree_deferred
from mmactors.mm.vmalloc.find_area import find_vm_area
from mmactors.mm.vmalloc.kernel_mapping import VMALLOC_START
from mmactors.mm.vmalloc.purge import vm_unmap_aliases
from mmactors.mm.vmalloc.request import (
    CondResched,
    FreePage,
    IsInterrupt,
    Kfree,
    ScheduleVfree,
    VmallocSteps,
    Warn,
)
from mmactors.mm.vmalloc.space import VMALLOC_END, ThisCpu, VmallocSpace
from mmactors.mm.vmalloc.vm_area import remove_vm_area
from mmactors.mm.vmalloc.vm_struct import VM_FLUSH_RESET_PERMS
from mmactors.units import PAGE_SIZE

COND_RESCHED: Final = CondResched()
COUNT_PAGES: Final = Label("count vmalloc's pages", ((label.NR_VMALLOC_PAGES, Mode.ADD),))
_IS_INTERRUPT: Final = IsInterrupt()
_SITE: Final = "__vunmap"


def vfree(space: VmallocSpace, this_cpu: ThisCpu, address: int) -> VmallocSteps[None]:
    """Give back what vmalloc has given; 0 is nothing."""
    if not address:
        return
    if (yield _IS_INTERRUPT):
        yield from vfree_atomic(space, this_cpu, address)
    else:
        yield from _vunmap(space, this_cpu, address, frees_pages=True)


def vfree_atomic(space: VmallocSpace, this_cpu: ThisCpu, address: int) -> VmallocSteps[None]:
    """Let the CPU's worker vfree it, wherever this is called."""
    if not address:
        return
    cpu = this_cpu()
    if space.wants_step():
        yield Label("llist_add", ((vfree_deferred(cpu), Mode.WRITE),))
    deferred = space.vfree_deferred[cpu]
    deferred.insert(0, address)
    if len(deferred) == 1:
        yield ScheduleVfree(cpu)


def free_work(space: VmallocSpace, this_cpu: ThisCpu, cpu: int) -> VmallocSteps[None]:
    """Free what a CPU's interrupts have put on its list; what `ScheduleVfree` asks for."""
    if space.wants_step():
        yield Label("llist_del_all", ((vfree_deferred(cpu), Mode.WRITE),))
    deferred, space.vfree_deferred[cpu] = space.vfree_deferred[cpu], []
    for address in deferred:
        yield from _vunmap(space, this_cpu, address, frees_pages=True)


def vunmap(space: VmallocSpace, this_cpu: ThisCpu, address: int) -> VmallocSteps[None]:
    """Unmap what vmap has mapped; 0 is nothing. The pages stay their owner's."""
    if address:
        yield from _vunmap(space, this_cpu, address, frees_pages=False)


def is_vmalloc_address(address: int) -> bool:
    """Return whether an address is one of vmalloc's."""
    return VMALLOC_START <= address <= VMALLOC_END


def _vunmap(
    space: VmallocSpace, this_cpu: ThisCpu, address: int, *, frees_pages: bool
) -> VmallocSteps[None]:
    if address % PAGE_SIZE:
        text = f"Trying to vfree() bad address ({address & (1 << 64) - 1:016x})"
        yield Warn(place="mm/vmalloc.c:2752 __vunmap", text=text)
        return
    vm = yield from find_vm_area(space, address)
    if vm is None:
        text = f"Trying to vfree() nonexistent vm area ({address & (1 << 64) - 1:016x})"
        yield Warn(place="mm/vmalloc.c:2758 __vunmap", text=text)
        return
    yield from remove_vm_area(space, vm.address)
    if vm.flags & VM_FLUSH_RESET_PERMS:
        yield from vm_unmap_aliases(space)
    if frees_pages:
        for pfn in vm.pages[: vm.nr_pages]:
            yield FreePage(pfn=pfn)
            yield COND_RESCHED
        if space.wants_step():
            yield COUNT_PAGES
        space.nr_vmalloc_pages -= vm.nr_pages
        if is_vmalloc_address(vm.pages_address):
            yield from vfree(space, this_cpu, vm.pages_address)
        elif vm.pages_address:
            yield Kfree(thing=vm.pages_address, site=_SITE)
    yield Kfree(thing=vm.thing, site=_SITE)
