"""struct kmem_cache with its per-CPU and per-node parts, and what all caches share (v6.1).

The words of all caches lie in one array, a row for each cache: what compiled functions need of it,
then NR_NODE_WORDS a node, then NR_CPU_WORDS a CPU (struct_slab.py names them).

Invariants: a slab is some CPU's slab, on one list, or full; `nr_partial` is the length of the
node's list; a free object is reached from exactly one freelist.
"""

from collections.abc import Iterator
from typing import Final, Unpack

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from mmactors.arch.arena import Arena
from mmactors.label import Mode, Touch, kmem_cache_cpu, kmem_cache_node
from mmactors.mm.slab.flags import SLAB_POISON, SLAB_TYPESAFE_BY_RCU
from mmactors.mm.slab.request import ListLock, ListUnlock, SlabSteps
from mmactors.mm.slab.slab_common import WORD, align_up, random_sequence
from mmactors.mm.slab.slab_memory import CACHES_MAX, MemoryParts, SlabMemory, ThisCpu, step
from mmactors.mm.slab.slub.debug.stack_depot import StackDepot
from mmactors.mm.slab.slub.layout import SlabLayout, SlubConfig
from mmactors.mm.slab.slub.struct_slab import (
    CLEARED,
    CPU_PARTIAL_SLABS,
    FREELIST,
    FULL_HEAD,
    HARDENED,
    IS_DEBUG,
    MIN_PARTIAL,
    NR_CACHE_WORDS,
    NR_CPU_WORDS,
    NR_NODE_WORDS,
    NR_SLABS,
    OFFSET,
    PAGE_OFFSET_SIGNED,
    PARTIAL_HEAD,
    RANDOM,
    SIZE,
    TID,
    TID_STEP,
    get_freepointer,
    set_freepointer,
    swab,
)
from mmactors.units import PAGE_SHIFT

_SIGN: Final = 1 << 63
_WORD_MASK: Final = (1 << 64) - 1


def nr_list_heads(*, nr_nodes: int) -> int:
    """Return how many heads of lists of pages all caches may need: two on each node."""
    return 2 * CACHES_MAX * nr_nodes


