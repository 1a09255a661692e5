"""/proc/sys: settings of the machine, and those of 6.1 that nothing here obeys, as defaults.

kernel/sysctl.c, mm/, v6.1, as Debian's kernel has them. Left out: files that do something when they
are read (stat_refresh) or can only be written (drop_caches, compact_memory), and what is not about
memory but for what tools look at.
"""

from collections.abc import Mapping
from typing import Final

from mmactors.actors.state.kernel import Kernel
from mmactors.mm.page_alloc.buddy import MANAGED_PAGES, WATERMARK_BOOST_FACTOR
from mmactors.mm.syscall.sysctl import VM_SETTINGS, VmSysctls, get_vm_sysctl
from mmactors.observe.proc.system import OSRELEASE, OSTYPE, VERSION

_NOT_OBEYED: Final[dict[str, int | str]] = {
    "compact_unevictable_allowed": 1,
    "compaction_proactiveness": 20,
    "dirty_background_bytes": 0,
    "dirty_background_ratio": 10,
    "dirty_bytes": 0,
    "dirty_expire_centisecs": 3000,
    "dirty_ratio": 20,
    "dirty_writeback_centisecs": 500,
    "dirtytime_expire_seconds": 43200,
    "extfrag_threshold": 500,
    "hugetlb_optimize_vmemmap": 0,
    "hugetlb_shm_group": 0,
    "laptop_mode": 0,
    "legacy_va_layout": 0,
    "memory_failure_early_kill": 0,
    "memory_failure_recovery": 1,
    "min_slab_ratio": 5,
    "min_unmapped_ratio": 1,
    "mmap_rnd_bits": 28,
    "mmap_rnd_compat_bits": 8,
    "nr_hugepages": 0,
    "nr_hugepages_mempolicy": 0,
    "nr_overcommit_hugepages": 0,
    "numa_stat": 1,
    "numa_zonelist_order": "Node",
    "oom_dump_tasks": 1,
    "oom_kill_allocating_task": 0,
    "page-cluster": 3,
    "page_lock_unfairness": 5,
    "panic_on_oom": 0,
    "stat_interval": 1,
    "swappiness": 60,
    "unprivileged_userfaultfd": 0,
    "vfs_cache_pressure": 100,
    "zone_reclaim_mode": 0,
}
"""vm.*: what a kernel without swap, huge pages and more begins with, recorded."""
_PID_MAX: Final = 32768
_PIDS_PER_CPU: Final = 1024
_PAGES_PER_THREAD: Final = 32
"""The stacks of all threads take an eighth of memory at most."""
_MIN_THREADS, _MAX_THREADS = 20, (1 << 30) - 1


def threads_max(kernel: Kernel) -> int:
    """Return kernel.threads-max (set_max_threads), of all pages that zones manage.

    The kernel computes it a little earlier, when some of its image and its initramfs still count
    as used.
    """
    managed = sum(int(zone.view[MANAGED_PAGES]) for zone in kernel.allocator.zones)
    return min(max(managed // _PAGES_PER_THREAD, _MIN_THREADS), _MAX_THREADS)


def sysctls(kernel: Kernel) -> Mapping[str, str]:
    """Return the texts of the files below /proc/sys, by their paths there."""
    allocator = kernel.allocator
    settings = allocator.settings
    vm = VmSysctls(kernel.mm_config, kernel.overcommit.policy)
    values: dict[str, int | str] = {
        **_NOT_OBEYED,
        **{name: get_vm_sysctl(vm, name) for name in VM_SETTINGS},
        # Of zone Device, too, which has none.
        "lowmem_reserve_ratio": "\t".join(map(str, (*settings.lowmem_reserve_ratio, 0))),
        "min_free_kbytes": allocator.min_free_kbytes,
        "percpu_pagelist_high_fraction": settings.percpu_pagelist_high_fraction,
        "watermark_boost_factor": WATERMARK_BOOST_FACTOR,
        "watermark_scale_factor": settings.watermark_scale_factor,
    }
    general: dict[str, int | str] = {
        "hostname": "(none)",
        "numa_balancing": 0,
        "osrelease": OSRELEASE,
        "ostype": OSTYPE,
        "pid_max": max(_PID_MAX, _PIDS_PER_CPU * len(kernel.cpus)),
        "randomize_va_space": 0,
        "threads-max": threads_max(kernel),
        "version": VERSION,
    }
    texts = {f"vm/{name}": f"{values[name]}\n" for name in sorted(values)}
    return texts | {f"kernel/{name}": f"{value}\n" for name, value in general.items()}
