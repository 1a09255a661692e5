"""struct kmem_cache of SLAB with its arrays and nodes, and what all caches share (v6.1).

The words of all caches lie in one array, a row for each cache: what compiled functions need of it,
then for each node its words, the array its CPUs share and those for objects of other nodes, then
the array of each CPU (struct_slab.py names them).

Invariants: a slab is on exactly one list of its node; an object is in use, in exactly one array, or
exactly one free index of its slab; `free_objects` counts the latter.
"""

from collections.abc import Iterator
from typing import Final, Protocol, Unpack

from attrs import define, field

from mmactors.arch.arena import Arena
from mmactors.label import Mode, Touch, kmem_cache_cpu, kmem_cache_node
from mmactors.mm.slab.flags import SLAB_RECLAIM_ACCOUNT, SLAB_TYPESAFE_BY_RCU
from mmactors.mm.slab.request import (
    AlienLock,
    AlienUnlock,
    ListLock,
    ListUnlock,
    LocalLock,
    LocalUnlock,
    SlabSteps,
)
from mmactors.mm.slab.slab.layout import (
    LIMIT_MAX,
    SHARED_FACTOR,
    SlabConfig,
    SlabLayout,
)
from mmactors.mm.slab.slab.struct_slab import (
    ACTIVE_BITS,
    ACTIVE_MASK,
    ALIEN_LIMIT,
    AVAIL,
    BATCHCOUNT,
    CLEARED,
    ENTRY,
    FREE_LIMIT,
    HARDENED,
    IN_OBJECT,
    LIMIT,
    NODE_ARRAY_BATCHCOUNT,
    NR_CACHE_WORDS,
    NR_NODE_WORDS,
    NUM,
    OBJECT_FREELIST,
    SIZE,
    SLABS_FREE,
    SLABS_FULL,
    SLABS_PARTIAL,
    TOTAL_SLABS,
    TOUCHED,
)
from mmactors.mm.slab.slab_common import WORD, align_up
from mmactors.mm.slab.slab_memory import MemoryParts, SlabMemory, ThisCpu

