"""Which pages of a file are read before they are asked for (mm/readahead.c, mm/filemap.c, 6.1).

Each open file remembers its last window. A read in order moves the window on and doubles it, up to
`ra_pages`; when its marked page is used (PG_readahead), the next window is read. A fault on a page
that is not cached reads around it, unless most of such faults miss.

Who changes this state holds no lock; as in the kernel it is a guess, never relied on. Left out:
huge pages, large folios, errors of the disk, congestion.
"""

from collections.abc import Container
from typing import Final

from attrs import frozen

from mmactors.arch.page import PG_READAHEAD, PG_WRITEBACK, PageColumns
from mmactors.mm.area.mapped_file import FileRaState
from mmactors.mm.area.vm_flags import VM_RAND_READ, VM_SEQ_READ
from mmactors.units import MIB, PAGE_SHIFT

IO_PAGES: Final = 320
"""Pages that a disk takes at once (bdi->io_pages: BLK_DEF_MAX_SECTORS, 1280 KiB)."""
MMAP_LOTSAMISS: Final = 100
_CHUNK_PAGES: Final = 2 * MIB >> PAGE_SHIFT
_WORD_MASK: Final = (1 << 64) - 1


@frozen
class Window:
    """Pages to read: those of them that are cached already are passed over."""

    start: int
    size: int
    lookahead: int = 0
    """The mark is so many pages before the end; 0: there is none."""

    def within(self, size_bytes: int) -> "Window | None":
        """Return the window up to the end of a file; None: nothing is left (do_page_cache_ra)."""
        nr_pages = -(-size_bytes >> PAGE_SHIFT)
        if self.start >= nr_pages:
            return None
        return Window(self.start, min(self.size, nr_pages - self.start), self.lookahead)

    def mark(self) -> int | None:
        """Return the index of the page that gets PG_readahead if it is new; None: no page."""
        if not 0 < self.lookahead <= self.size:
            return None
        return self.start + self.size - self.lookahead


Windows = tuple[Window, ...]


