"""/proc/PID: stat, statm, status, maps, smaps, smaps_rollup, cmdline and comm, byte by byte.

fs/proc/array.c and fs/proc/task_mmu.c, v6.1, on x86-64 as Debian configures it. The other files are
in task.py. Fields that depend on what is not modelled (tty, delays of block I/O, guest time) are 0.

Pure functions of a ProcessView.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from attrs import evolve, fields

from mmactors.observe.proc.link import Link
from mmactors.observe.proc.process_view import (
    PSS_SHIFT,
    RLIM_INFINITY,
    MmView,
    ProcessView,
    SmapsNumbers,
    ThreadView,
    VmaView,
)
from mmactors.observe.proc.task import (
    fdinfo_text,
    io_text,
    limits_text,
    mounts_text,
    numa_maps_text,
    strings_text,
)
from mmactors.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

STATES: Final = {
    "R": "running",
    "S": "sleeping",
    "D": "disk sleep",
    "T": "stopped",
    "t": "tracing stop",
    "X": "dead",
    "Z": "zombie",
    "P": "parked",
    "I": "idle",
}

_NAME_COLUMN: Final = 25 + 8 * 6 - 1
_MAX_NUMNODES: Final = 1024
_SIGNAL_WORD: Final = 0x7FFF_FFFF
_SIGCHLD: Final = 17

_VM_FLAG_NAMES: Final = (
    "rd wr ex sh mr mw me ms gd um pf ?? uw lo io sr rr dc de lf ac nr ht sf ar wf dd sd mm hg nh"
    " mg - - - - ?? ui"
)
"""What VmFlags of smaps shows, by bit of vm_flags; ?? is a bit it has no name for."""
_PROTECTION_KEY_NAME: Final = "-"
"""Shown on a line of their own, by CPUs that have them."""

_ROLLUP_ROWS: Final = (
    ("Pss_Anon", "pss_anon"),
    ("Pss_File", "pss_file"),
    ("Pss_Shmem", "pss_shmem"),
)
_SMAPS_ROWS: Final = (
    ("Shared_Clean", "shared_clean"),
    ("Shared_Dirty", "shared_dirty"),
    ("Private_Clean", "private_clean"),
    ("Private_Dirty", "private_dirty"),
    ("Referenced", "referenced"),
    ("Anonymous", "anonymous"),
    ("LazyFree", "lazyfree"),
    ("AnonHugePages", "anonymous_thp"),
    ("ShmemPmdMapped", "shmem_thp"),
    ("FilePmdMapped", "file_thp"),
    ("Shared_Hugetlb", "shared_hugetlb"),
    ("Private_Hugetlb", "private_hugetlb"),
    ("Swap", "swap"),
    ("SwapPss", "swap_pss"),
    ("Locked", "pss_locked"),
)
_PSS_FIELDS: Final = frozenset(
    ("pss", "pss_dirty", "pss_anon", "pss_file", "pss_shmem", "swap_pss", "pss_locked")
)


def process_files(process: ProcessView) -> dict[str, bytes]:
    """Return the content of each file of /proc/PID by its name; links and folders are left out."""
    vmas = process.mm.vmas if process.mm is not None else ()
    texts = {
        "stat": stat_text(process),
        "statm": statm_text(process),
        "status": status_text(process),
        "maps": maps_text(vmas),
        "smaps": smaps_text(vmas),
        "smaps_rollup": smaps_rollup_text(vmas),
        "numa_maps": numa_maps_text(process.mm),
        "comm": process.comm + "\n",
        "cmdline": strings_text(process.cmdline),
        "environ": strings_text(process.environ),
        "io": io_text(process.io),
        "limits": limits_text(process.rlimits),
        "mounts": mounts_text(process.mounts),
        "oom_score_adj": f"{process.oom_score_adj}\n",
    }
    return {name: text.encode() for name, text in texts.items()}


def thread_files(process: ProcessView, thread: ThreadView) -> dict[str, str]:
    """Return the text of each file of /proc/PID/task/TID by its name; those of its own only."""
    view = evolve(
        process,
        tgid=process.pid,
        pid=thread.tid,
        comm=thread.comm,
        state=thread.state,
        minflt=thread.minflt,
        majflt=thread.majflt,
        utime_ticks=thread.utime_ticks,
        stime_ticks=thread.stime_ticks,
        start_time_ticks=thread.start_time_ticks,
        cpu=thread.cpu,
        flags=thread.flags,
        nvcsw=thread.nvcsw,
        nivcsw=thread.nivcsw,
    )
    return {
        "stat": stat_text(view),
        "statm": statm_text(view),
        "status": status_text(view),
        "comm": thread.comm + "\n",
        "io": io_text(thread.io),
    }


def process_tree(process: ProcessView) -> dict[str, str]:
    """Return everything below /proc/PID by its path there: texts, and links."""
    tree = {name: content.decode() for name, content in process_files(process).items()}
    if process.exe is not None:
        tree["exe"] = Link(process.exe)
    tree |= {"cwd": Link(process.cwd), "root": Link("/")}
    for file in process.files:
        tree[f"fd/{file.fd}"] = Link(file.path)
        tree[f"fdinfo/{file.fd}"] = fdinfo_text(file)
    for thread in process.threads:
        for name, text in thread_files(process, thread).items():
            tree[f"task/{thread.tid}/{name}"] = text
    return tree


def stat_text(process: ProcessView) -> str:
    """Return the 52 fields of /proc/PID/stat, or of a thread's (do_task_stat)."""
    mm = process.mm
    is_leader = process.tgid in (None, process.pid)
    signals = (process.sig_pending, process.sig_blocked, process.sig_ignored, process.sig_caught)
    values: list[int | str] = [process.pid, f"({process.comm})", process.state]
    values += [process.ppid, process.pgrp, process.session, 0, -1, process.flags]
    values += [process.minflt, process.cminflt, process.majflt, process.cmajflt]
    values += [process.utime_ticks, process.stime_ticks]
    values += [process.cutime_ticks, process.cstime_ticks]
    values += [process.priority, process.nice, process.nr_threads, 0, process.start_time_ticks]
    if mm is None:
        values += [0, 0, RLIM_INFINITY, 0, 0, 0]
    else:
        values += [mm.total_vm_pages << PAGE_SHIFT, mm.rss_pages, RLIM_INFINITY]
        values += [mm.start_code, mm.end_code, mm.start_stack]
    values += [0, 0]  # stack and instruction pointer: only of a process that is being dumped
    values += [word & _SIGNAL_WORD for word in signals]
    # Whether it waits in the kernel is told of threads, and of a process that has but one.
    is_waiting = process.state != "R" and (process.tgid is not None or process.nr_threads < 2)
    exit_signal = _SIGCHLD if is_leader else -1
    values += [int(is_waiting), 0, 0, exit_signal, process.cpu, 0, 0, 0, 0, 0]
    if mm is None:
        values += [0] * 7
    else:
        values += [mm.start_data, mm.end_data, mm.start_brk]
        values += [mm.arg_start, mm.arg_end, mm.env_start, mm.env_end]
    values += [process.exit_code]
    return " ".join(map(str, values)) + "\n"


