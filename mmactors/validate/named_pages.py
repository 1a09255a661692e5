"""The memory of a recorded guest whose object allocator gets the pages that the recording names."""

from attrs import define, field

from mmactors.arch.page import PageColumns
from mmactors.mm.page_alloc.freelist import free_pages_prepare, prep_new_page


@define(eq=False)
class NamedPages:
    """Pages that are handed out in the order in which the recording names them."""

    pages: PageColumns
    next_pfns: list[int] = field(factory=list)
    """Which come next, in order; where none is left, there is no memory."""
    nr_pages: int = 0
    """Pages that were allocated, without those that were given back."""

    def alloc(self, order: int, gfp: int) -> int | None:
        """Return the next page; None: there is none, or it cannot be one of this order."""
        if not self.next_pfns:
            return None
        pfn, nr_pages = self.next_pfns[0], 1 << order
        if pfn & (nr_pages - 1) or not 0 <= pfn <= self.pages.nr_frames - nr_pages:
            return None
        if self.pages.refcount[pfn : pfn + nr_pages].any():
            return None
        del self.next_pfns[0]
        prep_new_page(self.pages, pfn, order, gfp)
        self.nr_pages += nr_pages
        return pfn

    def free(self, pfn: int, order: int) -> None:
        """Take pages back."""
        free_pages_prepare(self.pages, pfn, order)
        self.nr_pages -= 1 << order
