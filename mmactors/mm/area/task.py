"""What faults note in the thread that takes them (struct task_struct, Linux 6.1)."""

from attrs import define, field

from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vmacache import VmaCache, new_vmacache
from mmactors.mm.vmstat import TaskRssStat


@define(eq=False, kw_only=True)
class TaskIoAccounting:
    """What a thread read and wrote of files (struct task_io_accounting)."""

    rchar: int = 0
    wchar: int = 0
    """Bytes of system calls, wherever they came from."""
    syscr: int = 0
    syscw: int = 0
    """System calls."""
    read_bytes: int = 0
    """Read from disk."""
    write_bytes: int = 0
    """Made dirty, so that they will be written to disk."""
    cancelled_write_bytes: int = 0
    """Of what was dirty that which was dropped unwritten."""


@define(eq=False)
class Task:
    """One thread, as mm/ sees it."""

    mm: MmStruct | None = None
    """The address space it runs in."""
    min_flt: int = 0
    maj_flt: int = 0
    """Faults that were made good, without and with waiting for a disk (getrusage)."""
    rss: TaskRssStat = field(factory=TaskRssStat)
    """Resident pages it has counted and not yet told its address space."""
    ioac: TaskIoAccounting = field(factory=TaskIoAccounting)
    fatal_signal_pending: bool = False
    """It ends when it would return to user mode."""
    vmacache: VmaCache | None = None
    """The areas it found last; None: the kernel has no such caches."""

    def enter_mm(self, mm: MmStruct) -> None:
        """Run in an address space, whose users the caller counts."""
        self.mm = mm
        self.vmacache = new_vmacache(mm)
