"""Recorded operations on the kernel's addresses, replayed on the mechanism that `run` uses.

Compared are the address of each operation, the lazily freed pages after it, and of the final state
and that after vm_unmap_aliases every area that is free, in use or waits, and the shape and colours
of the tree of free areas.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mmactors.mm.slab.request import KernelOopsError
from mmactors.mm.vmalloc.purge import vm_unmap_aliases
from mmactors.mm.vmalloc.vfree import vfree, vunmap
from mmactors.mm.vmalloc.vm_area import free_vm_area, get_vm_area
from mmactors.mm.vmalloc.vm_struct import VM_ALLOC, VM_IOREMAP
from mmactors.mm.vmalloc.vmalloc import vmalloc, vmap
from mmactors.mm.vmalloc.vmalloc_state import State, dump_space, load_space
from mmactors.mm.vmalloc.vmap_ram import vm_map_ram, vm_unmap_ram
from mmactors.units import PAGE_SHIFT, ULONG_MAX
from mmactors.validate.guest_boot import nr_frames_of
from mmactors.validate.result import CaseResult
from mmactors.validate.vmalloc.guest import Guest, pages
from mmactors.validate.vmalloc.vmalloc_recording import read_recording

_CALLER: Final = "recorder"
_LISTS: Final = ("busy", "free", "free_tree", "lazy")


def validate_vmalloc(path: Path) -> Iterator[CaseResult]:
    """Replay one recording; raise UserError for a file that is none."""
    content = read_recording(path)
    name = path.name.removesuffix(".gz").removesuffix(".json")
    result = CaseResult(topic="vmalloc", case=name, path=str(path))
    guest = Guest(nr_cpus=content["cpus"], nr_frames=nr_frames_of(content))
    space = guest.space
    result.compare("lazy_max_pages", content["lazy_max_pages"], space.lazy_max_pages())
    load_space(space, content["initial"])
    _compare_states("initial", content["initial"], dump_space(space), result)
    # After the first difference the two differ, and nothing more can be learnt from them.
    if result.passed and _replay(guest, content["ops"], result):
        _compare_states("final", content["final"], dump_space(space), result)
        if result.passed:
            guest.perform(vm_unmap_aliases(space))
            after = "after_unmap_aliases"
            _compare_states(after, content[after], dump_space(space), result)
    yield result


def _replay(guest: Guest, ops: list[list[Any]], result: CaseResult) -> bool:
    """Replay all operations; return whether each gave the recorded address and lazy pages."""
    for nth, (kind, arg, size, text, lazy) in enumerate(ops):
        address = 0 if text is None else int(text, 16) - (1 << 64)
        guest.has_pages = text is not None
        try:
            found = _do(guest, kind, arg, size, address)
        except KernelOopsError as oops:
            result.compare(f"ops[{nth}]", (kind, text, lazy), str(oops))
            return False
        seen = f"{found & ULONG_MAX:x}" if found else None
        if not result.compare(f"ops[{nth}]", (kind, text, lazy), (kind, seen, guest.space.lazy_nr)):
            return False
    return True


def _do(guest: Guest, kind: str, arg: int, size: int, address: int) -> int:
    """Do one operation; return the address that it gives, or that it was given."""
    space, perform, this_cpu = guest.space, guest.perform, guest.this_cpu
    nr_pages = size >> PAGE_SHIFT
    match kind:
        case "vmalloc":
            return perform(vmalloc(space, this_cpu, size, caller=_CALLER))
        case "vmalloc_aligned":
            return perform(vmalloc(space, this_cpu, size, align=1 << arg, caller=_CALLER))
        case "vmap":
            return perform(vmap(space, this_cpu, pages(nr_pages), caller=_CALLER))
        case "vm_map_ram":
            guest.go_where_ram_is(address, nr_pages)
            return perform(vm_map_ram(space, this_cpu, pages(nr_pages)))
        case "get_vm_area":
            flags = VM_IOREMAP if arg else VM_ALLOC
            return perform(get_vm_area(space, this_cpu, size, flags, caller=_CALLER))
        case "vfree":
            perform(vfree(space, this_cpu, address))
        case "vunmap":
            perform(vunmap(space, this_cpu, address))
        case "free_vm_area":
            perform(free_vm_area(space, address))
        case "vm_unmap_ram":
            perform(vm_unmap_ram(space, address, nr_pages))
        case _:
            perform(vm_unmap_aliases(space))
    return address


def _compare_states(name: str, recorded: State, ours: State, result: CaseResult) -> None:
    """Compare all areas, one by one."""
    for key in ("start", "end", "lazy_pages"):
        result.compare(f"{name}.{key}", recorded[key], ours[key])
    for key in _LISTS:
        result.compare(f"{name}.{key} has", len(recorded[key]), len(ours[key]))
        for nth, (theirs, own) in enumerate(zip(recorded[key], ours[key], strict=False)):
            result.compare(f"{name}.{key}[{nth}]", theirs, own)
