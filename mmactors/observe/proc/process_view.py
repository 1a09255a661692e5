"""What the /proc texts of one process are made of: plain values, taken at one moment.

Nothing here knows where the numbers come from. Amounts are bytes unless the name says pages or
ticks (1/100 s). Source of the fields: fs/proc/array.c and fs/proc/task_mmu.c, v6.1.
"""

from typing import Final

from attrs import field, frozen

from mmactors.units import PAGE_SIZE

PSS_SHIFT: Final = 12
"""Proportional sizes are bytes with so many fractional bits."""
RLIM_INFINITY: Final = (1 << 64) - 1
ALL_CAPABILITIES: Final = (1 << 41) - 1
PF_FORKNOEXEC: Final = 0x40
PF_RANDOMIZE: Final = 0x0040_0000


@frozen(kw_only=True)
class Mount:
    """A mounted file system, as a line of mounts shows it."""

    device: str
    place: str
    kind: str
    options: str = "rw,relatime"


def pss_of(nr_bytes: int, mapcount: int) -> int:
    """Return the share, in 1/4096 bytes, of a process in a piece that `mapcount` map.

    The kernel divides piece by piece and cuts off each time: do not pass several pieces at once.
    """
    return (nr_bytes << PSS_SHIFT) // max(mapcount, 1)


@frozen(kw_only=True)
class SmapsNumbers:
    """What is resident and swapped in an area, or in a whole address space. Bytes.

    Fields that begin with `pss`, and `swap_pss`, are in 1/4096 bytes (`pss_of`).
    """

    resident: int = 0
    pss: int = 0
    pss_dirty: int = 0
    pss_anon: int = 0
    pss_file: int = 0
    pss_shmem: int = 0
    shared_clean: int = 0
    shared_dirty: int = 0
    private_clean: int = 0
    private_dirty: int = 0
    referenced: int = 0
    anonymous: int = 0
    lazyfree: int = 0
    anonymous_thp: int = 0
    shmem_thp: int = 0
    file_thp: int = 0
    shared_hugetlb: int = 0
    private_hugetlb: int = 0
    swap: int = 0
    swap_pss: int = 0
    pss_locked: int = 0


@frozen(kw_only=True)
class NumaNumbers:
    """The pages of an area that entries map, as numa_maps counts them (struct numa_maps)."""

    pages: int = 0
    anon: int = 0
    dirty: int = 0
    mapcount_max: int = 0
    swapcache: int = 0
    active: int = 0
    writeback: int = 0
    nodes: tuple[int, ...] = ()
    """By node."""


@frozen(kw_only=True)
class VmaView:
    """One area of an address space, `[start, end)`."""

    start: int
    end: int
    vm_flags: int
    """Bits as in include/linux/mm.h."""
    offset: int = 0
    """Of the first byte in the file; 0 without a file."""
    dev: tuple[int, int] = (0, 0)
    """Major and minor number."""
    inode: int = 0
    name: str | None = None
    """Path of the file, or a name such as `[heap]`."""
    has_file: bool = False
    """It maps a file; `name` is its path then."""
    numbers: SmapsNumbers = field(factory=SmapsNumbers)
    numa: NumaNumbers = field(factory=NumaNumbers)
    page_size: int = PAGE_SIZE
    """2 MiB in hugetlb areas."""
    is_thp_eligible: bool = False
    protection_key: int | None = None
    """None: the CPUs have no protection keys."""


@frozen(kw_only=True)
class MmView:
    """An address space (struct mm_struct); sizes in pages, addresses in bytes."""

    total_vm_pages: int
    hiwater_vm_pages: int = 0
    locked_vm_pages: int = 0
    pinned_vm_pages: int = 0
    hiwater_rss_pages: int = 0
    rss_anon_pages: int = 0
    rss_file_pages: int = 0
    rss_shmem_pages: int = 0
    swap_pages: int = 0
    data_vm_pages: int = 0
    stack_vm_pages: int = 0
    exec_vm_pages: int = 0
    pgtables_bytes: int = 0
    hugetlb_bytes: int = 0
    start_code: int = 0
    end_code: int = 0
    start_data: int = 0
    end_data: int = 0
    start_brk: int = 0
    brk: int = 0
    start_stack: int = 0
    arg_start: int = 0
    arg_end: int = 0
    env_start: int = 0
    env_end: int = 0
    is_thp_enabled: bool = True
    vmas: tuple[VmaView, ...] = ()
    """Rising addresses."""

    @property
    def rss_pages(self) -> int:
        """Resident pages of all kinds."""
        return self.rss_anon_pages + self.rss_file_pages + self.rss_shmem_pages


