"""Which counters each line of /proc/meminfo is made of (fs/proc/meminfo.c, v6.1)."""

PAGES = {
    "MemFree": ("nr_free_pages",),
    "SwapCached": ("nr_swapcached",),
    "Active": ("nr_active_anon", "nr_active_file"),
    "Inactive": ("nr_inactive_anon", "nr_inactive_file"),
    "Active(anon)": ("nr_active_anon",),
    "Inactive(anon)": ("nr_inactive_anon",),
    "Active(file)": ("nr_active_file",),
    "Inactive(file)": ("nr_inactive_file",),
    "Unevictable": ("nr_unevictable",),
    "Mlocked": ("nr_mlock",),
    "Dirty": ("nr_dirty",),
    "Writeback": ("nr_writeback",),
    "AnonPages": ("nr_anon_pages",),
    "Mapped": ("nr_mapped",),
    "Shmem": ("nr_shmem",),
    "KReclaimable": ("nr_slab_reclaimable", "nr_kernel_misc_reclaimable"),
    "Slab": ("nr_slab_reclaimable", "nr_slab_unreclaimable"),
    "SReclaimable": ("nr_slab_reclaimable",),
    "SUnreclaim": ("nr_slab_unreclaimable",),
    "PageTables": ("nr_page_table_pages",),
    "SecPageTables": ("nr_sec_page_table_pages",),
    "Bounce": ("nr_bounce",),
    "WritebackTmp": ("nr_writeback_temp",),
    "AnonHugePages": ("nr_anon_transparent_hugepages",),
    "ShmemHugePages": ("nr_shmem_hugepages",),
    "ShmemPmdMapped": ("nr_shmem_pmdmapped",),
    "FileHugePages": ("nr_file_hugepages",),
    "FilePmdMapped": ("nr_file_pmdmapped",),
}
"""Each line that is one counter, or a sum of some, in pages."""
IN_HUGE_PAGES = tuple(
    names[0] for label, names in PAGES.items() if "Huge" in label or "Pmd" in label
)
"""vmstat and zoneinfo print these in huge pages."""
