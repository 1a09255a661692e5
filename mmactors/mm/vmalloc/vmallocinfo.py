"""/proc/vmallocinfo, line by line (s_show; mm/vmalloc.c, v6.1).

Areas in use come in order of address; behind the last of them, and only there, what was freed and
not purged. Addresses are as who may see them sees them (kptr_restrict=1). Left out: where in its
function a caller called (%pS), which nothing simulated has.
"""

from collections.abc import Callable
from typing import Final

from mmactors.mm.vmalloc.space import BUSY, LAZY, VmallocSpace
from mmactors.mm.vmalloc.vfree import is_vmalloc_address
from mmactors.mm.vmalloc.vm_struct import (
    VM_ALLOC,
    VM_DMA_COHERENT,
    VM_IOREMAP,
    VM_MAP,
    VM_UNINITIALIZED,
    VM_USERMAP,
    VmStruct,
)
from mmactors.units import PAGE_SHIFT, ULONG_MAX

_FLAGS: Final = (
    (VM_IOREMAP, "ioremap"),
    (VM_ALLOC, "vmalloc"),
    (VM_MAP, "vmap"),
    (VM_USERMAP, "user"),
    (VM_DMA_COHERENT, "dma-coherent"),
)


def vmallocinfo(
    space: VmallocSpace, *, node_of_page: Callable[[int], int], nr_nodes: int
) -> list[str]:
    """Return the lines; `node_of_page`: by PFN."""
    lines = []
    for area in space.areas_of(BUSY):
        vm = space.vm.get(area)
        if vm is None:
            lines.append(f"{_range(space, area)} vm_map_ram")
        else:
            lines.append(_line(vm, node_of_page, nr_nodes))
    if lines:
        lines += (f"{_range(space, area)} unpurged vm_area" for area in space.areas_of(LAZY))
    return lines


def _range(space: VmallocSpace, area: int) -> str:
    return _span(space.start_of(area), space.size_of(area) << PAGE_SHIFT)


def _span(address: int, size: int) -> str:
    first, end = address & ULONG_MAX, (address + size) & ULONG_MAX
    return f"0x{first:016x}-0x{end:016x} {size:7d}"


def _line(vm: VmStruct, node_of_page: Callable[[int], int], nr_nodes: int) -> str:
    words = [_span(vm.address, vm.size)]
    if vm.caller:
        words.append(vm.caller)
    if vm.nr_pages:
        words.append(f"pages={vm.nr_pages}")
    if vm.phys_addr:
        words.append(f"phys=0x{vm.phys_addr:016x}")
    words += (name for flag, name in _FLAGS if vm.flags & flag)
    if is_vmalloc_address(vm.pages_address):
        words.append("vpages")
    if not vm.flags & VM_UNINITIALIZED:
        # Pages that are the caller's own are not counted: it has no array of them.
        nodes = [node_of_page(pfn) for pfn in vm.pages[: vm.nr_pages]]
        counts = ((node, nodes.count(node)) for node in range(nr_nodes))
        words += (f"N{node}={count}" for node, count in counts if count)
    return " ".join(words)