@frozen(kw_only=True)
class IoView:
    """What threads read and wrote (struct task_io_accounting)."""

    rchar: int = 0
    wchar: int = 0
    """Bytes of reads and writes, wherever they came from."""
    syscr: int = 0
    syscw: int = 0
    """Calls."""
    read_bytes: int = 0
    """Read from disk."""
    write_bytes: int = 0
    """Made dirty, to be written to disk."""
    cancelled_write_bytes: int = 0
    """Of those what was dropped before it was written."""


@frozen(kw_only=True)
class OpenFileView:
    """An open file of a process."""

    fd: int
    path: str
    flags: int
    """As open() was given them (O_RDWR ...), but those that only count then."""
    inode: int
    mount_id: int
    position: int = 0


@frozen(kw_only=True)
class ThreadView:
    """What a thread has of its own; all else is its process's."""

    tid: int
    comm: str
    state: str = "S"
    minflt: int = 0
    majflt: int = 0
    utime_ticks: int = 0
    stime_ticks: int = 0
    start_time_ticks: int = 0
    cpu: int = 0
    flags: int = PF_FORKNOEXEC
    nvcsw: int = 0
    nivcsw: int = 0
    io: IoView = field(factory=IoView)


@frozen(kw_only=True)
class ProcessView:
    """A process: its identity, its times and counts, and its address space."""

    pid: int
    tgid: int | None = None
    """Of a thread, as task/TID shows it: its process. None: this is the process itself."""
    comm: str
    """At most 15 bytes, as the kernel keeps it."""
    state: str = "S"
    """One letter: R, S, D, T, t, X, Z, P or I."""
    ppid: int = 0
    pgrp: int = 0
    session: int = 0
    nr_threads: int = 1
    cmdline: tuple[str, ...] = ()
    minflt: int = 0
    cminflt: int = 0
    majflt: int = 0
    cmajflt: int = 0
    utime_ticks: int = 0
    stime_ticks: int = 0
    cutime_ticks: int = 0
    cstime_ticks: int = 0
    start_time_ticks: int = 0
    """Since boot."""
    flags: int = PF_RANDOMIZE
    priority: int = 20
    nice: int = 0
    cpu: int = 0
    """Where it ran last."""
    exit_code: int = 0
    oom_score_adj: int = 0
    """As wait4 tells it; a fatal signal by its number."""
    uid: int = 0
    gid: int = 0
    umask: int = 0o022
    fd_size: int = 64
    sig_queued: int = 0
    sig_queue_max: int = 0
    sig_pending: int = 0
    sig_blocked: int = 0
    sig_ignored: int = 0
    sig_caught: int = 0
    capabilities: int = ALL_CAPABILITIES
    nr_cpus: int = 1
    cpus_allowed: int = 1
    """Bit by CPU."""
    mems_allowed: int = 1
    """Bit by node."""
    nvcsw: int = 0
    """Voluntary context switches of the first thread alone."""
    nivcsw: int = 0
    io: IoView = field(factory=IoView)
    rlimits: tuple[tuple[str, int, int], ...] = ()
    """Those that are not the kernel's first ones: name as in `limits`, soft and hard limit."""
    exe: str | None = None
    """Path of the program; None: it runs none."""
    cwd: str = "/"
    environ: tuple[str, ...] = ()
    files: tuple[OpenFileView, ...] = ()
    """Rising numbers."""
    threads: tuple[ThreadView, ...] = ()
    """Rising numbers."""
    mounts: tuple[Mount, ...] = ()
    mm: MmView | None = None
    """None: a kernel thread."""