def statm_text(process: ProcessView) -> str:
    """Return size, resident, shared, text, lib, data and dirty, in pages (proc_pid_statm)."""
    mm = process.mm
    if mm is None:
        return "0 0 0 0 0 0 0\n"
    shared = mm.rss_file_pages + mm.rss_shmem_pages
    text = _text_bytes(mm) >> PAGE_SHIFT
    data = mm.data_vm_pages + mm.stack_vm_pages
    return f"{mm.total_vm_pages} {mm.rss_pages} {shared} {text} 0 {data} 0\n"


def status_text(process: ProcessView) -> str:
    """Return /proc/PID/status (proc_pid_status)."""
    return "".join(f"{label}:\t{value}\n" for label, value in _status_rows(process))


def maps_text(vmas: Iterable[VmaView]) -> str:
    """Return /proc/PID/maps (show_map_vma)."""
    return "".join(map(_map_line, vmas))


def smaps_text(vmas: Iterable[VmaView]) -> str:
    """Return /proc/PID/smaps (show_smap)."""
    return "".join(line for vma in vmas for line in _smap_lines(vma))


def smaps_rollup_text(vmas: Iterable[VmaView]) -> str:
    """Return /proc/PID/smaps_rollup: the sums over all areas (show_smaps_rollup).

    Proportional sizes are summed before they are cut to kB. Without areas the file is empty.
    """
    areas = tuple(vmas)
    if not areas:
        return ""
    names = [attribute.name for attribute in fields(SmapsNumbers)]
    total = SmapsNumbers(
        **{name: sum(getattr(area.numbers, name) for area in areas) for name in names}
    )
    header = _named(f"{areas[0].start:08x}-{areas[-1].end:08x} ---p 00000000 00:00 0 ", "[rollup]")
    return header + "".join(_number_lines(total, is_rollup=True))


