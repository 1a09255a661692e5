"""Where objects are allocated: the functions that ask, as the kernel's traces name them (6.1).

Fault injection chooses by them whose allocation fails, as it does for pages
(mm/page_alloc/alloc_site.py). A module's own functions are the operations of its program.
"""

from typing import Final

from attrs import frozen

KMEM_CACHE_CREATE: Final = "kmem_cache_create_usercopy"
"""Of a cache's name, and of struct kmem_cache."""
CACHE_RANDOM_SEQ_CREATE: Final = "cache_random_seq_create"
INIT_KMEM_CACHE_NODES: Final = "__kmem_cache_create"
"""Of struct kmem_cache_node; the functions between are inlined into it."""
CACHE_RANDOM_SEQ_DESTROY: Final = "cache_random_seq_destroy"
KMEM_CACHE_RELEASE: Final = "__kmem_cache_release"
SLAB_KMEM_CACHE_RELEASE: Final = "slab_kmem_cache_release"
KOBJECT_PUT: Final = "kobject_put"
"""Where struct kmem_cache is freed: its release ends with a jump."""
KREALLOC: Final = "krealloc"
ANON_VMA_PREPARE: Final = "__anon_vma_prepare"
"""Of page faults, which are tried again."""
XAS_ALLOC: Final = "xas_alloc"
"""Of a node of a page cache while its lock is held."""
XAS_NOMEM: Final = "xas_nomem"
"""Of one when nothing is locked."""
PERCPU_REF_INIT: Final = "percpu_ref_init"
PERCPU_REF_EXIT: Final = "percpu_ref_exit"
D_ALLOC: Final = "__d_alloc"
SHMEM_ALLOC_INODE: Final = "shmem_alloc_inode"
EXT4_ALLOC_INODE: Final = "ext4_alloc_inode"
VMALLOC_SITES: Final = (
    *("alloc_vmap_area", "__get_vm_area_node", "__vmalloc_node_range", "vm_map_ram"),
    *("pcpu_mem_zalloc", "pcpu_get_vm_areas"),
)
"""Of areas of the kernel's addresses and chunks of per-CPU memory, and what is known of them."""
SLAB_SITES: Final = (
    KMEM_CACHE_CREATE,
    CACHE_RANDOM_SEQ_CREATE,
    INIT_KMEM_CACHE_NODES,
    *("mm_alloc", "dup_mm", "vm_area_alloc", "vm_area_dup"),
    *(ANON_VMA_PREPARE, "anon_vma_clone", "anon_vma_fork"),
    *("dup_task_struct", "prepare_creds", "dup_fd", "copy_fs_struct", "copy_process", "alloc_pid"),
    *("__alloc_file", PERCPU_REF_INIT),
    *(XAS_ALLOC, XAS_NOMEM, D_ALLOC, SHMEM_ALLOC_INODE, EXT4_ALLOC_INODE),
    *VMALLOC_SITES,
)
"""All that allocate."""


@frozen(kw_only=True)
class SlabAllocation:
    """An allocation of an object that may be made to fail (should_failslab)."""

    cache: str
    object_size: int
    """Bytes."""
    gfp: int
    site: str
    """The function that asks."""
