"""From a page of a file to the entries that map it (mm/rmap.c, rmap_walk_file, Linux 6.1).

The caller holds i_mmap_rwsem, at least for reading: the limits of an area and its offset, which are
read one after the other, belong together only as long as nobody changes them.
"""

from typing import Final

from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.inode import Inode
from mmactors.actors.state.kernel import Kernel
from mmactors.label import VMAS, Label, Mode, areas, i_mmap
from mmactors.mm.area.vma import Vma
from mmactors.mm.page_cache.shmem import vma_range

_MAX_PAGES: Final = 1 << 52


async def areas_of(kernel: Kernel, inode: Inode) -> list[Vma]:
    """Return the areas that map a file.

    By offset in the file, and where that is equal, in the order in which the areas came: mremap
    counts on its new area being found after the old one.
    """
    if kernel.engine.wants_step():
        touches = ((i_mmap(inode.number), Mode.READ), (VMAS, Mode.READ))
        await kernel.engine.step(Label("walk i_mmap", touches))
    return sorted(inode.mapping.i_mmap, key=lambda vma: vma.vm_pgoff)


async def place_of(
    kernel: Kernel, vma: Vma, first: int, end: int | None
) -> tuple[AddressSpace, int, int] | None:
    """Return where an area maps pages `[first, end)` of its file; None: nowhere.

    The limits are read before the offset, as vmtruncate_list of 2.5 did.
    """
    assert vma.vm_mm is not None, f"{vma} belongs to nobody"
    engine = kernel.engine
    touches = ((areas(vma.vm_mm.ctx_id), Mode.READ),)
    if engine.wants_step():
        await engine.step(Label("vm_start, vm_end", touches))
    vm_start, vm_end = vma.vm_start, vma.vm_end
    if engine.wants_step():
        await engine.step(Label("vm_pgoff", touches))
    stop = _MAX_PAGES if end is None else end
    place = vma_range(vm_start, vm_end, vma.vm_pgoff, first=first, end=stop)
    return None if place is None else (kernel.spaces[vma.vm_mm.ctx_id], *place)