def _status_rows(process: ProcessView) -> Iterator[tuple[str, object]]:
    comm = process.comm.replace("\\", "\\\\").replace("\n", "\\n")
    yield "Name", comm
    yield "Umask", f"{process.umask:04o}"
    yield "State", f"{process.state} ({STATES[process.state]})"
    tgid = process.pid if process.tgid is None else process.tgid
    yield from (("Tgid", tgid), ("Ngid", 0), ("Pid", process.pid), ("PPid", process.ppid))
    yield "TracerPid", 0
    yield "Uid", "\t".join([str(process.uid)] * 4)
    yield "Gid", "\t".join([str(process.gid)] * 4)
    yield "FDSize", process.fd_size
    yield "Groups", " "
    yield from (("NStgid", tgid), ("NSpid", process.pid))
    yield from (("NSpgid", process.pgrp), ("NSsid", process.session))
    if process.mm is not None:
        yield from _mm_rows(process.mm)
    yield "Threads", process.nr_threads
    yield "SigQ", f"{process.sig_queued}/{process.sig_queue_max}"
    yield "SigPnd", f"{0:016x}"
    yield "ShdPnd", f"{process.sig_pending:016x}"
    yield "SigBlk", f"{process.sig_blocked:016x}"
    yield "SigIgn", f"{process.sig_ignored:016x}"
    yield "SigCgt", f"{process.sig_caught:016x}"
    yield "CapInh", f"{0:016x}"
    for label in ("CapPrm", "CapEff", "CapBnd"):
        yield label, f"{process.capabilities:016x}"
    yield "CapAmb", f"{0:016x}"
    yield from (("NoNewPrivs", 0), ("Seccomp", 0), ("Seccomp_filters", 0))
    yield "Speculation_Store_Bypass", "not vulnerable"
    yield "SpeculationIndirectBranch", "always enabled"
    yield "Cpus_allowed", _mask_text(process.cpus_allowed, process.nr_cpus)
    yield "Cpus_allowed_list", _list_text(process.cpus_allowed)
    yield "Mems_allowed", _mask_text(process.mems_allowed, _MAX_NUMNODES)
    yield "Mems_allowed_list", _list_text(process.mems_allowed)
    yield "voluntary_ctxt_switches", process.nvcsw
    yield "nonvoluntary_ctxt_switches", process.nivcsw


def _mm_rows(mm: MmView) -> Iterator[tuple[str, object]]:
    """Yield the rows about memory (task_mem); peaks are never below the present value."""
    text = min(_text_bytes(mm), mm.exec_vm_pages << PAGE_SHIFT)
    pages_by_label = {
        "VmPeak": max(mm.hiwater_vm_pages, mm.total_vm_pages),
        "VmSize": mm.total_vm_pages,
        "VmLck": mm.locked_vm_pages,
        "VmPin": mm.pinned_vm_pages,
        "VmHWM": max(mm.hiwater_rss_pages, mm.rss_pages),
        "VmRSS": mm.rss_pages,
        "RssAnon": mm.rss_anon_pages,
        "RssFile": mm.rss_file_pages,
        "RssShmem": mm.rss_shmem_pages,
        "VmData": mm.data_vm_pages,
        "VmStk": mm.stack_vm_pages,
    }
    sizes = {label: pages << PAGE_SHIFT for label, pages in pages_by_label.items()}
    sizes |= {
        "VmExe": text,
        "VmLib": (mm.exec_vm_pages << PAGE_SHIFT) - text,
        "VmPTE": mm.pgtables_bytes,
        "VmSwap": mm.swap_pages << PAGE_SHIFT,
        "HugetlbPages": mm.hugetlb_bytes,
    }
    for label, size in sizes.items():
        yield label, f"{size >> 10:8} kB"
    yield "CoreDumping", 0
    yield "THP_enabled", int(mm.is_thp_enabled)


