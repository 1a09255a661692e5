"""The laws that sanitizers hold a kernel to: what each says, where to look when it is broken."""

from enum import StrEnum
from typing import Final

from attrs import frozen


class Law(StrEnum):
    """What was broken, as the first words of a finding."""

    STALE_TRANSLATION = "stale translation"
    STALE_AFTER_REVOKE = "stale translation after revoke"
    STALE_KERNEL = "stale kernel translation"
    LOST_WRITE = "lost write"
    LOST_PRIVATE = "private data lost"
    NOT_ON_DISK = "not on disk"
    ISOLATION = "isolation broken"
    DOUBLE_FREE = "double free"
    TWICE_ALLOCATED = "page handed out twice"
    FREED_WHILE_MAPPED = "page free and mapped"
    BAD_PAGE_STATE = "bad page state"
    TWO_LISTS = "broken free list"
    LEAK = "leak"
    RESERVE = "reserve touched"
    COUNTER = "wrong counter"
    LOCK_ORDER = "possible deadlock"
    ATOMIC_SLEEP = "sleep in atomic context"
    USE_AFTER_FREE = "use after free"
    OUT_OF_BOUNDS = "out of bounds"
    OBJECT_FREED_TWICE = "object freed twice"
    NO_OBJECT_FREED = "free of no object"
    WRONG_CACHE = "free into the wrong cache"
    OBJECT_TWICE = "object handed out twice"
    OBJECT_LOST = "object lost"
    FREELIST = "broken freelist"
    OBJECT_LEAK = "object leak"
    WRONG_AREA = "area given back the wrong way"
    AREA_LEAK = "area leak"
    BLOCK_QUEUE = "broken list of blocks"
    HEAP_USE_AFTER_FREE = "heap use after free"
    HEAP_OUT_OF_BOUNDS = "heap out of bounds"
    HEAP_DOUBLE_FREE = "heap double free"
    HEAP_NO_BLOCK = "heap free of no block"
    HEAP_TWICE = "heap block handed out twice"
    HEAP_LEAK = "heap leak"


@frozen(kw_only=True)
class Lesson:
    """What the kernel promises, and where to look if it does not keep it."""

    law: str
    look: str


