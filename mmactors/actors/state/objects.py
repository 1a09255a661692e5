"""The port through which what knows no slabs reaches the caches of the kernel's own objects.

The kernel object has one, set by who wires the machine; actors/slab/ answers it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from mmactors.mm.page_alloc.gfp import GFP_KERNEL
from mmactors.mm.slab.object_cache import AllocObject, FreeObject, ObjectCaches, ObjectRequest


class KernelObjects(ObjectCaches, ABC):
    """The caches of a machine: `alloc_local` and `free_local` do what asks for nothing."""

    @abstractmethod
    async def alloc(self, request: AllocObject) -> int:
        """Return the address of an object, 0: there is no memory."""

    @abstractmethod
    async def free(self, request: FreeObject) -> None:
        """Take an object back."""

    @property
    @abstractmethod
    def in_grace(self) -> Iterable[int]:
        """The objects that go back when those that read them under RCU have left."""

    @abstractmethod
    def kfree_by_rcu(self, thing: int, site: str) -> None:
        """Let a worker free what kmalloc has given, when all that may be reading it have left."""

    async def answer(self, request: ObjectRequest) -> int | None:
        """Do what a mechanism asks for that asks for nothing else; return the answer."""
        if isinstance(request, AllocObject):
            return await self.alloc(request)
        await self.free(request)
        return None

    async def kmem_cache_alloc(self, cache: int, site: str, gfp: int = GFP_KERNEL) -> int:
        """Return the address of an object, for who is no mechanism; 0: there is no memory."""
        thing = self.alloc_local(cache, site, gfp)
        return thing or await self.alloc(AllocObject(cache=cache, site=site, gfp=gfp))

    async def kmem_cache_free(self, cache: int, thing: int, site: str) -> None:
        """Take an object back, for who is no mechanism."""
        if not self.free_local(cache, thing, site):
            await self.free(FreeObject(cache=cache, thing=thing, site=site))
