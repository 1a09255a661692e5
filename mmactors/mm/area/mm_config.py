"""Options of address spaces: the sysctls of /proc/sys/vm that all of them obey (Linux 6.1)."""

from attrs import frozen

from mmactors.option import option


@frozen(kw_only=True)
class MmConfig:
    """The settings of the machine that all address spaces obey."""

    max_map_count: int = option(
        65530, doc="vm.max_map_count: how many areas an address space may have", minimum=1
    )
    mmap_min_addr: int = option(
        65536,
        doc="vm.mmap_min_addr: no mapping below, unless with CAP_SYS_RAWIO",
        unit="bytes",
        minimum=0,
    )
    vmacache_seqnum_bits: int = option(
        0,
        doc="Width of the sequence number of the threads' caches of areas: 32 in Linux 4.18; 0, as "
        "in 6.1: there are none",
        minimum=0,
        maximum=32,
    )
    stack_guard_gap_pages: int = option(
        256, doc="stack_guard_gap: free pages kept below an area that grows down", minimum=0
    )
