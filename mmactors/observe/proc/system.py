"""What tools open before anything else: uptime, loadavg, cpuinfo, version and lists of devices.

fs/proc/uptime.c, loadavg.c and version.c, arch/x86/kernel/cpu/proc.c, block/genhd.c,
mm/swapfile.c, fs/filesystems.c; v6.1, byte by byte.

Pure functions of values.
"""

from collections.abc import Iterable
from typing import Final

from attrs import frozen

from mmactors.units import KIB, SECOND

SWAPS_HEADER: Final = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
"""/proc/swaps without swap."""
FILESYSTEMS: Final = "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\n\text4\n"

OSTYPE: Final = "Linux"
OSRELEASE: Final = "6.1.0"
VERSION: Final = "#1 SMP PREEMPT_DYNAMIC mmactors"
PROC_VERSION: Final = f"{OSTYPE} version {OSRELEASE} (mmactors) (a simulation) {VERSION}\n"
"""/proc/version: what is in brackets is who compiled a kernel, and with what."""

_HUNDREDTH_NS: Final = SECOND // 100


def uptime(*, uptime_ns: int, idle_ns: int) -> str:
    """Return /proc/uptime; `idle_ns` is that of all CPUs together."""
    return f"{_hundredths(uptime_ns)} {_hundredths(idle_ns)}\n"


def _hundredths(time_ns: int) -> str:
    return f"{time_ns // SECOND}.{time_ns % SECOND // _HUNDREDTH_NS:02d}"


def loadavg(*, nr_running: int, nr_threads: int, last_pid: int) -> str:
    """Return /proc/loadavg of a machine that was never sampled: the kernel does it every 5 s."""
    return f"0.00 0.00 0.00 {nr_running}/{nr_threads} {last_pid}\n"


@frozen(kw_only=True)
class CpuInfo:
    """A processor, as CPUID would tell the kernel."""

    cpu: int
    model_name: str
    cache_size_kb: int
    """Of the last level."""
    physical_id: int
    """The package."""
    siblings: int
    """CPUs of the package; no core has more than one."""
    core_id: int
    flags: tuple[str, ...]
    tlb_pages: int
    cache_line_bytes: int
    physical_bits: int
    virtual_bits: int


def cpuinfo(cpus: Iterable[CpuInfo]) -> str:
    """Return /proc/cpuinfo (show_cpuinfo); without a time stamp counter there are no MHz."""
    return "".join(
        f"processor\t: {one.cpu}\n"
        "vendor_id\t: unknown\n"
        "cpu family\t: 6\n"
        "model\t\t: 0\n"
        f"model name\t: {one.model_name}\n"
        "stepping\t: 0\n"
        f"cache size\t: {one.cache_size_kb} KB\n"
        f"physical id\t: {one.physical_id}\n"
        f"siblings\t: {one.siblings}\n"
        f"core id\t\t: {one.core_id}\n"
        f"cpu cores\t: {one.siblings}\n"
        f"apicid\t\t: {one.cpu}\n"
        f"initial apicid\t: {one.cpu}\n"
        "fpu\t\t: yes\n"
        "fpu_exception\t: yes\n"
        "cpuid level\t: 13\n"
        "wp\t\t: yes\n"
        f"flags\t\t: {' '.join(one.flags)}\n"
        "bugs\t\t:\n"
        "bogomips\t: 0.00\n"
        f"TLB size\t: {one.tlb_pages} 4K pages\n"
        f"clflush size\t: {one.cache_line_bytes}\n"
        f"cache_alignment\t: {one.cache_line_bytes}\n"
        f"address sizes\t: {one.physical_bits} bits physical, {one.virtual_bits} bits virtual\n"
        "power management:\n\n"
        for one in cpus
    )


def cache_size_kb(size_bytes: int) -> int:
    """Return the size of a cache as cpuinfo has it."""
    return size_bytes // KIB


@frozen(kw_only=True)
class Disk:
    """A disk and what it has done; a sector is 512 bytes."""

    major: int
    minor: int
    name: str
    reads: int = 0
    """Requests."""
    sectors_read: int = 0
    writes: int = 0
    sectors_written: int = 0


def diskstats(disks: Iterable[Disk]) -> str:
    """Return /proc/diskstats (diskstats_show); nothing is merged, nothing takes time."""
    return "".join(
        f"{one.major:4} {one.minor:7} {one.name} {one.reads} 0 {one.sectors_read} 0"
        f" {one.writes} 0 {one.sectors_written} 0 0 0 0 0 0 0 0 0 0\n"
        for one in disks
    )
