"""What faults work with on one CPU."""

from collections.abc import Callable

from attrs import define, field

from mmactors.arch.frame_words import FrameWords
from mmactors.arch.page import PageColumns
from mmactors.checks import Checks
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.task import Task
from mmactors.mm.lru.folio_batch import FolioBatches
from mmactors.units import KIB


def _no_event(_item: int) -> None:
    """Count nothing: nobody reads the machine's counters."""


def _no_page(_pfn: int, _item: int, _delta: int) -> None:
    """Count nothing, for the same reason."""


def _never_locked(_pfn: int) -> bool:
    """Answer for machines on which nobody locks pages."""
    return False


@define(eq=False, kw_only=True)
class FaultContext:
    """What faults work with on one CPU: struct pages, counters, and who runs there."""

    pages: PageColumns
    zero_pfn: int
    """The page of zeros that reads of untouched memory see."""
    fault_around_bytes: int = 64 * KIB
    count_event: Callable[[int], None] = _no_event
    """Called with an event of /proc/vmstat."""
    count_page: Callable[[int, int, int], None] = _no_page
    """Called with a page, an item of its node and what that changes by."""
    count_page_in_zone: Callable[[int, int, int], None] = _no_page
    """Called with a page, an item of its zone and what that changes by."""
    is_page_locked: Callable[[int], bool] = _never_locked
    """Called with a page of a file."""
    checks: Checks | None = None
    """Who is told what happens to contents; None: nobody."""
    frame_words: FrameWords | None = None
    """What programs' words hold; None: nobody asks."""
    lru: FolioBatches | None = None
    """Where new pages wait for their LRU list; None: none is kept."""
    task: Task = field(factory=Task)
    """The thread that runs (current)."""
    kind: str = field(default="", init=False)
    """What the thread's last fault did, in a word of the event page_fault_end."""
    pfn: int | None = field(default=None, init=False)
    """The page that it mapped."""

    was_refused: bool = field(default=False, init=False)
    """A page was refused since the fault began, though there are some (fault injection)."""

    def add_mm_counter_fast(self, mm: MmStruct, member: int, value: int) -> None:
        """Add pages to an rss counter; the running thread's own are told later."""
        task = self.task
        if mm is task.mm:
            task.rss.count[member] += value
        else:
            mm.add_mm_counter(member, value)

    def sync_mm_rss(self, mm: MmStruct) -> None:
        """Bring what the running thread has counted to `mm`, if that is its address space."""
        if mm is self.task.mm:
            self.task.rss.fold(mm)
