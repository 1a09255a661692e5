"""The kernel's rules that real bugs broke: one field a rule, named by what the right kernel does.

A bug is a rule switched off (docs/ARCHITECTURE.md). Each rule is read in exactly one statement, in
a path that ordinary runs execute too, so that a race is a difference of rules plus a scenario. A
rule whose code is not of Linux 6.1 names its release. All rules hold unless a scenario says
otherwise under `kernel: {rules: ...}`. Those of C libraries' allocators say whose, and its release.

A rule that says whether something is held around a few lines is read where `held` is entered:

    async with held(lock, when=kernel.rules.takes_the_lock): ...
"""

from contextlib import nullcontext
from typing import TypeVar

from attrs import frozen

from mmactors.option import option

G = TypeVar("G")


def held(guard: G, *, when: bool) -> G | nullcontext[None]:
    """Return what holds `guard` inside a `with`, or nothing; so a pair stands in one place."""
    return guard if when else nullcontext()


@frozen(kw_only=True)
class Rules:
    """What the right kernel does."""

    anon_vma_counts_areas_apart: bool = option(
        True,
        doc="An anon_vma counts the areas that use it apart from its children, so that none is "
        "taken over that still has an area (2555283eb40d, v6.1).",
    )
    anon_vma_prepare_locks_new: bool = option(
        True,
        doc="Linking the first area to a new anon_vma takes its lock, as a walk may have found the "
        "object by a page of its last user (d9d332e0874f, v2.6.28).",
    )
    expand_stack_locks_for_writing: bool = option(
        True,
        doc="An area that grows down takes mmap_lock for writing, as its tree changes "
        "(9471f1f2f502, v6.5 and v6.1.37).",
    )
    vmacache_seqnum_never_wraps: bool = option(
        True,
        doc="The sequence number of the threads' caches of areas has 64 bits and never comes back "
        "(7a9cdebdcc17, v4.19).",
    )
    vma_adjust_locks_i_mmap: bool = option(
        True,
        doc="The limits and the offset of an area that maps a file change together, with the lock "
        "of the file's areas held (fd031e89b374 of the history before git, v2.5).",
    )
    page_lock_anon_vma_rechecks_mapped: bool = option(
        True,
        doc="An rmap walk that has locked the anon_vma of a page asks again whether the page is "
        "mapped: else the anon_vma may be another's by now (f18194275c39, v2.6.36).",
    )
    migrate_collect_flushes_under_ptl: bool = option(
        True,
        doc="Collecting pages for device memory flushes the TLBs before it lets go of the "
        "page-table lock (60bae7370896, v6.1).",
    )
    free_pages_frees_tails: bool = option(
        True,
        doc="__free_pages gives the tail pages of a block that is not compound back itself when "
        "somebody else still holds its first page (e320d3012d25, v5.10).",
    )
    free_pcppages_rereads_isolated_type: bool = option(
        True,
        doc="Draining a CPU's list looks at the pageblock's type again, under zone->lock, while "
        "any pageblock is isolated (51bb1a4093cc, v3.18).",
    )
    isolation_splits_large_blocks: bool = option(
        True,
        doc="A free block that is larger than a pageblock is cut in the same section of zone->lock "
        "in which one of its pageblocks is isolated or given back; before, pages handed out "
        "between two such sections left nr_free_pages wrong (fd919a85cd55, v6.10).",
    )
    online_sets_up_pageset_first: bool = option(
        True,
        doc="A zone that comes online has CPU lists of its own before requests find it in their "
        "zonelists (4eaf3f64397c, v2.6.35).",
    )
    watermarks_see_percpu_drift: bool = option(
        True,
        doc="Below percpu_drift_mark a watermark check sums up what the CPUs have not counted yet "
        "(aa45484031dd, v2.6.36; since v2.6.38 kswapd lets them count sooner instead).",
    )
    offline_disables_pcp: bool = option(
        True,
        doc="Taking memory offline keeps pages off the CPUs' lists meanwhile (ec6e8c7e0314, "
        "v5.11; before, 968318261221, v5.9, drained them again and again).",
    )
    move_ptes_flushes_clean_under_ptl: bool = option(
        True,
        doc="mremap flushes the TLBs of clean entries that it moved before it lets go of either "
        "page-table lock (eb66ae030829, v4.19, CVE-2018-18281).",
    )
    move_ptes_flushes_dirty_under_ptl: bool = option(
        True,
        doc="mremap flushes the TLBs of dirty entries that it moved before it lets go of either "
        "page-table lock (5d1904204c99, v4.9).",
    )
    fork_raises_write_protect_seq: bool = option(
        True,
        doc="fork lets pinning without locks know that it write-protects entries, by "
        "mm->write_protect_seq (57efa1fe5957, v5.11).",
    )
    gup_keeps_foll_write: bool = option(
        True,
        doc="A forced write to a page looks for the private copy that its fault made, instead of "
        "taking whatever is mapped after the fault (19be0eaffa3a, v4.9, CVE-2016-5195).",
    )
    tlb_finish_flushes_when_nested: bool = option(
        True,
        doc="Whoever has cleared entries flushes at the end also what others have cleared and not "
        "flushed yet (99baac21e458, v4.13).",
    )
    madvise_remove_drops_mmap_lock: bool = option(
        True,
        doc="MADV_REMOVE lets go of mmap_lock before it takes the inode's lock; before, madvise "
        "had it for writing all the time (90ed52ebe481, v2.6.21).",
    )
    nested_flush_frees_tables: bool = option(
        True,
        doc="Who finishes taking pages away and finds others at it flushes everything, page tables "
        "too, for lazy CPUs as well (7a30df49f63a, v5.2).",
    )
    switch_mm_orders_cpumask: bool = option(
        True,
        doc="A CPU that loads an address space is seen in mm_cpumask by all before it can fill its "
        "TLB (71b3c126e611, v4.5).",
    )
    should_flush_counts_switching_cpus: bool = option(
        True,
        doc="A flush interrupts a CPU that is just loading another address space "
        "(fea4e317f9e7, v6.15; v6.14 skipped it, 6.1.192 has the fix).",
    )
    remove_table_flushes_first: bool = option(
        True,
        doc="A page table for which there is no batch is freed after the TLBs were flushed "
        "(d86564a2f085, v4.19).",
    )
    slub_reads_tid_of_its_own_cpu: bool = option(
        True,
        doc="The transaction number that SLUB reads is that of the CPU whose freelist it reads "
        "next, wherever the thread is by then (7cccd80b4397, v3.9, kept it there meanwhile; 6.1 "
        "reads both by one pointer).",
    )
    slub_cmpxchg_compares_tid: bool = option(
        True,
        doc="SLUB changes a CPU's freelist only if the transaction number is the one that it has "
        "read, too (8a5ec0ba42c4, v2.6.39).",
    )
    percpu_ref_sums_after_grace_period: bool = option(
        True,
        doc="The counters of a reference count that is killed are summed in a callback of RCU's, "
        "when no CPU can be about to change its own any more (215e262f2aeb, v3.11).",
    )
    pgd_lock_keeps_interrupts_on: bool = option(
        True,
        doc="Interrupts stay on while pgd_lock is held and page_table_lock waited for "
        "(a79e53d85683, v2.6.38).",
    )
    vmalloc_purge_flushes_tlb: bool = option(
        True,
        doc="Addresses that were freed lazily are used again only when no CPU knows a translation "
        "of them any more (db64fe02258f, v2.6.28; no release broke it: one to learn from).",
    )
    deactivate_slab_keeps_cpu_freelist: bool = option(
        True,
        doc="A slab that a CPU gives up gets back what the CPU has left of its objects (no release "
        "broke it: one to learn from).",
    )
    create_cache_frees_once: bool = option(
        True,
        doc="A cache that cannot be made gives its struct kmem_cache back once (757fed1d0898, "
        "v5.12; v5.8 to v5.11 freed it in sysfs_slab_add, too).",
    )
    freepointer_lies_within_object: bool = option(
        True,
        doc="The pointer in a free object ends before the object does (e41a49fadbc8, v5.13; from "
        "v5.7 on it began at the middle or behind it, and so lay beside objects of 9 to 23 bytes).",
    )
    vm_unmap_aliases_sees_full_blocks: bool = option(
        True,
        doc="vm_unmap_aliases looks at all blocks of vm_map_ram for what was unmapped, at those "
        "without room, too (fc1e0d980037, v6.5).",
    )
    purge_locks_queue_of_block: bool = option(
        True,
        doc="Purging takes a block off its CPU's list with the lock of that list (8c61291fd850, "
        "v6.10; v6.5 to v6.9 took the lock of the CPU that the block's address belongs to).",
    )
    futex_wait_checks_under_hb_lock: bool = option(
        True,
        doc="futex_wait reads the word with the lock of its bucket held, so that no wake-up comes "
        "between the look and the sleep (no release broke it: one to learn from).",
    )
    futex_wake_orders_waiters: bool = option(
        True,
        doc="futex_wake has a full barrier before it looks whether anybody waits, also for private "
        "futexes (76835b0ebf8a, v3.18; v3.14 to v3.17 had none there).",
    )
    free_list_has_its_own_lock: bool = option(
        True,
        doc="glibc: which arenas have no threads is guarded by a lock that nobody holds while he "
        "waits for an arena's mutex, as fork does with list_lock (BZ #19182; 90c400bd4904, 2.23).",
    )
    free_list_has_arenas_without_threads: bool = option(
        True,
        doc="glibc: a thread that ends puts its arena on the free list only if no other thread "
        "uses it (BZ #19048; a62719ba90e2, 2.23).",
    )
    reused_arena_leaves_free_list: bool = option(
        True,
        doc="glibc: an arena that is found to be shared leaves the free list, on which it may be "
        "since the thread looked there (BZ #20370; f88aab5d508c, 2.25).",
    )
    free_checks_old_fastbin_head_when_locked: bool = option(
        True,
        doc="glibc: the size of the chunk that was first in a fastbin is looked at only with the "
        "arena's mutex held: else it may be another chunk by then (BZ #15073; 362b47fe09ca, 2.19).",
    )
    free_checks_next_size_again_when_locked: bool = option(
        True,
        doc="glibc: a next chunk whose size looks wrong is looked at again with the arena's mutex "
        "held before free aborts: the top and system_mem change one after the other "
        "(bec466d922ee, 2.11).",
    )
    malloc_checks_size_before_tcache: bool = option(
        True,
        doc="glibc: the size of a chunk is computed with a check for overflow before the thread's "
        "cache is asked (BZ #22375, CVE-2017-17426; 34697694e8a9, 2.27).",
    )
    tcmalloc_holds_locks_at_fork: bool = option(
        True,
        doc="gperftools: fork waits for the locks of the page heap and of all central lists, so "
        "that the child has none that nobody gives back (issue 496; bd3b3a7e9a67, 2.1).",
    )
    jemalloc_deregisters_before_unmap: bool = option(
        True,
        doc="jemalloc: an extent leaves the map of extents before its pages are unmapped: after, "
        "another thread may have registered one at the same addresses (9a645c612f1d, 5.0.0).",
    )
