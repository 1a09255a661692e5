"""An object allocator, whichever it is: what its callers, checkers and views need of it.

SLUB (slub/), SLAB (slab/) and SLOB (slob/) are one. What is done here is the same for all: which
caches there are, and freeing by the name of a cache (mm/slab_common.c, mm/slab.h; Linux 6.1).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from errno import EINVAL, ENOMEM
from typing import ClassVar, Final, Generic, Protocol, TypeVar

from attrs import evolve

from mmactors.label import Touch
from mmactors.mm.slab.caller import NOBODY, SlabCaller
from mmactors.mm.slab.flags import SLAB_FLAGS_PERMITTED
from mmactors.mm.slab.oops import oops, wild_pointer
from mmactors.mm.slab.request import Printk, SlabSteps
from mmactors.mm.slab.slab_common import (
    ZERO_SIZE_PTR,
    CacheRequest,
    Mergeable,
    find_mergeable,
    kmem_cache_request,
)
from mmactors.mm.slab.slab_memory import CACHES_MAX, SlabMemory, ThisCpu
from mmactors.mm.slab.warning import still_has_objects, warning, warning_once


class KmemCacheLike(Mergeable, Protocol):
    """What anybody may know of a cache (struct kmem_cache)."""

    number: int
    """Names it; the number of a destroyed cache is used again."""
    name: str
    object_size: int
    """Bytes; grows when a larger cache becomes an alias."""
    refcount: int
    aliases: list[str]
    is_listed: bool
    """Whether it is on slab_caches: what waits for readers before it is gone is not."""
    is_bootstrap: bool
    """It is that of struct kmem_cache: it is there before all others, and nothing makes it fail."""
    own_objects: list[int]
    """What the cache itself is made of, in the order in which it was allocated.

    Its name, struct kmem_cache, and what `open_cache` has taken.
    """


C = TypeVar("C", bound=KmemCacheLike)


class Common(Protocol[C]):
    """What an allocator takes for itself, from its own caches (common_calls.py); it is told of."""

    @property
    def boot_caches(self) -> list[C]:
        """The first caches, that of struct kmem_cache last."""

    def cache_for(self, size: int, gfp: int) -> C | None:
        """Return the cache that serves 1 byte or more; None: no cache does."""

    def told_kmalloc(
        self,
        this_cpu: ThisCpu,
        size: int,
        gfp: int,
        caller: SlabCaller,
        node: int | None = None,
    ) -> SlabSteps[int]:
        """Return the address of bytes, 0: no memory."""

    def told_alloc(
        self, s: C, this_cpu: ThisCpu, gfp: int, node: int | None, caller: SlabCaller
    ) -> SlabSteps[int]:
        """Return the address of an object, 0: no memory."""

    def told_kfree(self, this_cpu: ThisCpu, thing: int, caller: SlabCaller) -> SlabSteps[None]:
        """Free bytes, or nothing."""

    def told_free(self, s: C, this_cpu: ThisCpu, thing: int, caller: SlabCaller) -> SlabSteps[None]:
        """Free an object."""


class ObjectAllocator(ABC, Generic[C]):
    """All caches of a machine.

    `alloc_local` and `free_local` are the paths that ask for nothing; `alloc` and `free` are the
    generators that do everything.
    """

    kind: ClassVar[str]
    """`slub`, `slab` or `slob`."""
    create_mask: ClassVar[int]
    """The flags that it takes notice of (CACHE_CREATE_MASK)."""
    kmalloc_shift_low: ClassVar[int]
    """The smallest class of kmalloc (KMALLOC_SHIFT_LOW)."""
    kmalloc_flags: ClassVar[int] = 0
    """What all caches of kmalloc have (ARCH_KMALLOC_FLAGS)."""
    kmalloc_first: ClassVar[int | None] = None
    """The class that is made before all others; None: they come in order."""
    caches_max: ClassVar[int] = CACHES_MAX
    """Caches that may exist at once."""
    common: Common[C]
    """Its kmalloc, which sets itself."""

    def __init__(self, memory: SlabMemory) -> None:
        self.memory: Final = memory
        self._caches: Final[dict[int, C]] = {}
        """By number, oldest first."""
        self.names: Final[dict[str, C]] = {}
        """What caches and aliases are called: a name is that of who took it last (sysfs)."""
        self._free_numbers: Final = list(reversed(range(self.caches_max)))

    # -- which caches there are ----------------------------------------------------------------

    @property
    def caches(self) -> tuple[C, ...]:
        """All caches, oldest first."""
        return tuple(self._caches.values())

    def cache(self, number: int) -> C:
        """Return the cache of a number."""
        s = self._caches.get(number)
        if s is None:
            oops(self.memory, *wild_pointer(0))  # Who still has it follows what was freed.
        return s

    def cache_of(self, slab: int) -> C:
        """Return the cache of a slab."""
        return self.cache(self.memory.pages.mapping_view[slab] - 1)

    def slab_of(self, thing: int) -> tuple[int, C | None]:
        """Return the slab that an address lies in, and its cache; None: it lies in none."""
        memory = self.memory
        head = memory.head_of(thing) if thing > ZERO_SIZE_PTR else None
        if head is None or not memory.is_slab(head):
            return 0, None
        return head, self.cache_of(head)

    def cache_from_obj(self, s: C, thing: int) -> tuple[int, C | None]:  # noqa: ARG002 - SLOB's
        """Return the slab and the cache that an object goes back to which is said to be of `s`."""
        return self.slab_of(thing)

    def create(self, request: CacheRequest) -> C | None:
        """Make a cache, or an alias of one that fits; None: -EINVAL or -ENOMEM.

        As kmem_cache_create_usercopy does it.
        """
        if request.flags & ~SLAB_FLAGS_PERMITTED:
            return None
        request = evolve(request, flags=request.flags & self.create_mask)
        if not request.usersize:
            alias = self._alias(request)
            if alias is not None:
                return alias
        return self.make(request) if self._free_numbers else None

    def why_not(self, request: CacheRequest) -> int:
        """Return the error for which `create` refuses: -EINVAL, or -ENOMEM."""
        is_legal = not request.flags & ~SLAB_FLAGS_PERMITTED and self.fits(request)
        return -ENOMEM if is_legal else -EINVAL

    def _alias(self, request: CacheRequest) -> C | None:
        if not self.merges:
            return None
        s = find_mergeable(request, self._caches.values(), self.kmem_cache_flags)
        if s is not None:
            s.refcount += 1
            s.aliases.append(request.name)
            self.names[request.name] = s
            self.merge(s, request)
        return s

    @property
    @abstractmethod
    def merges(self) -> bool:
        """Whether caches that fit share slabs (SLAB_MERGE_DEFAULT, slab_nomerge)."""

    def kmem_cache_flags(self, flags: int, name: str) -> int:  # noqa: ARG002 - SLUB's
        """Return the flags of a cache with what the kernel was told to debug."""
        return flags

    def merge(self, s: C, request: CacheRequest) -> None:
        """Let a cache serve an alias, too."""
        s.object_size = max(s.object_size, request.object_size)

    @abstractmethod
    def fits(self, request: CacheRequest) -> bool:
        """Return whether a slab could hold an object."""

    @abstractmethod
    def make(self, request: CacheRequest, *, refcount: int = 1) -> C | None:
        """Make a cache of its own; None: no slab holds an object. Numbers are left."""

    def boot_requests(self) -> list[CacheRequest]:
        """Return the first caches of a kernel, that of struct kmem_cache last."""
        return [kmem_cache_request(self.memory.nr_nodes)]

    def _take_number(self) -> int:
        return self._free_numbers.pop()

    def _add(self, s: C) -> None:
        self._caches[s.number] = s
        self.names[s.name] = s

    def release(self, number: int) -> None:
        """Forget a cache that has no slabs; its number may be another one's."""
        s = self._caches.pop(number)
        for name in (s.name, *s.aliases):
            if self.names.get(name) is s:
                del self.names[name]
        self._free_numbers.append(number)

    # -- objects -------------------------------------------------------------------------------

    @abstractmethod
    def alloc_local(self, s: C, cpu: int, gfp: int = 0) -> int:
        """Return an object that a CPU has at hand, 0: it has none."""

    @abstractmethod
    def free_local(self, s: C, cpu: int, slab: int, thing: int) -> bool:
        """Take an object of a slab back, if nothing is to be asked for; say whether it was done."""

    @abstractmethod
    def touched(self, s: C, cpu: int, freed_to: int = 0) -> Iterable[Touch]:
        """Yield what `alloc_local` is about to touch, or `free_local` of an object of a slab."""

    @abstractmethod
    def touched_by_reader(self) -> Iterable[Touch]:
        """Yield what somebody looks at who counts the objects of all caches."""

    @abstractmethod
    def alloc(
        self,
        s: C,
        this_cpu: ThisCpu,
        gfp: int,
        node: int | None = None,
        *,
        caller: SlabCaller = NOBODY,
        orig_size: int | None = None,
    ) -> SlabSteps[int]:
        """Return an object's address, 0: no memory (kmem_cache_alloc_node).

        `orig_size` is what kmalloc was asked for.
        """

    @abstractmethod
    def free(
        self,
        s: C,
        this_cpu: ThisCpu,
        slab: int,
        thing: int,
        *,
        caller: SlabCaller = NOBODY,
    ) -> SlabSteps[None]:
        """Free an object of a slab of the cache."""

    def kmem_cache_free(
        self, s: C, this_cpu: ThisCpu, thing: int, *, caller: SlabCaller = NOBODY
    ) -> SlabSteps[None]:
        """Free an object of a cache; one of another goes back to that, with a warning."""
        memory = self.memory
        if not 0 <= thing < memory.nr_bytes:
            oops(memory, *wild_pointer(thing))
        slab = memory.head_of(thing)
        if slab is None or not memory.is_slab(slab):
            if memory.checks is not None:
                memory.checks.object_freed(None, thing)
            text = "virt_to_cache: Object is not a Slab page!"
            place = "mm/slab.h:630 virt_to_cache"
            lines = warning_once(memory, this_cpu(), caller, place, text)
            if lines:
                yield Printk(lines=lines)
            return
        own = self.cache_of(slab)
        if own is not s and memory.checks is not None:
            memory.checks.wrong_cache(s, own, thing)
        if own is not s and (memory.hardened or self.is_checked(s)):
            text = f"cache_from_obj: Wrong slab cache. {s.name} but object is from {own.name}"
            place = "mm/slab.h:665 cache_from_obj"
            lines = warning(memory, this_cpu(), caller, place, text)
            yield Printk(lines=(*lines, *self.tracking(own, thing, caller.jiffies)))
            s = own
        yield from self.free(s, this_cpu, slab, thing, caller=caller)

    def is_checked(self, s: C) -> bool:  # noqa: ARG002 - SLUB's
        """Return whether the cache looks at what is freed, hardened or not."""
        return False

    def tracking(self, s: C, thing: int, jiffies: int) -> Sequence[str]:  # noqa: ARG002 - SLUB's
        """Return the lines that say who had an object, as far as that is kept (print_tracking)."""
        return ()

    @abstractmethod
    def ksize(self, s: C) -> int:
        """Return how many bytes of an object its user may use (slab_ksize)."""

    @abstractmethod
    def shrink(self, s: C, cpu: int) -> SlabSteps[bool]:
        """Give back what can be; return whether slabs are left (kmem_cache_shrink)."""

    def shutdown(self, s: C, cpu: int, *, caller: SlabCaller = NOBODY) -> SlabSteps[bool]:
        """Give a cache's slabs back if nobody else uses it; return False if objects are left.

        Who asked for it lets `release` have the cache then, after a grace period if readers may
        be in its slabs.
        """
        s.refcount -= 1
        if s.refcount:
            return True
        if not (yield from self.shutdown_slabs(s, cpu, caller)):
            yield Printk(lines=still_has_objects(self.memory, s.name, cpu, caller))
            return False
        s.is_listed = False
        return True

    @abstractmethod
    def shutdown_slabs(self, s: C, cpu: int, caller: SlabCaller) -> SlabSteps[bool]:
        """Give all slabs back; return whether none is left (__kmem_cache_shutdown)."""

    @abstractmethod
    def open_cache(
        self, s: C, this_cpu: ThisCpu, caller: SlabCaller
    ) -> SlabSteps[tuple[int, list[int]]]:
        """Allocate what a cache takes besides name and struct.

        Return 0 with its addresses, or an error: nothing of it is left.
        """

    def refuse_cache(
        self,
        this_cpu: ThisCpu,  # noqa: ARG002 - SLUB's
        caller: SlabCaller,  # noqa: ARG002 - SLUB's
    ) -> SlabSteps[None]:
        """Do what comes of that no slab can hold a cache's objects."""
        yield from ()

    @abstractmethod
    def close_cache(
        self, s: C, parts: list[int], this_cpu: ThisCpu, caller: SlabCaller
    ) -> SlabSteps[None]:
        """Give back what `open_cache` has returned (__kmem_cache_release)."""

    @abstractmethod
    def flush_cpu(self, number: int, cpu: int) -> SlabSteps[None]:
        """Give back what a CPU has of a cache: what FlushCpus asks for."""

    @abstractmethod
    def rcu_free(self, number: int, cpu: int, freed: int) -> SlabSteps[None]:
        """Free after a grace period what CallRcu names."""
