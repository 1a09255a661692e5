"""What kernel work costs, in nanoseconds of a CPU: one table, each entry with source and range.

The hardware's own costs (hits, misses, walks) are in hw/costs.py.
"""

from attrs import frozen

from mmactors.option import option


@frozen(kw_only=True)
class KernelCosts:
    """Costs of kernel paths. Ranges are what the cited sources show across x86-64 machines."""

    exception_ns: int = option(
        150,
        doc="Trap, register save and return of a page fault; 100 to 400 "
        "(lmbench lat_sig/lat_pagefault on Skylake to Zen, mitigations off).",
        unit="ns",
        minimum=0,
    )
    syscall_ns: int = option(
        60,
        doc="Entry and return of a system call; 40 to 100 without mitigations (lmbench).",
        unit="ns",
        minimum=0,
    )
    handle_mm_fault_ns: int = option(
        120,
        doc="Finding area and entry, accounting; 80 to 250 (perf on anonymous faults).",
        unit="ns",
        minimum=0,
    )
    clear_page_ns: int = option(
        100,
        doc="Zeroing 4 KiB with rep stosb; 60 (cached) to 250 (missing everywhere).",
        unit="ns",
        minimum=0,
    )
    pcp_ns: int = option(
        20,
        doc="Taking or giving a page from or to the CPU's own list; 10 to 40.",
        unit="ns",
        minimum=0,
    )
    zone_lock_ns: int = option(
        50, doc="Entering and leaving zone->lock uncontended, per request; 30 to 80.", unit="ns"
    )
    zone_page_ns: int = option(
        12,
        doc="Each page moved between buddy and per-CPU lists under zone->lock; 8 to 30.",
        unit="ns",
        minimum=0,
    )
    mmap_ns: int = option(
        400, doc="The area work of one mmap or munmap, without pages; 250 to 800.", unit="ns"
    )
    zap_page_ns: int = option(
        25, doc="Clearing one entry and dropping its page at unmap; 15 to 50.", unit="ns"
    )
    ipi_ns: int = option(
        500,
        doc="From sending an interrupt to its handler running elsewhere; 300 to 1500 by distance "
        "(Amit et al., USENIX ATC 2017).",
        unit="ns",
        minimum=1,
    )
    flush_page_ns: int = option(
        40, doc="One INVLPG; 30 to 100 (Intel optimization manual measurements).", unit="ns"
    )
    flush_all_ns: int = option(
        150, doc="Writing CR3 with a flush of one PCID; 100 to 300.", unit="ns"
    )
    context_switch_ns: int = option(
        1000, doc="From one thread to another on one CPU; 600 to 2000 (lmbench lat_ctx).", unit="ns"
    )
    slice_ns: int = option(
        3_000_000,
        doc="How long a thread runs while another waits for its CPU "
        "(sysctl_sched_min_granularity with 8 CPUs, kernel/sched/fair.c).",
        unit="ns",
        minimum=1,
    )
    dram_line_ns: int = option(
        4,
        doc="What one 64-byte line occupies the memory channels; 64 B / 17 GB/s (one channel of "
        "DDR4-2133).",
        unit="ns",
        minimum=0,
    )