def sync_mmap_readahead(
    ra: FileRaState, cached: Container[int], index: int, vm_flags: int
) -> Windows:
    """Return what a fault reads that misses page `index`; nothing: only the page itself.

    Where something is read, mmap_lock is let go of meanwhile (do_sync_mmap_readahead).
    """
    if vm_flags & VM_RAND_READ:
        return ()
    if vm_flags & VM_SEQ_READ:
        return page_cache_sync_ra(ra, cached, index, ra.ra_pages)
    if ra.mmap_miss < MMAP_LOTSAMISS * 10:
        ra.mmap_miss += 1
    if ra.mmap_miss > MMAP_LOTSAMISS:
        return ()
    ra.start = max(0, index - ra.ra_pages // 2)
    ra.size = ra.ra_pages
    ra.async_size = ra.ra_pages // 4
    return (Window(ra.start, ra.size, ra.async_size),)


def page_cache_sync_ra(
    ra: FileRaState, cached: Container[int], index: int, req_size: int
) -> Windows:
    """Return what is read when page `index` is missing, of `req_size` pages that are wanted."""
    if ra.is_random:
        return forced_windows(ra, index, req_size)
    return _ondemand_readahead(ra, cached, index, req_size, is_marked=False)


def page_cache_async_ra(
    ra: FileRaState, cached: Container[int], index: int, req_size: int
) -> Windows:
    """Return what is read when page `index` was found, which had the mark (now cleared)."""
    return _ondemand_readahead(ra, cached, index, req_size, is_marked=True)


def test_clear_readahead(pages: PageColumns, pfn: int) -> bool:
    """Take the mark of a page; say whether it had one that counts."""
    if pages.flags_view[pfn] & (PG_READAHEAD | PG_WRITEBACK) != PG_READAHEAD:
        return False
    pages.flags_view[pfn] &= ~PG_READAHEAD
    return True


def forced_windows(ra: FileRaState, index: int, nr_pages: int) -> Windows:
    """Return what is read because somebody said so (force_page_cache_ra), in pieces of 2 MiB."""
    left = min(nr_pages, max(IO_PAGES, ra.ra_pages))
    windows = []
    while left > 0:
        size = min(_CHUNK_PAGES, left)
        windows.append(Window(index, size))
        index += size
        left -= size
    return tuple(windows)


def _ondemand_readahead(
    ra: FileRaState, cached: Container[int], index: int, req_size: int, *, is_marked: bool
) -> Windows:
    """Move the window of a file that is read in order, or find that it is not."""
    max_pages = ra.ra_pages
    if req_size > max_pages and max_pages < IO_PAGES:
        max_pages = min(req_size, IO_PAGES)
    end = ra.start + ra.size
    prev_index = (ra.prev_pos & _WORD_MASK) >> PAGE_SHIFT
    if not index:
        _set_initial_window(ra, index, req_size, max_pages)
    elif index in (end - ra.async_size, end):
        ra.start += ra.size
        ra.size = max(ra.size, _next_size(ra.size, max_pages))
        ra.async_size = ra.size
    elif is_marked:
        # A mark of somebody else's window, as when two streams are read in turn.
        ra.start = _next_miss(cached, index + 1, max_pages)
        ra.size = _next_size(ra.start - index + req_size, max_pages)
        ra.async_size = ra.size
    elif req_size > max_pages or (index - prev_index) & _WORD_MASK <= 1:
        _set_initial_window(ra, index, req_size, max_pages)
    elif not _try_context(ra, cached, index, req_size, max_pages):
        # Small and at random: the window stays as it is.
        return (Window(index, req_size),)
    if index == ra.start and ra.size == ra.async_size:
        # The read itself would hit the mark: the next window is read together with this one.
        more = _next_size(ra.size, max_pages)
        if ra.size + more <= max_pages:
            ra.async_size = more
            ra.size += more
        else:
            ra.size = max_pages
            ra.async_size = max_pages >> 1
    return (Window(ra.start, ra.size, ra.async_size),)


def _set_initial_window(ra: FileRaState, index: int, req_size: int, max_pages: int) -> None:
    ra.start = index
    ra.size = _initial_size(req_size, max_pages)
    ra.async_size = ra.size - req_size if ra.size > req_size else ra.size


def _initial_size(req_size: int, max_pages: int) -> int:
    """Return the first window of a file that is read in order (get_init_ra_size)."""
    size = 1 << max(0, req_size - 1).bit_length()
    if size <= max_pages // 32:
        return size * 4
    if size <= max_pages // 4:
        return size * 2
    return max_pages


def _next_size(size: int, max_pages: int) -> int:
    """Return the window after one of `size` (get_next_ra_size)."""
    if size < max_pages // 16:
        return 4 * size
    if size <= max_pages // 2:
        return 2 * size
    return max_pages


def _try_context(
    ra: FileRaState, cached: Container[int], index: int, req_size: int, max_pages: int
) -> bool:
    """Look for pages before this one that a read in order left (try_context_readahead)."""
    size = _history_pages(cached, index, max_pages)
    if size <= req_size:
        return False
    if size >= index:
        size *= 2  # From the beginning of the file: it will go on to the end.
    ra.start = index
    ra.size = min(size + req_size, max_pages)
    ra.async_size = 1
    return True


def _next_miss(cached: Container[int], index: int, max_scan: int) -> int:
    """Return the first page from `index` on that is not cached, or the last one looked at.

    (page_cache_next_miss)
    """
    last = index + max_scan - 1
    while index < last and index in cached:
        index += 1
    return index


def _history_pages(cached: Container[int], index: int, max_scan: int) -> int:
    """Count the cached pages before `index`; one less if none of `max_scan` is missing.

    (count_history_pages: page_cache_prev_miss ends at the last page that it looked at.)
    """
    size = 0
    while size < max_scan and index - 1 - size in cached:
        size += 1
    return size - 1 if size == max_scan else size
