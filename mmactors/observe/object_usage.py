"""What objects of the kernel take: bytes asked for, bytes they occupy, pages of their slabs.

`Usage` holds it request by request, with the figures of `slab-compare` (linux-6.1/kernel): internal
waste is 1 - requested / allocated bytes, external 1 - allocated / bytes of the pages in use, which
are pages of slabs with at least one object that is out. `UsageOfLog` reads it off the events of a
run, whatever allocator that has: a slab is a block of pages in which an object was handed out.
"""

from array import array
from collections.abc import Sequence
from typing import Any, Final

from attrs import define, field, frozen

from mmactors.mm.page_alloc.order import MAX_ORDER
from mmactors.mm.slab.slab_common import PAGE_OFFSET, ZERO_SIZE_PTR
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

SAMPLE: Final = ("pages", "pages_in_use", "allocated_bytes", "internal", "external")
"""What `Usage.sample` returns."""
SUMMARY: Final = (
    *("peak_pages", "pages_at_end", "mean_pages", "peak_pages_in_use", "mean_pages_in_use"),
    *("peak_requested_bytes", "internal_mean", "external_mean"),
)
"""What `Usage.summary` returns."""
ALLOC_EVENTS: Final = ("kmalloc", "kmem_cache_alloc")
FREE_EVENTS: Final = ("kfree", "kmem_cache_free")
PAGE_EVENTS: Final = ("mm_page_alloc", "mm_page_free")
_BYTES_MAX: Final = PAGE_SIZE << MAX_ORDER
"""No object has more; what is more is no event of any kernel."""


def _counts() -> "array[int]":
    return array("q")


@define(eq=False)
class Usage:
    """What is taken after each request: an object handed out, or taken back."""

    requested: "array[int]" = field(factory=_counts)
    """Bytes asked for and out."""
    allocated: "array[int]" = field(factory=_counts)
    """Bytes that these objects occupy."""
    pages: "array[int]" = field(factory=_counts)
    """Of all slabs, and of objects that are pages."""
    pages_in_use: "array[int]" = field(factory=_counts)
    """Of those with at least one object that is out."""

    def __len__(self) -> int:
        return len(self.requested)

    def add(self, *, requested: int, allocated: int, pages: int, pages_in_use: int) -> None:
        """Note what is taken now, after one more request."""
        self.requested.append(requested)
        self.allocated.append(allocated)
        self.pages.append(pages)
        self.pages_in_use.append(pages_in_use)

    def sample(self, nth: int) -> tuple[float | None, ...]:
        """Return SAMPLE after a request; a share of nothing is None."""
        requested, allocated = self.requested[nth], self.allocated[nth]
        in_use = self.pages_in_use[nth]
        internal = round(1 - requested / allocated, 4) if allocated else None
        external = round(1 - allocated / (in_use * PAGE_SIZE), 4) if in_use else None
        return self.pages[nth], in_use, allocated, internal, external

    def summary(self) -> dict[str, float]:
        """Return SUMMARY over all requests, of which there is at least one."""
        inside = zip(self.requested, self.allocated, strict=True)
        outside = zip(self.allocated, self.pages_in_use, strict=True)
        return {
            "peak_pages": max(self.pages),
            "pages_at_end": self.pages[-1],
            "mean_pages": _mean(self.pages),
            "peak_pages_in_use": max(self.pages_in_use),
            "mean_pages_in_use": _mean(self.pages_in_use),
            "peak_requested_bytes": max(self.requested),
            "internal_mean": _mean([1 - asked / got for asked, got in inside if got]),
            "external_mean": _mean([1 - got / (n * PAGE_SIZE) for got, n in outside if n]),
        }


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / max(1, len(values)), 5)


@frozen
class _Object:
    requested: int
    allocated: int
    slab: int


class UsageOfLog:
    """Follows the events of a run, in the order of their numbers.

    That an object is freed is told before it is, so that a request ends where the next one begins.
    """

    def __init__(self) -> None:
        self.usage: Final = Usage()
        self.nr_failed = 0
        """Requests for which there was no memory."""
        self._blocks: Final[dict[int, int]] = {}
        """By PFN, the order of each block of pages that was handed out."""
        self._objects: Final[dict[int, _Object]] = {}
        """By address, what is out."""
        self._slabs: Final[dict[int, set[int]]] = {}
        """By PFN of its first page, the objects of each slab that are out."""
        self._requested = self._allocated = self._pages = self._in_use = 0
        self._is_open = False
        """Whether a request was seen, and not its end."""

    @property
    def nr_left(self) -> int:
        """How many objects are out."""
        return len(self._objects)

    def see(self, record: dict[str, Any]) -> None:
        """Take note of an event."""
        event = record["event"]
        if event in ALLOC_EVENTS:
            self.finish()
            self._allocated_one(record)
        elif event in FREE_EVENTS:
            self.finish()
            self._is_open = self._forget(record["ptr"])
        elif event == "mm_page_alloc":
            if record["pfn"] is not None and 0 <= record["order"] < MAX_ORDER:
                self._blocks[record["pfn"]] = record["order"]
        elif event == "mm_page_free":
            self._pages_freed(record["pfn"])

    def finish(self) -> None:
        """Note what is taken now, if a request has come since the last time."""
        if self._is_open:
            self._is_open = False
            self.usage.add(
                requested=self._requested,
                allocated=self._allocated,
                pages=self._pages,
                pages_in_use=self._in_use,
            )

    def _allocated_one(self, record: dict[str, Any]) -> None:
        ptr, nr_bytes = record["ptr"], record["bytes_alloc"]
        if ptr <= ZERO_SIZE_PTR or not 0 <= record["bytes_req"] <= nr_bytes <= _BYTES_MAX:
            self.nr_failed += ptr == 0
            return
        self._forget(ptr)
        slab = self._slab_of(ptr)
        self._objects[ptr] = _Object(record["bytes_req"], nr_bytes, slab)
        if slab not in self._slabs:
            self._slabs[slab] = set()
            self._pages += self._nr_pages(slab)
        if not self._slabs[slab]:
            self._in_use += self._nr_pages(slab)
        self._slabs[slab].add(ptr)
        self._requested += record["bytes_req"]
        self._allocated += nr_bytes
        self._is_open = True

    def _forget(self, ptr: int) -> bool:
        """Let an object be out no more; return whether it was."""
        it = self._objects.pop(ptr, None)
        if it is None:
            return False
        self._requested -= it.requested
        self._allocated -= it.allocated
        things = self._slabs[it.slab]
        things.discard(ptr)
        if not things:
            self._in_use -= self._nr_pages(it.slab)
        return True

    def _pages_freed(self, pfn: int) -> None:
        things = self._slabs.get(pfn)
        if things is not None:
            for ptr in tuple(things):  # What was never freed goes with its slab.
                self._forget(ptr)
            self._pages -= self._nr_pages(pfn)
            del self._slabs[pfn]
        self._blocks.pop(pfn, None)

    def _slab_of(self, ptr: int) -> int:
        """Return the first page of the block that an object lies in, its own if none is known."""
        pfn = (ptr - PAGE_OFFSET) >> PAGE_SHIFT
        for order in range(MAX_ORDER):
            head = pfn >> order << order
            if self._blocks.get(head, -1) >= order:
                return head
        return pfn

    def _nr_pages(self, slab: int) -> int:
        return 1 << self._blocks.get(slab, 0)
