"""From a page of a file to the entries that map it (mm/rmap.c, rmap_walk_file, Linux 6.1).

The caller holds i_mmap_rwsem, at least for reading.
"""

from mmactors.actors.address_space import AddressSpace
from mmactors.actors.inode import Inode
from mmactors.actors.kernel import Kernel
from mmactors.mm.shmem import mapped_range

_MAX_PAGES = 1 << 52


def areas_of(
    kernel: Kernel, inode: Inode, first: int, end: int | None
) -> list[tuple[AddressSpace, int, int]]:
    """Return where pages `[first, end)` of a file are mapped: space, first byte, end."""
    stop = _MAX_PAGES if end is None else end
    found = []
    for space in kernel.spaces.values():
        for vma in space.mm.tree:
            place = mapped_range(vma, inode.mapping, first=first, end=stop)
            if place is not None:
                found.append((vma.vm_pgoff, space, *place))
    found.sort(key=lambda area: area[0])
    return [(space, start, stop) for _, space, start, stop in found]
