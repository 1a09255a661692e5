"""What the anonymous pages of an area belong to (struct anon_vma; include/linux/rmap.h, Linux 6.1).

A page of anonymous memory points to the anon_vma of the area that it was first mapped in. From
there an rmap walk finds all areas that may map the page: those that are linked to the anon_vma. A
forked child's area is linked to the anon_vmas of all its ancestors' areas, because it maps their
pages, and to one of its own, or to one that no area uses any more. All anon_vmas of such a tree
share one lock, that of the root.

The objects live in a cache that is type-safe under RCU: who finds one by a page may lock it before
it knows whether it is still the page's.

Left out: the order of the interval tree, in which a walk visits areas.

Invariants, with the root's lock held: `num_active_vmas` is the number of areas whose `anon_vma`
this is; `num_children` that of anon_vmas with areas whose parent it is, itself included if it is a
root.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from mmactors.mm.slab.object_cache import ObjectCaches, ObjectRequest

if TYPE_CHECKING:
    from mmactors.mm.area.vma import Vma


@define(eq=False)
class AnonVmaChain:
    """The link between an area and one of its anon_vmas (struct anon_vma_chain)."""

    vma: "Vma"
    anon_vma: "AnonVma"
    thing: int
    """Address of the object."""


@define(eq=False, kw_only=True)
class AnonVma:
    """One anon_vma."""

    number: int
    """Names the object, whoever has it."""
    thing: int
    """Address of the object."""
    generation: int
    """That of its memory."""
    cache: "AnonVmaCache" = field(repr=False)
    rwsem: object = None
    """The lock, which is the tree's if this is its root. The mechanisms ask others to take it."""
    is_live: bool = False
    """Whether somebody has the object."""
    root: "AnonVma" = field(init=False, repr=False)
    parent: "AnonVma" = field(init=False, repr=False)
    refcount: int = 0
    """1 for having areas, and 1 for each anon_vma of which this is the root."""
    num_children: int = 0
    num_active_vmas: int = 0
    rb_root: dict[AnonVmaChain, None] = field(factory=dict, repr=False)
    """The links to areas."""
    nr_walkers: int = 0
    """Who walks the links right now."""

    def __attrs_post_init__(self) -> None:
        self.root = self.parent = self


@define(eq=False, kw_only=True)
class AnonVmaCache:
    """What lies in the cache of anon_vmas: whoever had an object last left it as it is.

    Invariant: `objects` has one anon_vma for each address that was ever handed out, as long as the
    memory there is the cache's.
    """

    caches: ObjectCaches = field(factory=ObjectCaches)
    new_rwsem: Callable[[int], object] = lambda _number: None
    """Makes the lock of the object of a number, as the cache's constructor does."""
    objects: dict[int, AnonVma] = field(factory=dict, init=False)
    """By number."""
    _by_address: dict[int, AnonVma] = field(factory=dict, init=False)
    _last_number: int = field(default=-1, init=False)

    def at(self, thing: int) -> AnonVma:
        """Return the anon_vma at an address: a new one where its memory was something else."""
        found = self._by_address.get(thing)
        generation = self.caches.generation_of(thing)
        if found is None or found.generation != generation:
            if found is not None:
                del self.objects[found.number]
            self._last_number += 1
            found = AnonVma(
                number=self._last_number,
                thing=thing,
                generation=generation,
                cache=self,
                rwsem=self.new_rwsem(self._last_number),
            )
            self._by_address[thing] = self.objects[found.number] = found
        return found


@frozen(kw_only=True)
class ChangeAnonVma:
    """What follows changes these anon_vmas; nobody has to be asked. Answered with None."""

    what: str
    anon_vmas: tuple[AnonVma, ...] = ()
    """Empty: an object of the cache, whichever comes."""


@frozen(kw_only=True)
class LockAnonVma:
    """Take the lock of `root` for writing; what follows changes the anon_vmas of its tree."""

    root: AnonVma
    anon_vmas: tuple[AnonVma, ...] = ()


@frozen(kw_only=True)
class UnlockAnonVma:
    """Let the lock of `root` go."""

    root: AnonVma


@frozen(kw_only=True)
class SynchronizeAnonVma:
    """If somebody holds the lock of `root`, wait until it is free.

    What follows frees `anon_vma`.
    """

    root: AnonVma
    anon_vma: AnonVma


@frozen(kw_only=True)
class LockPageTables:
    """Take the page-table lock of the address space; what follows changes one of its areas."""

    anon_vma: AnonVma


@frozen(kw_only=True)
class UnlockPageTables:
    """Let it go."""


AnonVmaRequest = (
    ChangeAnonVma
    | LockAnonVma
    | UnlockAnonVma
    | SynchronizeAnonVma
    | LockPageTables
    | UnlockPageTables
    | ObjectRequest
)