@define(eq=False, kw_only=True)
class KmemCache:
    """One cache."""

    number: int
    """Names it; the number of a destroyed cache is used again."""
    name: str
    layout: SlabLayout
    object_size: int
    """Bytes; grows when a larger cache becomes an alias."""
    inuse: int
    refcount: int
    useroffset: int
    usersize: int
    random_seed: int | None
    """What the order of a new slab's objects follows from; None: they come by address."""
    slabs: "Slabs"
    base: int
    """Where its words begin."""
    list_locks: tuple[ListLock, ...]
    """By node."""
    list_unlocks: tuple[ListUnlock, ...]
    aliases: list[str] = field(factory=list)
    is_listed: bool = True
    """Whether it is on slab_caches: what waits for readers before it is gone is not."""
    is_bootstrap: bool = False
    """It is that of struct kmem_cache: it is there before all others, and nothing makes it fail."""
    own_objects: list[int] = field(factory=list)
    """What the cache itself is made of, in the order in which it was allocated.

    Its name, struct kmem_cache, `random_seq` if it has one, a kmem_cache_node for each node.
    """
    _random_seq: NDArray[np.int64] | None = field(default=None, init=False)

    @property
    def random_seq(self) -> NDArray[np.int64]:
        """In which order a new slab's objects come, from some place on; empty: by address.

        It is made when it is first needed: most caches never have a slab.
        """
        if self._random_seq is None:
            seed, count = self.random_seed, self.layout.objects
            order = () if seed is None else random_sequence(seed, count)
            self._random_seq = np.array(order, np.int64)
        return self._random_seq

    @random_seq.setter
    def random_seq(self, order: NDArray[np.int64]) -> None:
        self._random_seq = order

    @property
    def size(self) -> int:
        """Bytes from one object to the next."""
        return self.layout.size

    @property
    def flags(self) -> int:
        """SLAB_ flags."""
        return self.layout.flags

    @property
    def has_ctor(self) -> bool:
        """Whether objects are made by a constructor."""
        return self.layout.has_ctor

    @property
    def nr_slabs(self) -> int:
        """How many slabs all nodes count."""
        nodes = range(self.slabs.nr_nodes)
        return sum(self.slabs.view[self.node(node) + NR_SLABS] for node in nodes)

    def node(self, node: int) -> int:
        """Return where the words of a node begin."""
        return self.base + NR_CACHE_WORDS + node * NR_NODE_WORDS

    def cpu_slab(self, cpu: int) -> int:
        """Return where the words of a CPU begin."""
        return self.slabs.first_cpu_word + self.base + cpu * NR_CPU_WORDS

    def get_freepointer(self, thing: int) -> int:
        """Return the free object after another, 0: it is the last."""
        slabs, address = self.slabs, thing + self.layout.offset
        if address & (WORD - 1):
            stored = int.from_bytes(slabs.bytes_view[address : address + WORD], "little")
            hidden = stored ^ self._hiding(address)
            return _signed(hidden - PAGE_OFFSET_SIGNED) if hidden else 0
        return get_freepointer(slabs.view, slabs.memory_view, self.base, thing)

    def set_freepointer(self, thing: int, following: int) -> None:
        """Let a free object be followed by another."""
        slabs, address = self.slabs, thing + self.layout.offset
        if address & (WORD - 1):
            pointer = (following + PAGE_OFFSET_SIGNED) & _WORD_MASK if following else 0
            hidden = pointer ^ self._hiding(address)
            slabs.bytes_view[address : address + WORD] = hidden.to_bytes(WORD, "little")
            return
        set_freepointer(slabs.view, slabs.memory_view, self.base, thing, following)

    def _hiding(self, address: int) -> int:
        """Return what a pointer that stands at an address is hidden with, as 64 bits."""
        view, base = self.slabs.view, self.base
        if not view[base + HARDENED]:
            return 0
        return (view[base + RANDOM] ^ swab(address + PAGE_OFFSET_SIGNED)) & _WORD_MASK

    def cpu_of_tid(self, cpu: int, this_cpu: ThisCpu) -> int:
        """Return the CPU whose transaction number is read; `cpu`: whose freelist is read next.

        It is the same: a thread that was moved meanwhile then fails in this_cpu_cmpxchg, and begins
        again. A kernel without that rule has the number of the CPU on which it is now.
        """
        return cpu if self.slabs.rules.slub_reads_tid_of_its_own_cpu else this_cpu()

    def read_tid(self, cpu: int, this_cpu: ThisCpu) -> int:
        """Return the number of the next transaction."""
        return self.slabs.view[self.cpu_slab(self.cpu_of_tid(cpu, this_cpu)) + TID]

    def this_cpu_cmpxchg(self, cpu: int, expected: int, tid: int, thing: int) -> bool:
        """Let a CPU's freelist begin with another object, unless anything was done with it since.

        The number tells a freelist from one that only looks alike (8a5ec0ba42c4, v2.6.39).
        """
        view, c = self.slabs.view, self.cpu_slab(cpu)
        is_same = view[c + TID] == tid or not self.slabs.rules.slub_cmpxchg_compares_tid
        if view[c + FREELIST] != expected or not is_same:
            return False
        view[c + FREELIST] = thing
        view[c + TID] = tid + TID_STEP
        return True

    def first_object(self, slab: int) -> int:
        """Return the address of a slab's object 0."""
        return (slab << PAGE_SHIFT) + self.layout.red_left_pad

    def index_of(self, slab: int, thing: int) -> int:
        """Return which object of a slab an address belongs to."""
        return (thing - (slab << PAGE_SHIFT)) // self.layout.size

    def chain(self, thing: int) -> Iterator[int]:
        """Yield a freelist from `thing` on; what is no object of the machine ends it."""
        nr_bytes = self.slabs.nr_bytes
        left = self.layout.objects + 1
        while thing and 0 < thing < nr_bytes and left:
            yield thing
            thing = self.get_freepointer(thing)
            left -= 1

    def set_words(self, *, random: int) -> None:
        """Write what compiled functions need to know; `random` hides pointers, 64 signed bits."""
        layout, view, base = self.layout, self.slabs.view, self.base
        config = self.slabs.config
        view[base + SIZE] = layout.size
        view[base + OFFSET] = layout.offset
        view[base + RANDOM] = random
        view[base + HARDENED] = int(config.hardened)
        view[base + CPU_PARTIAL_SLABS] = layout.cpu_partial_slabs
        view[base + MIN_PARTIAL] = layout.min_partial
        view[base + IS_DEBUG] = int(layout.is_debug)
        self.set_cleared()

    def set_cleared(self) -> None:
        """Note how much of an object is cleared when it is handed out (slab_want_init_on_alloc)."""
        is_cleared = self.slabs.config.init_on_alloc and not (
            self.layout.has_ctor or self.flags & (SLAB_TYPESAFE_BY_RCU | SLAB_POISON)
        )
        nr_words = align_up(self.object_size, WORD) // WORD
        self.slabs.view[self.base + CLEARED] = nr_words if is_cleared else 0

    def touches_cpu(self, cpu: int, mode: Mode) -> Touch:
        """Say that a step touches what the cache has on a CPU."""
        return kmem_cache_cpu(self.number, cpu), mode

    def turn_on(self, which: ThisCpu, text: str, mode: Mode) -> SlabSteps[None]:
        """Wait for the turn of a step on what the cache has on the CPU that `which` says then.

        Who was moved to another CPU meanwhile waits once more.
        """
        cpu = -1
        while cpu != which():
            cpu = which()
            yield step(text, self.touches_cpu(cpu, mode))

    def touches_node(self, node: int, mode: Mode) -> Touch:
        """Say that a step touches what the cache has on a node."""
        return kmem_cache_node(self.number, node), mode


