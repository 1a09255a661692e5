"""Who had a page when: the last allocation and the last free of each block, for all messages."""

from typing import Final, NamedTuple

from attrs import define, field

from mmactors.mm.page_alloc.order import MAX_ORDER


class Moment(NamedTuple):
    """Somebody did something. A tuple, of which a checkpoint need not keep the contents."""

    actor: str
    t_ns: int

    def __str__(self) -> str:
        return f"by {self.actor} at t={self.t_ns} ns"


_Blocks = dict[int, tuple[int, Moment]]
"""By first page: the order, and what happened."""


@define(eq=False)
class PageHistory:
    """Remembers of each page who was handed it and who gave it back last."""

    allocated: Final[_Blocks] = field(factory=dict)
    freed: Final[_Blocks] = field(factory=dict)

    def note_allocated(self, pfn: int, order: int, moment: Moment) -> None:
        """Note that a block was handed out."""
        self.allocated[pfn] = (order, moment)

    def note_freed(self, pfn: int, order: int, moment: Moment) -> None:
        """Note that a block was given back."""
        self.freed[pfn] = (order, moment)

    def last_allocated(self, pfn: int) -> Moment | None:
        """Return who was handed the page last; None: nobody since boot."""
        return _find(self.allocated, pfn)

    def last_freed(self, pfn: int) -> Moment | None:
        """Return who gave the page back last; None: nobody since boot."""
        return _find(self.freed, pfn)

    def describe(self, pfn: int) -> list[str]:
        """Return what is known of the page, in the order in which it happened."""
        moments = [
            (moment.t_ns, what, moment)
            for what, moment in (
                ("handed out", self.last_allocated(pfn)),
                ("given back", self.last_freed(pfn)),
            )
            if moment is not None
        ]
        moments.sort(key=lambda each: each[0])
        return [f"page {pfn:#x} was {what} {moment}" for _, what, moment in moments]


def _find(blocks: _Blocks, pfn: int) -> Moment | None:
    """Return the newest event of a block that the page belongs to."""
    found = []
    for order in range(MAX_ORDER):
        head = pfn & -(1 << order)
        block = blocks.get(head)
        if block is not None and pfn < head + (1 << block[0]):
            found.append(block[1])
    return max(found, key=lambda moment: moment.t_ns, default=None)
