"""What the counters of /proc/vmstat mean that are counted here, in few words (mm/vmstat.c, v6.1).

The others stay 0.
"""

from typing import Final

_LISTS: Final = {
    "inactive_anon": "anonymous and shared memory, inactive",
    "active_anon": "anonymous and shared memory, active",
    "inactive_file": "pages of files, inactive",
    "active_file": "pages of files, active",
    "unevictable": "locked in memory",
}
_ZONES: Final = ("dma", "dma32", "normal", "movable", "device")

VMSTAT_MEANINGS: Final[dict[str, str]] = {
    "nr_free_pages": "On the free lists of the buddy allocator; those on CPUs' lists are not.",
    **{f"nr_zone_{name}": f"On the LRU list: {what}." for name, what in _LISTS.items()},
    **{f"nr_{name}": f"On the LRU list: {what}." for name, what in _LISTS.items()},
    "nr_mlock": "With PG_mlocked.",
    "numa_hit": "From the node that was asked for.",
    "numa_miss": "From this node though another one was asked for.",
    "numa_foreign": "From another node though this one was asked for.",
    "numa_local": "From the node of the CPU that asks.",
    "numa_other": "From another node than that of the CPU that asks.",
    "nr_anon_pages": "Anonymous pages that are mapped (NR_ANON_MAPPED).",
    "nr_mapped": "Pages of files that are mapped (NR_FILE_MAPPED).",
    "nr_file_pages": "In the page cache, shared memory among them.",
    "nr_shmem": "Of shared memory and tmpfs.",
    "nr_vmscan_immediate_reclaim": "Moved to the tail of their list as soon as written back.",
    "nr_page_table_pages": "Used as page tables of processes.",
    **{f"pgalloc_{zone}": f"Allocated from zone {zone}." for zone in _ZONES},
    "nr_dirty": "Of files, changed and not written (NR_FILE_DIRTY).",
    "nr_zone_write_pending": "Dirty or being written.",
    "nr_writeback": "Being written.",
    "nr_dirtied": "That ever became dirty.",
    "nr_written": "That were ever written.",
    "nr_kernel_stack": "Stacks of threads in the kernel.",
    "nr_slab_reclaimable": "Slabs of objects that could be reclaimed: inodes, dentries, nodes.",
    "nr_slab_unreclaimable": "Slabs of all other objects, and blocks of kmalloc.",
    "nr_dirty_threshold": "So many dirty pages make who writes wait.",
    "nr_dirty_background_threshold": "So many dirty pages make flushers write.",
    "pgpgin": "Read from disks.",
    "pgpgout": "Written to disks.",
    "pgfree": "Freed.",
    "pgactivate": "Moved to an active list.",
    "pgdeactivate": "Moved to an inactive list.",
    "pglazyfree": "Marked by MADV_FREE.",
    "pglazyfreed": "Marked by MADV_FREE and taken without being written.",
    "pgfault": "Page faults, with and without waiting for a disk.",
    "pgmajfault": "Page faults that waited for a disk.",
    "pgreuse": "Write faults that kept the page, nobody else having it.",
    "pgrotated": "Moved to the tail of the inactive list when written back.",
    "drop_pagecache": "Writes to drop_caches that drop the page cache.",
    "drop_slab": "Writes to drop_caches that drop slabs.",
    "unevictable_pgs_culled": "Moved to the unevictable list.",
    "unevictable_pgs_rescued": "Moved off the unevictable list.",
    "unevictable_pgs_mlocked": "Locked by mlock or a locked area.",
    "unevictable_pgs_munlocked": "Unlocked.",
    "unevictable_pgs_cleared": "Lost PG_mlocked when they were freed.",
    "unevictable_pgs_stranded": "Unlocked, but not moved off the unevictable list.",
}
