"""What the allocator asks for when zones are short (mm/page_alloc.c, mm/vmscan.c, Linux 6.1).

None of it is a section under zone->lock. Who answers may wait, and takes pages away from others;
the allocator then looks for free ones again.
"""

from enum import Enum

from attrs import frozen


class CompactResult(Enum):
    """What came of compacting (enum compact_result)."""

    SKIPPED = "skipped"
    """There is too little free memory to move pages to."""
    DEFERRED = "deferred"
    """It failed lately."""
    COMPLETE = "complete"
    """All zones were gone through, and no block of that order came of it."""
    SUCCESS = "success"


@frozen(kw_only=True)
class WakeupKswapd:
    """kswapd of `node` should look at its zones (wakeup_kswapd); answered at once."""

    zone: int
    """The zone that was found short."""
    node: int
    order: int
    highest_zoneidx: int
    gfp: int


@frozen(kw_only=True)
class DirectReclaim:
    """Pages are to be taken away from others (__perform_reclaim)."""

    order: int
    gfp: int
    node: int
    highest_zoneidx: int


@frozen(kw_only=True)
class DirectCompact:
    """Pages are to be moved until a block of `order` is free (try_to_compact_pages)."""

    order: int
    gfp: int
    node: int
    highest_zoneidx: int
    alloc_flags: int


@frozen(kw_only=True)
class OutOfMemory:
    """Nothing else helped: a process is to die (out_of_memory)."""

    order: int
    gfp: int
    node: int


SlowPathRequest = WakeupKswapd | DirectReclaim | DirectCompact | OutOfMemory


@frozen(kw_only=True)
class SlowPathAnswer:
    """What came of it."""

    did_some_progress: bool = False
    """Pages were reclaimed, or somebody dies: it is worth looking again."""
    compact_result: CompactResult = CompactResult.COMPLETE


FAILED_AT_ONCE = SlowPathAnswer()
"""Whoever was asked went through everything and found nothing."""
