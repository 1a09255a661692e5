"""How fast vmalloc is: operations per second, as JSON on standard output.

    python benchmarks/vmalloc.py [--seconds 0.5]

Recorded operations of Linux 6.1 (tests/reference) are done in bulk, again and again, on the areas
that Linux had before them. Requests are answered at once, so this is the mechanism without actors,
page tables and TLBs: first with numbers for objects and pages (`recorded`), then with the objects
of SLUB and the pages of the simulated page allocator (`on_slub`). Figures are medians of processor
time.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from measure import asked_seconds, print_figures, rates, recorded
from slub import Kernel

from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_NOWARN
from mmactors.mm.perform import perform
from mmactors.mm.slab.flags import SLAB_PANIC
from mmactors.mm.slab.slab_common import CacheRequest
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.vmalloc import request as ask
from mmactors.mm.vmalloc.purge import drain_vmap_area_work, vm_unmap_aliases
from mmactors.mm.vmalloc.space import VmallocSpace
from mmactors.mm.vmalloc.vfree import vfree, vunmap
from mmactors.mm.vmalloc.vm_area import free_vm_area, get_vm_area
from mmactors.mm.vmalloc.vm_struct import VM_ALLOC, VM_IOREMAP
from mmactors.mm.vmalloc.vmalloc import vmalloc, vmap
from mmactors.mm.vmalloc.vmalloc_state import load_space
from mmactors.mm.vmalloc.vmap_ram import vm_map_ram, vm_unmap_ram
from mmactors.units import PAGE_SHIFT

NR_FRAMES = 1 << 17
THING_BYTES = 64
GIVEN_BACK_BY = {
    "vmalloc": "vfree",
    "vmalloc_aligned": "vfree",
    "vmap": "vunmap",
    "get_vm_area": "free_vm_area",
    "vm_map_ram": "vm_unmap_ram",
}
T = TypeVar("T")
Answers = dict[type, Callable[[Any], Any]]
Operation = tuple[str, int, int, int]
"""Kind, argument, bytes, address."""


def cpu_0() -> int:
    return 0


class Addresses:
    """The areas of a recorded guest, and who answers what they ask for."""

    def __init__(self, state: dict[str, Any], nr_cpus: int, answers: Answers) -> None:
        self.space = VmallocSpace(
            nr_cpus=nr_cpus, node_of_cpu=[0] * nr_cpus, totalram_pages=lambda: NR_FRAMES
        )
        load_space(self.space, state)
        self.answers = {
            **answers,
            ask.VmapPagesRange: lambda _: 0,
            ask.IsInterrupt: lambda _: 0,
            ask.FatalSignalPending: lambda _: 0,
            ask.ScheduleDrain: self.schedule_drain,
        }
        self.has_to_drain = False

    def schedule_drain(self, _request: ask.ScheduleDrain) -> None:
        self.has_to_drain = True

    def answer(self, request: ask.VmallocRequest) -> ask.VmallocAnswer:
        found = self.answers.get(type(request))
        return None if found is None else found(request)

    def perform(self, steps: ask.VmallocSteps[T]) -> T:
        """Drive a path to its end, and the worker that it wakes."""
        result = perform(steps, self.answer)
        if self.has_to_drain:
            self.has_to_drain = False
            self.perform(drain_vmap_area_work(self.space))
        return result

    def run(self, ops: list[Operation]) -> None:
        """Do all operations."""
        space, perform = self.space, self.perform
        for kind, arg, size, address in ops:
            match kind:
                case "vmalloc":
                    perform(vmalloc(space, cpu_0, size, caller="bench"))
                case "vmalloc_aligned":
                    perform(vmalloc(space, cpu_0, size, align=1 << arg, caller="bench"))
                case "vfree":
                    perform(vfree(space, cpu_0, address))
                case "vmap":
                    perform(vmap(space, cpu_0, (1,) * (size >> PAGE_SHIFT), caller="bench"))
                case "vunmap":
                    perform(vunmap(space, cpu_0, address))
                case "get_vm_area":
                    flags = VM_IOREMAP if arg else VM_ALLOC
                    perform(get_vm_area(space, cpu_0, size, flags, caller="bench"))
                case "free_vm_area":
                    perform(free_vm_area(space, address))
                case "vm_map_ram":
                    perform(vm_map_ram(space, cpu_0, (1,) * (size >> PAGE_SHIFT)))
                case "vm_unmap_ram":
                    perform(vm_unmap_ram(space, address, size >> PAGE_SHIFT))
                case _:
                    perform(vm_unmap_aliases(space))


def numbers() -> Answers:
    """Return who answers with numbers."""
    last = 0

    def thing(_request: object) -> int:
        nonlocal last
        last += THING_BYTES
        return last

    return {
        ask.AllocVmapArea: thing,
        ask.AllocXaNode: thing,
        ask.Kmalloc: thing,
        ask.AllocPagesBulk: lambda request: (1,) * request.nr,
    }


class OnSlub:
    """Who answers with objects of SLUB and pages of the page allocator."""

    def __init__(self) -> None:
        self.kernel = Kernel()
        cache = CacheRequest(name="vmap_area", object_size=THING_BYTES, flags=SLAB_PANIC)
        made = self.kernel.slub.create(cache)
        assert made is not None, "it fits into a slab"
        self.areas = made

    def answers(self) -> Answers:
        return {
            ask.AllocVmapArea: lambda _: self.alloc(self.areas),
            ask.AllocXaNode: lambda _: self.alloc(self.kernel.kmalloc.cache_for(576, GFP_KERNEL)),
            ask.Kmalloc: lambda request: self.alloc(
                self.kernel.kmalloc.cache_for(request.size, GFP_KERNEL)
            ),
            ask.FreeVmapArea: self.free,
            ask.FreeXaNode: self.free,
            ask.Kfree: self.free,
            ask.KfreeRcu: self.free,
            ask.AllocPagesBulk: lambda request: [self.page() for _ in range(request.nr)],
            ask.FreePage: self.free_page,
        }

    def alloc(self, s: KmemCache) -> int:
        kernel = self.kernel
        thing = kernel.slub.alloc_local(s, 0, GFP_KERNEL)
        return thing or kernel.perform(kernel.slub.alloc(s, cpu_0, GFP_KERNEL), 0)

    def free(self, request: Any) -> None:
        kernel, thing = self.kernel, request.thing
        slab, s = kernel.slub.slab_of(thing)
        if not kernel.slub.free_local(s, 0, slab, thing):
            kernel.perform(kernel.slub.free(s, cpu_0, slab, thing), 0)

    def page(self) -> int | None:
        allocator, gfp = self.kernel.allocator, GFP_KERNEL | GFP_NOWARN
        pfn = allocator.alloc_pcp(0, 0, gfp)
        return allocator.perform(allocator.alloc_pages(0, 0, gfp)) if pfn is None else pfn

    def free_page(self, request: ask.FreePage) -> None:
        allocator = self.kernel.allocator
        if not allocator.free_pcp(0, request.pfn, 0):
            allocator.perform(allocator.free_pages(0, request.pfn, 0))


def operations(content: dict[str, Any]) -> list[Operation]:
    """Return what was recorded, and what gives the rest back, so that each time begins alike."""
    ops: list[Operation] = []
    held: dict[int, Operation] = {}
    for kind, arg, size, text, _ in content["ops"]:
        address = int(text, 16) - (1 << 64) if text else 0
        op = (kind, arg, size, address)
        ops.append(op)
        if kind in GIVEN_BACK_BY:
            held[address] = op
        else:
            held.pop(address, None)
    ops += ((GIVEN_BACK_BY[kind], 0, size, address) for kind, _, size, address in held.values())
    return [*ops, ("vm_unmap_aliases", 0, 0, 0)]


def run(content: dict[str, Any], ops: list[Operation], answers: Answers) -> int:
    """Do the operations of a recording; return how many there are."""
    addresses = Addresses(content["initial"], content["cpus"], answers)
    addresses.run(ops)
    return len(ops)


def main() -> None:
    seconds = asked_seconds("Operations per second of vmalloc.")
    contents = {
        name: (content, operations(content)) for name, content in recorded("vmalloc").items()
    }

    def steps(answers: Answers) -> dict[str, Callable[[], int]]:
        return {name: partial(run, *content, answers) for name, content in contents.items()}

    print_figures(
        "vmalloc",
        {
            **rates("recorded", steps(numbers()), seconds),
            **rates("on_slub", steps(OnSlub().answers()), seconds),
        },
    )


if __name__ == "__main__":
    main()
