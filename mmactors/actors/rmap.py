"""From a page of a file to the entries that map it (mm/rmap.c, rmap_walk_file, Linux 6.1).

The caller holds i_mmap_rwsem, at least for reading.
"""

from typing import Final

from mmactors.actors.address_space import AddressSpace
from mmactors.actors.inode import Inode
from mmactors.actors.kernel import Kernel
from mmactors.mm.shmem import mapped_range

_MAX_PAGES: Final = 1 << 52


def areas_of(
    kernel: Kernel, inode: Inode, first: int, end: int | None
) -> list[tuple[AddressSpace, int, int]]:
    """Return where pages `[first, end)` of a file are mapped: space, first byte, end.

    By offset in the file, and where that is equal, in the order in which the areas came: mremap
    counts on its new area being found after the old one.
    """
    stop = _MAX_PAGES if end is None else end
    found = []
    for vma in sorted(inode.mapping.i_mmap, key=lambda vma: vma.vm_pgoff):
        place = mapped_range(vma, inode.mapping, first=first, end=stop)
        if place is not None:
            assert vma.vm_mm is not None, f"{vma} belongs to nobody"
            found.append((kernel.spaces[vma.vm_mm.ctx_id], *place))
    return found
