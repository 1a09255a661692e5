"""O16: the CPUs' lists of blocks of vm_map_ram: links lead forth and back, and have each once."""

from typing import Final

from mmactors.mm.vmalloc.space import VmallocSpace
from mmactors.mm.vmalloc.vmap_block import BlockLink, VmapBlock
from mmactors.sanitize.law import Law

Problems = list[tuple[Law, str, list[str]]]
_MARGIN: Final = 8
"""So many links more than there are blocks does a circle have at least."""


def queue_problems(space: VmallocSpace) -> Problems:
    """Return what is wrong with lists and blocks when nobody is at them."""
    found: list[str] = []
    listed: dict[int, int] = {}
    for cpu in range(space.nr_cpus):
        found += _walk(space, cpu, listed)
    for index, block in space.blocks.items():
        nr_lists = listed.get(index, 0)
        if block.free and not nr_lists:
            found.append(f"block {index} of cpu{block.cpu} has room and is on no list")
        elif nr_lists > 1:
            found.append(f"block {index} of cpu{block.cpu} is on lists {nr_lists} times")
    return [(Law.BLOCK_QUEUE, text, []) for text in found]


def _walk(space: VmallocSpace, cpu: int, listed: dict[int, int]) -> list[str]:
    """Follow a CPU's list, and count in `listed` what is on it; return what is wrong there."""
    head: BlockLink = space.queues[cpu]
    link, found = head, []
    for _ in range(len(space.blocks) + _MARGIN):
        if link.next.prev is not link:
            found.append(f"{_name(link, cpu)}: the one behind it does not lead back to it")
        link = link.next
        if link is head:
            return found
        assert isinstance(link, VmapBlock), "what is no head is a block"
        listed[link.index] = listed.get(link.index, 0) + 1
        if space.blocks.get(link.index) is not link:
            found.append(f"{_name(link, cpu)}: it was freed")
        elif link.cpu != cpu:
            found.append(f"{_name(link, cpu)}: it is of cpu{link.cpu}")
    return [*found, f"the list of cpu{cpu} leads round in a circle"]


def _name(link: BlockLink, cpu: int) -> str:
    what = f"block {link.index}" if isinstance(link, VmapBlock) else "the head"
    return f"{what} on the list of cpu{cpu}"
