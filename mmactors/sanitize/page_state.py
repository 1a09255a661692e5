"""O4: pages that change hands in a state in which they must not.

What the kernel looks at itself (mm/page_alloc.c, free_page_is_bad and check_new_page, Linux 6.1,
with CONFIG_DEBUG_VM), and whose a page is, which the kernel cannot know: a checker remembers of
each page whether it was handed out or given back last. Pages that were never handed out since
boot have no history, so the first free of one is believed.
"""

from typing import Final

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from mmactors.arch.page import (
    PG_ACTIVE,
    PG_LOCKED,
    PG_LRU,
    PG_MLOCKED,
    PG_PRIVATE,
    PG_RESERVED,
    PG_SLAB,
    PG_UNEVICTABLE,
    PG_WRITEBACK,
    PageColumns,
)
from mmactors.sanitize.law import Law

ALLOCATED: Final = 1
FREED: Final = 2

_BAD_FLAGS: Final = {
    PG_LOCKED: "locked",
    PG_LRU: "lru",
    PG_ACTIVE: "active",
    PG_SLAB: "slab",
    PG_RESERVED: "reserved",
    PG_PRIVATE: "private",
    PG_WRITEBACK: "writeback",
    PG_UNEVICTABLE: "unevictable",
    PG_MLOCKED: "mlocked",
}
"""PAGE_FLAGS_CHECK_AT_FREE (include/linux/page-flags.h)."""
_BAD_MASK: Final = sum(_BAD_FLAGS)

Problems = list[tuple[Law, str]]


@define(eq=False)
class PageState:
    """Remembers whose each page is."""

    pages: PageColumns
    state: NDArray[np.int8] = field(init=False)
    """By page: ALLOCATED, FREED, or 0 if it has been neither since boot."""

    def __attrs_post_init__(self) -> None:
        self.state = np.zeros(self.pages.nr_frames, np.int8)

    def allocated(self, pfn: int, order: int) -> Problems:
        """Note that a block was handed out; return what is wrong with it."""
        problems: Problems = []
        span = slice(pfn, pfn + (1 << order))
        for tail in np.flatnonzero(self.state[span] == ALLOCATED).tolist():
            problems.append(
                (
                    Law.TWICE_ALLOCATED,
                    f"page {pfn + tail:#x} is handed out and was not given back since",
                )
            )
        problems += self._mapped(span, "handed out")
        self.state[span] = ALLOCATED
        return problems

    def freed(self, pfn: int, order: int) -> Problems:
        """Note that a block is given back; return what is wrong with it."""
        problems: Problems = []
        span = slice(pfn, pfn + (1 << order))
        for tail in np.flatnonzero(self.state[span] == FREED).tolist():
            problems.append((Law.DOUBLE_FREE, f"page {pfn + tail:#x} is free and is freed again"))
        problems += self._mapped(span, "freed")
        if self.pages.refcount[pfn] not in (0, 1):
            problems.append(
                (
                    Law.BAD_PAGE_STATE,
                    f"page {pfn:#x} is freed with {self.pages.refcount[pfn]} references",
                )
            )
        for tail in np.flatnonzero(self.pages.flags[span] & _BAD_MASK).tolist():
            flags = int(self.pages.flags[pfn + tail])
            names = ", ".join(name for bit, name in _BAD_FLAGS.items() if flags & bit)
            problems.append((Law.BAD_PAGE_STATE, f"page {pfn + tail:#x} is freed as {names}"))
        self.state[span] = FREED
        return problems

    def _mapped(self, span: slice, what: str) -> Problems:
        mapcount = self.pages.mapcount[span]
        return [
            (
                Law.FREED_WHILE_MAPPED,
                f"page {span.start + tail:#x} is {what} while {mapcount[tail]} entries map it",
            )
            for tail in np.flatnonzero(mapcount).tolist()
        ]
