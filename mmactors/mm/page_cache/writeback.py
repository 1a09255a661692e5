"""How many pages may be dirty (mm/page-writeback.c, Linux 6.1). Left out: dirty_bytes, cgroups.

Writers are not throttled: the limits are what /proc/vmstat shows.
"""

from typing import Final

from mmactors.units import PAGE_SIZE

VM_DIRTY_RATIO: Final = 20
DIRTY_BACKGROUND_RATIO: Final = 10
"""vm.dirty_ratio and vm.dirty_background_ratio: percent of the dirtyable memory."""
_UINT_MAX: Final = (1 << 32) - 1


def global_dirtyable_memory(*, nr_free: int, totalreserve_pages: int, nr_file: int) -> int:
    """Return the pages that could be dirty: those that are free, or on the lists of files."""
    return nr_free - min(nr_free, totalreserve_pages) + nr_file + 1


def domain_dirty_limits(available_memory: int) -> tuple[int, int]:
    """Return how many pages may be dirty, and beyond how many flushers begin."""
    thresh = min(VM_DIRTY_RATIO * PAGE_SIZE // 100 * available_memory // PAGE_SIZE, _UINT_MAX)
    bg_thresh = DIRTY_BACKGROUND_RATIO * PAGE_SIZE // 100 * available_memory // PAGE_SIZE
    return thresh, bg_thresh if bg_thresh < thresh else thresh // 2
