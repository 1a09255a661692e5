"""Areas as values: processes', with their anon_vmas, and the kernel's own, with their blocks.

The kernel's trees count with their shape, as the search for free addresses follows it. A block that
was taken off its list counts with its links, as a walk may stand at it.
"""

from collections.abc import Callable, Hashable
from typing import Any, Final

from mmactors import label
from mmactors.actors.state.kernel import Kernel
from mmactors.mm.area.anon_vma import AnonVma
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vma import Vma
from mmactors.mm.vmalloc.area_tree import AREA_WORDS
from mmactors.mm.vmalloc.space import BUSY, FREE, LAZY, VmallocSpace
from mmactors.mm.vmalloc.vmap_block import BlockLink, VmapBlock


class VmallocValues:
    """Reads them of one machine; nothing as long as nobody has asked for an area."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel: Final = kernel
        self.whole: Final[dict[str, Callable[[], Hashable]]] = {
            label.VMAP_AREAS: lambda: self._of(_busy),
            label.FREE_VMAP_AREAS: lambda: self._of(lambda space: _tree(space, FREE)),
            label.PURGE_VMAP_AREAS: lambda: self._of(lambda space: _tree(space, LAZY)),
            label.VMAP_LAZY_NR: lambda: self._of(lambda space: space.lazy_nr),
            label.NR_VMALLOC_PAGES: lambda: self._of(lambda space: space.nr_vmalloc_pages),
            label.VMAP_BLOCKS: lambda: self._of(lambda space: tuple(sorted(space.blocks))),
        }
        """By name."""
        self.columns: Final[dict[str, Callable[[int], Hashable]]] = {
            label.NE_FIT_PRELOAD: lambda cpu: self._of(lambda space: space.preloaded[cpu]),
            label.VFREE_DEFERRED: lambda cpu: self._of(lambda s: tuple(s.vfree_deferred[cpu])),
            label.VMAP_BLOCK: lambda index: self._of(lambda space: _block(space, index)),
            label.VMAP_BLOCK_QUEUE: lambda cpu: self._of(lambda space: _queue(space, cpu)),
        }
        """By name, of a number."""

    def _of(self, read: Callable[[VmallocSpace], Hashable]) -> Hashable:
        space = self._kernel.vmalloc_space
        return None if space is None else read(space)


def _tree(space: VmallocSpace, head: int) -> Hashable:
    view = space.view
    words = [tuple(view[area : area + AREA_WORDS]) for area in space.areas_of(head)]
    return tuple(view[head : head + AREA_WORDS]), tuple(words)


def _busy(space: VmallocSpace) -> Hashable:
    vms = [(area, vm.address, vm.flags, vm.nr_pages) for area, vm in space.vm.items()]
    return _tree(space, BUSY), tuple(vms)


def _block(space: VmallocSpace, index: int) -> Hashable:
    block = space.blocks.get(index)
    if block is None:
        return None
    return block.cpu, block.free, block.dirty, block.dirty_min, block.dirty_max


def _queue(space: VmallocSpace, cpu: int) -> Hashable:
    head = space.queues[cpu]
    links: list[BlockLink] = [head]
    links += [block for block in space.blocks.values() if block.cpu == cpu]
    return tuple([(_name(link), _name(link.next), _name(link.prev)) for link in links])


def _name(link: BlockLink) -> int:
    return link.index if isinstance(link, VmapBlock) else -1


def areas_key(mm: MmStruct) -> Hashable:
    """Return what areas an address space has, and what its threads remember of them."""
    caches = [(cache.seqnum, *map(_cached, cache.vmas)) for cache in mm.vmacaches]
    return (tuple([_area(vma) for vma in mm.tree]), mm.vmacache_seqnum, tuple(caches))


def _cached(vma: Vma | None) -> Hashable:
    return None if vma is None else (vma.vm_start, vma.vm_end, vma.is_freed)


def _area(vma: Vma) -> Hashable:
    chain = tuple([link.anon_vma.number for link in vma.anon_vma_chain])
    own = None if vma.anon_vma is None else vma.anon_vma.number
    return (vma.vm_start, vma.vm_end, vma.vm_flags, vma.vm_pgoff, own, chain)


def place_of(vma: Vma) -> tuple[int, int]:
    """Return which area it is: its address space, and where it begins."""
    return (0 if vma.vm_mm is None else vma.vm_mm.ctx_id, vma.vm_start)


def anon_vma_key(anon_vma: AnonVma) -> tuple[Any, ...]:
    """Return what an anon_vma has."""
    links = tuple([place_of(link.vma) for link in anon_vma.rb_root])
    counts = (anon_vma.refcount, anon_vma.num_children, anon_vma.num_active_vmas)
    root, parent = anon_vma.root.number, anon_vma.parent.number
    return (anon_vma.is_live, root, parent, counts, links, anon_vma.nr_walkers)