def _text_bytes(mm: MmView) -> int:
    return (mm.end_code + PAGE_SIZE - 1 & PAGE_MASK) - (mm.start_code & PAGE_MASK)


def permissions_text(vm_flags: int) -> str:
    """Return what maps shows of an area's flags: `rw-p`."""
    letters = (letter if vm_flags & 1 << bit else "-" for bit, letter in enumerate("rwx"))
    return "".join(letters) + ("s" if vm_flags & 1 << 7 else "p")


def vm_flag_names(vm_flags: int) -> tuple[str, ...]:
    """Return what VmFlags of smaps shows, the lowest bit first."""
    names = (name for bit, name in enumerate(_VM_FLAG_NAMES.split()) if vm_flags & 1 << bit)
    return tuple(name for name in names if name != _PROTECTION_KEY_NAME)


def _map_line(vma: VmaView) -> str:
    major, minor = vma.dev
    prefix = (
        f"{vma.start:08x}-{vma.end:08x} {permissions_text(vma.vm_flags)} {vma.offset:08x}"
        f" {major:02x}:{minor:02x} {vma.inode} "
    )
    return _named(prefix, vma.name)


def _named(prefix: str, name: str | None) -> str:
    """Return a line with `name` at its column; without a name it ends in the blank."""
    if name is None:
        return prefix + "\n"
    escaped = name.replace("\n", "\\012")
    return f"{prefix:{_NAME_COLUMN}} {escaped}\n"


def _smap_lines(vma: VmaView) -> Iterator[str]:
    yield _map_line(vma)
    yield _kb_line("Size", vma.end - vma.start)
    yield _kb_line("KernelPageSize", vma.page_size)
    yield _kb_line("MMUPageSize", vma.page_size)
    yield from _number_lines(vma.numbers, is_rollup=False)
    yield f"THPeligible:    {int(vma.is_thp_eligible)}\n"
    if vma.protection_key is not None:
        yield f"ProtectionKey:  {vma.protection_key:8}\n"
    shown = "".join(f"{name} " for name in vm_flag_names(vma.vm_flags))
    yield f"VmFlags: {shown}\n"


def _number_lines(numbers: SmapsNumbers, *, is_rollup: bool) -> Iterator[str]:
    rows = (("Rss", "resident"), ("Pss", "pss"), ("Pss_Dirty", "pss_dirty"))
    for label, name in (*rows, *(_ROLLUP_ROWS if is_rollup else ()), *_SMAPS_ROWS):
        value = getattr(numbers, name)
        yield _kb_line(label, value >> PSS_SHIFT if name in _PSS_FIELDS else value)


def _kb_line(label: str, nr_bytes: int) -> str:
    # Private_Hugetlb fills its column, so its number is a digit narrower.
    return f"{label + ':':<15} {nr_bytes >> 10:{8 if len(label) < 15 else 7}} kB\n"


def _mask_text(mask: int, nr_bits: int) -> str:
    """Return a bitmap as the kernel prints it: hex words of 32 bits, highest first."""
    words = []
    for shift in range(0, nr_bits, 32):
        width = -(-min(nr_bits - shift, 32) // 4)
        words.append(f"{mask >> shift & 0xFFFF_FFFF:0{width}x}")
    return ",".join(reversed(words))


def _list_text(mask: int) -> str:
    """Return a bitmap as ranges: 0-3,8."""
    parts = []
    start = None
    for bit in range(mask.bit_length() + 1):
        if mask >> bit & 1:
            start = bit if start is None else start
        elif start is not None:
            parts.append(str(start) if start == bit - 1 else f"{start}-{bit - 1}")
            start = None
    return ",".join(parts)
