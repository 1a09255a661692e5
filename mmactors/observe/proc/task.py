"""/proc/PID: io, limits, numa_maps, fdinfo, mounts, cmdline and environ, byte by byte.

fs/proc/base.c, fs/proc/fd.c, fs/proc/task_mmu.c and fs/proc_namespace.c, v6.1. Memory policies are
not modelled: each area has the default one.

Pure functions of values.
"""

from collections.abc import Iterable
from typing import Final

from mmactors.mm.area.rlimit import Rlimits
from mmactors.observe.proc.process_view import (
    RLIM_INFINITY,
    IoView,
    MmView,
    Mount,
    OpenFileView,
    VmaView,
)
from mmactors.units import KIB

_LIMITS: Final = (
    ("cpu time", "seconds", RLIM_INFINITY, RLIM_INFINITY),
    ("file size", "bytes", RLIM_INFINITY, RLIM_INFINITY),
    ("data size", "bytes", RLIM_INFINITY, RLIM_INFINITY),
    ("stack size", "bytes", Rlimits().stack, RLIM_INFINITY),
    ("core file size", "bytes", 0, RLIM_INFINITY),
    ("resident set", "bytes", RLIM_INFINITY, RLIM_INFINITY),
    ("processes", "processes", 0, 0),
    ("open files", "files", 1024, 4096),
    ("locked memory", "bytes", Rlimits().memlock, Rlimits().memlock),
    ("address space", "bytes", RLIM_INFINITY, RLIM_INFINITY),
    ("file locks", "locks", RLIM_INFINITY, RLIM_INFINITY),
    ("pending signals", "signals", 0, 0),
    ("msgqueue size", "bytes", 819_200, 819_200),
    ("nice priority", None, 0, 0),
    ("realtime priority", None, 0, 0),
    ("realtime timeout", "us", RLIM_INFINITY, RLIM_INFINITY),
)
"""Name, unit, soft and hard limit of the first process (lnames, INIT_RLIMITS)."""
_ESCAPED_IN_NUMA_MAPS: Final = "\n\t= "


def io_text(io: IoView) -> str:
    """Return /proc/PID/io (do_io_accounting)."""
    return (
        f"rchar: {io.rchar}\n"
        f"wchar: {io.wchar}\n"
        f"syscr: {io.syscr}\n"
        f"syscw: {io.syscw}\n"
        f"read_bytes: {io.read_bytes}\n"
        f"write_bytes: {io.write_bytes}\n"
        f"cancelled_write_bytes: {io.cancelled_write_bytes}\n"
    )


def limits_text(own: Iterable[tuple[str, int, int]]) -> str:
    """Return /proc/PID/limits; `own` are those that differ from the first process's."""
    changed = {name: (soft, hard) for name, soft, hard in own}
    unknown = changed.keys() - {name for name, *_ in _LIMITS}
    assert not unknown, f"no rows of limits: {sorted(unknown)}"
    lines = [f"{'Limit':<26}{'Soft Limit':<21}{'Hard Limit':<21}{'Units':<10}\n"]
    for name, unit, *first in _LIMITS:
        soft, hard = changed.get(name, first)
        units = "" if unit is None else f"{unit:<10}"
        lines.append(f"{'Max ' + name:<25} {_limit(soft):<20} {_limit(hard):<20} {units}\n")
    return "".join(lines)


def _limit(value: int) -> str:
    return "unlimited" if value == RLIM_INFINITY else str(value)


def fdinfo_text(file: OpenFileView) -> str:
    """Return /proc/PID/fdinfo/FD (seq_show, fs/proc/fd.c)."""
    return (
        f"pos:\t{file.position}\nflags:\t0{file.flags:o}\n"
        f"mnt_id:\t{file.mount_id}\nino:\t{file.inode}\n"
    )


def strings_text(strings: Iterable[str]) -> str:
    """Return cmdline or environ: each string ended by a NUL; a kernel thread has none."""
    return "".join(f"{string}\0" for string in strings)


def mounts_text(mounts: Iterable[Mount]) -> str:
    """Return /proc/PID/mounts (show_vfsmnt)."""
    return "".join(f"{one.device} {one.place} {one.kind} {one.options} 0 0\n" for one in mounts)


def numa_maps_text(mm: MmView | None) -> str:
    """Return /proc/PID/numa_maps (show_numa_map)."""
    if mm is None:
        return ""
    return "".join(f"{vma.start:08x} default{_numa_line(mm, vma)}\n" for vma in mm.vmas)


def _numa_line(mm: MmView, vma: VmaView) -> str:
    numa = vma.numa
    return _numa_name(mm, vma) + "".join(
        (
            _number("anon", numa.anon),
            _number("dirty", numa.dirty),
            _number("mapped", numa.pages if numa.pages not in (numa.anon, numa.dirty) else 0),
            _number("mapmax", numa.mapcount_max if numa.mapcount_max > 1 else 0),
            _number("swapcache", numa.swapcache),
            # Zero, too, is told where not all pages are.
            f" active={numa.active}" if numa.active < numa.pages else "",
            _number("writeback", numa.writeback),
            *(_number(f"N{node}", pages) for node, pages in enumerate(numa.nodes)),
            f" kernelpagesize_kB={vma.page_size // KIB}" if numa.pages else "",
        )
    )


def _number(name: str, pages: int) -> str:
    return f" {name}={pages}" if pages else ""


def _numa_name(mm: MmView, vma: VmaView) -> str:
    if vma.has_file:
        assert vma.name is not None, "a file has a path"
        path = "".join(
            f"\\{ord(letter):03o}" if letter in _ESCAPED_IN_NUMA_MAPS else letter
            for letter in vma.name
        )
        return f" file={path}"
    if vma.start <= mm.brk and vma.end >= mm.start_brk:
        return " heap"
    return " stack" if vma.start <= mm.start_stack <= vma.end else ""
