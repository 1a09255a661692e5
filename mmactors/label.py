"""Labels: what a step does, which shared objects it touches, and how; the names of all objects.

State that several actors touch is reached in steps. A step has a label; guard mode holds every
access against it, and a search decides by it which orders of steps are the same. A mechanism that
is driven by an actor yields the label of what it does until its next request; an actor takes a step
with `await engine.step(label)`. Names are made here and nowhere else. `races/objects.py` says what
an object of a machine holds.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final

from attrs import frozen


class Mode(Enum):
    """How a step touches an object. Adds commute with adds; reads with reads."""

    READ = "r"
    WRITE = "w"
    ADD = "a"

    __hash__ = object.__hash__  # That of Enum is Python; touches are looked up all the time.


Touch = tuple[str, Mode]
"""An object, and how it is touched."""
Touches = tuple[Touch, ...]


@frozen
class Label:
    """What a step does: its text, and the objects it touches."""

    text: str
    touches: Touches


WantsStep = Callable[[], bool]
"""Whether somebody asks for steps."""


def never() -> bool:
    """Answer for machines on which nobody asks for steps."""
    return False


PAGE_TABLES: Final = "page_tables"
PAGES: Final = "pages"
DATA: Final = "data"
PAGEBLOCK: Final = "pageblock"
PCP: Final = "pcp"
LRU: Final = "lru"
PAGE_LRU: Final = "page_lru"
VMSTAT: Final = "vmstat"
ZONELISTS: Final = "zonelists"
RSS: Final = "rss"
VMAS: Final = "vmas"
ANON_VMA: Final = "anon_vma"
I_MMAP: Final = "i_mmap"
PAGE_CACHE: Final = "page_cache"
I_PAGES: Final = "i_pages"
I_SIZE: Final = "i_size"
FILE_RA: Final = "file_ra"
DCACHE: Final = "dcache"
I_COUNT: Final = "i_count"
S_INODES: Final = "s_inodes"
"""All inodes, and their numbers."""
FILES: Final = "files"
TASKLIST: Final = "tasklist"
"""Who is whose child, who has ended, and which pids were given out."""
STORE: Final = "store"
TLB: Final = "tlb"
TLB_GEN: Final = "tlb_gen"
TLB_FLUSH_PENDING: Final = "tlb_flush_pending"
TLB_FLUSH_BATCHED: Final = "tlb_flush_batched"
MM_CPUMASK: Final = "mm_cpumask"
MM_FLAGS: Final = "mm_flags"
PAGE_LOCK: Final = "page_lock"
VALUE: Final = "value"
VM_COMMITTED_AS: Final = "vm_committed_as"
"""What the machine has promised (mm/area/overcommit.py)."""
RCU: Final = "rcu"
RCU_CALLBACKS: Final = "rcu_callbacks"
KMEM_CACHE_CPU: Final = "kmem_cache_cpu"
KMEM_CACHE_NODE: Final = "kmem_cache_node"
SLAB: Final = "slab"
VMAP_AREAS: Final = "vmap_areas"
"""The areas of the kernel's address space that are in use."""
FREE_VMAP_AREAS: Final = "free_vmap_areas"
PURGE_VMAP_AREAS: Final = "purge_vmap_areas"
"""Those that were freed and that CPUs may know translations of."""
VMAP_LAZY_NR: Final = "vmap_lazy_nr"
"""How many pages of those there are."""
NR_VMALLOC_PAGES: Final = "nr_vmalloc_pages"
NE_FIT_PRELOAD: Final = "ne_fit_preload_node"
VFREE_DEFERRED: Final = "vfree_deferred"
VMAP_BLOCKS: Final = "vmap_blocks"
"""The array of blocks by address."""
VMAP_BLOCK: Final = "vmap_block"
VMAP_BLOCK_QUEUE: Final = "vmap_block_queue"
SLOB: Final = "slob"
"""The three lists of pages with room (mm/slab/slob)."""
PCPU_CHUNKS: Final = "pcpu_chunks"
"""All chunks of per-CPU memory with their lists, and what is counted over them."""
PERCPU_REF: Final = "percpu_ref"
PERCPU_REF_COUNT: Final = "percpu_ref_count"
PERCPU_COUNT: Final = "percpu_count"
FUTEX_QUEUES: Final = "futex_queues"
"""Who sleeps at words, by bucket."""
HB_WAITERS: Final = "hb_waiters"
"""How many sleep there or are about to."""
MALLOC_STATE: Final = "malloc_state"
FASTBINS: Final = "fastbins"
MALLOC_PAR: Final = "malloc_par"
"""Thresholds and counts of mappings of a process's allocator."""
ARENA_LIST: Final = "arena_list"
"""The list of all arenas of a process, how many there are, and which is shared next."""
ARENA_FREE_LIST: Final = "arena_free_list"
"""The list of those without threads, and how many threads each has."""

