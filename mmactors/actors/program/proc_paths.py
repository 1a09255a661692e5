"""Files of /proc and /sys that programs may name, and what was read of them."""

import re
from typing import Final

from attrs import frozen

from mmactors.actors.state.namei import full_path
from mmactors.workload.operation import all as op

SYSCTL: Final = "/proc/sys/vm/"
_HUGE_PAGES: Final = "/sys/kernel/mm/transparent_hugepage/"
NO_HUGE_PAGES: Final = {
    f"{_HUGE_PAGES}enabled": "always madvise [never]\n",
    f"{_HUGE_PAGES}shmem_enabled": "always within_size advise [never] deny force\n",
}
_HUGE_PAGES_WANTED: Final = ("always", "madvise", "within_size", "advise", "force")

_VM_FILES: Final = """
    compact_memory compact_unevictable_allowed compaction_proactiveness dirty_background_bytes
    dirty_background_ratio dirty_bytes dirty_expire_centisecs dirty_ratio dirty_writeback_centisecs
    dirtytime_expire_seconds extfrag_threshold hugetlb_optimize_vmemmap hugetlb_shm_group
    laptop_mode legacy_va_layout lowmem_reserve_ratio memory_failure_early_kill
    memory_failure_recovery min_free_kbytes min_slab_ratio min_unmapped_ratio mmap_rnd_bits
    mmap_rnd_compat_bits nr_hugepages nr_hugepages_mempolicy nr_overcommit_hugepages numa_stat
    numa_zonelist_order oom_dump_tasks oom_kill_allocating_task page-cluster page_lock_unfairness
    panic_on_oom percpu_pagelist_high_fraction stat_interval swappiness unprivileged_userfaultfd
    vfs_cache_pressure watermark_boost_factor watermark_scale_factor zone_reclaim_mode
"""
NOT_OBEYED: Final = frozenset(SYSCTL + name for name in _VM_FILES.split())
"""Files of 6.1 that nothing here obeys: to take a value would be untrue."""
SYS_SLAB: Final = "/sys/kernel/slab/"
PERCPU_STATS: Final = "/sys/kernel/debug/percpu_stats"
_SLAB_SETTINGS: Final = (
    "cpu_partial",
    "min_partial",
    "remote_node_defrag_ratio",
    "shrink",
    "validate",
)
"""What can be written of a cache's files."""
_LINKS: Final = re.compile(r"/proc/[^/]+/(?:exe|cwd|root|fd/.*)|/proc/(?:self|thread-self)")
"""What leads to programs, folders and open files."""


@frozen(kw_only=True)
class ReadText:
    """A file of /proc or /sys that a program read, as it was then."""

    t_ns: int
    pid: int
    """Of who read it."""
    call: str
    """The operation."""
    path: str
    name: str
    """Of the text, for a file: `TAG.meminfo` of a snap, otherwise the path."""
    text: str


def is_of_caches(path: str) -> bool:
    """Return whether a file tells of the caches of objects."""
    return path == "/proc/slabinfo" or path.startswith(SYS_SLAB)


def why_not_simulated(operation: op.Operation) -> str | None:
    """Return why a file that an operation reads or writes would be answered for untruly."""
    if not isinstance(operation, op.Get | op.Put):
        return None
    path = full_path(operation.path)
    if _LINKS.fullmatch(path):
        return f"{path} is not simulated yet: what a link leads to is not read"
    if isinstance(operation, op.Put):
        if path in NOT_OBEYED:
            return f"{path} is not simulated yet: nothing would obey it"
        if path.startswith(SYS_SLAB) and path.endswith(_SLAB_SETTINGS):
            return f"{path} is not simulated yet: nothing would obey it (try kmem_cache_shrink)"
        value = operation.value.strip()
        if path in NO_HUGE_PAGES and value in _HUGE_PAGES_WANTED:
            return f"{value!r} for {path} is not simulated yet: there are no huge pages"
    return None