LESSONS: Final = {
    Law.STALE_TRANSLATION: Lesson(
        law="a page goes back to the allocator only when no CPU can reach it any more: entries "
        "are cleared, then every CPU in mm_cpumask forgets them, then the page is freed",
        look="who cleared the entry of this address, and which flush should have reached this CPU "
        "before the page was freed (mm/mmu_gather.c, arch/x86/mm/tlb.c)",
    ),
    Law.STALE_AFTER_REVOKE: Lesson(
        law="when a call that takes rights away returns, no access goes through what it took, "
        "also if another CPU had changed the entry before it and has not flushed yet",
        look="whether the flush happens before the page-table lock is released, or whoever finds "
        "the entry changed flushes too (mm_tlb_flush_pending, tlb_finish_mmu)",
    ),
    Law.STALE_KERNEL: Lesson(
        law="addresses that the kernel has unmapped are used again, and vm_unmap_aliases returns, "
        "only when no CPU knows a translation of them any more",
        look="which flush should have had this address in its range, and whether all that was "
        "unmapped is looked at for it (mm/vmalloc.c, __purge_vmap_area_lazy, _vm_unmap_aliases)",
    ),
    Law.LOST_WRITE: Lesson(
        law="a load finds all stores that came before it, whatever page it finds them in, but for "
        "those that a call such as madvise was asked to drop and dropped after them",
        look="which CPU could still write to the old page when it was copied, written to disk or "
        "dropped, and by what flush it should have been stopped (ptep_clear_flush, page_mkclean)",
    ),
    Law.LOST_PRIVATE: Lesson(
        law="what a process wrote to private memory stays there until its own call gives it up "
        "(munmap, madvise, exit), or the file that it maps ends before it (ftruncate)",
        look="who cleared the entry of this address, and whether it should have passed over pages "
        "that are the process's own (even_cows of unmap_mapping_range, should_zap_page)",
    ),
    Law.NOT_ON_DISK: Lesson(
        law="when fsync, or msync with MS_SYNC, returns, all that was stored to the file before it "
        "began is on disk, through whatever mapping or by write()",
        look="who made the page clean while a CPU could still write to it, and whether the call "
        "looked at this page at all (page_mkclean, clear_page_dirty_for_io, vfs_fsync_range)",
    ),
    Law.ISOLATION: Lesson(
        law="a private write is seen by nobody else, and nobody sees a page before it is cleared",
        look="who was given this page while another still used it: copies on write that were left "
        "out (do_wp_page, gup), pages freed too early",
    ),
    Law.DOUBLE_FREE: Lesson(
        law="each reference is dropped once, and only who drops the last one frees the page",
        look="who dropped references without holding one (put_page, __free_pages)",
    ),
    Law.TWICE_ALLOCATED: Lesson(
        law="a free page is on exactly one list, and leaves it when it is handed out",
        look="list operations of the page without the lock of its list (zone->lock; interrupts "
        "off for per-CPU lists)",
    ),
    Law.FREED_WHILE_MAPPED: Lesson(
        law="each entry that maps a page holds a reference of it, so a free page has no mapping",
        look="who counted the mapping without taking a reference, or did not count it back "
        "(mm/rmap.c, zap_pte_range)",
    ),
    Law.BAD_PAGE_STATE: Lesson(
        law="a page is freed with none of PAGE_FLAGS_CHECK_AT_FREE and at most the reference "
        "that is being dropped",
        look="what still works on the page: its flags say who (include/linux/page-flags.h)",
    ),
    Law.TWO_LISTS: Lesson(
        law="a page is on at most one list, and links lead forth and back",
        look="list operations of these pages without the lock of their list",
    ),
    Law.LEAK: Lesson(
        law="what is neither free nor mapped, cached nor a table is lost for ever",
        look="the path that dropped its last use without freeing it: errors, races lost, tails of "
        "blocks (__free_pages)",
    ),
    Law.RESERVE: Lesson(
        law="an ordinary request leaves the pages below the min watermark to those that free "
        "memory: reclaim, and processes that are killed",
        look="what the check went by, and how much the CPUs have not counted yet: the global "
        "number of free pages lags (percpu_drift_mark, zone_page_state_snapshot)",
    ),
    Law.COUNTER: Lesson(
        law="when nobody runs, the sum of a counter and its per-CPU deltas is the truth",
        look="a change of the structure without one of the counter, with another amount, zone or "
        "type, or twice",
    ),
    Law.LOCK_ORDER: Lesson(
        law="all take locks in one order, and none that an interrupt takes with interrupts on",
        look="the two chains of the report: the shortest of them can be broken "
        "(Documentation/locking/lockdep-design.rst)",
    ),
    Law.ATOMIC_SLEEP: Lesson(
        law="who holds a spinlock or has interrupts off does not wait for a lock that sleeps",
        look="what the report says is held (might_sleep, kernel/sched/core.c)",
    ),
    Law.USE_AFTER_FREE: Lesson(
        law="from the free on an object's memory is the cache's, and soon somebody else's",
        look="who else still has the pointer; forget it where the object is freed, or count its "
        "users (kref); to see it as the kernel does give the cache flags=poison",
    ),
    Law.OUT_OF_BOUNDS: Lesson(
        law="who has an object touches its own bytes only: what lies before and behind is the "
        "next object, or the pointer to the next free one",
        look="how the length was computed, and whether it was checked against what was asked for; "
        "to see it as the kernel does give the cache flags=red_zone,consistency_checks",
    ),
    Law.OBJECT_FREED_TWICE: Lesson(
        law="an object is freed once for each time that it is handed out: a second free puts it on "
        "a freelist again, and two will be given the same memory",
        look="which of the two frees is the owner's; paths that clean up after an error often free "
        "what their caller frees, too; flags=consistency_checks lets the kernel refuse it",
    ),
    Law.NO_OBJECT_FREED: Lesson(
        law="what is freed is an address that the allocator has returned, the first byte of it",
        look="whether the pointer was moved since, or never was an object's",
    ),
    Law.WRONG_CACHE: Lesson(
        law="kmem_cache_free is told the cache that the object was allocated from",
        look="which of the caches the caller means; with CONFIG_SLAB_FREELIST_HARDENED, or "
        "flags=consistency_checks, the kernel says so and frees it as its own cache's",
    ),
    Law.OBJECT_TWICE: Lesson(
        law="an object that is handed out is on no freelist until it is freed",
        look="who put it on a freelist while it was in use: a double free, or a pointer between "
        "free objects that was overwritten",
    ),
    Law.OBJECT_LOST: Lesson(
        law="an object is in use, or on exactly one freelist, of a CPU or of its slab; a slab with "
        "free objects is some CPU's, or on one list of its node. SLAB has arrays of objects for "
        "CPUs and nodes, SLOB free blocks in pages",
        look="where its slab last changed hands: what a CPU has left of its freelist goes back to "
        "the slab (deactivate_slab), each partial slab to a list (put_cpu_partial). With SLAB, "
        "where an array was filled or emptied (free_block); with SLOB, where its block was cut or "
        "freed (slob_page_alloc, slob_free)",
    ),
    Law.FREELIST: Lesson(
        law="freelists lead from free object to free object of one slab, each of them once; SLAB "
        "has indexes of free objects instead, SLOB strings free blocks of a page together",
        look="who wrote into a free object, or freed one twice (mm/slub.c, get_freepointer)",
    ),
    Law.OBJECT_LEAK: Lesson(
        law="who was given an object frees it, or keeps a pointer to it",
        look="where the last pointer was overwritten or dropped: errors that return early, names "
        "that were bound anew",
    ),
    Law.WRONG_AREA: Lesson(
        law="an area goes back by the function that belongs to the one that made it: vfree for "
        "vmalloc, vunmap for vmap, vm_unmap_ram for vm_map_ram, free_vm_area for get_vm_area",
        look="who made it; vunmap forgets the pages that vmalloc has allocated",
    ),
    Law.AREA_LEAK: Lesson(
        law="who was given an area gives it back, or keeps its address",
        look="where the last pointer was overwritten or dropped: errors that return early, names "
        "that were bound anew",
    ),
    Law.BLOCK_QUEUE: Lesson(
        law="a block of vm_map_ram that has room is on the list of the CPU that made it, once",
        look="which lock was held where links were changed: it is that of the list that the block "
        "is on, not that of whoever works on it (mm/vmalloc.c, vmap_block_queue)",
    ),
    Law.HEAP_USE_AFTER_FREE: Lesson(
        law="from free on a block is the library's, which keeps its lists there, and soon somebody "
        "else's; realloc may move it, and has freed it then",
        look="which pointer was kept beside the one that was freed; a write there breaks glibc's "
        "lists: malloc(): unaligned tcache chunk detected, corrupted double-linked list",
    ),
    Law.HEAP_OUT_OF_BOUNDS: Lesson(
        law="who has a block touches the bytes that were asked for: what malloc_usable_size adds "
        "is the library's, and behind it begins the next chunk, with its size",
        look="how the length was computed; glibc finds it later, with somebody else's call: "
        "corrupted size vs. prev_size, free(): invalid next size, malloc(): corrupted top size",
    ),
    Law.HEAP_DOUBLE_FREE: Lesson(
        law="a block is freed once; what realloc has moved or given the size 0 is freed, too",
        look="which of the two frees is the owner's. glibc finds it if nobody has the memory yet: "
        "free(): double free detected in tcache 2, double free or corruption (fasttop, top, !prev)",
    ),
    Law.HEAP_NO_BLOCK: Lesson(
        law="what is freed is an address that malloc or its like has returned",
        look="whether the pointer was moved since, or never was malloc's. glibc finds it if there "
        "is no header before it: free(): invalid pointer, munmap_chunk(): invalid pointer",
    ),
    Law.HEAP_TWICE: Lesson(
        law="memory that malloc returns is nobody else's",
        look="what was done to the heap before: a double free that was not seen, or a size or link "
        "that was overwritten",
    ),
    Law.HEAP_LEAK: Lesson(
        law="who was given a block frees it, or still has a pointer to it when the process ends",
        look="where the last pointer was overwritten: names that were bound anew, as LeakSanitizer "
        "looks for pointers",
    ),
}
