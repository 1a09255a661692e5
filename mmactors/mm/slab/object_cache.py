"""Objects of the kernel's own caches, as mechanisms ask for them (include/linux/slab.h, v6.1).

What a CPU has at hand is handed out, or taken back, at once. For all else a mechanism, which is a
generator, yields a request: `AllocObject` is answered with an address, 0: there is no memory;
`FreeObject` with None.
"""

from collections.abc import Generator

from attrs import frozen

from mmactors.mm.page_alloc.gfp import GFP_KERNEL
from mmactors.mm.slab.slab_common import WORD


@frozen(kw_only=True)
class AllocObject:
    """An object of one of the KERNEL_CACHES is needed."""

    cache: int
    site: str
    """The function that asks, as a stack trace names it."""
    gfp: int = GFP_KERNEL
    node: int | None = None
    """None: that of the CPU."""


@frozen(kw_only=True)
class FreeObject:
    """Take an object back."""

    cache: int
    thing: int
    """Its address."""
    site: str


ObjectRequest = AllocObject | FreeObject
ObjectAlloc = Generator[AllocObject, int | None, int]
ObjectFree = Generator[FreeObject, int | None, None]


class ObjectCaches:
    """The caches of a kernel that has nothing else: each object is a new one."""

    def __init__(self) -> None:
        self._last = 0

    def alloc_local(self, cache: int, site: str, gfp: int) -> int:  # noqa: ARG002 - a machine's
        """Return an object that this CPU has at hand, 0: it has none."""
        self._last += WORD
        return self._last

    def free_local(self, cache: int, thing: int, site: str) -> bool:  # noqa: ARG002 - a machine's
        """Take an object back, if nothing has to be asked for; say whether that was done."""
        return True

    def free_by_rcu(self, cache: int, thing: int, site: str, *, nr_periods: int = 1) -> None:
        """Take an object back when all that may be reading it have left (call_rcu).

        `nr_periods`: the callback that frees it is called by another one.
        """

    def generation_of(self, thing: int) -> int:  # noqa: ARG002 - a machine's
        """Return what is another number when the memory of an object was something else between."""
        return 0


def kmem_cache_alloc(
    caches: ObjectCaches, cache: int, site: str, gfp: int = GFP_KERNEL
) -> ObjectAlloc:
    """End with the address of an object, 0: there is no memory."""
    thing = caches.alloc_local(cache, site, gfp)
    if not thing:
        thing = (yield AllocObject(cache=cache, site=site, gfp=gfp)) or 0
    return thing


def kmem_cache_free(caches: ObjectCaches, cache: int, thing: int, site: str) -> ObjectFree:
    """Take an object back."""
    if not caches.free_local(cache, thing, site):
        yield FreeObject(cache=cache, thing=thing, site=site)
