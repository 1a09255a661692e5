"""What the kernel's own mappings hold, as values: areas, lists of blocks, blocks.

Trees count with their shape, as the search for free addresses follows it. A block that was taken
off its list counts with its links, as a walk may stand at it.
"""

from collections.abc import Callable, Hashable
from typing import Final

from mmactors import label
from mmactors.actors.state.kernel import Kernel
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