CENTRAL_LIST: Final = "central_list"
"""tcmalloc's free blocks of a class that all threads share."""
PAGE_HEAP: Final = "page_heap"
"""tcmalloc's spans, their map, and what its caches may have."""
EXTENT_MAP: Final = "extent_map"
"""jemalloc's map from addresses to extents."""


def pte(index: int) -> str:
    """Name a word of a page table, by its index in memory."""
    return f"{PAGE_TABLES}[{index}]"


def page(pfn: int) -> str:
    """Name a struct page."""
    return f"{PAGES}[{pfn}]"


def data(pfn: int) -> str:
    """Name what a page contains."""
    return f"{DATA}[{pfn}]"


def pageblock(block: int) -> str:
    """Name the type of a pageblock, by its number: PFN >> pageblock_order."""
    return f"{PAGEBLOCK}[{block}]"


def pcp(cpu: int) -> str:
    """Name the page lists of a CPU."""
    return f"{PCP}[{cpu}]"


def lru(cpu: int) -> str:
    """Name the batches of a CPU in which pages wait for their LRU lists."""
    return f"{LRU}[{cpu}]"


def page_lru(pfn: int) -> str:
    """Name what a page's flags say of its LRU list and its use."""
    return f"{PAGE_LRU}[{pfn}]"


def vmstat(zone: int) -> str:
    """Name the counters of a zone."""
    return f"{VMSTAT}[{zone}]"


def rss(ctx_id: int) -> str:
    """Name an address space's rss counters."""
    return f"{RSS}[{ctx_id}]"


def areas(ctx_id: int) -> str:
    """Name an address space's areas."""
    return f"{VMAS}[{ctx_id}]"


def mm_flags(ctx_id: int) -> str:
    """Name an address space's flags (mm->flags)."""
    return f"{MM_FLAGS}[{ctx_id}]"


def mm_cpumask(ctx_id: int) -> str:
    """Name the set of CPUs on which an address space has been loaded."""
    return f"{MM_CPUMASK}[{ctx_id}]"


def tlb_gen(ctx_id: int) -> str:
    """Name the number of flushes of an address space."""
    return f"{TLB_GEN}[{ctx_id}]"


def tlb_flush_pending(ctx_id: int) -> str:
    """Name the number of gathers that are open in an address space."""
    return f"{TLB_FLUSH_PENDING}[{ctx_id}]"


def tlb_flush_batched(ctx_id: int) -> str:
    """Name the number of flushes of an address space that reclaim has deferred."""
    return f"{TLB_FLUSH_BATCHED}[{ctx_id}]"


def tlb(cpu: int) -> str:
    """Name the translations that a CPU knows."""
    return f"{TLB}[{cpu}]"


def kmem_cache_cpu(cache: int, cpu: int) -> str:
    """Name what a cache of objects has on a CPU."""
    return f"{KMEM_CACHE_CPU}[{cache}][{cpu}]"


def kmem_cache_node(cache: int, node: int) -> str:
    """Name what a cache of objects has on a node."""
    return f"{KMEM_CACHE_NODE}[{cache}][{node}]"


def slab(pfn: int) -> str:
    """Name struct slab, with what stands in the slab's free objects."""
    return f"{SLAB}[{pfn}]"


def ne_fit_preload(cpu: int) -> str:
    """Name the struct vmap_area that a CPU has ready for splitting."""
    return f"{NE_FIT_PRELOAD}[{cpu}]"


def vfree_deferred(cpu: int) -> str:
    """Name what interrupts of a CPU have told it to vfree."""
    return f"{VFREE_DEFERRED}[{cpu}]"


def vmap_block(index: int) -> str:
    """Name a block of vm_map_ram, by its index among all that there may be."""
    return f"{VMAP_BLOCK}[{index}]"


def vmap_block_queue(cpu: int) -> str:
    """Name the list of a CPU's blocks that have room."""
    return f"{VMAP_BLOCK_QUEUE}[{cpu}]"


def percpu_ref(number: int) -> str:
    """Name the mode of a reference count with counters of CPUs'."""
    return f"{PERCPU_REF}[{number}]"


