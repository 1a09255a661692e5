"""What sanitizers are told: the moments at which a law of the kernel can be broken.

The kernel's paths call these methods where it happens, `if kernel.checks is not None`, so that a
machine without sanitizers pays one test. Each says a fact; who runs, and when, the checker asks the
engine. A checker never changes what the machine does: it may only raise, which ends the run. What
listens is in mmactors/sanitize/.

Two moments belong together. `revoke` is the moment of taking something away: the running actor has
just changed the entries of a range, still under the page-table lock, whether or not it found
anything there. `revoke_completed` is its promise: the call that did it returns, and from now on no
access goes through a translation that was there at `revoke` and grants more than the page tables.
What calls do to the contents of a range is told at the same moment as `revoke`.

Address spaces and files (their mapping) are passed as the kernel's own objects, which this layer
does not know.
"""

from collections.abc import Callable, Hashable

import numpy as np
from numpy.typing import NDArray


class Checks:
    """Takes the moments and does nothing; a checker has methods for those it listens to.

    All addresses are bytes, all ranges half open.
    """

    wants_accesses: bool = False
    """Whether each access has to be told to `access`, one by one; it is slow."""

    # -- translations --------------------------------------------------------------------------

    def content_key(self, pfn: int) -> Hashable:
        """Return what a page holds, as a value that tells states apart."""

    def value_key(self, ctx_id: int, page: int | None) -> Hashable:
        """Return what a page of an address space, or all of it (None), should hold."""

    def stored_key(self, mapping: object, index: int) -> Hashable:
        """Return what a page of a file holds on disk, as a value."""

    def stale_translation(self, cpu: int) -> None:
        """The hardware stopped at an access through a translation that should be gone."""

    def revoke(self, mm: object, start: int, end: int) -> None:
        """The running actor has just changed the entries of a range, and holds their lock."""

    def revoke_completed(self, mm: object) -> None:
        """The call in which the running actor revoked returns."""

    # -- pages ---------------------------------------------------------------------------------

    def pages_allocated(self, pfn: int, order: int, gfp: int) -> None:
        """2**order pages were handed out, cleared if `gfp` says so."""

    def watermark_passed(self, zone: int, order: int) -> None:
        """A request that has no right to the reserve of zone number `zone` may take pages there."""

    def pages_freed(self, pfn: int, order: int) -> None:
        """2**order pages are about to be given back; their struct pages are as the user left."""

    # -- contents ------------------------------------------------------------------------------

    def access(self, mm: object, address: int, pfn: int, *, is_write: bool) -> None:
        """A program, or the kernel for it, read or wrote a page at an address."""

    def file_access(self, mapping: object, index: int, pfn: int, *, is_write: bool) -> None:
        """read() or write() touched a page of a file."""

    def page_copied(self, source: int, target: int) -> None:
        """A page was copied."""

    def page_made_private(self, mm: object, address: int, pfn: int) -> None:
        """A copy was mapped, which is the address space's own from now on."""

    def page_read(self, pfn: int, mapping: object, index: int) -> None:
        """A page was filled with what a file has on disk, zeros if nothing."""

    def page_written(self, pfn: int, mapping: object, index: int) -> None:
        """A page of a file was written to disk."""

    def fsync_began(self, mapping: object) -> None:
        """The running actor begins to write all dirty pages of a file to disk."""

    def msync_began(self, mm: object, start: int, end: int) -> None:
        """The running actor begins to write what shared files in a range hold to disk."""

    def sync_ended(self, mm: object = None, *, succeeded: bool = True) -> None:
        """That call returns: if it succeeded, what was stored before it began is on disk.

        `mm`: whose memory msync was asked for.
        """

    def page_pinned(self, mm: object, address: int, pfn: int) -> None:
        """Somebody takes hold of the page that is mapped at an address."""

    def access_pinned(self, mm: object, address: int, pfn: int, *, is_write: bool) -> None:
        """Who holds a page that was found at an address read or wrote it past all entries.

        Until it is made dirty for that nobody promises anything.
        """

    def page_dirtied(self, pfn: int) -> None:
        """Who wrote a page past all entries has made it dirty."""

    def pages_dropped(self, mm: object, start: int, end: int) -> None:
        """The private contents of a range are given up: reads see what a new mapping shows."""

    def file_unmapped(self, mm: object, start: int, end: int) -> None:
        """A part of a file was taken out of a range; its private contents are not given up.

        But those behind the end of the file: truncation takes them.
        """

    def mm_exits(self, mm: object) -> None:
        """No thread is left: all that an address space has is about to be given back."""

    def pages_may_drop(self, mm: object, start: int, end: int) -> None:
        """The private contents of a range may go until they are written again (MADV_FREE)."""

    def pages_moved(self, mm: object, old: int, new: int, nr_bytes: int) -> None:
        """The private contents of a range are found at another address from now on (mremap)."""

    def pages_forked(self, parent: object, child: object, start: int, end: int) -> None:
        """A child sees in a range what is private to its parent and there now."""

    def file_dropped(self, mapping: object, first: int, end: int | None) -> None:
        """Pages `[first, end)` of a file are given up, on disk too; None: to its end."""


