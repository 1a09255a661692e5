"""Who had a page when: the last allocation and the last free of each block, for all messages."""

from typing import Final

from attrs import define, field, frozen

from mmactors.mm.buddy import MAX_ORDER


@frozen
class Moment:
    """Somebody did something."""

    actor: str
    t_ns: int

    def __str__(self) -> str:
        return f"by {self.actor} at t={self.t_ns} ns"


@frozen
class _Block:
    order: int
    moment: Moment


@define(eq=False)
class PageHistory:
    """Remembers of each page who was handed it and who gave it back last."""

    allocated: Final[dict[int, _Block]] = field(factory=dict)
    freed: Final[dict[int, _Block]] = field(factory=dict)
    """By first page."""

    def note_allocated(self, pfn: int, order: int, moment: Moment) -> None:
        """Note that a block was handed out."""
        self.allocated[pfn] = _Block(order, moment)

    def note_freed(self, pfn: int, order: int, moment: Moment) -> None:
        """Note that a block was given back."""
        self.freed[pfn] = _Block(order, moment)

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


def _find(blocks: dict[int, _Block], pfn: int) -> Moment | None:
    """Return the newest block that the page belongs to."""
    heads = {pfn & -(1 << order): order for order in range(MAX_ORDER)}
    found = [
        blocks[head].moment
        for head in heads
        if head in blocks and pfn < head + (1 << blocks[head].order)
    ]
    return max(found, key=lambda moment: moment.t_ns, default=None)