def percpu_ref_count(number: int) -> str:
    """Name the word of such a count that all CPUs change."""
    return f"{PERCPU_REF_COUNT}[{number}]"


def percpu_count_of(number: int) -> str:
    """Name the counters of all CPUs of such a count."""
    return f"{PERCPU_COUNT}[{number}]"


def percpu_count(number: int, cpu: int) -> str:
    """Name a CPU's counter of such a count."""
    return f"{percpu_count_of(number)}[{cpu}]"


def futex_queue(bucket: int) -> str:
    """Name the threads that sleep at the words of a bucket."""
    return f"{FUTEX_QUEUES}[{bucket}]"


def hb_waiters(bucket: int) -> str:
    """Name the number of threads that sleep there or are about to."""
    return f"{HB_WAITERS}[{bucket}]"


def rcu(cpu: int) -> str:
    """Name the read sections of a CPU."""
    return f"{RCU}[{cpu}]"


def rcu_callbacks(cpu: int) -> str:
    """Name the callbacks of a CPU that wait for a grace period to begin."""
    return f"{RCU_CALLBACKS}[{cpu}]"


def cpu_context(cpu: int) -> str:
    """Name what runs on a CPU; interrupts write it."""
    return f"cpu{cpu}"


def anon_vma_tree(number: int) -> str:
    """Name the tree of an anon_vma."""
    return f"{ANON_VMA}[{number}]"


def i_mmap(number: int) -> str:
    """Name the areas that map an inode."""
    return f"{I_MMAP}[{number}]"


def page_cache(number: int) -> str:
    """Name all of an inode's page cache."""
    return f"{PAGE_CACHE}[{number}]"


def cached_page(number: int, index: int) -> str:
    """Name one slot of an inode's page cache."""
    return f"{PAGE_CACHE}[{number}][{index}]"


def page_nodes(number: int) -> str:
    """Name the nodes of an inode's page cache."""
    return f"{I_PAGES}[{number}]"


def i_size(number: int) -> str:
    """Name the size of an inode."""
    return f"{I_SIZE}[{number}]"


def dcache(number: int) -> str:
    """Name the names in a directory, by its number."""
    return f"{DCACHE}[{number}]"


def i_count(number: int) -> str:
    """Name the number of users of an inode."""
    return f"{I_COUNT}[{number}]"


def open_files(pid: int) -> str:
    """Name the open files of a process."""
    return f"{FILES}[{pid}]"


def stored_page(number: int, index: int) -> str:
    """Name a page of an inode on its device."""
    return f"{STORE}[{number}][{index}]"


def page_lock(pfn: int) -> str:
    """Name a page's lock."""
    return f"{PAGE_LOCK}[{pfn:#x}]"


def value(ctx_id: int, vpn: int) -> str:
    """Name what a process knows of a page of its memory (checkers)."""
    return f"{VALUE}[{ctx_id}][{vpn:#x}]"


def values(ctx_id: int) -> str:
    """Name what a process knows of all its memory (checkers)."""
    return f"{VALUE}[{ctx_id}]"


def malloc_state(number: int, arena: int) -> str:
    """Name what the mutex of an arena guards: chunks, bins, its top; by process and address."""
    return f"{MALLOC_STATE}[{number}][{arena:#x}]"


def fastbins(number: int, arena: int) -> str:
    """Name the fastbins of an arena, with have_fastchunks."""
    return f"{FASTBINS}[{number}][{arena:#x}]"


def malloc_par(number: int) -> str:
    """Name the parameters of a process's allocator."""
    return f"{MALLOC_PAR}[{number}]"


def central_list(number: int, size_class: int) -> str:
    """Name what the lock of a class of tcmalloc's guards, in a process."""
    return f"{CENTRAL_LIST}[{number}][{size_class}]"


def central_lists(number: int) -> str:
    """Name all of these, and whose turn it is to give up a slot."""
    return f"{CENTRAL_LIST}[{number}]"


def page_heap(number: int) -> str:
    """Name what the lock of tcmalloc's page heap guards."""
    return f"{PAGE_HEAP}[{number}]"


def extent_map(number: int) -> str:
    """Name what jemalloc knows of a process's addresses."""
    return f"{EXTENT_MAP}[{number}]"


def arena_list(number: int) -> str:
    """Name the list of a process's arenas."""
    return f"{ARENA_LIST}[{number}]"


def arena_free_list(number: int) -> str:
    """Name the list of a process's arenas that have no threads."""
    return f"{ARENA_FREE_LIST}[{number}]"
