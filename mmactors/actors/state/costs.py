"""What kernel work costs, and a C library's, in nanoseconds of a CPU: one table.

Each entry has its source and range.

The hardware's own costs (hits, misses, walks) are in hw/costs.py.
"""

from typing import Any, Final

from attrs import frozen

from mmactors.option import option
from mmactors.units import SECOND

_COST_MAX_NS: Final = SECOND
"""Far more than anything costs, and little enough that sums stay within 64 bits."""


def _cost(default_ns: int, *, doc: str, minimum: int = 0) -> Any:
    return option(default_ns, doc=doc, unit="ns", minimum=minimum, maximum=_COST_MAX_NS)


@frozen(kw_only=True)
class KernelCosts:
    """Costs of kernel paths. Ranges are what the cited sources show across x86-64 machines."""

    exception_ns: int = _cost(
        150,
        doc="Trap, register save and return of a page fault; 100 to 400 "
        "(lmbench lat_sig/lat_pagefault on Skylake to Zen, mitigations off).",
    )
    syscall_ns: int = _cost(
        60,
        doc="Entry and return of a system call; 40 to 100 without mitigations (lmbench).",
    )
    handle_mm_fault_ns: int = _cost(
        120,
        doc="Finding area and entry, accounting; 80 to 250 (perf on anonymous faults).",
    )
    clear_page_ns: int = _cost(
        100,
        doc="Zeroing 4 KiB with rep stosb; 60 (cached) to 250 (missing everywhere).",
    )
    copy_user_page_ns: int = _cost(
        150,
        doc="Copying 4 KiB between a program and the page cache; 80 (cached) to 400.",
    )
    copy_page_ns: int = _cost(
        200,
        doc="Copying 4 KiB to a new page; 120 (cached) to 500 (missing everywhere).",
    )
    pcp_ns: int = _cost(
        20,
        doc="Taking or giving a page from or to the CPU's own list; 10 to 40.",
    )
    slab_ns: int = _cost(
        15,
        doc="Taking or giving an object from or to the CPU's own slab; 8 to 30 (slab_bench of "
        "Christoph Lameter's in-kernel tests, 40 to 90 cycles).",
    )
    futex_ns: int = _cost(
        50,
        doc="What futex_wait and futex_wake do with a bucket's lock held; 20 to 100 (perf bench "
        "futex hash: 200 to 400 for a call that does not sleep).",
    )
    zone_lock_ns: int = _cost(
        50, doc="Entering and leaving zone->lock uncontended, per request; 30 to 80."
    )
    zone_page_ns: int = _cost(
        12,
        doc="Each page moved between buddy and per-CPU lists under zone->lock; 8 to 30.",
    )
    mmap_ns: int = _cost(400, doc="The area work of one mmap or munmap, without pages; 250 to 800.")
    fork_ns: int = _cost(
        20_000,
        doc="fork without areas and entries: the task, its tables of files and signals; 10000 to "
        "60000 (lmbench lat_proc).",
    )
    zap_page_ns: int = _cost(25, doc="Clearing one entry and dropping its page at unmap; 15 to 50.")
    change_pte_ns: int = _cost(
        10, doc="Changing one entry that stays: mprotect, mremap, fork; 5 to 30."
    )
    malloc_ns: int = _cost(
        8,
        doc="The instructions of one call of the C library's allocator, without its accesses and "
        "calls of the kernel; 5 to 20 (bench-malloc-simple of glibc's benchtests).",
    )
    pause_ns: int = _cost(
        45,
        doc="One turn of a loop that spins in user mode, a load that hits and PAUSE; 4 (about 10 "
        "cycles before Skylake) to 60 (140 cycles since; Intel optimization manual, 2.5.4).",
        minimum=1,
    )
    ipi_ns: int = _cost(
        500,
        doc="From sending an interrupt to its handler running elsewhere; 300 to 1500 by distance "
        "(Amit et al., USENIX ATC 2017).",
        minimum=1,
    )
    flush_page_ns: int = _cost(
        40, doc="One INVLPG; 30 to 100 (Intel optimization manual measurements)."
    )
    flush_all_ns: int = _cost(150, doc="Writing CR3 with a flush of one PCID; 100 to 300.")
    context_switch_ns: int = _cost(
        1000, doc="From one thread to another on one CPU; 600 to 2000 (lmbench lat_ctx)."
    )
    slice_ns: int = _cost(
        3_000_000,
        doc="How long a thread runs while another waits for its CPU "
        "(sysctl_sched_min_granularity with 8 CPUs, kernel/sched/fair.c).",
        minimum=1,
    )
    dram_line_ns: int = _cost(
        4,
        doc="What one 64-byte line occupies the memory channels; 64 B / 17 GB/s (one channel of "
        "DDR4-2133).",
    )
