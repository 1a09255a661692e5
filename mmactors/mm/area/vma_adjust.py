"""The locks under which the limits of an area change (mm/mmap.c, __vma_adjust; Linux 6.1).

An rmap walk works out from vm_start, vm_end and vm_pgoff where an area maps a page. So these change
only with the locks of all walks that could find the area: that of its file, and that of its
anon_vmas. mmap_lock, which the caller holds for writing, does not keep walks out.
"""

from collections.abc import Generator

from mmactors.mm.area.anon_vma import AnonVma, AnonVmaRequest, LockAnonVma, UnlockAnonVma
from mmactors.mm.area.anon_vma_chain import unlink_anon_vmas
from mmactors.mm.area.i_mmap import (
    IMmapRequest,
    LockMapping,
    UnlockMapping,
    mapping_of,
    unlink_file_vma,
)
from mmactors.mm.area.mapped_file import Mapping
from mmactors.mm.area.vma import Vma

RmapRequest = AnonVmaRequest | IMmapRequest
RmapSteps = Generator[RmapRequest, int | None, None]


def lock_rmap(vma: Vma, anon_vma: AnonVma | None) -> RmapSteps:
    """Take the locks of walks that could find `vma`, whose pages belong to `anon_vma`."""
    mapping = _mapping_to_lock(vma)
    if mapping is not None:
        yield LockMapping(mapping=mapping)
    if anon_vma is not None:
        yield LockAnonVma(root=anon_vma.root, anon_vmas=(anon_vma,))


def unlock_rmap(vma: Vma, anon_vma: AnonVma | None) -> RmapSteps:
    """Let go what `lock_rmap` took."""
    if anon_vma is not None:
        yield UnlockAnonVma(root=anon_vma.root)
    mapping = _mapping_to_lock(vma)
    if mapping is not None:
        yield UnlockMapping(mapping=mapping)


def unlink_vma(vma: Vma) -> RmapSteps:
    """Let no walk find an area any more whose pages are gone; its tables may go now."""
    yield from unlink_anon_vmas(vma)
    yield from unlink_file_vma(vma)


def _mapping_to_lock(vma: Vma) -> Mapping | None:
    mapping = mapping_of(vma)
    mm = vma.vm_mm
    if mapping is None or (mm is not None and not mm.rules.vma_adjust_locks_i_mmap):
        return None
    return mapping