def _signed(word: int) -> int:
    return ((word + _SIGN) & _WORD_MASK) - _SIGN


class Slabs(SlabMemory):
    """What all caches share: their words, the slabs' struct pages, the memory of objects."""

    def __init__(self, *, arena: Arena, config: SlubConfig, **parts: Unpack[MemoryParts]) -> None:
        super().__init__(
            rules=config.rules,
            init_on_alloc=config.init_on_alloc,
            hardened=config.hardened,
            **parts,
        )
        self.config: Final = config
        self.first_cpu_word: Final = NR_CACHE_WORDS + self.nr_nodes * NR_NODE_WORDS
        """Of a row."""
        self.row_words: Final = self.first_cpu_word + self.nr_cpus * NR_CPU_WORDS
        self.words: Final = arena.array("slub", CACHES_MAX * self.row_words)
        self.view: Final = self.words.data
        self.stack_depot: Final = StackDepot()
        self._heads: Final[dict[int, int]] = {}
        """By number of a cache: the first of its list heads, kept for the next with the number."""

    def make_heads(self, number: int) -> None:
        """Give a cache's nodes their empty lists."""
        if number not in self._heads:
            self._heads[number] = self.pages.claim_list_heads(2 * self.nr_nodes)
        head = self._heads[number]
        for node in range(self.nr_nodes):
            word = number * self.row_words + NR_CACHE_WORDS + node * NR_NODE_WORDS
            self.view[word + PARTIAL_HEAD] = head + 2 * node
            self.view[word + FULL_HEAD] = head + 2 * node + 1

    def clear_row(self, number: int) -> None:
        """Forget what a cache of this number has left; each CPU's transactions begin anew."""
        first = number * self.row_words
        self.words[first : first + self.row_words] = 0
        for cpu in range(self.nr_cpus):
            self.view[first + self.first_cpu_word + cpu * NR_CPU_WORDS + TID] = cpu