CACHES_MAX: Final = 512
"""Caches that may exist at once; Debian's kernel boots with 200."""
_SHARED_MAX: Final = SHARED_FACTOR * ((LIMIT_MAX + 1) // 2)
"""Entries of the largest array that the CPUs of a node share."""
NR_LISTS: Final = 3
"""Of slabs, on each node."""


def nr_list_heads(*, nr_nodes: int) -> int:
    """Return how many heads of lists of pages all caches may need."""
    return NR_LISTS * CACHES_MAX * nr_nodes


class IndexMemory(Protocol):
    """Where arrays of indexes come from that lie in no slab of their own: kmalloc."""

    def alloc_indexes(self, this_cpu: ThisCpu, size: int, gfp: int, node: int) -> SlabSteps[int]:
        """Return the address of `size` bytes, 0: no memory (kmalloc_node)."""

    def free_indexes(self, this_cpu: ThisCpu, thing: int) -> SlabSteps[None]:
        """Free what `alloc_indexes` returned (kfree)."""


@define(eq=False, kw_only=True)
class KmemCache:
    """One cache."""

    number: int
    """Names it; the number of a destroyed cache is used again."""
    name: str
    layout: SlabLayout
    object_size: int
    """Bytes; grows when a larger cache becomes an alias."""
    refcount: int
    useroffset: int
    usersize: int
    random_seq: tuple[int, ...]
    """In which order a new slab's objects come, from some place on; empty: by address."""
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
    """What the cache itself is made of, in the order in which it was allocated."""

    @property
    def size(self) -> int:
        """Bytes from one object to the next."""
        return self.layout.size

    @property
    def flags(self) -> int:
        """SLAB_ flags, with where the array of indexes lies."""
        return self.layout.flags

    @property
    def align(self) -> int:
        """Bytes."""
        return self.layout.align

    @property
    def has_ctor(self) -> bool:
        """Whether objects are made by a constructor."""
        return self.layout.has_ctor

    @property
    def is_reclaimable(self) -> bool:
        """Whether its pages count as nr_slab_reclaimable."""
        return bool(self.flags & SLAB_RECLAIM_ACCOUNT)

    @property
    def nr_slabs(self) -> int:
        """How many slabs all nodes count."""
        return sum(self.slabs.view[self.node(node) + TOTAL_SLABS] for node in self.slabs.nodes)

    def node(self, node: int) -> int:
        """Return where the words of a node begin."""
        return self.base + NR_CACHE_WORDS + node * self.slabs.node_words

    def shared(self, node: int) -> int:
        """Return where the array that a node's CPUs share begins; its limit is 0: there is none."""
        return self.node(node) + NR_NODE_WORDS

    def alien(self, node: int, of: int) -> int:
        """Return where the array of a node for objects of another one begins."""
        slabs = self.slabs
        return self.node(node) + NR_NODE_WORDS + slabs.shared_words + of * slabs.alien_words

    def cpu_cache(self, cpu: int) -> int:
        """Return where the array of a CPU begins."""
        return self.base + self.slabs.first_cpu_word + cpu * CPU_WORDS

    def entries(self, ac: int) -> list[int]:
        """Return the objects of an array, the last one in last."""
        view = self.slabs.view
        return view[ac + ENTRY : ac + ENTRY + view[ac + AVAIL]].tolist()

    def first_object(self, slab: int) -> int:
        """Return the address of a slab's object 0 (s_mem)."""
        return self.slabs.pages.private_view[slab] >> ACTIVE_BITS

    def active(self, slab: int) -> int:
        """Return how many objects of a slab are out, in use or in arrays."""
        return self.slabs.pages.private_view[slab] & ACTIVE_MASK

    def index_of(self, slab: int, thing: int) -> int:
        """Return which object of a slab an address belongs to."""
        return (thing - self.first_object(slab)) // self.layout.size

    def free_indexes(self, slab: int) -> list[int]:
        """Return the free objects of a slab in the order in which they are handed out."""
        freelist = self.slabs.pages.index_view[slab]
        if not freelist:
            return []
        first, end = freelist + self.active(slab), freelist + self.layout.num
        return list(self.slabs.bytes_view[first:end])

    def node_slabs(self, node: int, which: int) -> list[int]:
        """Return the slabs of SLABS_FULL, SLABS_PARTIAL or SLABS_FREE of a node, head first."""
        return self.slabs.pages.list_pfns(self.slabs.view[self.node(node) + which])

    def set_words(self) -> None:
        """Write what compiled functions need to know, and make the arrays empty."""
        layout, view, base, slabs = self.layout, self.slabs.view, self.base, self.slabs
        view[base + SIZE] = layout.size
        view[base + NUM] = layout.num
        view[base + HARDENED] = int(slabs.hardened)
        view[base + IN_OBJECT] = int(layout.flags & OBJECT_FREELIST != 0)
        self.set_cleared()
        for cpu in range(slabs.nr_cpus):
            _init_array(slabs, self.cpu_cache(cpu), layout.limit, layout.batchcount)
        has_alien = slabs.config.alien_caches
        for node in slabs.nodes:
            _init_array(slabs, self.shared(node), layout.shared_limit, NODE_ARRAY_BATCHCOUNT)
            for of in slabs.nodes if has_alien else ():
                if of != node:
                    ac = self.alien(node, of)
                    _init_array(slabs, ac, layout.alien_limit, NODE_ARRAY_BATCHCOUNT)

    def set_cleared(self) -> None:
        """Note how much of an object is cleared when it is handed out (slab_want_init_on_alloc)."""
        is_cleared = self.slabs.init_on_alloc and not (
            self.layout.has_ctor or self.flags & SLAB_TYPESAFE_BY_RCU
        )
        nr_words = align_up(self.object_size, WORD) // WORD
        self.slabs.view[self.base + CLEARED] = nr_words if is_cleared else 0

    def set_free_limit(self, node: int, nr_cpus: int) -> None:
        """Say how many objects may be free on a node before slabs go; by CPUs that were counted."""
        layout = self.layout
        self.slabs.view[self.node(node) + FREE_LIMIT] = nr_cpus * layout.batchcount + layout.num

    def alien_lock(self, node: int, of: int) -> AlienLock:
        """Return the request for the lock of an array for objects of another node."""
        return AlienLock(cache=self.number, node=node, alien=of)

    def alien_unlock(self, node: int, of: int) -> AlienUnlock:
        """Return the request that lets go of it."""
        return AlienUnlock(cache=self.number, node=node, alien=of)

    def touches_cpu(self, cpu: int, mode: Mode) -> Touch:
        """Say that a step touches the array of a CPU."""
        return kmem_cache_cpu(self.number, cpu), mode

    def touches_node(self, node: int, mode: Mode) -> Touch:
        """Say that a step touches what the cache has on a node."""
        return kmem_cache_node(self.number, node), mode


CPU_WORDS: Final = ENTRY + LIMIT_MAX
_ONE_WORDS: Final = ENTRY + 1


def _init_array(slabs: "Slabs", ac: int, limit: int, batchcount: int) -> None:
    """Make an array empty (init_arraycache); of `limit` 0 it is not there."""
    view = slabs.view
    view[ac + AVAIL] = view[ac + TOUCHED] = 0
    view[ac + LIMIT] = limit
    view[ac + BATCHCOUNT] = batchcount if limit else 0


class Slabs(SlabMemory):
    """What all caches share: their words, and the memory of objects."""

    def __init__(self, arena: Arena, config: SlabConfig, **parts: Unpack[MemoryParts]) -> None:
        super().__init__(
            rules=config.rules,
            init_on_alloc=config.init_on_alloc,
            hardened=config.hardened,
            **parts,
        )
        self.config: Final = config
        self.nodes: Final = range(self.nr_nodes)
        has_alien = config.alien_caches and self.nr_nodes > 1
        shared_max = _SHARED_MAX if config.has_shared else 0
        self.shared_words: Final = ENTRY + shared_max
        self.alien_words: Final = ENTRY + ALIEN_LIMIT if has_alien else ENTRY
        self.node_words: Final = (
            NR_NODE_WORDS + self.shared_words + self.nr_nodes * self.alien_words
        )
        self.first_cpu_word: Final = NR_CACHE_WORDS + self.nr_nodes * self.node_words
        """Of a row."""
        self.row_words: Final = self.first_cpu_word + self.nr_cpus * CPU_WORDS
        self.words: Final = arena.array(
            "slab", CACHES_MAX * self.row_words + self.nr_cpus * _ONE_WORDS
        )
        self.view: Final = self.words.data
        self.bytes: Final = self.memory.words.view("int8")
        pages = self.pages
        self.objects: Final = self.words, self.bytes, pages.index, pages.private
        """What compiled functions take objects of slabs from."""
        self.links: Final = pages.next, pages.prev
        self.local_locks: Final = tuple(LocalLock(cpu=cpu) for cpu in range(self.nr_cpus))
        self.local_unlocks: Final = tuple(LocalUnlock(cpu=cpu) for cpu in range(self.nr_cpus))
        self.indexes: IndexMemory
        """The allocator sets it."""
        self.cpu_to_mem: Final = tuple(map(self._node_with_memory, self.node_of_cpu))
        """By CPU: its node, or the nearest one with memory (numa_mem_id)."""
        self._heads: Final[dict[int, int]] = {}
        """By number of a cache: the first of its list heads, kept for the next with the number."""

    def _node_with_memory(self, node: int) -> int:
        nodes = (node, *self.nodes_by_distance[node])
        return next((each for each in nodes if each in self.slab_nodes), node)

    def one_array(self, cpu: int) -> int:
        """Return where a CPU's array of one object begins, for the object that is on its way."""
        return CACHES_MAX * self.row_words + cpu * _ONE_WORDS

    def nr_cpus_of(self, node: int) -> int:
        """Return how many CPUs a node has."""
        return self.node_of_cpu.count(node)

    def clear_row(self, number: int) -> None:
        """Forget what a cache of this number has left; give its nodes their empty lists."""
        first = number * self.row_words
        self.words[first : first + self.row_words] = 0
        if number not in self._heads:
            self._heads[number] = self.pages.claim_list_heads(NR_LISTS * self.nr_nodes)
        head = self._heads[number]
        for node in self.nodes:
            n = first + NR_CACHE_WORDS + node * self.node_words
            for nth, which in enumerate((SLABS_FULL, SLABS_PARTIAL, SLABS_FREE)):
                self.view[n + which] = head + NR_LISTS * node + nth

    def object_slabs(self, things: Iterator[int]) -> list[int]:
        """Return the slabs of objects, each once, in order."""
        heads = dict.fromkeys(self.head_of(thing) for thing in things)
        return [head for head in heads if head is not None]
