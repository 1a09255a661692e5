"""What sanitizers are told: the moments at which a law of the kernel can be broken.

The kernel's paths call these methods where it happens, `if kernel.checks is not None`, so that a
machine without sanitizers pays one test. Each says a fact; who runs, and when, the checker asks the
engine. A checker never changes what the machine does: it may only raise, which ends the run. What
listens is in mmactors/sanitize/.

Two moments belong together. `revoke` is the moment of taking something away: the running actor has
just changed the entries of a range, still under the page-table lock, whether or not it found
anything there. `revoke_completed` is its promise: the call that did it returns, and from now on no
access goes through a translation that was there at `revoke` and grants more than the page tables.
Address spaces are passed as the kernel's own objects, which this layer does not know.
"""


class Checks:
    """Takes the moments and does nothing; a checker has methods for those it listens to.

    All addresses are bytes, all ranges half open.
    """

    wants_accesses: bool = False
    """Whether each access has to be told to `access`, one by one; it is slow."""

    def access(self, cpu: int, mm: object, address: int, *, is_write: bool) -> None:
        """A user access was done; its translation is still in the TLB."""

    def stale_translation(self, cpu: int) -> None:
        """The hardware stopped at an access through a translation that should be gone."""

    def pages_allocated(self, pfn: int, order: int) -> None:
        """2**order pages were handed out."""

    def pages_freed(self, pfn: int, order: int) -> None:
        """2**order pages are about to be given back; their struct pages are as the user left."""

    def revoke(self, mm: object, start: int, end: int) -> None:
        """The running actor has just changed the entries of a range, and holds their lock."""

    def revoke_completed(self, mm: object) -> None:
        """The call in which the running actor revoked returns."""

    def page_zeroed(self, pfn: int) -> None:
        """A page was filled with zeros."""

    def page_copied(self, source: int, target: int) -> None:
        """A page was copied."""

    def page_read(self, pfn: int, file: object, index: int) -> None:
        """A page was filled from page `index` of what is on disk of a file."""

    def page_written(self, pfn: int, file: object, index: int) -> None:
        """A page became page `index` of a file on disk."""

    def kernel_access(self, mm: object, address: int, pfn: int, *, is_write: bool) -> None:
        """The kernel read or wrote a user's page for a process (GUP, ptrace, a pipe)."""

    def pages_dropped(self, mm: object, start: int, end: int) -> None:
        """The contents of a range are given up: reads see what a new mapping would show."""

    def pages_may_drop(self, mm: object, start: int, end: int) -> None:
        """The contents of a range may be given up until they are written again (MADV_FREE)."""

    def pages_moved(self, mm: object, old: int, new: int, nr_bytes: int) -> None:
        """The contents of a range are found at another address from now on (mremap)."""

    def pages_forked(self, parent: object, child: object, start: int, end: int) -> None:
        """A child sees in a range what its parent has there now."""

    def object_allocated(self, kind: str, number: int) -> None:
        """An object, such as a `vma` or an `anon_vma`, came to life."""

    def object_freed(self, kind: str, number: int) -> None:
        """An object's memory was given back."""

    def object_used(self, kind: str, number: int) -> None:
        """Somebody looked into an object."""
