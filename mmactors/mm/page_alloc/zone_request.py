"""What the page allocator asks of a zone: the sections under zone->lock as values.

Each is named after the function of mm/page_alloc.c (v6.1) that takes the lock. `zone` is the
zone's number in PageAllocator.zones; `cpu` is the CPU that takes the lock, whose counters change.
"""

from collections.abc import Generator

from attrs import frozen

from mmactors import events
from mmactors.mm.page_alloc.buddy import TRACE_PCPU_DRAIN, TRACE_ZONE_LOCKED
from mmactors.mm.page_alloc.slow_path import SlowPathAnswer, SlowPathRequest

LockedEvent = events.MmPageAllocZoneLocked | events.MmPageAllocExtfrag | events.MmPagePcpuDrain


@frozen(kw_only=True)
class RmqueueBulk:
    """Take `count` blocks to the tail of a CPU's list; the answer's `nr_moved` says how many."""

    zone: int
    cpu: int
    order: int
    count: int
    migratetype: int
    alloc_flags: int
    pindex: int


@frozen(kw_only=True)
class RmqueueBuddy:
    """Take one block directly; the answer's `pfn` is None if there is none."""

    zone: int
    cpu: int
    order: int
    migratetype: int
    alloc_flags: int


@frozen(kw_only=True)
class FreePcppagesBulk:
    """Give `count` pages of a CPU's lists back, beginning with list `pindex`."""

    zone: int
    cpu: int
    count: int
    pindex: int
    pcp_cpu: int | None = None
    """Whose lists; None: those of `cpu`. Another CPU's are drained by drain_pages_zone."""


@frozen(kw_only=True)
class FreeOnePage:
    """Give one block back; `migratetype` is what its pageblock was when it was freed."""

    zone: int
    cpu: int
    pfn: int
    order: int
    migratetype: int


@frozen(kw_only=True)
class ReserveHighatomicPageblock:
    """Keep the pageblock of `pfn` for high-order atomic requests, if the limit allows."""

    zone: int
    cpu: int
    pfn: int


@frozen(kw_only=True)
class UnreserveHighatomicPageblock:
    """Give one reserved pageblock to `migratetype`; the answer's `nr_moved` is the pages moved."""

    zone: int
    cpu: int
    migratetype: int


@frozen(kw_only=True)
class SetMigratetypeIsolate:
    """Isolate the pageblock of `pfn`; the answer's `is_done` is False for -EBUSY.

    Only what of it lies in `[start_pfn, end_pfn)` must be free or movable.
    """

    zone: int
    cpu: int
    pfn: int
    start_pfn: int
    end_pfn: int


@frozen(kw_only=True)
class UnsetMigratetypeIsolate:
    """Give an isolated pageblock back to `migratetype`."""

    zone: int
    cpu: int
    pfn: int
    migratetype: int


@frozen(kw_only=True)
class SplitFreePage:
    """Cut the free block that reaches over `boundary_pfn`, if there is one, in two.

    The answer's `is_done` is False if there is none.
    """

    zone: int
    cpu: int
    pfn: int
    boundary_pfn: int


@frozen(kw_only=True)
class TestPagesIsolated:
    """Look for the first page of a range that is not free; the answer's `pfn` is None for none."""

    zone: int
    cpu: int
    start_pfn: int
    end_pfn: int


@frozen(kw_only=True)
class OfflineIsolatedPages:
    """Take all free blocks of an isolated range off the buddy lists for good."""

    zone: int
    cpu: int
    start_pfn: int
    end_pfn: int


@frozen(kw_only=True)
class OnlinePages:
    """Let all memory of a zone that has none come into being, isolated."""

    zone: int
    cpu: int


IsolationRequest = (
    SetMigratetypeIsolate
    | UnsetMigratetypeIsolate
    | SplitFreePage
    | TestPagesIsolated
    | OfflineIsolatedPages
)


ZoneRequest = (
    RmqueueBulk
    | RmqueueBuddy
    | FreePcppagesBulk
    | FreeOnePage
    | ReserveHighatomicPageblock
    | UnreserveHighatomicPageblock
    | IsolationRequest
    | OnlinePages
)


@frozen(kw_only=True)
class ZoneAnswer:
    """What a section under zone->lock gave."""

    pfn: int | None = None
    is_done: bool = True
    nr_moved: int = 0
    """How many blocks came or went; of UnreserveHighatomicPageblock, pages."""
    events: tuple[LockedEvent, ...] = ()
    """Only while the zone's `trace_events` is on."""


AllocRequest = ZoneRequest | SlowPathRequest
AllocAnswer = ZoneAnswer | SlowPathAnswer
Steps = Generator[ZoneRequest, AllocAnswer | None, None]
"""Something that needs the lock on its way."""
AllocSteps = Generator[AllocRequest, AllocAnswer | None, int | None]
"""An allocation on its way: gives the PFN, or None."""


def nr_moved(answer: AllocAnswer | None) -> int:
    """Return what an answer says; whoever drives the steps must send the answers in."""
    assert isinstance(answer, ZoneAnswer), f"a section under zone->lock answers, not {answer}"
    return answer.nr_moved


def events_of(rows: list[list[int]]) -> tuple[LockedEvent, ...]:
    """Return what a section wrote down (mm/page_alloc/buddy.py, trace_fact) as events."""
    happened: list[LockedEvent] = []
    for kind, pfn, order, second, third, fourth, fifth in rows:
        if kind == TRACE_ZONE_LOCKED:
            happened.append(
                events.MmPageAllocZoneLocked(
                    pfn=pfn, order=order, migratetype=second, percpu_refill=bool(third)
                )
            )
        elif kind == TRACE_PCPU_DRAIN:
            happened.append(events.MmPagePcpuDrain(pfn=pfn, order=order, migratetype=second))
        else:
            happened.append(
                events.MmPageAllocExtfrag(
                    pfn=pfn,
                    alloc_order=order,
                    fallback_order=second,
                    alloc_migratetype=third,
                    fallback_migratetype=fourth,
                    change_ownership=bool(fifth),
                )
            )
    return tuple(happened)
