"""Where pages are allocated: the functions that ask, as a stack trace of Linux 6.1 names them.

Fault injection chooses by them whose allocation fails (lib/fault-inject.c, fail_stacktrace). Names
are those of mm/memory.c, mm/filemap.c, mm/shmem.c, mm/mmu_gather.c, mm/vmalloc.c, mm/percpu-vm.c
and arch/x86/mm/pgtable.c; ALLOC_PAGES is a module that asks the allocator itself.
"""

from typing import Final

from attrs import frozen

ALLOC_PAGES: Final = "alloc_pages"
DO_ANONYMOUS_PAGE: Final = "do_anonymous_page"
DO_COW_FAULT: Final = "do_cow_fault"
WP_PAGE_COPY: Final = "wp_page_copy"
PAGE_COPY_PREALLOC: Final = "page_copy_prealloc"
"""Of a fork that has to copy a page at once."""
FILEMAP_ALLOC_FOLIO: Final = "filemap_alloc_folio"
SHMEM_ALLOC_FOLIO: Final = "shmem_alloc_folio"
TLB_NEXT_BATCH: Final = "tlb_next_batch"
TLB_REMOVE_TABLE: Final = "tlb_remove_table"
ALLOC_SLAB_PAGE: Final = "alloc_slab_page"
"""Of a slab, and of what is too large for one."""
VM_AREA_ALLOC_PAGES: Final = "vm_area_alloc_pages"
PCPU_POPULATE_CHUNK: Final = "pcpu_populate_chunk"
TABLE_SITES: Final = ("pte_alloc_one", "pmd_alloc_one", "pud_alloc_one", "p4d_alloc_one")
"""By the level of the table, from 1."""
PGD_ALLOC: Final = "pgd_alloc"
PTE_ALLOC_ONE_KERNEL: Final = "pte_alloc_one_kernel"

PAGE_FAULT_SITES: Final = (
    DO_ANONYMOUS_PAGE,
    DO_COW_FAULT,
    WP_PAGE_COPY,
    FILEMAP_ALLOC_FOLIO,
    SHMEM_ALLOC_FOLIO,
)
"""Those of the pages that page faults map."""
ALLOC_SITES: Final = (
    ALLOC_PAGES,
    DO_ANONYMOUS_PAGE,
    DO_COW_FAULT,
    WP_PAGE_COPY,
    PAGE_COPY_PREALLOC,
    FILEMAP_ALLOC_FOLIO,
    SHMEM_ALLOC_FOLIO,
    TLB_NEXT_BATCH,
    TLB_REMOVE_TABLE,
    ALLOC_SLAB_PAGE,
    VM_AREA_ALLOC_PAGES,
    PCPU_POPULATE_CHUNK,
    *TABLE_SITES,
    PGD_ALLOC,
    PTE_ALLOC_ONE_KERNEL,
)
"""All of them."""


@frozen
class PageAllocation:
    """An allocation that may be made to fail (should_fail_alloc_page)."""

    order: int
    gfp: int
    site: str
    """One of ALLOC_SITES."""
