"""Object caches (include/linux/slab.h, mm/slab_common.c; Linux 6.1), as small as they can be.

A cache hands out objects of one type. The last one freed is the next one handed out. The
constructor makes an object once, when its slab is made, not each time it is handed out: what it
set up, such as a lock, is found as the object's last user left it.

With SLAB_TYPESAFE_BY_RCU only the memory of whole slabs waits for a grace period; an object is
handed out again at once. Who finds one under rcu_read_lock reads an object of the right type,
perhaps not the one it looked for.

Left out: everything that makes a slab allocator fast or large: per-CPU slabs, nodes, the pages that
slabs are made of; allocation never fails.

Invariants: an object is in use or on the free list, or its slab is gone; a slab that is gone has no
object in use.
"""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from attrs import define, field

MIN_PARTIAL: Final = 5
"""So many empty slabs a cache keeps (MIN_PARTIAL of mm/slub.c)."""


@define(eq=False, kw_only=True)
class SlabObject:
    """What lives in a cache; compared by identity."""

    number: int
    """Which object of its cache: a name that outlives its users."""
    generation: int = 0
    """Grows whenever the object is handed out or given back: odd while it is in use."""
    is_gone: bool = False
    """Its slab's memory was given back."""

    @property
    def is_live(self) -> bool:
        """Whether somebody has the object."""
        return self.generation & 1 == 1


T = TypeVar("T", bound=SlabObject)
Callback = Callable[[], None]


@define(eq=False, kw_only=True)
class KmemCache(Generic[T]):
    """One cache (struct kmem_cache)."""

    name: str
    objects_per_slab: int
    ctor: Callable[[int], T]
    """Makes the object of a number."""
    typesafe_by_rcu: bool = False
    call_rcu: Callable[[Callback], None] | None = None
    """Calls back after a grace period; None: nobody reads under RCU."""
    objects: dict[int, T] = field(factory=dict, init=False)
    """By number: all whose memory is still there."""
    _free: list[T] = field(factory=list, init=False)
    _nr_used: dict[int, int] = field(factory=dict, init=False)
    """By slab: objects in use."""
    _nr_empty: int = field(default=0, init=False)
    _nr_slabs_made: int = field(default=0, init=False)

    def alloc(self) -> T:
        """Hand out an object as its constructor, or its last user, left it (kmem_cache_alloc)."""
        if not self._free:
            self._new_slab()
        thing = self._free.pop()
        thing.generation += 1
        slab = thing.number // self.objects_per_slab
        if not self._nr_used[slab]:
            self._nr_empty -= 1
        self._nr_used[slab] += 1
        return thing

    def free(self, thing: T) -> None:
        """Take an object back; it may be handed out again at once (kmem_cache_free)."""
        assert thing.is_live, f"{self.name}[{thing.number}] is freed twice"
        thing.generation += 1
        self._free.append(thing)
        slab = thing.number // self.objects_per_slab
        self._nr_used[slab] -= 1
        if not self._nr_used[slab]:
            self._nr_empty += 1
            if self._nr_empty > MIN_PARTIAL:
                self._discard_slab(slab)

    def free_numbers(self) -> tuple[int, ...]:
        """Return the numbers of the free objects, the next one to be handed out last."""
        return tuple([thing.number for thing in self._free])

    def _new_slab(self) -> None:
        slab = self._nr_slabs_made
        self._nr_slabs_made += 1
        self._nr_used[slab] = 0
        self._nr_empty += 1
        for number in reversed(self._numbers(slab)):
            thing = self.objects[number] = self.ctor(number)
            self._free.append(thing)

    def _discard_slab(self, slab: int) -> None:
        """Give the memory of an empty slab back, after a grace period if readers may be in it."""
        gone = [self.objects[number] for number in self._numbers(slab)]
        self._free = [thing for thing in self._free if thing not in gone]
        del self._nr_used[slab]
        self._nr_empty -= 1

        def free_slab() -> None:
            for thing in gone:
                thing.is_gone = True
                del self.objects[thing.number]

        if self.typesafe_by_rcu and self.call_rcu is not None:
            self.call_rcu(free_slab)
        else:
            free_slab()

    def _numbers(self, slab: int) -> range:
        first = slab * self.objects_per_slab
        return range(first, first + self.objects_per_slab)
