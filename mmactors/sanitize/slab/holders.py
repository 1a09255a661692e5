"""Who has the kernel's own objects, as its structures say: all that can be reached from there."""

from collections.abc import Iterator

from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.task_struct import SignalStruct
from mmactors.mm.area.mapped_file import MappedFile, Mapping
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.vmalloc.area_tree import THING
from mmactors.mm.vmalloc.space import BUSY, FREE, LAZY, VmallocSpace
from mmactors.sanitize.vmalloc.percpu import percpu_objects


def held_objects(kernel: Kernel) -> Iterator[int]:
    """Yield the address of each object that a structure of the kernel has; some come twice."""
    for s in kernel.slab.caches:
        yield from s.own_objects
    yield from kernel.objects.in_grace
    for ref in kernel.percpu_refs.refs:
        yield ref.data
    processes = list(kernel.init_signal.children)
    for signal in processes:
        yield from _of_process(signal)
        processes += signal.children
    for space in kernel.spaces.values():
        yield from _of_mm(space.mm)
    if kernel.vmalloc_space is not None:
        yield from _of_vmalloc(kernel.vmalloc_space)
    if kernel.percpu is not None:
        yield from percpu_objects(kernel.percpu)
    yield from kernel.file_system.negative.values()
    yield from kernel.file_system.left_behind
    for mapping in kernel.file_system.mappings():
        yield from _of_mapping(mapping)


def _of_process(signal: SignalStruct) -> Iterator[int]:
    yield from (signal.cred, signal.fs, signal.sighand, signal.signal, signal.files.thing)
    for task in signal.tasks:
        yield from (task.thing, task.pid)
    for _, file in signal.files.descriptors():
        yield file.thing


def _of_mm(mm: MmStruct) -> Iterator[int]:
    yield mm.thing
    for vma in mm.tree:
        yield vma.thing
        if isinstance(vma.vm_file, MappedFile):
            yield vma.vm_file.thing
            yield from _of_mapping(vma.vm_file.mapping)
        for link in vma.anon_vma_chain:
            yield link.thing
            anon_vma = link.anon_vma
            yield from (anon_vma.thing, anon_vma.root.thing, anon_vma.parent.thing)


def _of_mapping(mapping: Mapping) -> Iterator[int]:
    yield from (mapping.thing, mapping.dentry)
    for node in mapping.i_pages.nodes:
        yield node.thing


def _of_vmalloc(space: VmallocSpace) -> Iterator[int]:
    areas = (area for head in (FREE, BUSY, LAZY) for area in space.areas_of(head))
    for area in (*areas, *filter(None, space.preloaded)):
        yield space.view[area + THING]
    for together in space.pcpu_areas.values():
        yield together.thing
    for vm in space.vm.values():
        yield from (vm.thing, vm.pages_address)
    for block in space.blocks.values():
        yield block.thing
    for node in space.block_nodes.nodes:
        yield node.thing
