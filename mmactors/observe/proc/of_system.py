"""From the parts of the model to what tools open first: processors, disks, file systems."""

from collections.abc import Callable
from typing import Final

from mmactors.actors.state.inode import DISK_DEV, DISK_NAME, STORE_ROOT
from mmactors.actors.state.kernel import Kernel
from mmactors.mm.vmstat import PGPGIN, PGPGOUT, SECTORS_PER_PAGE
from mmactors.observe.proc.link import Link
from mmactors.observe.proc.of_slab import has_slabinfo, slabinfo_of
from mmactors.observe.proc.process_view import Mount
from mmactors.observe.proc.system import (
    FILESYSTEMS,
    PROC_VERSION,
    SWAPS_HEADER,
    CpuInfo,
    Disk,
    cache_size_kb,
    cpuinfo,
    diskstats,
)

_MODEL_NAME: Final = "mmactors"
_PHYSICAL_BITS: Final = 46
_FLAGS: Final = ("pse", "pae", "pge", "clflush", "nx", "pdpe1gb", "lm")
"""What each processor of the model can do, in the kernel's order; others are options."""
MOUNTS: Final = (
    Mount(device="tmpfs", place="/", kind="tmpfs"),
    Mount(device="proc", place="/proc", kind="proc"),
    Mount(device="sysfs", place="/sys", kind="sysfs"),
    Mount(device=f"/dev/{DISK_NAME}", place=STORE_ROOT.rstrip("/"), kind="ext4"),
)
"""What the machine has mounted; mnt_id counts from 1."""


def system_files(kernel: Kernel) -> dict[str, Callable[[], str]]:
    """Return what makes the text of each file, by its name in /proc."""
    files: dict[str, Callable[[], str]] = {
        "cpuinfo": lambda: cpuinfo(_cpuinfo_of(kernel, cpu) for cpu in range(len(kernel.cpus))),
        "diskstats": lambda: diskstats([_disk_of(kernel)]),
        "filesystems": lambda: FILESYSTEMS,
        "mounts": lambda: Link("self/mounts"),
        "swaps": lambda: SWAPS_HEADER,
        "version": lambda: PROC_VERSION,
    }
    if has_slabinfo(kernel.slab):
        files["slabinfo"] = lambda: slabinfo_of(kernel.slab)
    return files


def mount_id_of(path: str) -> int:
    """Return the number of the mount on which a file lies: the last one of MOUNTS that fits."""
    fits = [nth for nth, one in enumerate(MOUNTS, start=1) if _is_below(path, one.place)]
    return fits[-1]


def _is_below(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")


def _cpuinfo_of(kernel: Kernel, cpu: int) -> CpuInfo:
    """Return a processor: a package is a node, a core has one thread."""
    config, nodes = kernel.hardware.config, kernel.cpu_node
    levels = config.levels
    options = {"pcid": config.pcid, "pku": kernel.pku, "ospke": kernel.pku, "la57": levels == 5}
    return CpuInfo(
        cpu=cpu,
        model_name=_MODEL_NAME,
        cache_size_kb=cache_size_kb(config.llc.size_bytes),
        physical_id=nodes[cpu],
        siblings=nodes.count(nodes[cpu]),
        core_id=nodes[:cpu].count(nodes[cpu]),
        flags=(*_FLAGS, *(name for name, has_it in options.items() if has_it)),
        tlb_pages=config.stlb.entries,
        cache_line_bytes=config.l1d.line_bytes,
        physical_bits=_PHYSICAL_BITS,
        virtual_bits=48 if levels == 4 else 57,
    )


def _disk_of(kernel: Kernel) -> Disk:
    """Return the disk below STORE_ROOT, which all of the machine's input and output is with.

    Each page is a request of its own.
    """
    read, written = (kernel.vmstat.event(item) for item in (PGPGIN, PGPGOUT))
    major, minor = DISK_DEV
    return Disk(
        major=major,
        minor=minor,
        name=DISK_NAME,
        reads=read // SECTORS_PER_PAGE,
        sectors_read=read,
        writes=written // SECTORS_PER_PAGE,
        sectors_written=written,
    )
