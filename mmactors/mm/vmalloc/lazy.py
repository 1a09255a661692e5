"""Areas that are freed lazily, and at once when there are too many (mm/vmalloc.c, v6.1).

A freed area's translations stay in the CPUs' TLBs, and its addresses unused, until so many pages
wait for it that one flush of all CPUs is worth while. The range that is flushed is from the first
of them to the last, whatever lies between.
"""

from typing import Final

import numpy as np

from mmactors import label
from mmactors.label import Label, Mode
from mmactors.mm.vmalloc.area_fit import take_all
from mmactors.mm.vmalloc.area_tree import AREA_WORDS, merge_or_add, unlink_area
from mmactors.mm.vmalloc.request import (
    FREE_VMAP_AREA_LOCK,
    PURGE_VMAP_AREA_LOCK,
    CondReschedLock,
    FlushTlbKernelRange,
    ScheduleDrain,
    SpinLock,
    SpinUnlock,
    VmallocSteps,
    VunmapRange,
)
from mmactors.mm.vmalloc.space import (
    BUSY,
    FREE,
    LAZY,
    VMAP_BUSY_LOCK,
    VMAP_BUSY_UNLOCK,
    VmallocSpace,
    address_of,
)

LOCK_FREE: Final = SpinLock(FREE_VMAP_AREA_LOCK)
UNLOCK_FREE: Final = SpinUnlock(FREE_VMAP_AREA_LOCK)
_RESCHED_FREE: Final = CondReschedLock(FREE_VMAP_AREA_LOCK)
_LOCK_LAZY: Final = SpinLock(PURGE_VMAP_AREA_LOCK)
_UNLOCK_LAZY: Final = SpinUnlock(PURGE_VMAP_AREA_LOCK)
_SCHEDULE_DRAIN: Final = ScheduleDrain()
UNLINK_BUSY: Final = Label("unlink the area", ((label.VMAP_AREAS, Mode.WRITE),))
_COUNT_LAZY: Final = Label("count lazily freed pages", ((label.VMAP_LAZY_NR, Mode.WRITE),))
_ADD_LAZY: Final = Label("free lazily", ((label.PURGE_VMAP_AREAS, Mode.WRITE),))
_TAKE_LAZY: Final = Label("take all lazily freed", ((label.PURGE_VMAP_AREAS, Mode.WRITE),))
ADD_FREE: Final = Label("free the area", ((label.FREE_VMAP_AREAS, Mode.WRITE),))
_PURGE: Final = Label(
    "let a purged area be free",
    ((label.FREE_VMAP_AREAS, Mode.WRITE), (label.VMAP_LAZY_NR, Mode.WRITE)),
)
_MERGE_SITE: Final = "merge_or_add_vmap_area"


def free_unmap_vmap_area(space: VmallocSpace, area: int) -> VmallocSteps[None]:
    """Clear an area's entries and free it lazily."""
    yield VunmapRange(start=space.start_of(area), end=space.end_of(area))
    yield from free_vmap_area_noflush(space, area)


def free_vmap_area_noflush(space: VmallocSpace, area: int) -> VmallocSteps[None]:
    """Free an area in use whose entries are cleared; too many wake the worker that purges."""
    wants_step = space.wants_step
    yield VMAP_BUSY_LOCK
    if wants_step():
        yield UNLINK_BUSY
    unlink_area(space.areas, BUSY, area)
    yield VMAP_BUSY_UNLOCK
    if wants_step():
        yield _COUNT_LAZY
    space.lazy_nr += space.size_of(area)
    nr_lazy = space.lazy_nr
    yield _LOCK_LAZY
    if wants_step():
        yield _ADD_LAZY
    yield from merge_or_add_area(space, LAZY, area)
    yield _UNLOCK_LAZY
    if nr_lazy > space.lazy_max_pages():
        yield _SCHEDULE_DRAIN


def free_vmap_area(space: VmallocSpace, area: int) -> VmallocSteps[None]:
    """Free an area in use that nobody has mapped anything in."""
    yield VMAP_BUSY_LOCK
    if space.wants_step():
        yield UNLINK_BUSY
    unlink_area(space.areas, BUSY, area)
    yield VMAP_BUSY_UNLOCK
    yield LOCK_FREE
    if space.wants_step():
        yield ADD_FREE
    yield from merge_or_add_area(space, FREE, area)
    yield UNLOCK_FREE


def purge_lazy(space: VmallocSpace, first: int, end: int) -> VmallocSteps[bool]:
    """Flush all that was freed lazily, and pages [first, end), and let it be free.

    Return whether anything was (__purge_vmap_area_lazy); if not, nothing is flushed.
    """
    wants_step = space.wants_step
    yield _LOCK_LAZY
    if wants_step():
        yield _TAKE_LAZY
    purged = np.empty(len(space.areas) // AREA_WORDS, np.int64)
    areas: list[int] = purged[: take_all(space.areas, LAZY, purged)].tolist()
    yield _UNLOCK_LAZY
    if not areas:
        return False
    first = min(first, space.view[areas[0]])
    end = max(end, space.view[areas[-1] + 1])
    yield FlushTlbKernelRange(start=address_of(first), end=address_of(end))
    resched_threshold = space.lazy_max_pages() << 1
    yield LOCK_FREE
    for area in areas:
        if wants_step():
            yield _PURGE
        nr_pages = space.size_of(area)
        if not (yield from merge_or_add_area(space, FREE, area)):
            continue
        space.lazy_nr -= nr_pages
        if space.lazy_nr < resched_threshold:
            yield _RESCHED_FREE
    yield UNLOCK_FREE
    return True


def merge_or_add_area(space: VmallocSpace, head: int, area: int) -> VmallocSteps[bool]:
    """Add an area to a tree, where neighbours become one; False: it overlaps, and is lost."""
    now, spare = merge_or_add(space.areas, head, area)
    if now != area:
        if not now:
            return False
        yield from space.free_area(area, _MERGE_SITE)
        if spare:
            yield from space.free_area(spare, _MERGE_SITE)
    return True