class ObjectChecks:
    """Takes the moments of objects (mm/slab): told of by the caches, and by who uses objects.

    An object is named by its physical address. `owner` and `name` are what a program knows it by;
    what a name was bound to stays its, whoever has the memory by now. Caches are the kernel's own
    objects, which this layer does not know; None: the pages are no slab.
    """

    def object_allocated(self, cache: object, thing: int) -> None:
        """An object was handed out, cleared if it was to be."""

    def object_freed(self, cache: object, thing: int) -> None:
        """An object is given back; what a free object has in it may be written already."""

    def wrong_cache(self, cache: object, own: object, thing: int) -> None:
        """An object of the cache `own` is freed as one of another."""

    def object_written(self, address: int, nr_bytes: int) -> None:
        """Who may do so, or is blamed for it already, has written these bytes."""

    def object_is_allocators(self, thing: int) -> None:
        """An object was handed out to the allocator itself, which writes it from now on."""

    def object_named(self, owner: int, name: str, thing: int, nr_bytes: int) -> None:
        """A program was given an object of so many bytes, known by a name from now on."""

    def name_freed(self, owner: int, name: str) -> None:
        """A program is about to free what it knows by a name."""

    def name_used(
        self, owner: int, name: str, offset: int, nr_bytes: int, *, is_write: bool
    ) -> None:
        """A program reads or writes bytes from `offset` on of what it knows by a name."""


class HeapChecks:
    """Takes the moments of programs' heaps: told of by who calls the C library for them.

    `space` is the number of the address space in which a heap lies; its process, its library and
    the operations of programs are objects that this layer does not know.
    """

    def call_begins(self, space: int, owner: object, library: object, call: object) -> object:
        """A program is about to call the library; what is returned is given to `call_ended`."""

    def call_ended(self, space: int, call: object, begun: object, result: int) -> None:
        """That call returns, with an address, 0, or minus the errno."""

    def accessed(
        self, space: int, doing: object, addresses: NDArray[np.int64], meta: NDArray[np.int64]
    ) -> None:
        """A program has just made these accesses, rows of a trace; the library's are not told."""

    def heap_forked(self, parent: int, child: int, owner: object, library: object) -> None:
        """A child has a copy of its parent's heap."""


class AreaChecks:
    """Takes the moments of the kernel's own mappings: told of by vmalloc, and by who uses it.

    `owner` and `name` are what a program's module knows an area by; addresses are signed words.
    """

    def forget_begins(self, is_given_back: Callable[[int], bool]) -> None:
        """The running actor begins to make all CPUs forget addresses that were given back."""

    def forget_ended(self, is_promised: Callable[[int], bool]) -> None:
        """That is done: nobody knows any more what was given back then and is promised."""

    def percpu_freed_twice(self, name: str) -> None:
        """A module gives back the per-CPU area of a name that it has given back before."""

    def percpu_used(self, name: str, *, is_held: bool, is_inside: bool) -> None:
        """A module is about to touch a CPU's copy of a per-CPU area, or beside it."""

    def area_named(self, owner: int, name: str, address: int, nr_bytes: int, how: str) -> None:
        """A program's module was given an area by `how`; 0: the name means none any more."""

    def area_freed(self, owner: int, name: str, how: str) -> None:
        """What a name means is about to be given back by `how`."""

    def area_used(
        self,
        owner: int,
        name: str,
        offset: int,
        nr_bytes: int,
        *,
        is_write: bool,
        has_pages: bool,
    ) -> None:
        """Bytes beside what a name means are about to be touched; its pages are still there."""
